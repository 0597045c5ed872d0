"""Copies single ops into the graph that is being made, and works out those whose inputs are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, types_pb2
from tensorflow.python.eager import context, execute
from tensorflow.python.framework import ops, tensor_util

from tflite_recipes.backend.models.rewriting.graph_values import LARGEST_KNOWN, all_known, symbolic

_FLOAT = types_pb2.DT_FLOAT
# What a rebuild at float32 turns into float32, by DataType number.
REBUILT = frozenset({types_pb2.DT_HALF, types_pb2.DT_BFLOAT16, types_pb2.DT_DOUBLE})
# Ops that tell sizes, so that their outputs may be known though their inputs are not.
_SIZES = frozenset(
    {"Shape", "ShapeN", "StridedSlice", "GatherV2", "Prod", "Pack", "ConcatV2", "Size", "Rank", "Slice", "Cast"}
)
_NOT_ARRAYS = (tf.variant, tf.resource, tf.string)
_OPEN = -1
_KNOWABLE = (tf.int32, tf.int64, tf.bool)


_COMPLEX = frozenset({types_pb2.DT_COMPLEX64, types_pb2.DT_COMPLEX128})


def attributes(op: Any, to_float32: frozenset[int]) -> dict[str, Any]:
    """The attributes of an op as a new one takes them, with the types in `to_float32` turned into float32."""
    found = {name: value for name, value in op.node_def.attr.items() if not name.startswith("_")}
    return {name: _at_float32(value, to_float32) for name, value in found.items()} if to_float32 else found


def _at_float32(value: Any, replaced: frozenset[int]) -> Any:
    kind = value.WhichOneof("value")
    if kind == "type" and value.type in replaced:
        return attr_value_pb2.AttrValue(type=_FLOAT)
    if kind == "list" and any(number in replaced for number in value.list.type):
        changed = attr_value_pb2.AttrValue()
        changed.CopyFrom(value)
        changed.list.type[:] = [_FLOAT if number in replaced else number for number in value.list.type]
        return changed
    if kind == "tensor" and value.tensor.dtype in replaced:
        array = tensor_util.MakeNdarray(value.tensor).astype("float32")
        return attr_value_pb2.AttrValue(tensor=tensor_util.make_tensor_proto(array))
    return value


def constant(op: Any, at_float32: bool) -> Any | None:
    """The value of a Const op, None where it is too large, or of a type, that is not kept as known."""
    proto = op.get_attr("value")
    array = tensor_util.MakeNdarray(proto)
    if array.size > LARGEST_KNOWN or array.dtype == object:
        return None
    if at_float32 and proto.dtype in REBUILT:
        return array.astype("float32")
    return array


def copied(op: Any, inputs: Sequence[Any], name: str, at_float32: bool, part: bool = False) -> list[Any]:
    """The op in the current graph, on these inputs, with its outputs. `part`: on one part of complex numbers."""
    replaced = (REBUILT if at_float32 else frozenset()) | (_COMPLEX if part else frozenset())
    graph = ops.get_default_graph()
    return list(_created(graph, op, [symbolic(value) for value in inputs], name, attributes(op, replaced)).outputs)


def _created(graph: Any, op: Any, inputs: Sequence[Any], name: str, attrs: Mapping[str, Any]) -> Any:
    return graph._create_op_internal(op.type, list(inputs), name=name, attrs=dict(attrs), op_def=op.op_def)


def worked_out(op: Any, inputs: Sequence[Any], at_float32: bool) -> list[Any] | None:
    """The outputs of an op all of whose inputs are known; None where TensorFlow cannot tell them beforehand."""
    if op.op_def.is_stateful or not op.outputs or not all_known(inputs):
        return None
    unfit = ((o.shape.num_elements() or 0) > LARGEST_KNOWN or o.dtype in _NOT_ARRAYS for o in op.outputs)
    if any(unfit):
        return None
    flat: list[Any] = []
    for name, value in attributes(op, REBUILT if at_float32 else frozenset()).items():
        plain = _plain(value)
        if plain is None:
            return None
        flat += [name, plain]
    with tf.init_scope():
        constants = [tf.constant(value) for value in inputs]
        try:
            made = execute.execute(op.type, len(op.outputs), constants, tuple(flat), context.context())
        except tf.errors.OpError:  # what fails here would fail at every invoke; it is the model's own affair
            return None
        arrays = [np.asarray(tensor.numpy()) for tensor in made]
    return None if any(array.size > LARGEST_KNOWN or array.dtype == object for array in arrays) else arrays


def _plain(value: Any) -> Any:
    """An attribute as eager execution takes it; None for those that it does not (functions, say)."""
    kind = value.WhichOneof("value")
    if kind == "list":
        (field,) = [field for field, _ in value.list.ListFields()] or [None]
        return [] if field is None else list(getattr(value.list, field.name)) if field.name in "sifbtype" else None
    return getattr(value, kind) if kind in ("s", "i", "f", "b", "type") else None


def sizes_of(op: Any, inputs: Sequence[Any]) -> list[Any] | None:
    """What is taken out of a shape, where the sizes that are taken are not among those that are open."""
    if op.type not in ("StridedSlice", "GatherV2", "Slice") or all_known(inputs) or not all_known(inputs[1:]):
        return None
    shape = getattr(inputs[0], "op", None)
    if shape is None or shape.type != "Shape" or shape.inputs[0].shape.rank is None:
        return None
    sizes = [_OPEN if size is None else size for size in shape.inputs[0].shape]
    taken = worked_out(op, [np.array(sizes, inputs[0].dtype.as_numpy_dtype), *inputs[1:]], False)
    return None if taken is None or (taken[0] == _OPEN).any() else taken


def shaped(op: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> Sequence[Any]:
    """The outputs of an op, with the shape of what a table is asked for.

    TensorFlow infers it from the table, of which a loaded SavedModel does not keep the type of keys and values.
    """
    if op.type == "LookupTableFindV2" and outputs[0].shape.rank is None:
        keys, default = symbolic(inputs[1]).shape, symbolic(inputs[2]).shape
        if keys.rank is not None and default.rank == 0 and op.outputs[0].shape.rank in (None, keys.rank):
            outputs[0].set_shape(keys)
    return outputs


def told(op: Any, outputs: Sequence[Any]) -> list[Any]:
    """The outputs, those as known values that TensorFlow can tell from shapes."""
    if op.type not in _SIZES:
        return list(outputs)
    return [_static(output) if output.dtype in _KNOWABLE else output for output in outputs]


def _static(output: Any) -> Any:
    value = tf.get_static_value(output)
    return output if value is None else np.asarray(value, output.dtype.as_numpy_dtype)
