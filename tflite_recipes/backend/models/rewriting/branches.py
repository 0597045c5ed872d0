"""Branches as all results and a choice between them, where running all does no harm.

The converter loses bounds in a branch, whose weights are its arguments (see `miscompiled`), and its calibrator does not
look into one. It takes no choice by a number (`tf.switch_case`) at all. All results take the time of all branches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework import function_def_to_graph
from tensorflow.python.ops import control_flow_util_v2

from tflite_recipes.backend.models.rewriting.graph_values import Value, is_known, symbolic
from tflite_recipes.backend.models.rewriting.miscompiled import loses_bound
from tflite_recipes.backend.models.rewriting.walker import Handler, Walker, needed_ops
from tflite_recipes.core.state import CALIBRATED

BY_NUMBER = ("Case", "StatelessCase")
BRANCHES = ("If", "StatelessIf", *BY_NUMBER)
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# What may fail, or never end, on values that the branch was not meant for.
_RISKY = frozenset({"GatherV2", "GatherNd", "ScatterNd", "Slice", "While", "StatelessWhile"})
_RISKY_IN_INTEGERS = frozenset({"Div", "FloorDiv", "FloorMod", "Mod", "TruncateDiv", "TruncateMod", "RealDiv"})
# What may fail in integers, or give values far beyond those that are chosen, which would set the integer scale.
_UNBOUNDED = frozenset(
    """
    Div DivNoNan Exp Expm1 Inv Log Log1p Pow RealDiv Reciprocal Rsqrt Xdivy Xlogy
    """.split()  # noqa: SIM905
)


def functions(op: Any) -> tuple[str, ...]:
    """Return the names of the functions that the branches are, in their order."""
    if op.type in BY_NUMBER:
        return tuple(branch.name for branch in op.get_attr("branches"))
    return tuple(op.get_attr(name).name for name in ("then_branch", "else_branch"))


def graphs(op: Any) -> tuple[Any, ...]:
    """Return the graphs of the branches."""
    shapes = [tensor.shape for tensor in op.inputs][1:]
    return tuple(function_graph(op, shapes, name) for name in functions(op))


def function_graph(op: Any, shapes: Sequence[Any], name: str) -> Any:
    """Return the graph of a function that an op calls.

    A loaded graph does not hold the branches of a choice by a number; the process does.
    """
    try:
        return control_flow_util_v2.get_func_graph(op, shapes, name)
    except KeyError:
        definition = context.context().get_function_def(name)
        with op.graph.as_default():
            return function_def_to_graph.function_def_to_graph(definition, input_shapes=shapes)


def all_may_run(op: Any) -> bool:
    """Whether all branches have results of the same types and shapes, no effects, and nothing that may fail."""
    if op.type not in BRANCHES:
        return False
    every = graphs(op)
    for result, (one, *others) in zip(op.outputs, zip(*(graph.outputs for graph in every), strict=True), strict=True):
        numeric = one.dtype.is_floating or one.dtype.is_integer or one.dtype.is_bool
        defined = result.shape.is_fully_defined()
        if not numeric or not all(_is_like(other, one, defined) for other in others):
            return False
    return all(_is_safe(inner) for graph in every for inner in _operations(graph))


def _is_like(result: Any, first: Any, defined: bool) -> bool:
    known = first.shape.rank is not None and first.shape.rank == result.shape.rank
    return bool(result.dtype == first.dtype and (defined or (known and list(first.shape) == list(result.shape))))


def lose_bounds(op: Any) -> bool:
    """Whether the converter loses a bound in one of the branches, which it would not if all ran."""
    return all_may_run(op) and any(loses_bound(inner) for graph in graphs(op) for inner in _operations(graph))


def _operations(graph: Any) -> Iterator[Any]:
    """The ops of a graph with those of the functions that it calls."""
    for op in needed_ops(graph, graph.outputs):
        yield op
        if op.type in BRANCHES:
            for branch in graphs(op):
                yield from _operations(branch)
        if op.type in _CALLS:
            shapes = [tensor.shape for tensor in op.inputs]
            yield from _operations(function_graph(op, shapes, op.get_attr("f").name))


def _is_safe(op: Any) -> bool:
    if op.type in BRANCHES:
        return all_may_run(op)
    if op.type in ("ReadVariableOp", *_CALLS):
        return True
    if op.op_def.is_stateful and op.type != "Placeholder":
        return False
    in_integers = op.type in _RISKY_IN_INTEGERS and op.outputs[0].dtype.is_integer
    return op.type not in _RISKY and not in_integers


def _chosen(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    if "branches" not in walker.rules or is_known(inputs[0]) or not all_may_run(op):
        return None
    with tf.name_scope(f"{walker.named(op)}/"):
        choices = _choices(op, symbolic(inputs[0]))
    results = []
    for graph, (name, condition, is_then) in zip(graphs(op), choices, strict=True):
        with walker.within(f"{op.name}/{name}"):
            given = inputs[1:]
            if walker.scheme in CALIBRATED and any(inner.type in _UNBOUNDED for inner in _operations(graph)):
                with tf.name_scope(f"{walker.named(op)}/{name}/"):
                    given = [_guarded(condition, value, is_then) for value in given]
            results.append([symbolic(value) for value in walker.run(graph, given)])
    walker.matched("branches")
    with tf.name_scope(f"{walker.named(op)}/"):
        chosen = results[-1]
        for (_, condition, _), found in zip(reversed(choices[:-1]), reversed(results[:-1]), strict=True):
            chosen = [tf.where(condition, one, other) for one, other in zip(found, chosen, strict=True)]
        return chosen


def _choices(op: Any, selector: Any) -> list[tuple[str, Any, bool]]:
    """Return the name of each branch, a condition, and whether the branch runs if it holds, or if it does not.

    The last branch of a choice by a number also stands for numbers that no branch has.
    """
    if op.type not in BY_NUMBER:
        condition = tf.reshape(tf.cast(selector, tf.bool), [])
        return [("then", condition, True), ("else", condition, False)]
    number = tf.reshape(selector, [])
    last = len(functions(op)) - 1
    first = [(f"branch_{index}", tf.equal(number, index), True) for index in range(last)]
    inside = tf.logical_and(number >= 0, number < last)
    return [*first, (f"branch_{last}", inside, False)]


def _guarded(condition: Any, value: Value, is_then: bool) -> Value:
    """The input of a branch, or 1 while another branch is chosen: no quotient of 0, no exponent of a large value."""
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
