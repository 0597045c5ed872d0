"""What a mask is computed from before it becomes large.

TensorFlow's calibrator takes values after a step in place as those before it, so that 3e4 times a mask of 0 and 1
widens the range of the mask too.
"""

from __future__ import annotations

from dataclasses import dataclass

from tflite_recipes.backend.converting.attention_masks.mask_paths import MASKED
from tflite_recipes.backend.converting.attention_masks.mask_ranges import Range, Ranges
from tflite_recipes.backend.converting.attention_masks.softmax_paths import LAYOUT, is_plain
from tflite_recipes.backend.converting.equalization.float_graph import Graph

# 1 / 255 of a constant below is less than the least scale of the converter.
_SMALL = 1e-3


@dataclass(frozen=True)
class Origin:
    """A tensor that is 0 exactly where a mask is.

    tensor: its number. weakest: its value that is nearest to 0 where it masks. layout: the operators, first to last,
    that lay it out as the mask is.
    """

    tensor: int
    weakest: float
    layout: tuple[int, ...] = ()


def origin(graph: Graph, mask: int, ranges: Ranges) -> Origin | None:
    """Return the first tensor that a mask is computed from without a sum. None without ranges of the mask."""
    makers = {graph.result(at): at for at in range(len(graph.operators))}
    found: Origin | None = None
    layout: tuple[int, ...] = ()
    tensor = mask
    while True:
        seen = ranges.get(tensor)
        if seen is not None and _is_switch(seen):
            found = Origin(tensor, -seen.least if seen.low < 0 else seen.least, layout)
        at = makers.get(tensor, -1)
        if at < 0:
            return found
        if graph.names[at] in LAYOUT:
            layout = (at, *layout)
        elif graph.names[at] != "CAST" and not _is_product(graph, at):
            return found
        tensor = _source(graph, at)


def _is_switch(seen: Range) -> bool:
    """Whether values are 0 or one value, give or take a factor."""
    most = max(-seen.low, seen.high)
    return seen.low * seen.high == 0 and _SMALL <= most < float("inf") and seen.least >= MASKED * most


def _is_product(graph: Graph, at: int) -> bool:
    """Whether an operator multiplies a tensor by a constant or by itself, so that 0 stays 0 and nothing else is 0."""
    if graph.names[at] in ("NEG", "SQUARE", "ABS"):
        return True
    ends = (graph.input(at, 0), graph.input(at, 1))
    constants = [values for end in ends if (values := graph.constant(end)) is not None]
    by_constant = len(constants) == 1 and constants[0].size == 1 and constants[0].item() != 0
    return graph.names[at] == "MUL" and is_plain(graph, at) and (ends[0] == ends[1] or by_constant)


def _source(graph: Graph, at: int) -> int:
    first = graph.input(at, 0)
    is_constant = graph.names[at] == "MUL" and graph.constant(first) is not None
    return graph.input(at, 1) if is_constant else first
