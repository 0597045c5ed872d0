"""Walks the ops of a graph in their order and makes them anew, each as it is or as a rule says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tflite_recipes.backend.models.rewriting.graph_values import Value
from tflite_recipes.backend.models.rewriting.op_copies import (
    REBUILT,
    constant,
    copied,
    shaped,
    sizes_of,
    told,
    worked_out,
)

Handler = Callable[[Any, Sequence[Value], "Walker"], "list[Value] | None"]
# What has no effect on the outputs of a graph that is run to convert it.
_LEFT_OUT = frozenset({"NoOp", "Assert", "CheckNumerics", "Placeholder"})

# What may have effects inside, besides its outputs.
_CALLS = frozenset({"While", "If", "Case", "StatefulPartitionedCall"})


class Walker:
    """One rewrite: the rules that are on, how often each matched, the quantization scheme, and the handlers of ops.

    handlers: by op type. A handler gives the new outputs, or None for an op that it leaves as it is.
    """

    def __init__(self, rules: frozenset[str], handlers: dict[str, list[Handler]], scheme: str = "none") -> None:
        self.rules = rules
        self.scheme = scheme
        self.counts: Counter[str] = Counter()
        self.at_float32 = "float32" in rules
        # Ops made anew in another type. They count only where no cast does: past runs counted casts alone.
        self.rebuilt = 0
        self._handlers = handlers
        self._scope = ""
        self._values: dict[str, Value] = {}
        self.skipped: dict[str, str] = {}

    def matched(self, rule: str) -> None:
        """Count a match of a rule."""
        self.counts[rule] += 1

    def named(self, op: Any) -> str:
        """The op's name in the new graph, with the steps of the loops around it."""
        return f"{self._scope}{op.name}"

    def within(self, scope: str) -> _Scope:
        """A context in which names stand below `scope`."""
        return _Scope(self, scope)

    def run(self, graph: Any, inputs: Sequence[Value], outputs: Sequence[Any] | None = None) -> list[Value]:
        """Make the ops of a graph anew on these inputs, and give its outputs, or those tensors of it."""
        outputs = list(graph.outputs if outputs is None else outputs)
        values: dict[str, Value] = {tensor.name: value for tensor, value in zip(graph.inputs, inputs, strict=True)}
        before, self._values = self._values, values
        needed = needed_ops(graph, outputs)
        for op in graph.get_operations():
            if op.type in _LEFT_OUT or op not in needed:
                continue
            given = [values[tensor.name] for tensor in op.inputs]
            for tensor, value in zip(op.outputs, self._op(op, given), strict=True):
                values[tensor.name] = value
        self._values = before
        return [values[tensor.name] for tensor in outputs]

    def value_of(self, tensor: Any) -> Value:
        """What a tensor of the graph at hand has become; None where it was not made."""
        return self._values.get(tensor.name)

    def _op(self, op: Any, inputs: Sequence[Value]) -> list[Value]:
        if op.type == "Const" and (value := constant(op, self.at_float32)) is not None:
            return [value]
        for handler in self._handlers.get(op.type, ()):
            if (made := handler(op, inputs, self)) is not None:
                return made
        for handler in self._handlers.get("*", ()):
            if (made := handler(op, inputs, self)) is not None:
                return made
        if (known := worked_out(op, inputs, self.at_float32)) is not None:
            return known
        if (sizes := sizes_of(op, inputs)) is not None:
            return sizes
        if self.at_float32 and any(tensor.dtype.as_datatype_enum in REBUILT for tensor in op.outputs):
            self.rebuilt += 1
        return told(op, shaped(op, inputs, copied(op, inputs, self.named(op), self.at_float32)))


class _Scope:
    def __init__(self, walker: Walker, scope: str) -> None:
        self._walker, self._scope = walker, scope

    def __enter__(self) -> None:
        self._before = self._walker._scope
        self._walker._scope = f"{self._before}{self._scope}/"

    def __exit__(self, *_: object) -> None:
        self._walker._scope = self._before


def needed_ops(graph: Any, outputs: Sequence[Any]) -> set[Any]:
    """The ops that the outputs depend on, and those with effects (what they write is the model's state)."""
    needed: set[Any] = set()
    stack = [tensor.op for tensor in outputs]
    effects = (op for op in graph.get_operations() if op.op_def.is_stateful and op.type not in _LEFT_OUT)
    stack += [op for op in effects if not op.outputs or op.type in _CALLS]
    while stack:
        op = stack.pop()
        if op not in needed:
            needed.add(op)
            stack += [tensor.op for tensor in op.inputs]
    return needed


def below(op: Any, walker: Walker) -> Any:
    """A context in which what a rule makes is named below the op that it stands for."""
    return tf.name_scope(f"{walker.named(op)}/")
