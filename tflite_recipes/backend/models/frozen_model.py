"""The model in memory → a SavedModel with one signature, its variables frozen to constants where that is sound.

Each later conversion starts from this folder: the model is traced once, and input and output names are its own.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tflite_recipes.backend.models import graph_fingerprint, lstm_fusion, op_inspection, source_model, traced_model
from tflite_recipes.backend.models.graph_substitution import Substituted, redefined, substitute, with_batch_of_one
from tflite_recipes.backend.models.rewriting import branches
from tflite_recipes.backend.models.source_model import Model
from tflite_recipes.backend.models.traced_model import Traced
from tflite_recipes.conversion.diagnosis import open_sizes, sizes_given
from tflite_recipes.conversion.remedies import override_of
from tflite_recipes.core.errors import Problem, RequestError, StepError
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.state import Intent, State, TensorSpec

# Ops that write variables, and ops on resources that are no variables: constants cannot stand for either.
_STATEFUL = (
    "AssignVariableOp",
    "AssignAddVariableOp",
    "AssignSubVariableOp",
    "ResourceScatter",
    "ResourceStridedSliceAssign",
)
_MB = 1000**2
_RESOURCES = ("HashTable", "MutableHashTable", "LookupTable", "MutableDenseHashTable")


@dataclass(frozen=True)
class How:
    """What becomes of variables (auto, freeze or keep), and whether an LSTM has to compute what its source computes.
    If it has not, the converter fuses each LSTM that tf_keras marks."""

    variables: str = "auto"
    exact_lstm: bool = True


@dataclass(frozen=True)
class Frozen:
    """What a model became.

    path, signature: the SavedModel that is converted. reference: the one that its outputs are compared with, where
    substitutions made another of it: the original, or the original with those rules alone that change what outputs
    mean. inputs, outputs: in the source's own order. kept_because: why variables were kept, "" where they were frozen.
    large: whether that is for their size. substituted: what was done in the graph. offered: remedies that were not
    needed so far. random: the layers that draw random numbers. layers: names of all layers.
    idle: those that were called with training=True, which inference does not do. parameters: numbers in the
    variables and the constants of the signature.
    fingerprint: of the model before rules changed its graph, "" if nobody asked for it.
    redefined: that model's folder, if a rule changed what its outputs mean; else None.
    cut: by output, the function behind it that a rule left out.
    """

    path: Path
    signature: str
    reference: Path | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    kept_because: str
    large: bool
    stateful: bool
    substituted: Substituted
    offered: tuple[str, ...]
    random: tuple[str, ...]
    layers: tuple[str, ...]
    idle: tuple[str, ...]
    parameters: int
    fingerprint: str
    redefined: Path | None
    cut: Mapping[str, str]


def freeze(state: State, how: How, reporter: Reporter) -> Frozen:
    """Trace, freeze, substitute and save the state's model. Errors: StepError, RequestError."""
    model, folder, intent = state.model, state.workdir, state.intent
    if not intent.dynamic_batch:
        fixed = with_batch_of_one(model.inputs)
        model = model if fixed == model.inputs else replace(model, inputs=fixed, folder=None)
    traced = traced_model.trace(model.call, model.inputs, model.outputs, intent.sizes)
    fingerprint = graph_fingerprint.of(traced) if state.named.kept else ""
    if state.named.kept and not (fingerprint and fingerprint == state.named.fingerprint):
        model = replace(model, folder=None)  # which holds the model as it was before a step changed it
    marked = lstm_fusion.is_marked(traced)
    fused = bool(model.fused) if how.exact_lstm else marked and model.generation == 2
    because = {"auto": keep_because(traced, fused and marked), "keep": "as asked", "freeze": ""}[how.variables]
    large = "" if because or how.variables != "auto" else too_large(traced, model, intent.constants_mb)
    because = because or large
    if how.exact_lstm and model.fused:
        _check_fused(traced, model, because)
    unmark = how.exact_lstm and marked and not fused
    if unmark and because:
        model = replace(model, folder=None)  # whose LSTMs the converter would fuse

    @functools.cache
    def base(inputs: tuple[TensorSpec, ...]) -> Traced:
        found = (
            traced if inputs == model.inputs else traced_model.trace(model.call, inputs, model.outputs, intent.sizes)
        )
        if not because:
            return traced_model.frozen(found)
        return lstm_fusion.unmarked(found) if unmark else found

    original = base(model.inputs)
    _check_outputs(original)
    made = substitute(base, model, intent, reporter)
    _check_choices(made)
    _check_loops(made, intent)
    path = save(original, model, folder / "saved_model")
    converted = path if made.is_original else save(made.traced, model, folder / "substituted")
    reference = None if made.is_original else path
    if made.redefining:
        meant = redefined(base, model, made, intent, reporter)
        reference = None if meant is None else save(meant, model, folder / "substituted_outputs")
    kinds = {op.type for op in op_inspection.operations(original.graph)}
    return Frozen(
        path=converted,
        signature=model.signature,
        reference=reference,
        inputs=made.inputs,
        outputs=made.traced.output_specs(),
        kept_because=because,
        large=bool(large),
        stateful=any(kind.startswith(_STATEFUL) for kind in kinds),
        substituted=made,
        offered=op_inspection.offered(made.traced.graph, intent, any(None in spec.shape[:1] for spec in made.inputs)),
        random=op_inspection.random_layers(made.traced.graph, model.layers),
        layers=tuple(sorted(model.layers)),
        idle=source_model.called_in_training(model),
        parameters=_variables(traced, state) + op_inspection.constants(traced.graph),
        fingerprint=fingerprint,
        redefined=path if made.redefining else None,
        cut=made.cut,
    )


def _check_outputs(traced: Traced) -> None:
    """Refuse what no file can give. Errors: StepError."""
    found = [spec for spec in traced.output_specs() if spec.dtype.startswith("complex")]
    if found:
        what = f"an output of complex numbers is none that a file can have: {', '.join(map(str, found))}"
        ors = ("give its real and its imaginary part as outputs",)
        raise StepError(Problem(what, f"output {found[0].name}", "", ors))


def _check_choices(made: Substituted) -> None:
    """Refuse a choice by a number that is left, which the converter refuses in its own words. Errors: StepError."""
    found = [finding for finding in made.findings if finding.op in branches.BY_NUMBER]
    if not found:
        return
    fix = override_of("branches") if all(finding.remedies for finding in found) else ""
    ors = () if fix else ("write the choice as tf.cond within tf.cond",)
    raise StepError(Problem("; ".join(map(str, found[:3])), "optimization", fix, ors))


def _check_loops(made: Substituted, intent: Intent) -> None:
    """Refuse a loop that cannot be unrolled before the calibrator crashes on it. Errors: StepError."""
    loops = [finding for finding in made.findings if finding.op in op_inspection.LOOPS]
    if not made.skipped or not loops:
        return
    what = "; ".join(map(str, loops[:3]))
    fix, ors = sizes_given(open_sizes(made.inputs), intent.sizes)
    other = "optimization=dynamic_range"
    raise StepError(
        Problem(what, "optimization", fix or ("" if ors else other), (*ors, *([other] if fix or ors else [])))
    )


def _variables(traced: Traced, state: State) -> int:
    """Return how many numbers the variables hold: those of the signature, where the source may have others."""
    return source_model.parameters(traced.concrete.variables) if state.model.generation == 0 else state.parameters


def _check_fused(traced: Traced, model: Model, because: str) -> None:
    """Check that the converter will fuse each LSTM as it is. Errors: RequestError."""
    lstm_fusion.check_model(model, traced)
    if not because:
        what = "the converter fuses no LSTM whose variables are constants"
        raise RequestError(Problem(what, "freeze.variables", "freeze.variables=auto"))


def keep_because(traced: Traced, fused: bool = False) -> str:
    """Return why a model's variables cannot become constants, "" if they can. fused: its LSTMs are to be fused."""
    kinds = {op.type for op in op_inspection.operations(traced.graph)}
    if any(kind.startswith(_RESOURCES) for kind in kinds):
        return "the model owns lookup tables"
    if any(kind.startswith(_STATEFUL) for kind in kinds):
        return "the model writes to its variables"
    # tf_keras marks its LSTM so that the converter can fuse it into one op, which it cannot once it is frozen.
    return "the converter fuses its LSTM" if fused else ""


def too_large(traced: Traced, model: Model, most_mb: float | None) -> str:
    """Return why a large model keeps its variables, "" if it is not large. Constants are copied about 20 times.

    most_mb: the most MB of variables that become constants; None for any.
    """
    size = sum(int(np.prod(v.shape)) * tf.as_dtype(v.dtype).size for v in traced.graph.variables)
    if most_mb is None or size <= most_mb * _MB or not _may_keep(model):
        return ""
    return f"they have {size / _MB:.0f} MB, and freeze.constants_mb={most_mb:g}"


def _may_keep(model: Model) -> bool:
    """Return whether something owns the variables, so that they can be saved."""
    return isinstance(model.owner, tf.Module) or model.generation != 0 or hasattr(model.owner, "signatures")


def save(traced: Traced, model: Model, folder: Path) -> Path:
    """Save a traced model under its signature, and return the folder. Errors: RequestError."""
    specs = traced_model.tensor_specs(traced.inputs)
    if not traced.graph.captures:
        return _save_constant(traced, specs, folder, model.signature)
    if model.folder is not None and traced.inputs == model.inputs and not folder.name.startswith("substituted"):
        return model.folder
    function = traced.function
    if model.generation == 3:
        # tf.saved_model.save would leave a Keras 3 model's weights uninitialised in the converted file.
        archive = keras.export.ExportArchive()
        archive.track(model.owner)
        archive.add_endpoint(model.signature, function)  # traced already, with its specs
        archive.write_out(str(folder), verbose=False)
        return folder
    if not _may_keep(model):
        what = "a ConcreteFunction whose variables must be kept needs the tf.Module that owns them"
        raise RequestError(Problem(what, "source.function", "freeze.variables=freeze"))
    module = tf.Module()
    module.owner = _owner_of_variables(model, traced)
    module.serve = function
    tf.saved_model.save(module, str(folder), signatures={model.signature: function.get_concrete_function(**specs)})
    return folder


def _owner_of_variables(model: Model, traced: Traced) -> Any:
    """Return what a SavedModel has to hold so that it has the function's variables.

    A model of tf_keras brings all functions of its layers with it, traced anew and for training too: for three LSTMs
    that takes 10 s, and the converter reads all of it. Its variables are enough if the function reads nothing else.
    """
    if model.generation != 2:
        return model.owner
    variables = source_model.variables_of(model)
    handles = {id(variable.handle) for variable in variables}
    reads_more = any(id(outside) not in handles for outside, _ in traced.graph.captures)
    return model.owner if reads_more else variables


def _save_constant(traced: Traced, specs: dict[str, Any], folder: Path, signature: str) -> Path:
    module = tf.Module()
    module.serve = tf.function(lambda **tensors: traced(**tensors), autograph=False)
    signatures = {signature: module.serve.get_concrete_function(**specs)}
    # Gradients of its own (swish has one) capture tensors that freezing has done away with, and nobody trains this.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(folder), signatures=signatures, options=options)
    return folder
