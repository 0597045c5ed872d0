"""Branches as both results and a choice between them, where running both does no harm.

The converter loses bounds in a branch, whose weights are its arguments (see `miscompiled`), and its calibrator does not
look into one. Both results take the time of both branches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.ops import control_flow_util_v2

from tflite_recipes.backend.models.rewriting.miscompiled import loses_bound
from tflite_recipes.backend.models.rewriting.values import Value, is_known, symbolic
from tflite_recipes.backend.models.rewriting.walker import Handler, Walker, needed_ops
from tflite_recipes.core.state import CALIBRATED

BRANCHES = ("If", "StatelessIf")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# What may fail, or never end, on values that the branch was not meant for.
_RISKY = frozenset({"GatherV2", "GatherNd", "ScatterNd", "Slice", "While", "StatelessWhile", "Case", "StatelessCase"})
_RISKY_IN_INTEGERS = frozenset({"Div", "FloorDiv", "FloorMod", "Mod", "TruncateDiv", "TruncateMod", "RealDiv"})
# What may fail in integers, or give values far beyond those that are chosen, which would set the integer scale.
_UNBOUNDED = frozenset(
    """
    Div DivNoNan Exp Expm1 Inv Log Log1p Pow RealDiv Reciprocal Rsqrt Xdivy Xlogy
    """.split()  # noqa: SIM905
)


def graphs(op: Any) -> tuple[Any, Any]:
    """Return the graphs of both branches."""
    shapes = [tensor.shape for tensor in op.inputs][1:]
    one, other = (
        control_flow_util_v2.get_func_graph(op, shapes, op.get_attr(name).name)
        for name in ("then_branch", "else_branch")
    )
    return one, other


def both_may_run(op: Any) -> bool:
    """Whether both branches have results of the same types and shapes, no effects, and nothing that may fail."""
    if op.type not in BRANCHES:
        return False
    both = graphs(op)
    for result, one, other in zip(op.outputs, both[0].outputs, both[1].outputs, strict=True):
        numeric = one.dtype == other.dtype and (one.dtype.is_floating or one.dtype.is_integer or one.dtype.is_bool)
        known = one.shape.rank is not None and one.shape.rank == other.shape.rank
        alike = result.shape.is_fully_defined() or (known and list(one.shape) == list(other.shape))
        if not numeric or not alike:
            return False
    return all(_is_safe(inner) for graph in both for inner in _operations(graph))


def lose_bounds(op: Any) -> bool:
    """Whether the converter loses a bound in one of the branches, which it would not if both ran."""
    return both_may_run(op) and any(loses_bound(inner) for graph in graphs(op) for inner in _operations(graph))


def _operations(graph: Any) -> Iterator[Any]:
    """The ops of a graph with those of the functions that it calls."""
    for op in needed_ops(graph, graph.outputs):
        yield op
        if op.type in BRANCHES:
            for branch in graphs(op):
                yield from _operations(branch)
        if op.type in _CALLS:
            shapes = [tensor.shape for tensor in op.inputs]
            yield from _operations(control_flow_util_v2.get_func_graph(op, shapes, op.get_attr("f").name))


def _is_safe(op: Any) -> bool:
    if op.type in BRANCHES:
        return both_may_run(op)
    if op.type in ("ReadVariableOp", *_CALLS):
        return True
    if op.op_def.is_stateful and op.type != "Placeholder":
        return False
    in_integers = op.type in _RISKY_IN_INTEGERS and op.outputs[0].dtype.is_integer
    return op.type not in _RISKY and not in_integers


def _chosen(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    if "branches" not in walker.rules or is_known(inputs[0]) or not both_may_run(op):
        return None
    with tf.name_scope(f"{walker.named(op)}/"):
        condition = tf.reshape(tf.cast(symbolic(inputs[0]), tf.bool), [])
    results = []
    for graph, name in zip(graphs(op), ("then", "else"), strict=True):
        with walker.within(f"{op.name}/{name}"):
            given = inputs[1:]
            if walker.scheme in CALIBRATED and any(inner.type in _UNBOUNDED for inner in _operations(graph)):
                with tf.name_scope(f"{walker.named(op)}/{name}/"):
                    given = [_guarded(condition, value, name == "then") for value in given]
            results.append([symbolic(value) for value in walker.run(graph, given)])
    walker.matched("branches")
    with tf.name_scope(f"{walker.named(op)}/"):
        return [tf.where(condition, one, other) for one, other in zip(*results, strict=True)]


def _guarded(condition: Any, value: Value, is_then: bool) -> Value:
    """The input of a branch, or 1 while the other branch is chosen: no quotient of 0, no exponent of a large value."""
    if not isinstance(value, tf.Tensor) or not value.dtype.is_floating or value.op.type in ("Const", "ReadVariableOp"):
        return value
    ends = ((1.0, 0.0), (0.0, -1.0)) if is_then else ((0.0, 1.0), (-1.0, 0.0))
    kept, less = (
        tf.where(condition, *(tf.constant(number, value.dtype) for number in chosen_or_not)) for chosen_or_not in ends
    )
    # Not a choice between both, which has one scale with its inputs: they would lose what is not chosen. Not a sum,
    # which LiteRT aborts in 16 bits with a scalar.
    return value * kept - less


HANDLERS: dict[str, list[Handler]] = {kind: [_chosen] for kind in BRANCHES}
