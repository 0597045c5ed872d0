"""A traced function rewritten by rules, as a function that can be traced again with other shapes and types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tensorflow.python.framework import ops

from tflite_recipes.backend.models.rewriting import (
    branches,
    fourier,
    loops,
    miscompiled,
    op_replacements,
    splits,
)
from tflite_recipes.backend.models.rewriting.graph_values import symbolic
from tflite_recipes.backend.models.rewriting.walker import Handler, Walker


@dataclass(frozen=True)
class Rewritten:
    """The function after a rewrite.

    call: takes tensors by input name, gives tensors by output name. matches: how often each rule matched, filled
    when `call` is traced. skipped: why a loop could not be unrolled, by its name. cut: by output, the type of the op
    behind it that the rule `logits` left out.
    """

    call: Callable[..., Mapping[str, Any]]
    matches: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    cut: dict[str, str] = field(default_factory=dict)


def rewrite(
    traced: Any, inputs: Sequence[str], outputs: Sequence[str], asked: frozenset[str], scheme: str = "none"
) -> Rewritten:
    """The function `traced`, whose inputs and outputs have these names in the order of their tensors, by the rules
    that are asked for. `scheme`: what it will be quantized to, which decides what lacks an integer kernel."""
    graph = traced.graph
    held = [outside for outside, _ in graph.captures]
    heads = [_head(tensor) if "logits" in asked else None for tensor in graph.outputs]
    wanted = [head.inputs[0] if head else tensor for head, tensor in zip(heads, graph.outputs, strict=True)]
    cut = {name: head.type for name, head in zip(outputs, heads, strict=True) if head}
    rewritten: Rewritten

    def call(**tensors: Any) -> dict[str, Any]:
        for variable in graph.variables:  # so that saving finds what the captured handles belong to
            ops.get_default_graph().watch_variable(variable)
        walker = Walker(asked, _handlers(), scheme)
        made = walker.run(graph, [*(tensors[name] for name in inputs), *held], wanted)
        if walker.rebuilt and not walker.counts["float32"]:
            walker.counts["float32"] = walker.rebuilt
        rewritten.matches.clear()
        rewritten.matches.update(walker.counts, **({"logits": len(cut)} if cut else {}))
        rewritten.skipped.update(walker.skipped)
        return {name: symbolic(value) for name, value in zip(outputs, made, strict=True)}

    rewritten = Rewritten(call, cut=cut)
    return rewritten


def _handlers() -> dict[str, list[Handler]]:
    merged: dict[str, list[Handler]] = {}
    for table in (
        miscompiled.HANDLERS,
        branches.HANDLERS,
        loops.HANDLERS,
        op_replacements.HANDLERS,
        splits.HANDLERS,
        fourier.HANDLERS,
    ):
        for kind, handlers in table.items():
            merged.setdefault(kind, []).extend(handlers)
    return merged


def _head(tensor: Any) -> Any:
    """Return the final softmax, log softmax or sigmoid of an output, None if it has none."""
    op = tensor.op
    while op.type == "Identity":
        op = op.inputs[0].op
    return op if op.type in ("Softmax", "LogSoftmax", "Sigmoid") else None
