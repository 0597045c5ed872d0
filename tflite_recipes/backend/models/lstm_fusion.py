"""LSTM layers of `tf_keras` as the converter sees them: which it fuses into one op, and whether that op computes them.

`tf_keras` marks the function of an LSTM layer, and the converter makes one UNIDIRECTIONAL_SEQUENCE_LSTM of a marked
function. The op has tanh and sigmoid built in, keeps its state between invokes, and clips its cell state at 10.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from tflite_recipes.backend.models import traced_model
from tflite_recipes.backend.models.op_inspection import fuses
from tflite_recipes.backend.models.rewriting import rewrite
from tflite_recipes.backend.models.source_model import Model
from tflite_recipes.backend.models.traced_model import Traced
from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.core.shapes import layer_of

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# What a marked function takes: the sequence, two states, two kernels and a bias. A mask or lengths would come behind.
_ARGUMENTS = 6
_STATES = slice(1, 3)
# The layer's result and that of each step. The converter leaves a layer as a loop if anything reads its final states.
_RESULTS = 2
_PASSED = ("Identity", "Reshape", "BroadcastTo")


def is_marked(traced: Traced) -> bool:
    """Return whether the converter would look for an LSTM in the function, or in one that it calls."""
    functions = traced.graph.as_graph_def().library.function
    return any(function.attr["api_implements"].s.startswith(b"lstm") for function in functions)


def unmarked(traced: Traced) -> Traced:
    """Return the function with its calls written out, so that the converter fuses none of them. Errors: StepError."""
    names = sorted(spec.name for spec in traced.inputs)
    rewritten = rewrite(traced.concrete, names, sorted(traced.outputs), frozenset())
    return traced_model.trace(rewritten.call, traced.inputs, traced.outputs)


def layers_of(model: Any) -> list[Any]:
    """Return the LSTM layers of a Keras model, at any depth."""
    return [layer for layer in model._flatten_layers(include_self=False) if type(layer).__name__ == "LSTM"]


def check_layers(layers: Sequence[Any], fix: str) -> None:
    """Check that the op computes each LSTM layer. Errors: RequestError that names the layers and the reasons."""
    _refuse(((layer.name, reason) for layer in layers if (reason := _unlike_the_op(layer))), fix)


def check_model(model: Model, traced: Traced) -> None:
    """Check that the converter fuses each layer of `model.fused`, into an op that computes it. Errors: RequestError."""
    check_layers(layers_of(model.owner), model.unfused)
    calls = [(layer_of(op.name, model.layers), op) for op in _marked_calls(traced.graph)]
    found = [(layer, reason) for layer, op in calls if (reason := _called_unlike_the_op(op))]
    marked = {layer for layer, _ in calls}
    found += [(layer, "tf_keras computes it step by step") for layer in model.fused if layer not in marked]
    _refuse(found, model.unfused)


def _refuse(found: Iterable[tuple[str, str]], fix: str) -> None:
    reasons = list(dict.fromkeys(f"{layer}: {reason}" for layer, reason in found))
    if reasons:
        what = f"the fused op does not compute what the LSTM layer computes: {'; '.join(reasons)}"
        raise RequestError(Problem(what, "substitution.rules", fix))


def _unlike_the_op(layer: Any) -> str:
    """Why the op is another than this layer; "" if it is the same."""
    config = layer.get_config()
    wanted: dict[str, Any] = {
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
        "use_bias": True,
        "stateful": False,
        "unroll": False,
    }
    other = [f"{key}={config[key]}, not {value}" for key, value in wanted.items() if config[key] != value]
    if config.get("recurrent_dropout"):
        other.append("recurrent_dropout is set")
    return ", ".join(other)


def _marked_calls(graph: Any) -> Iterator[Any]:
    """Calls of marked functions, those in functions that are called not counted: a Keras model has none."""
    for op in graph.get_operations():
        if op.type in _CALLS and fuses(graph, op.get_attr("f").name):
            yield op


def _called_unlike_the_op(op: Any) -> str:
    """Why the op is another than this call; "" if it is the same."""
    if len(op.inputs) > _ARGUMENTS:
        return "it has a mask"
    if any(not _is_zero(tensor) for tensor in op.inputs[_STATES]):
        return "it starts from a state that it is given"
    if any(tensor.consumers() for tensor in op.outputs[_RESULTS:]):
        return "its final state is read"
    return ""


def _is_zero(tensor: Any) -> bool:
    """Return whether a tensor is known to be all zeros."""
    op = tensor.op
    while op.type in _PASSED:
        op = op.inputs[0].op
    if op.type == "ZerosLike":
        return True
    value = tf.get_static_value(op.inputs[1] if op.type == "Fill" else op.outputs[0])
    return value is not None and not value.any()
