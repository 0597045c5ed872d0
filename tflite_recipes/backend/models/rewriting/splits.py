"""Splits as slices, where a split would have results that nothing reads.

The converter's calibrator keeps no range for such a result: the split stays float, or its range is whatever stood in
memory, so that the same model gives other bytes each time. A slice that nothing reads just goes away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tflite_recipes.backend.models.rewriting.graph_values import Value, is_known, symbolic
from tflite_recipes.backend.models.rewriting.walker import Handler, Walker, below
from tflite_recipes.core.state import CALIBRATED


def is_read_in_part(op: Any) -> bool:
    """Whether this is a split some of whose results nothing reads."""
    if op.type not in _PARTS or not op.outputs[0].dtype.is_floating:
        return False
    given = {tensor.name for tensor in op.graph.outputs} if hasattr(op.graph, "outputs") else set()
    return any(not tensor.consumers() and tensor.name not in given for tensor in op.outputs)


def _slices(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    # The first step of a loop multiplies by a state of zeros, so that gates of it come to nothing.
    first_step = "unroll" in walker.rules and "/step_0/" in walker.named(op)
    in_part = "integer_ops" in walker.rules and is_read_in_part(op)
    if walker.scheme not in CALIBRATED or not (first_step or in_part):
        return None
    made = _PARTS[op.type](op, inputs, walker)
    if made is not None and in_part:
        walker.matched("integer_ops")
    return made


def _of_split(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    value, axis = (inputs[1], inputs[0]) if op.type == "Split" else (inputs[0], inputs[2])
    sizes = [tensor.shape for tensor in op.outputs]
    if not is_known(axis) or any(shape.rank is None for shape in sizes):
        return None
    along = int(axis) % sizes[0].rank
    lengths = [shape[along] for shape in sizes]
    if None in lengths:
        return None
    with below(op, walker):
        tensor, ends = symbolic(value), [sum(lengths[: n + 1]) for n in range(len(lengths))]
        before = (slice(None),) * along
        return [tensor[(*before, slice(end - length, end))] for end, length in zip(ends, lengths, strict=True)]


def _of_unpack(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    tensor = symbolic(inputs[0])
    if tensor.shape.rank is None:
        return None
    before = (slice(None),) * (op.get_attr("axis") % tensor.shape.rank)
    with below(op, walker):
        return [tensor[(*before, number)] for number in range(len(op.outputs))]


_PARTS = {"Split": _of_split, "SplitV": _of_split, "Unpack": _of_unpack}
HANDLERS: dict[str, list[Handler]] = {kind: [_slices] for kind in _PARTS}
