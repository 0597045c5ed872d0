"""Masks with values between those that mask and those that do not, and how each can be bounded.

A float mask m with values from 0 to 1 becomes (1 - m) * -1e9. A mask that is an input of the model may hold the
distances of ALiBi too. What such masks add to the scores has to stay as it is down to the bound.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflite_recipes.backend.converting.attention_masks.mask_paths import Merge
from tflite_recipes.backend.converting.attention_masks.mask_ranges import Range
from tflite_recipes.backend.converting.attention_masks.softmax_paths import LAYOUT, is_plain
from tflite_recipes.backend.converting.equalization.float_graph import Graph

# LiteRT aborts in a SUB whose input has a scale 65,536 times that of its result. Of int16, 2e6 / 30 would be too far.
_MOST_CLAMPED = 1e5


class Way(enum.Enum):
    """How a mask is bounded."""

    samples = "its values are bounded in the calibration samples: the integers of the input end there"
    clamp = "it is kept above the bound by a RELU"
    choose = "it is replaced by the bound where it masks at all"


@dataclass(frozen=True)
class SoftMask:
    """How a mask is bounded, and what it is computed from.

    tensor, factor: the mask is the tensor times the factor. layout: the operators, first to last, that lay it out.
    """

    way: Way
    tensor: int
    factor: float
    layout: tuple[int, ...] = ()


def soft_mask(graph: Graph, merge: Merge, mask: Range, depth: float) -> SoftMask | None:
    """Return how a mask can be bounded at `depth`, None if it cannot.

    Args:
        graph: The float file's graph.
        merge: Where the mask meets the scores.
        mask: The range of the mask as it acts on the softmax.
        depth: The bound, as it acts on the softmax.
    """
    tensor, factor, layout = _source(graph, graph.input(merge.at, merge.position))
    if tensor in graph.inputs and abs(factor) == 1:
        return SoftMask(Way.samples, tensor, factor, layout)
    if -mask.low <= _MOST_CLAMPED:
        return SoftMask(Way.clamp, tensor, factor, layout)
    if np.isfinite(mask.low) and mask.high <= 0 and mask.least >= -depth:
        return SoftMask(Way.choose, tensor, factor, layout)
    return None


def _source(graph: Graph, mask: int) -> tuple[int, float, tuple[int, ...]]:
    """What a mask is a multiple of, the factor, and the operators that lay it out."""
    makers = {graph.result(at): at for at in range(len(graph.operators))}
    tensor, factor, layout = mask, 1.0, tuple[int, ...]()
    while (at := makers.get(tensor, -1)) >= 0:
        if graph.names[at] in LAYOUT:
            layout = (at, *layout)
            tensor = graph.input(at, 0)
        elif graph.names[at] == "NEG":
            factor, tensor = -factor, graph.input(at, 0)
        elif graph.names[at] == "MUL" and is_plain(graph, at) and (product := _product(graph, at)) is not None:
            factor, tensor = factor * product[1], product[0]
        else:
            break
    return tensor, factor, layout


def _product(graph: Graph, at: int) -> tuple[int, float] | None:
    """The tensor that a MUL multiplies by one number, and the number."""
    for position in (0, 1):
        constant: Any = graph.constant(graph.input(at, position))
        if constant is not None and constant.size == 1 and constant.item() != 0:
            return graph.input(at, 1 - position), float(constant.item())
    return None


def only_masks(graph: Graph, tensor: int, places: frozenset[tuple[int, int]]) -> bool:
    """Whether a tensor is read as a mask alone, by operators at these places among their inputs."""
    if tensor in graph.outputs:
        return False
    return all(
        (at, position) in places
        or (position == 0 and graph.names[at] in (*LAYOUT, "NEG") and only_masks(graph, graph.result(at), places))
        for at, position in graph.readers(tensor)
    )
