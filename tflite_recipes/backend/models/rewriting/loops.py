"""Loops, branches and calls: unrolled or inlined where their course is known, else made anew as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import control_flow_util_v2

from tflite_recipes.backend.models.rewriting.graph_values import TensorItems, Unrollable, Value, is_known, symbolic
from tflite_recipes.backend.models.rewriting.walker import Handler, Walker

# A longer loop makes a file of many thousands of ops, which takes minutes to convert.
MOST_STEPS = 512


def _graph(op: Any, attribute: str) -> Any:
    shapes = [tensor.shape for tensor in op.inputs]
    if op.type in ("If", "StatelessIf"):
        shapes = shapes[1:]
    return control_flow_util_v2.get_func_graph(op, shapes, op.get_attr(attribute).name)


def _call(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value]:
    with walker.within(op.name):
        return walker.run(_graph(op, "f"), inputs)


def _branch(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value]:
    chosen, rest = inputs[0], inputs[1:]
    graphs = _graph(op, "then_branch"), _graph(op, "else_branch")
    if is_known(chosen):
        with walker.within(op.name):
            return walker.run(graphs[0] if chosen.all() else graphs[1], rest)
    given = [symbolic(value) for value in rest]

    def made(graph: Any) -> list[Any]:
        return [symbolic(value) for value in walker.run(graph, given)]

    results = tf.cond(symbolic(chosen), lambda: made(graphs[0]), lambda: made(graphs[1]), name=op.name)
    return list(results) if isinstance(results, (list, tuple)) else [results]


def _loop(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value]:
    condition, body = _graph(op, "cond"), _graph(op, "body")
    if "unroll" in walker.rules:
        try:
            done = _unrolled(op, inputs, walker, condition, body)
        except Unrollable as reason:
            walker.skipped[op.name] = str(reason)
        else:
            walker.matched("unroll")
            return done
    given = [symbolic(value) for value in inputs]
    place, _, name = walker.named(op).rpartition("/")
    with tf.name_scope(f"{place}/" if place else None):
        results = tf.while_loop(
            lambda *state: symbolic(walker.run(condition, state)[0]),
            lambda *state: [symbolic(value) for value in walker.run(body, state)],
            given,
            shape_invariants=[tensor.shape for tensor in op.outputs],
            name=name,
        )
    return list(results) if isinstance(results, (list, tuple)) else [results]


def _unrolled(op: Any, inputs: Sequence[Value], walker: Walker, condition: Any, body: Any) -> list[Value]:
    state = list(inputs)
    for step in range(MOST_STEPS + 1):
        with walker.within(f"{op.name}/step_{step}"):
            go_on = walker.run(condition, state)[0]
            if not is_known(go_on):
                raise Unrollable("its number of steps depends on the data or on an open size")
            if not go_on.all():
                return state
            if step == MOST_STEPS:
                break
            state = walker.run(body, state)
    raise Unrollable(f"it takes more than {MOST_STEPS} steps")


def _reserve(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    shape, count = inputs
    if "unroll" not in walker.rules or not is_known(count):
        return None
    dtype = _dtype(op, walker)
    return [TensorItems((None,) * max(int(count), 0), dtype, shape)]


def _dtype(op: Any, walker: Walker) -> Any:
    dtype = op.get_attr("element_dtype")
    return tf.float32 if walker.at_float32 and dtype.is_floating else dtype


def _empty(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    return [TensorItems((), _dtype(op, walker), inputs[0])] if "unroll" in walker.rules else None


def _from_tensor(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    tensor = symbolic(inputs[0])
    if "unroll" not in walker.rules or not tensor.shape.rank or tensor.shape[0] is None:
        return None
    return [TensorItems((None,) * tensor.shape[0], tensor.dtype, inputs[1], tensor)]


def _get(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    items, index, shape = inputs
    if not isinstance(items, TensorItems) or not is_known(index):
        return None
    return [items.item(int(index), shape)] if 0 <= int(index) < len(items.items) else None


def _set(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    items, index, value = inputs[:3]
    if not isinstance(items, TensorItems) or not is_known(index) or int(index) < 0:
        return None
    if int(index) >= len(items.items):
        if not op.get_attr("resize_if_index_out_of_bounds"):
            return None
        grown = (*items.unstacked(), *(None,) * (int(index) + 1 - len(items.items)))
        items = TensorItems(grown, items.dtype, items.element_shape)
    return [items.with_item(int(index), value)]


def _stack(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    items, shape = inputs[:2]
    return [items.stack(shape)] if isinstance(items, TensorItems) and items.items else None


def _push(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    items, value = inputs
    if not isinstance(items, TensorItems):
        return None
    grown = items.unstacked()
    return [TensorItems((*grown, value), items.dtype, items.element_shape)]


def _length(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    return [np.int32(len(inputs[0].items)).reshape(())] if isinstance(inputs[0], TensorItems) else None


def _resize(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    items, size = inputs
    if not isinstance(items, TensorItems) or not is_known(size):
        return None
    kept = items.unstacked()[: int(size)]
    return [TensorItems((*kept, *(None,) * (int(size) - len(kept))), items.dtype, items.element_shape)]


def _scatter(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    items, tensor, indices = inputs[:3]
    if not isinstance(items, TensorItems) or not is_known(indices):
        return None
    for row, index in enumerate(indices.reshape(-1)):
        items = items.with_item(int(index), symbolic(tensor)[row])
    return [items]


def _gather(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    items, indices, shape = inputs
    if not isinstance(items, TensorItems) or not is_known(indices):
        return None
    return [tf.stack([symbolic(items.item(int(index), shape)) for index in indices.reshape(-1)])]


def _same(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    """A list stays a list; a copy of it is none."""
    return [inputs[0]] if isinstance(inputs[0], TensorItems) else None


HANDLERS: dict[str, list[Handler]] = {
    **{key: [_call] for key in ("PartitionedCall", "StatefulPartitionedCall")},
    **{key: [_branch] for key in ("If", "StatelessIf")},
    **{key: [_loop] for key in ("While", "StatelessWhile")},
    "Identity": [_same],
    "TensorListReserve": [_reserve],
    "EmptyTensorList": [_empty],
    "TensorListFromTensor": [_from_tensor],
    "TensorListGetItem": [_get],
    "TensorListSetItem": [_set],
    "TensorListStack": [_stack],
    "TensorListPushBack": [_push],
    "TensorListLength": [_length],
    "TensorListResize": [_resize],
    "TensorListScatterIntoExistingList": [_scatter],
    "TensorListGather": [_gather],
}
