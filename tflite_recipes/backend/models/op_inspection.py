"""Which ops of a traced model the conversion that is asked for cannot have as they are, each with its layer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import tensor_util

from tflite_recipes.backend.models.rewriting import (
    branches,
    miscompiled,
    needed_ops,
    op_replacements,
    patterns,
    splits,
)
from tflite_recipes.backend.models.rewriting.op_copies import REBUILT
from tflite_recipes.conversion.remedies import BEYOND_THE_GRAPH, Finding
from tflite_recipes.core.shapes import layer_of
from tflite_recipes.core.state import CALIBRATED, Intent
from tflite_recipes.targets.litert_ops import ONLY_CUSTOM, ONLY_FLEX, REMEDIES, TEXT

_ONLY_INTEGER = ("integer_only", "int16x8")
LOOPS = ("While", "StatelessWhile")
CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# What may hold another float type without computing in it.
_HOLDERS = frozenset({"Const", "Cast", "Identity", "ReadVariableOp", "Placeholder", "VarHandleOp", "NoOp"})
_FFTS = frozenset({"FFT", "IFFT", "IRFFT", "FFT2D", "IFFT2D", "IRFFT2D", "RFFT2D", "RFFT3D", "FFT3D", "IFFT3D"})
_RANDOM = re.compile(r"(Stateless)?(Random(Uniform|StandardNormal|Normal)|TruncatedNormal|Multinomial)")


def inspect(graph: Any, intent: Intent, layers: frozenset[str] = frozenset()) -> tuple[Finding, ...]:
    """All findings in a graph, those within loops and calls included, each once for a layer."""
    found = [finding for op in operations(graph) if (finding := _judge(op, intent, layers)) is not None]
    if any("branches" in finding.remedies for finding in found) and _both_run(intent):
        # A product in a branch has a constant beside it once both branches run. What is left is found then.
        found = [finding for finding in found if finding.remedies != ("dynamic_matmul",)]
    return tuple(dict.fromkeys(found))


def _both_run(intent: Intent) -> bool:
    return "branches" in intent.fallback or "dynamic_matmul" not in intent.fallback


def operations(graph: Any) -> Iterator[Any]:
    """Every op that a graph's outputs depend on, and those of the functions that it calls, but for functions that the
    converter fuses whole."""
    needed = needed_ops(graph, graph.outputs)
    for op in (op for op in graph.get_operations() if op in needed):
        yield op
        for called in _called(op):
            if not fuses(graph, called):
                shapes = [tensor.shape for tensor in op.inputs]
                shapes = shapes[1:] if op.type in branches.BRANCHES else shapes
                yield from operations(branches.function_graph(op, shapes, called))


def constants(graph: Any) -> int:
    """Return how many numbers the constants of a graph hold that are parameters.

    These are floats, but for single ones, and integers in tables: shapes, axes and factors are part of an op.
    """
    # TensorFlow writes a small constant that it captures into the graph, where it is an op as well.
    captured = [outside for outside, inside in graph.captures if inside.op.type != "Const"]
    tensors = [op.outputs[0] for op in operations(graph) if op.type == "Const"] + captured
    return sum(tensor.shape.num_elements() for tensor in tensors if _is_parameter(tensor))


def _is_parameter(tensor: Any) -> bool:
    rank, size = tensor.shape.rank, tensor.shape.num_elements()
    if not rank or not size or size < 2:
        return False
    return bool(tensor.dtype.is_floating or (tensor.dtype.is_integer and rank > 1))


def fuses(graph: Any, function: str) -> bool:
    """Whether a function is marked as an LSTM of tf_keras, which the converter makes one op of."""
    found = graph._get_function(function)
    definition = getattr(found, "cached_definition", None) or getattr(found, "definition", None)
    return definition is not None and definition.attr["api_implements"].s.startswith(b"lstm")


def _called(op: Any) -> Sequence[str]:
    """The names of the functions that an op calls."""
    if op.type in branches.BRANCHES:
        return branches.functions(op)
    attributes = ("cond", "body") if op.type in LOOPS else ("f",) if op.type in CALLS else ()
    return tuple(op.get_attr(name).name for name in attributes)


def _judge(op: Any, intent: Intent, layers: frozenset[str]) -> Finding | None:
    verdict = _why(op, intent)
    return Finding(op.type, layer_of(op.name, layers), *verdict) if verdict is not None else None


def _why(op: Any, intent: Intent) -> tuple[str, tuple[str, ...]] | None:
    if op.type not in _HOLDERS and any(tensor.dtype.as_datatype_enum in REBUILT for tensor in op.outputs):
        kinds = {tensor.dtype.name for tensor in op.outputs if tensor.dtype.as_datatype_enum in REBUILT}
        return f"computes in {', '.join(sorted(kinds))}, LiteRT in float32", ("float32",)
    if op.type in LOOPS:
        return _loop(intent)
    if op.type in branches.BY_NUMBER:
        return _by_number(op)
    if intent.scheme in CALIBRATED and branches.all_may_run(op):
        return "a branch cannot be calibrated", ("branches",)
    if (fault := _fault(op)) is not None:
        return fault
    if op.type == "TensorListReserve" and (-1 in (shape := _list(op.inputs[0])) or not shape):
        return "a list whose items have an open size, so the loop that fills it has", ("unroll", "fixed_batch")
    if op.type in ("Erf", "Erfc"):
        return None if _fuses(op) else ("LiteRT has no kernel", ("erf",))
    if op.type in _FFTS:
        return "LiteRT has no kernel", ("fourier",)
    if op.type == "RFFT":
        return _rfft(op, intent)
    if intent.scheme in _ONLY_INTEGER and op_replacements.lacks_integer_kernel(op, intent.scheme):
        return "has no integer kernel", ("integer_ops",)
    if intent.scheme in CALIBRATED and splits.is_read_in_part(op):
        return "a result that nothing reads cannot be calibrated", ("integer_ops",)
    if op.type == "Conv3D" and intent.scheme in _ONLY_INTEGER:
        return "has no integer kernel", ("conv_3d",)
    if patterns.dropped(op) is not None:
        return "dropout that is on in inference", ("no_dropout",)
    return _by_table(op.type, intent)


def _by_number(op: Any) -> tuple[str, tuple[str, ...]]:
    why = "the converter takes no choice among branches by a number (tf.switch_case)"
    if branches.all_may_run(op):
        return why, ("branches",)
    what = "they differ in their results, write to variables, or hold what may fail on values that are not theirs"
    return f"{why}, and not all of them can run: {what}", ()


def _fault(op: Any) -> tuple[str, tuple[str, ...]] | None:
    """Ops that the converter compiles wrongly without an error."""
    if miscompiled.joined(op) is not None:
        return "the converter compiles the join of unstacked parts wrongly, as a reshape", ("unstack",)
    if miscompiled.normalizes_wrongly(op):
        return "the converter compiles this L2 normalization wrongly, as one over the last axis", ("l2_norm",)
    if miscompiled.loses_bound(op):
        return "the converter loses the bound behind this product of computed matrices", ("dynamic_matmul",)
    if branches.lose_bounds(op):
        return "the converter loses a bound in a branch", ("branches",)
    return None


def _by_table(kind: str, intent: Intent) -> tuple[str, tuple[str, ...]] | None:
    if kind in intent.select_user_tf_ops:
        return None
    if kind in ONLY_FLEX and not intent.allows("select_tf_ops"):
        cut = ("token_ids",) if kind in TEXT else ()
        return "LiteRT has no kernel", REMEDIES.get(kind, (*cut, "select_tf_ops"))
    if kind in ONLY_CUSTOM and not intent.allows("allow_custom_ops"):
        return "neither LiteRT nor TensorFlow's delegate has a kernel", REMEDIES.get(kind, ("allow_custom_ops",))
    return None


def _loop(intent: Intent) -> tuple[str, tuple[str, ...]] | None:
    # The converter's calibrator crashes on loops; its 16x8 quantizer refuses them.
    return ("a loop cannot be calibrated", ("unroll",)) if intent.scheme in CALIBRATED else None


def _rfft(op: Any, intent: Intent) -> tuple[str, tuple[str, ...]] | None:
    (length,) = _list(op.inputs[1]) or (0,)
    if length < 1 or length & (length - 1):
        return f"LiteRT transforms powers of two only, this is {length or 'open'}", ("fourier",)
    return ("has no integer kernel", ("fourier",)) if intent.scheme in _ONLY_INTEGER else None


def _list(tensor: Any) -> list[int]:
    """A constant as a list; [] where it is none."""
    op = tensor.op
    if op.type != "Const":
        value = tf.get_static_value(tensor)
        return [] if value is None else [int(item) for item in np.asarray(value).reshape(-1)]
    return [int(item) for item in tensor_util.MakeNdarray(op.get_attr("value")).reshape(-1)]


def _fuses(op: Any) -> bool:
    """Whether this erf stands in a GELU that is written so that the converter fuses it."""
    adds = [op] if op.type == "Erfc" else op.outputs[0].consumers()
    products = [user for add in adds for tensor in add.outputs for user in tensor.consumers()]
    return bool(products) and all(
        patterns.gelu_input(product) is not None and any(tensor.op in adds for tensor in product.inputs)
        for product in products
    )


def random_layers(graph: Any, layers: frozenset[str]) -> tuple[str, ...]:
    """The layers that draw random numbers."""
    drawing = [op for op in operations(graph) if _RANDOM.match(op.type)]
    return tuple(dict.fromkeys(layer_of(op.name, layers) for op in drawing))


def offered(graph: Any, intent: Intent, dynamic_batch: bool) -> tuple[str, ...]:
    """Of the remedies that may be taken, those that would change this model, whether they seem needed or not."""
    types = {op.type for op in operations(graph)}
    halves = any(t.dtype.as_datatype_enum in REBUILT for op in operations(graph) for t in op.outputs)
    would = {
        "float32": halves,
        "unroll": bool(types & set(LOOPS)),
        "fixed_batch": dynamic_batch,
        "erf": bool(types & {"Erf", "Erfc"}),
        "fourier": bool(types & (_FFTS | {"RFFT"})),
        "integer_ops": any(
            op_replacements.lacks_integer_kernel(op, intent.scheme) or splits.is_read_in_part(op)
            for op in operations(graph)
        ),
        "conv_3d": "Conv3D" in types,
        "no_dropout": any(_RANDOM.match(kind) for kind in types),
    }
    by_table = {name for kind in types for name in REMEDIES.get(kind, ())} | set(BEYOND_THE_GRAPH)
    would["full_integer"] = intent.scheme in _ONLY_INTEGER
    would["litert_quantizer"] = intent.scheme != "none"
    return tuple(name for name in intent.fallback if would.get(name, name in by_table))
