"""Where the model comes from: nothing → the model in memory, its signature, its digest."""

from __future__ import annotations

import ast
import importlib.util
import os
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from tflite_recipes.conversion.schemes import Quantizer, Scheme
from tflite_recipes.core import paths, regular_files, user_code
from tflite_recipes.core.errors import Problem, RequestError, gist
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.raised import raised
from tflite_recipes.core.schema import ExistingPath, NeedsTrust, PossiblePath, near, unusable_code, within
from tflite_recipes.core.shapes import Shapes, shape_problems
from tflite_recipes.core.state import State, TensorSpec
from tflite_recipes.files import models as model_files
from tflite_recipes.files.samples import digits, npz
from tflite_recipes.steps.freeze import Freeze, Variables
from tflite_recipes.steps.optimization import Optimization


class Source:
    """What the steps behind a source may ask it before anything runs."""

    input_shapes: Shapes

    def inputs(self) -> tuple[TensorSpec, ...] | None:
        """The inputs that the source declares, or None where only TensorFlow can tell."""
        return None

    def outputs(self) -> tuple[TensorSpec, ...] | None:
        """The outputs that the source declares, or None where only TensorFlow can tell."""
        return None

    def carries_ranges(self) -> bool:
        """Whether the model was trained quantization-aware, so that integer schemes need no calibration."""
        return False

    def weight_bytes(self) -> int | None:
        """Return the bytes of the weights that are converted, None if only loading the model tells."""
        return None

    def shaped_inputs(self) -> tuple[TensorSpec, ...] | None:
        """The same with `input_shapes` applied."""
        try:
            inputs = self.inputs()
        except RequestError:
            return None  # said by `problems`
        if inputs is None or any(shape_problems(self.input_shapes, inputs)):
            return None
        return tuple(
            TensorSpec(spec.name, tuple(self.input_shapes.get(spec.name, spec.shape)), spec.dtype) for spec in inputs
        )

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        try:
            inputs = self.inputs()
        except RequestError as error:
            yield from error.problems
            return
        yield from shape_problems(self.input_shapes, inputs)


@dataclass(frozen=True)
class DigitsSource(Source):
    """Trains a small CNN on the 1,437 training images of the handwritten digits that scikit-learn carries."""

    epochs: Annotated[int, within(ge=1, le=1000)]
    batch_size: Annotated[int, within(ge=1)]
    learning_rate: Annotated[float, within(gt=0)]
    seed: Annotated[int, within(ge=0, lt=2**32)]
    input_shapes: Shapes

    def inputs(self) -> tuple[TensorSpec, ...]:
        return (digits.INPUT,)

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.backend.models import digits_cnn, source_model

        images = digits.training()
        described = npz.described({digits.INPUT.name: images.images, "labels": images.labels}, ("labels",))
        told = (digits.sha256(images), "scikit-learn load_digits", len(images.labels), described)
        reporter.used("digits", "training", *told)
        model = digits_cnn.train(images, self.epochs, self.batch_size, self.learning_rate, self.seed, reporter)
        return source_model.enter(state, source_model.of_keras(model, self.input_shapes))


@dataclass(frozen=True)
class KerasSource(Source):
    """A `.keras` or `.h5` file, whichever Keras wrote it: Keras 2 files are loaded with tf_keras."""

    path: ExistingPath
    custom_objects: Annotated[list[str], NeedsTrust()]
    trust: Annotated[bool, NeedsTrust()]
    input_shapes: Shapes

    def inputs(self) -> tuple[TensorSpec, ...] | None:
        return model_files.read_keras_file(Path(self.path)).inputs

    def carries_ranges(self) -> bool:
        try:
            return model_files.read_keras_file(Path(self.path)).ranges
        except RequestError:
            return False  # said by `problems`

    def weight_bytes(self) -> int | None:
        return model_files.keras_weight_bytes(Path(self.path))

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        yield from super().problems(steps)
        for target in self.custom_objects:
            yield from code_problems(target, "source.custom_objects")
        try:
            file = model_files.read_keras_file(Path(self.path))
        except RequestError:
            return  # said above
        if lacking := [package for package in file.packages if not _is_importable(package)]:
            what = f"{self.path} has classes of {', '.join(lacking)}, which is not installed"
            ways = tuple(f"pip install {package.replace('_', '-')}" for package in lacking)
            yield Problem(what, "source.path", "", ways)
            return
        if not self.trust and (problem := file.trust_problem(Path(self.path))):
            yield problem
        yield from self._not_named(file)
        if file.wrappers and importlib.util.find_spec("tensorflow_model_optimization") is None:
            why = f"holds {', '.join(file.wrappers)} layers of tensorflow-model-optimization, which is not installed"
            yield Problem(f"{self.path} {why}", "source.path", "", ("pip install 'tflite_recipes[qat]'",))

    def _not_named(self, file: model_files.KerasFile) -> Iterable[Problem]:
        """Custom classes that nobody named. Keras 3 may find further ones registered by the code of those named;
        tf_keras would import whatever module stands in the file, so there each has to be named."""
        own = [name for name in file.custom_layers if name not in file.by_trust]
        missing = model_files.not_given(own, self.custom_objects)
        if missing and not self.trust and not (file.generation == 3 and self.custom_objects):
            yield model_files.missing_objects(Path(self.path), missing, self.custom_objects)

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.backend.models import source_model

        model_files.check_promises(Path(self.path), "source.path")
        model = source_model.load_keras(Path(self.path), self.custom_objects, self.trust, self.input_shapes, reporter)
        user_code.record("custom_objects", self.custom_objects, state, reporter)
        return source_model.enter(state, model, model_files.sha256_of(Path(self.path)))


@dataclass(frozen=True)
class SavedModelSource(Source):
    """A SavedModel folder of any age, and which of its signatures to convert."""

    path: ExistingPath
    signature: str | None
    _: KW_ONLY
    trust: Annotated[bool, NeedsTrust()] = False
    input_shapes: Shapes

    def chosen(self) -> model_files.SignatureInfo:
        """The signature asked for, or the only one. Errors: RequestError that lists what there is."""
        found = {info.key: info for info in model_files.read_saved_model(Path(self.path))}
        if self.signature in found:
            return found[self.signature]
        if self.signature is None and len(found) == 1:
            return next(iter(found.values()))
        if self.signature is None and _exported(found):
            return found["serving_default"]
        if not found:
            ways = (
                'save it again: tf.saved_model.save(model, FOLDER, signatures={"serving_default": model.FUNCTION})',
                "source=factory source.function=my_model.py:build '~source.path' '~source.signature'",
            )
            raise RequestError(Problem(f"{self.path} has no signature to convert", "source.signature", "", ways))
        what = (
            f"there is no signature {self.signature!r}" if self.signature else "it has several signatures: choose one"
        )
        best = (near(self.signature or "", list(found)) or list(found))[0]
        others = tuple(f"source.signature={key}" for key in found if key != best)
        raise RequestError(
            Problem(
                f"{what}; {self.path} has {', '.join(found)}", "source.signature", f"source.signature={best}", others
            )
        )

    def weight_bytes(self) -> int | None:
        path = Path(self.path)
        return _bytes_of_all(path, {info.key: info for info in model_files.read_saved_model(path)})

    def inputs(self) -> tuple[TensorSpec, ...] | None:
        return self.chosen().inputs

    def outputs(self) -> tuple[TensorSpec, ...] | None:
        return self.chosen().outputs

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        yield from super().problems(steps)
        path = Path(self.path)
        try:
            found = {info.key: info for info in model_files.read_saved_model(path)}
        except RequestError:
            return  # said above
        yield from model_files.too_large(self.path, _bytes_of_all(path, found), "source.path")
        if not self.trust:
            try:
                yield from filter(None, [model_files.trust_problem(path)])
            except RequestError as error:
                yield from error.problems

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.backend.models import source_model

        path = Path(self.path)
        model = source_model.load_saved_model(path, self.chosen().key, self.input_shapes, self.trust)
        return source_model.enter(state, model, model_files.sha256_of(path))


def _bytes_of_all(path: Path, found: Mapping[str, model_files.SignatureInfo]) -> int | None:
    """The bytes of a SavedModel's weights, None for one of several signatures, which may read a part of them."""
    return model_files.saved_model_weight_bytes(path) if len(found) == 1 or _exported(found) else None


def _exported(found: Mapping[str, model_files.SignatureInfo]) -> bool:
    """Whether this is what `model.export` of Keras 3 writes: one function under two names."""
    if set(found) != {"serve", "serving_default"}:
        return False
    one, other = found["serve"], found["serving_default"]
    return (one.inputs, one.outputs) == (other.inputs, other.outputs)


@dataclass(frozen=True)
class TFLiteSource(Source):
    """A float `.tflite` file, to be quantized by litert_quantizer, or evaluated as it is."""

    path: ExistingPath

    def inputs(self) -> tuple[TensorSpec, ...]:
        return model_files.read_float_tflite(Path(self.path)).inputs

    def outputs(self) -> tuple[TensorSpec, ...]:
        return model_files.read_float_tflite(Path(self.path)).outputs

    def shaped_inputs(self) -> tuple[TensorSpec, ...] | None:
        try:
            return self.inputs()
        except RequestError:
            return None  # said by `problems`

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        try:
            self.inputs()
        except RequestError as error:
            yield from error.problems
        if "pruning" in steps:
            yield Problem("pruning works on Keras 3 models, and this is a .tflite file", "pruning", "pruning=none")
        if "substitution" in steps:
            what = "substitution works on models that are still to be converted, and this is a .tflite file"
            yield Problem(what, "substitution", "substitution=none")
        freeze, optimization = steps.get("freeze"), steps.get("optimization")
        if isinstance(freeze, Freeze) and freeze.variables is not Variables.auto:
            what = "a .tflite file holds constants: there are no variables to freeze or keep"
            yield Problem(what, "freeze.variables", "freeze.variables=auto")
        if not isinstance(optimization, Optimization) or optimization.scheme is Scheme.none:
            return
        if optimization.quantizer is Quantizer.tflite_converter:
            what = "TensorFlow's converter does not quantize a .tflite file"
            fix = "optimization.quantizer=litert_quantizer"
            yield Problem(what, "optimization.quantizer", fix, ("optimization=none",))

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.backend.converting import file_edits

        path = Path(self.path)
        file, data = model_files.read_float_tflite(path), path.read_bytes()
        signature = file.signature or "serving_default"
        if not file.signature:
            reporter.warn(f"{path} has no signature: it gets one, {signature}, with its tensors' names")
            data = file_edits.with_signature(data, signature)
        copy = state.workdir / "source.tflite"
        copy.write_bytes(data)
        return replace(
            state,
            source_sha256=model_files.sha256_of(path),
            parameters=file.parameters,
            signature=signature,
            inputs=file.inputs,
            outputs=file.outputs,
            float_file=copy,
        )


@dataclass(frozen=True)
class KerasApplicationSource(Source):
    """One of `keras.applications`, with ImageNet weights (downloaded by Keras) or seeded random ones."""

    name: str
    weights: PossiblePath | None
    arguments: dict[str, Any]
    seed: Annotated[int, within(ge=0, lt=2**32)]
    input_shapes: Shapes

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        yield from super().problems(steps)
        names = application_names()
        if self.name not in names:
            similar = near(self.name, names)
            hint = f"did you mean {' or '.join(similar)}?" if similar else f"there are {', '.join(names)}"
            fix = f"source.name={similar[0] if similar else names[0]}"
            yield Problem(f"keras.applications has no {self.name!r}; {hint}", "source.name", fix)
        if self.weights not in (None, "imagenet") and not Path(self.weights).is_file():
            what = f"{self.weights!r} is neither null, imagenet nor a weights file"
            yield Problem(what, "source.weights", "source.weights=null", ("source.weights=imagenet",))
        elif self.weights not in (None, "imagenet"):
            yield from filter(None, [model_files.foreign_data(Path(self.weights), "source.weights")])

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.backend.models import source_model

        model = source_model.build_application(self.name, self.weights, self.arguments, self.seed, self.input_shapes)
        return source_model.enter(state, model)


def application_names() -> list[str]:
    """The models of the installed `keras.applications`, read without importing Keras."""
    spec = importlib.util.find_spec("keras")
    if spec is None or not spec.submodule_search_locations:
        return []
    init = Path(spec.submodule_search_locations[0]) / "applications" / "__init__.py"
    imports = [node for node in ast.walk(ast.parse(init.read_text())) if isinstance(node, ast.ImportFrom)]
    return sorted(alias.name for node in imports for alias in node.names if alias.name[0].isupper())


@dataclass(frozen=True)
class FactorySource(Source):
    """A function of the user's that gives a Keras model, a tf.Module with a signature, or a ConcreteFunction.

    weights: loaded into the Keras model that it gives. trust: take weights of a SavedModel whose graph does more than
    calculate.
    """

    function: Annotated[str, NeedsTrust()]
    _: KW_ONLY
    weights: PossiblePath | None = None
    trust: Annotated[bool, NeedsTrust()] = False
    arguments: dict[str, Any]
    seed: Annotated[int, within(ge=0, lt=2**32)]
    input_shapes: Shapes

    def weight_bytes(self) -> int | None:
        return model_files.keras_weight_bytes(Path(self.weights)) if self.weights is not None else None

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        yield from super().problems(steps)
        yield from code_problems(self.function, "source.function")
        if self.weights is not None:
            yield from model_files.weights_problems(Path(self.weights), self.trust)

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.backend.models import source_model, weight_loading

        model = source_model.build_by_factory(self.function, self.arguments, self.seed, self.input_shapes)
        user_code.record("function", [self.function], state, reporter)
        if self.weights is None:
            return source_model.enter(state, model)
        model_files.check_promises(Path(self.weights), "source.weights")
        weight_loading.load(model, Path(self.weights), self.function, reporter)
        return source_model.enter(state, model, weight_loading.digest(model, Path(self.weights)))


def _is_importable(top: str) -> bool:
    """Whether a package or a module is installed, or lies where the user stands. It is not imported."""
    return Path(top).is_dir() or Path(f"{top}.py").is_file() or importlib.util.find_spec(top) is not None


def code_problems(target: str, where: str) -> Iterable[Problem]:
    """Whether `module:name` or `file.py:name` can be found, without running it.

    A module is only looked for, because looking inside a package would import it.
    """
    place, _, name = target.rpartition(":")
    if reason := paths.unusable(place):
        yield Problem(f"{paths.shortened(target)!r} names no code: {reason}", where)
    elif not place or not name:
        yield Problem(f"{target!r} is not module:name or file.py:name", where, "", (f"{where}=my_model.py:build",))
    elif not place.endswith(".py"):
        if not _is_importable(place.partition(".")[0]):
            yield Problem(f"there is no module {place!r}, neither installed nor in {Path.cwd()}", where)
    elif regular_files.unreadable(place) or (os.path.isfile(place) and unusable_code(Path(place))):
        yield Problem(unusable_code(Path(place)), where)
    elif not os.path.isfile(place):
        folder = Path(place).parent
        beside = [str(folder / name) for name in paths.names_in(folder) if name.endswith(".py")]
        similar = near(place, beside)
        yield Problem(f"there is no file {place}", where, f"{where}={similar[0]}:{name}" if similar else "")
    else:
        yield from _name_problems(Path(place), name, where)


def _name_problems(file: Path, name: str, where: str) -> Iterable[Problem]:
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError, OSError, RecursionError) as error:
        is_syntax = isinstance(error, SyntaxError)
        yield Problem(raised(error) if is_syntax else f"{file} is not Python: {gist(error)}", where)
        return
    defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    assigned = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    if name in defined | assigned | imported or "*" in imported:
        return
    similar = near(name, sorted(defined))
    hint = f"it defines {', '.join(sorted(defined)) or 'nothing'}"
    fix = f"{where}={file}:{(similar or sorted(defined) or ['NAME'])[0]}"
    yield Problem(f"{file} has no {name!r}; {hint}", where, fix)
