"""How LiteRT cuts a graph into parts for a delegate and for the CPU."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tflite_recipes.targets.accelerators.accelerator_graph import Op


def partitions(ops: Sequence[Op], taken: Collection[int]) -> tuple[tuple[bool, tuple[int, ...]], ...]:
    """The parts in the order in which they run: whether the delegate has it, and positions of its ops in `ops`.

    taken: positions of the ops that the delegate takes. A part begins with the first op that can run; whatever else of
    its kind can run then joins it, out of order too (`PartitionGraphIntoIndependentNodeSubsets` of LiteRT's
    tflite/graph_info.cc, greedily, as it does by default). ValueError where ops wait for each other.
    """
    waiting = {output.index for op in ops for output in op.outputs}
    left = list(range(len(ops)))
    parts: list[tuple[bool, tuple[int, ...]]] = []
    while left:
        part: list[int] = []
        kind: bool | None = None
        grew = True
        while grew:
            grew = False
            for position in tuple(left):
                op = ops[position]
                ready = not any(tensor is not None and tensor.index in waiting for tensor in op.inputs)
                if ready and kind in (None, position in taken):
                    kind = position in taken
                    part.append(position)
                    left.remove(position)
                    waiting -= {output.index for output in op.outputs}
                    grew = True
        if kind is None:
            raise ValueError("ops wait for each other")
        parts.append((kind, tuple(sorted(part))))
    return tuple(parts)


def delegated(parts: Sequence[tuple[bool, tuple[int, ...]]], most: int) -> tuple[tuple[int, ...], ...]:
    """Of the parts that the delegate could have, the `most` largest, an earlier one first where two are equal."""
    able = [ops for is_taken, ops in parts if is_taken]
    return tuple(sorted(able, key=len, reverse=True)[:most])
