"""Models in memory, wherever they came from, behind one small interface."""

from __future__ import annotations

import hashlib
import importlib
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tflite_recipes.backend.models import keras_files, session
from tflite_recipes.core import schema
from tflite_recipes.core.errors import Problem, RecipeError, RequestError, StepError, assignment, gist
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.raised import misfit, raised
from tflite_recipes.core.shapes import Shapes, shape_problems
from tflite_recipes.core.state import State, TensorSpec
from tflite_recipes.files import models

_DEFAULT_SIGNATURE = "serving_default"


@dataclass(frozen=True)
class Model:
    """A model that can be traced.

    call: takes tensors by input name, gives tensors by output name. inputs: with the shapes asked for.
    owner: what keeps the variables alive, and what a SavedModel with variables is made of: a Keras model, a
    tf.Module, or a loaded SavedModel. generation: 3 or 2 for a Keras model of that generation, 0 for anything else.
    folder: where an untouched SavedModel lies that needs no second one. rules: substitutions that were asked for in
    the graph (`remedies.Rule`). fused: the LSTM layers that the rule `fused_lstm` is to fuse. unfused: the override
    that takes this rule out of the recipe.
    """

    call: Callable[..., Mapping[str, Any]]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]
    signature: str
    owner: Any
    generation: int = 0
    folder: Path | None = None
    rules: tuple[str, ...] = ()
    fused: tuple[str, ...] = ()
    unfused: str = ""

    @property
    def layers(self) -> frozenset[str]:
        """Names of a Keras model's layers at any depth, by which its ops are told."""
        if self.generation not in (2, 3):
            return frozenset()
        return frozenset(layer.name for layer in self.owner._flatten_layers(include_self=False))

    def prunable(self) -> Any:
        """The Keras 3 model. Errors: RequestError for anything else."""
        if self.generation != 3:
            kind = "a Keras 2 model" if self.generation == 2 else "not a Keras model"
            raise RequestError(
                Problem(f"pruning works on Keras 3 models, and this is {kind}", "pruning", "pruning=none")
            )
        return self.owner


def called_in_training(model: Model) -> tuple[str, ...]:
    """Layers of a Keras 3 model that were called with training=True when it was built: dropout, say, that was to stay
    on. Neither `predict` nor the converted file does that."""
    if model.generation != 3:
        return ()
    kinds = ("Dropout", "Noise", "BatchNormalization")
    every = model.owner._flatten_layers(include_self=False)
    layers = [layer for layer in every if any(kind in type(layer).__name__ for kind in kinds)]
    nodes = ((layer.name, node.arguments.kwargs) for layer in layers for node in getattr(layer, "_inbound_nodes", ()))
    return tuple(dict.fromkeys(name for name, kwargs in nodes if kwargs.get("training") is True))


def enter(state: State, model: Model, sha256: str | None = None) -> State:
    """The state with the model in it. Without a file's digest, the digest is that of names, shapes and weights.

    Errors: RequestError for weights that are too large for a `.tflite`, NaN or infinite.
    """
    variables = variables_of(model)
    size = sum(int(np.prod(v.shape)) * tf.as_dtype(v.dtype).size for v in variables)
    if large := models.too_large("the model", size, "source"):
        raise RequestError(large)
    count = parameters(variables)
    broken = [v.name for v in variables if not np.isfinite(np.asarray(v.numpy(), "float32")).all()]
    if broken:
        raise RequestError(Problem(f"the model's weights hold NaN or infinities: {', '.join(broken[:5])}", "source"))
    return replace(state, model=model, source_sha256=sha256 or digest(model), parameters=count, inputs=model.inputs)


def changed(state: State) -> State:
    """The state after its model was changed in place."""
    return replace(state, parameters=parameters(variables_of(state.model)))


def parameters(variables: Iterable[Any]) -> int:
    """How many numbers variables hold, text and handles not counted."""
    return sum(int(np.prod(variable.shape)) for variable in variables)


def variables_of(model: Model) -> list[Any]:
    """The variables that hold numbers: a Keras model's weights, or those that a function reads."""
    if model.generation:
        return list(model.owner.variables if model.generation == 2 else model.owner.weights)
    found = getattr(model.owner, "variables", None)
    if found is None:
        graph_variables = getattr(model.owner, "graph", None)
        found = graph_variables.variables if graph_variables is not None else ()
    return [v for v in found if v.dtype.is_floating or v.dtype.is_integer]


def digest(model: Model) -> str:
    """SHA-256 of input specs, architecture and weights, for models that come from no file."""
    hashed = hashlib.sha256()
    for spec in model.inputs:
        hashed.update(str(spec).encode())
    if model.generation == 3:
        hashed.update(model.owner.to_json().encode())
    for variable in variables_of(model):
        value = np.ascontiguousarray(variable.numpy())
        hashed.update(f"{value.dtype.str}{value.shape}".encode() + value.tobytes())
    return hashed.hexdigest()


def of_keras(model: Any, shapes: Shapes, generation: int = 3) -> Model:
    """A Functional or Sequential model, or another one that says what its inputs are. Errors: RequestError."""
    tensors = getattr(model, "inputs", None)
    if not tensors:
        return _of_subclassed(model, shapes, generation)
    # A Keras 3 tensor that its user did not name is called keras_tensor; its layer has the name that is shown.
    names = list(model.input_names) if generation == 2 else [t._keras_history.operation.name for t in tensors]
    inputs = tuple(
        TensorSpec(name, tuple(tensor.shape), tf.as_dtype(tensor.dtype).name)
        for name, tensor in zip(names, tensors, strict=True)
    )
    keys = _output_keys(model)
    outputs = keys or _unique(model.output_names if hasattr(model, "output_names") else [model.layers[-1].name])
    flatten = tf.nest.flatten if generation == 2 else keras.tree.flatten
    pack = tf.nest.pack_sequence_as if generation == 2 else keras.tree.pack_sequence_as
    structure = input_structure(model)

    def call(**tensors: Any) -> dict[str, Any]:
        results = model(pack(structure, [tensors[name] for name in names]), training=False)
        if keys:
            return {key: results[key] for key in keys}
        return dict(zip(outputs, flatten(results), strict=True))

    return Model(call, shaped(inputs, shapes), outputs, _DEFAULT_SIGNATURE, model, generation)


def _output_keys(model: Any) -> tuple[str, ...]:
    """The names that a model gives its outputs itself, in its own order; () where it gives no dict of tensors."""
    structure = None if type(model).__name__ == "Sequential" else model.output
    plain = isinstance(structure, dict) and all(hasattr(tensor, "shape") for tensor in structure.values())
    return tuple(map(str, structure)) if plain else ()


def input_structure(model: Any) -> Any:
    """How the model takes its inputs: one, a list, or a dict. A Sequential model takes one, and does not say so."""
    return model.inputs[0] if type(model).__name__ == "Sequential" else model.input


def _of_subclassed(model: Any, shapes: Shapes, generation: int) -> Model:
    known = _built_with(model)
    if not shapes:
        what = "this subclassed model does not say what its inputs are"
        named = _named_shapes(known) or {"x": [None, 224, 224, 3]}
        fix = assignment("source.input_shapes", named)
        raise RequestError(Problem(what, "source.input_shapes", fix, ("name each input, with its shape",)))
    inputs = tuple(TensorSpec(name, tuple(shape), "float32") for name, shape in shapes.items())
    names = [spec.name for spec in inputs]
    several = len(names) > 1 or isinstance(known, dict)
    as_list = isinstance(known, (list, tuple)) and any(isinstance(shape, (list, tuple)) for shape in known)

    def pack(tensors: Mapping[str, Any]) -> Any:
        if as_list:
            return [tensors[name] for name in names]
        return dict(tensors) if several else tensors[names[0]]

    example = model(pack({s.name: tf.zeros([d or 1 for d in s.shape]) for s in inputs}), training=False)
    outputs = _unique(
        sorted(example) if isinstance(example, dict) else [f"output_{i}" for i in range(len(tf.nest.flatten(example)))]
    )

    def call(**tensors: Any) -> dict[str, Any]:
        return dict(zip(outputs, tf.nest.flatten(model(pack(tensors), training=False)), strict=True))

    return Model(call, inputs, outputs, _DEFAULT_SIGNATURE, model, generation)


def _built_with(model: Any) -> Any:
    """The shape, or the list or dict of shapes, that a subclassed model was built with; None where it was not."""
    config = model.get_build_config() or {}
    shape = config.get("input_shape")
    return tuple(shape) if isinstance(shape, tf.TensorShape) else shape


def _named_shapes(known: Any) -> dict[str, list[int | None]]:
    """Those shapes by input name, made up where inputs have none, with the batch left open."""
    if isinstance(known, dict):
        named = known
    elif known and all(isinstance(shape, (list, tuple)) for shape in known):
        named = {f"x{number}": shape for number, shape in enumerate(known)}
    else:
        named = {"x": known} if known else {}
    return {name: [None, *list(shape)[1:]] for name, shape in named.items()}


def _unique(names: Any) -> tuple[str, ...]:
    """A layer that is an output twice gives one name twice; the second gets a number that no other has."""
    given, unique = list(names), []
    for name in given:
        free = (f"{name}_{number}" for number in itertools.count(1))
        taken = {*given, *unique}
        unique.append(name if name not in unique else next(other for other in free if other not in taken))
    return tuple(unique)


def shaped(inputs: tuple[TensorSpec, ...], shapes: Shapes) -> tuple[TensorSpec, ...]:
    """The inputs with `input_shapes` applied. Errors: RequestError."""
    problems = list(shape_problems(shapes, inputs))
    if problems:
        raise RequestError(problems)
    return tuple(replace(spec, shape=tuple(shapes.get(spec.name, spec.shape))) for spec in inputs)


def of_function(function: Any, signature: str, owner: Any, shapes: Shapes, folder: Path | None = None) -> Model:
    """A ConcreteFunction with named inputs, as SavedModel signatures are. Errors: RequestError."""
    positional, named = function.structured_input_signature or (_fed(function), {})
    specs = {name: spec for name, spec in named.items() if isinstance(spec, tf.TensorSpec)}
    flat = [spec for spec in tf.nest.flatten(positional) if isinstance(spec, tf.TensorSpec)]
    order = list(specs) or [spec.name or f"input_{index}" for index, spec in enumerate(flat)]
    every = list(specs.values()) or flat
    inputs = tuple(
        TensorSpec(name, tuple(spec.shape) if spec.shape.rank is not None else (), spec.dtype.name)
        for name, spec in zip(order, every, strict=True)
    )
    structure = function.structured_outputs
    outputs = tuple(structure) if isinstance(structure, dict) else _unique(_output_names(structure))

    def call(**tensors: Any) -> dict[str, Any]:
        results = function(**tensors) if specs else function(*[tensors[name] for name in order])
        if isinstance(results, Mapping):
            return {name: results[name] for name in outputs}
        return dict(zip(outputs, tf.nest.flatten(results), strict=True))

    untouched = folder if not shapes else None
    return Model(call, shaped(inputs, shapes), outputs, signature, owner, 0, untouched)


def _fed(function: Any) -> list[Any]:
    """The inputs of a part of a graph (`wrap_function(…).prune`), which has no signature."""
    tensors = function.inputs[: len(function.inputs) - len(function.captured_inputs)]
    return [tf.TensorSpec(tensor.shape, tensor.dtype, tensor.op.name.replace("/", "_")) for tensor in tensors]


def _output_names(structure: Any) -> list[str]:
    return [f"output_{index}" for index in range(len(tf.nest.flatten(structure)))]


def load_keras(path: Path, custom_objects: list[str], trust: bool, shapes: Shapes, reporter: Reporter) -> Model:
    """A `.keras` or `.h5` file, loaded by the Keras that wrote it. Errors: RequestError, StepError."""
    session.fresh(0)
    file = models.read_keras_file(path)
    if not trust and (problem := file.trust_problem(path)):
        raise RequestError(problem)
    if not trust and file.generation == 2 and (missing := models.not_given(file.custom_layers, custom_objects)):
        raise RequestError(models.missing_objects(path, missing, custom_objects))
    objects = keras_files.custom_objects(custom_objects, file)
    library: Any = keras
    arguments: dict[str, Any] = {"custom_objects": objects, "compile": False}
    if file.generation == 2:
        library = importlib.import_module("tf_keras")
        reporter.warn(f"{path} was written by Keras {file.keras_version}: loaded with tf_keras {library.__version__}")
        arguments |= {"safe_mode": not trust} if path.suffix == ".keras" else {}
    else:
        arguments |= {"safe_mode": not trust}
    reporter.tag({"tflite_recipes.loader": f"{library.__name__} {library.__version__}"})
    try:
        model = keras_files.load(library, path, file, arguments, reporter)
    except Exception as error:
        raise StepError(keras_files.load_problem(path, error, file, custom_objects)) from error
    return of_keras(model, shapes, file.generation)


def load_saved_model(path: Path, signature: str, shapes: Shapes, trust: bool = False) -> Model:
    """One signature of a SavedModel folder. Errors: RequestError for shapes that do not fit, or for ops that need trust
    in the graph; StepError."""
    session.fresh(0)
    # TensorFlow runs the initializers of a graph while it loads it.
    if not trust and (problem := models.trust_problem(path)):
        raise RequestError(problem)
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:
        # A graph's error retells a traceback first, and says what happened in its last paragraph.
        told = str(error).strip().rpartition("\n\n")[2].partition("\n")[0]
        raise StepError(Problem(f"{path} cannot be loaded: {told or gist(error)}", "source.path")) from error
    model = of_function(loaded.signatures[signature], signature, loaded, shapes, path)
    # A signature has no order: it is a map in the file, which reads in another one each time.
    inputs = tuple(sorted(model.inputs, key=lambda spec: _by_number(spec.name)))
    return replace(model, inputs=inputs, outputs=tuple(sorted(model.outputs, key=_by_number)))


def _by_number(name: str) -> list[tuple[int, str]]:
    """A sorting key that puts output_2 before output_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def build_application(name: str, weights: str | None, arguments: Mapping[str, Any], seed: int, shapes: Shapes) -> Model:
    """A model of `keras.applications`. Errors: RequestError for its arguments, StepError for weights out of reach."""
    session.fresh(seed)
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
    if "weights" in values:
        ways = (f"{assignment('source.weights', values['weights'])}, and source.arguments without weights",)
        what = "weights is a key of source, not of its arguments"
        raise RequestError(Problem(what, "source.arguments.weights", "", ways))
    if wrong := misfit(getattr(keras.applications, name), weights=weights, **values):
        raise RequestError(Problem(f"{name} {wrong}", "source.arguments"))
    try:
        model = getattr(keras.applications, name)(weights=weights, **values)
    except (TypeError, ValueError) as error:
        raise RequestError(Problem(f"{name}: {gist(error)}", "source.arguments")) from error
    except Exception as error:
        if weights != "imagenet":
            raise
        what = f"the ImageNet weights of {name} could not be had: {gist(error)}"
        raise StepError(Problem(what, "source.weights", "source.weights=null")) from error
    return of_keras(model, shapes)


def build_by_factory(target: str, arguments: Mapping[str, Any], seed: int, shapes: Shapes) -> Model:
    """Whatever the user's function gives. Errors: RequestError where it is nothing that can be converted."""
    session.fresh(seed)
    try:
        factory = schema.load_target(target)
    except RequestError as error:
        raise RequestError([replace(p, where="source.function") for p in error.problems]) from error
    if wrong := misfit(factory, **arguments):
        raise RequestError(Problem(f"{target} {wrong}", "source.arguments"))
    try:
        made = factory(**arguments)
    except RecipeError:
        raise
    except (Exception, SystemExit) as error:
        raise StepError(Problem(f"{target} raised {raised(error)}", "source")) from error
    if isinstance(made, keras.Model):
        return of_keras(made, shapes)
    if any(base.__module__.startswith("tf_keras.") and base.__name__ == "Model" for base in type(made).__mro__):
        return of_keras(made, shapes, 2)
    if isinstance(made, tf.types.experimental.ConcreteFunction):
        return of_function(made, _DEFAULT_SIGNATURE, made, shapes)
    if isinstance(made, tf.Module):
        return _of_module(made, shapes, target)
    what = f"{target} gave {type(made).__name__}, not a Keras model, a tf.Module or a ConcreteFunction"
    raise RequestError(Problem(what, "source.function"))


def _of_module(module: Any, shapes: Shapes, target: str) -> Model:
    """A tf.Module's one function with an `input_signature`."""
    names = [name for name in dir(module) if hasattr(getattr(module, name, None), "get_concrete_function")]
    signed = [name for name in names if getattr(module, name).function_spec.fullargspec is not None]
    ready = [name for name in signed if getattr(module, name).input_signature is not None]
    if len(ready) != 1:
        what = (
            f"{target} gave a tf.Module with {len(ready)} functions that have an input_signature; exactly one is needed"
        )
        raise RequestError(Problem(what, "source.function"))
    return of_function(getattr(module, ready[0]).get_concrete_function(), _DEFAULT_SIGNATURE, module, shapes)
