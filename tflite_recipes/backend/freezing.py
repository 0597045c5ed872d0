"""The model in memory → a SavedModel with one signature, its variables frozen to constants where that is sound.

Each later conversion starts from this folder: the model is traced once, and input and output names are its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tflite_recipes.backend.models import Model
from tflite_recipes.diagnosis import by_hand, open_sizes
from tflite_recipes.errors import Problem, RequestError, StepError, gist
from tflite_recipes.state import TensorSpec

# Ops that write variables, and ops on resources that are no variables: constants cannot stand for either.
_STATEFUL = (
    "AssignVariableOp",
    "AssignAddVariableOp",
    "AssignSubVariableOp",
    "ResourceScatter",
    "ResourceStridedSliceAssign",
)
_LONGEST = 300
_RESOURCES = ("HashTable", "MutableHashTable", "LookupTable", "MutableDenseHashTable")


@dataclass(frozen=True)
class Frozen:
    """The SavedModel, its signature key, its inputs and outputs in the source's own order, and why variables were
    kept ("" where they were frozen)."""

    path: Path
    signature: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    kept_because: str
    stateful: bool


def freeze(model: Model, folder: Path, variables: str) -> Frozen:
    """Trace, freeze and save. `variables` is auto, freeze or keep. Errors: StepError, RequestError."""
    specs = {spec.name: tf.TensorSpec(spec.shape, spec.dtype, name=_graph_name(spec.name)) for spec in model.inputs}
    function = tf.function(lambda **tensors: dict(model.call(**tensors)), autograph=False)
    try:
        traced = function.get_concrete_function(**specs)
    except Exception as error:
        raise StepError(_untraceable(error, model.inputs)) from error
    outputs = tuple(
        TensorSpec(name, _shape(traced.structured_outputs[name]), traced.structured_outputs[name].dtype.name)
        for name in model.outputs
    )
    because = _keep_because(traced, model) if variables == "auto" else ("as asked" if variables == "keep" else "")
    if because:
        path = _save_with_variables(model, function, specs, folder)
    else:
        path = _save_frozen(traced, specs, folder, model)
    return Frozen(path, model.signature, model.inputs, outputs, because, _writes(_kinds(traced)))


def _untraceable(error: Exception, inputs: tuple[TensorSpec, ...]) -> Problem:
    what = f"the model cannot be traced: {gist(error)[:_LONGEST]}"
    if dynamic := open_sizes(inputs):
        what += f"; sizes are open: {', '.join(map(str, dynamic))}"
        return Problem(what, "source.input_shapes", "", by_hand(dynamic))
    return Problem(what, "freeze")


def _graph_name(name: str) -> str:
    """Graph names allow fewer characters than signature names."""
    clean = "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name)
    return clean if clean[:1].isalnum() else f"x{clean}"


def _shape(tensor: Any) -> tuple[int | None, ...]:
    return tuple(tensor.shape) if tensor.shape.rank is not None else ()


def _operations(traced: Any) -> Iterator[Any]:
    definition = traced.graph.as_graph_def()
    yield from definition.node
    for function in definition.library.function:
        yield from function.node_def


def _kinds(traced: Any) -> set[str]:
    return {node.op for node in _operations(traced)}


def _writes(kinds: set[str]) -> bool:
    return any(kind.startswith(_STATEFUL) for kind in kinds)


def _keep_because(traced: Any, model: Model) -> str:
    kinds = _kinds(traced)
    if any(kind.startswith(_RESOURCES) for kind in kinds):
        return "the model owns lookup tables"
    if _writes(kinds):
        return "the model writes to its variables"
    functions = traced.graph.as_graph_def().library.function
    # tf_keras marks its LSTM so that the converter can fuse it into one op, which it cannot once it is frozen.
    if model.generation == 2 and any(f.attr["api_implements"].s.startswith(b"lstm") for f in functions):
        return "the converter fuses its LSTM"
    return ""


def _save_frozen(traced: Any, specs: dict[str, Any], folder: Path, model: Model) -> Path:
    try:
        # Control flow stays functional, so that the converter still sees loops as loops.
        frozen = convert_variables_to_constants_v2(traced, lower_control_flow=False)
    except Exception as error:
        what = f"the variables cannot be frozen: {gist(error)}"
        raise StepError(Problem(what, "freeze", "freeze.variables=keep")) from error
    # The frozen function takes and gives flat lists in the order in which TensorFlow flattens dicts: by key.
    in_names, out_names = sorted(specs), sorted(model.outputs)

    def serve(**tensors: Any) -> dict[str, Any]:
        results = frozen(*[tensors[name] for name in in_names])
        by_name = dict(zip(out_names, tf.nest.flatten(results), strict=True))
        return {name: by_name[name] for name in model.outputs}

    module = tf.Module()
    module.serve = tf.function(serve, autograph=False)
    tf.saved_model.save(module, str(folder), signatures={model.signature: module.serve.get_concrete_function(**specs)})
    return folder


def _save_with_variables(model: Model, function: Any, specs: dict[str, Any], folder: Path) -> Path:
    if model.folder is not None:
        return model.folder
    if model.generation == 3:
        # tf.saved_model.save would leave a Keras 3 model's weights uninitialised in the converted file.
        archive = keras.export.ExportArchive()
        archive.track(model.owner)
        archive.add_endpoint(model.signature, function)  # traced already, with its specs
        archive.write_out(str(folder), verbose=False)
        return folder
    if not isinstance(model.owner, tf.Module) and model.generation == 0 and not hasattr(model.owner, "signatures"):
        what = "a ConcreteFunction whose variables must be kept needs the tf.Module that owns them"
        raise RequestError(Problem(what, "source.function", "freeze.variables=freeze"))
    module = tf.Module()
    module.owner = model.owner
    module.serve = function
    tf.saved_model.save(module, str(folder), signatures={model.signature: function.get_concrete_function(**specs)})
    return folder
