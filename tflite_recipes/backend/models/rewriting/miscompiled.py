"""Ops that the converter takes without an error and compiles wrongly, and forms of the same that it compiles rightly.

Measured with TensorFlow 2.21; `tests/backend/models/test_miscompiled.py` measures it again:

- Unpack and ConcatV2 of all its parts become one reshape, also where that is another order of the values.
- Square, Sum, a root and a product become L2_NORMALIZATION, which is over the last axis alone, also where the sum is
  over all axes, or where its result is broadcast along another axis.
- The ReLU behind a rank-2 product with a computed right-hand side is fused into BATCH_MATMUL, which has no activation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import tensor_util

from tflite_recipes.backend.models.rewriting.graph_values import Value, symbolic
from tflite_recipes.backend.models.rewriting.patterns import scalar
from tflite_recipes.backend.models.rewriting.walker import Handler, Walker, below

_PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
# What stands between a product and its bound without keeping the converter from fusing them.
_SHAPES = ("Identity", "Reshape", "Squeeze", "ExpandDims")
# The converter takes an epsilon below this for none.
_SMALL = 1e-3
_DEPTH = 8


def joined(op: Any) -> Any | None:
    """Return the Unpack whose parts a ConcatV2 joins in another order than a reshape does; else None."""
    if op.type != "ConcatV2":
        return None
    parts = [_behind(tensor) for tensor in list(op.inputs)[:-1]]
    unpack, axis = parts[0].op, _numbers(op.inputs[-1])
    if unpack.type != "Unpack" or [t.name for t in parts] != [t.name for t in unpack.outputs] or not axis:
        return None
    shape = unpack.inputs[0].shape
    if shape.rank is None or None in shape or shape.rank < 2:
        return None  # an open size keeps the converter from it
    along, new = unpack.get_attr("axis") % shape.rank, axis[0] % (shape.rank - 1)
    others = [size for number, size in enumerate(shape) if number != along]
    crossed = others[min(along, new) : max(along, new)]
    return unpack if any(size != 1 for size in crossed) else None


def normalizes_wrongly(op: Any) -> bool:
    """Whether this Square begins a normalization that the converter takes for one over the last axis."""
    if op.type != "Square" or not op.outputs[0].dtype.is_floating:
        return False
    source = _behind(op.inputs[0])
    # The converter makes another op of a squared difference first.
    return source.op.type != "Sub" and any(
        _is_taken_for_l2(total, source.shape) and _divides(total, source) for total in _readers(op.outputs[0], "Sum")
    )


def loses_bound(op: Any) -> bool:
    """Whether this is a product of two computed matrices with a ReLU or another bound behind it."""
    if op.type not in _PRODUCTS or op.outputs[0].shape.rank != 2 or not op.outputs[0].dtype.is_floating:
        return False
    transposed = op.get_attr("transpose_b" if op.type == "MatMul" else "adj_y")
    if transposed or _is_constant(op.inputs[0]) or _is_constant(op.inputs[1]):
        return False
    return any(_is_bound(user) for user in _users(op.outputs[0], _SHAPES))


def _is_taken_for_l2(total: Any, shape: Any) -> bool:
    axes, rank = _numbers(total.inputs[1]), shape.rank
    if not axes or rank is None:
        return False
    if axes[0] not in (-1, rank - 1) and axes != list(range(rank)):
        return False
    reduced, before = {axis % rank for axis in axes}, list(shape)[:-1]
    only_last = rank - 1 in reduced and all(before[axis] == 1 for axis in reduced - {rank - 1})
    in_place = bool(total.get_attr("keep_dims")) or all(size == 1 for size in before)
    return not (only_last and in_place)


def _divides(total: Any, source: Any) -> bool:
    """Whether the root of a sum divides `source`, with or without a small number to keep it from zero."""
    totals = [total]
    for user in _readers(total.outputs[0], "Maximum", "AddV2", "Add"):
        number = next((n for tensor in user.inputs if (n := scalar(tensor)) is not None), None)
        totals += [user] if number is not None and number < _SMALL else []
    for found in totals:
        for root in _readers(found.outputs[0], "Rsqrt", "Sqrt"):
            kind = "Mul" if root.type == "Rsqrt" else "RealDiv"
            for last in _readers(root.outputs[0], kind):
                if any(_behind(tensor).name == source.name for tensor in last.inputs):
                    return True
    return False


def _is_bound(op: Any) -> bool:
    if op.type in ("Relu", "Relu6"):
        return True
    return op.type in ("Maximum", "Minimum") and any(scalar(tensor) is not None for tensor in op.inputs)


def _is_constant(tensor: Any, depth: int = _DEPTH) -> bool:
    """Whether a tensor is made of constants and variables alone, those included that a loop passes on unchanged."""
    op = tensor.op
    if op.type in ("Const", "ReadVariableOp"):
        return True
    if op.type == "Placeholder":
        return _passes_through(tensor)
    return bool(op.inputs) and depth > 0 and all(_is_constant(part, depth - 1) for part in op.inputs)


def _passes_through(tensor: Any) -> bool:
    graph = tensor.graph
    names = [given.name for given in getattr(graph, "inputs", ())]
    outputs = list(getattr(graph, "outputs", ()))
    if len(outputs) != len(names) or tensor.name not in names:
        return False
    return bool(_behind(outputs[names.index(tensor.name)]).name == tensor.name)


def _behind(tensor: Any) -> Any:
    """The tensor that Identity ops pass on."""
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return tensor


def _users(tensor: Any, through: Sequence[str] = ("Identity",)) -> Iterator[Any]:
    for user in tensor.consumers():
        if user.type in through:
            yield from _users(user.outputs[0], through)
        else:
            yield user


def _readers(tensor: Any, *kinds: str) -> list[Any]:
    return [user for user in _users(tensor) if user.type in kinds]


def _numbers(tensor: Any) -> list[int]:
    op = _behind(tensor).op
    if op.type != "Const":
        return []
    return [int(number) for number in tensor_util.MakeNdarray(op.get_attr("value")).reshape(-1)]


def _transposed(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    unpack = joined(op) if "unstack" in walker.rules else None
    value = None if unpack is None else walker.value_of(unpack.inputs[0])
    if unpack is None or value is None:
        return None
    walker.matched("unstack")
    shape = [int(size) for size in unpack.inputs[0].shape]
    along = unpack.get_attr("axis") % len(shape)
    new = _numbers(op.inputs[-1])[0] % (len(shape) - 1)
    order = [axis for axis in range(len(shape)) if axis != along]
    sizes = [shape[axis] for axis in order]
    sizes[new] *= shape[along]
    order.insert(new, along)
    with below(op, walker):
        return [tf.reshape(tf.transpose(symbolic(value), order), sizes)]


def _squared(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    if "l2_norm" not in walker.rules or not normalizes_wrongly(op):
        return None
    walker.matched("l2_norm")
    with below(op, walker):
        x = symbolic(inputs[0])
        return [x * x]


def _of_one_batch(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    if "dynamic_matmul" not in walker.rules or not loses_bound(op):
        return None
    walker.matched("dynamic_matmul")
    first = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
    with below(op, walker):
        one, other = (tf.expand_dims(symbolic(value), 0) for value in inputs)
        return [tf.squeeze(tf.matmul(one, other, transpose_a=first), 0)]


HANDLERS: dict[str, list[Handler]] = {
    "ConcatV2": [_transposed],
    "Square": [_squared],
    **{kind: [_of_one_batch] for kind in _PRODUCTS},
}
