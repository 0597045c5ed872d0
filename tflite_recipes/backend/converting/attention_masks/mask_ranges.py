"""Least and greatest values of what leads to a softmax, on the calibration samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflite_recipes.backend.converting.equalization.float_graph import Graph

SOFTMAXES = ("SOFTMAX", "LOG_SOFTMAX", "REDUCE_MAX")
# These sum products, so their results are not masks.
LAYERS = frozenset(
    "BATCH_MATMUL CONV_2D CONV_3D DEPTHWISE_CONV_2D FULLY_CONNECTED SOFTMAX TRANSPOSE_CONV WHILE IF".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Range:
    """A tensor's least and greatest value, its least magnitude except 0, and whether it has zeros."""

    low: float
    high: float
    least: float
    has_zeros: bool

    def acting(self, sign: float) -> Range:
        """Return the range of the tensor multiplied by `sign`, which is 1 or -1."""
        return self if sign > 0 else Range(-self.high, -self.low, self.least, self.has_zeros)


Ranges = Mapping[int, Range]


def survey(graph: Graph, batches: Iterable[Mapping[str, Any]]) -> dict[int, Range]:
    """Return the ranges of the tensors from which a softmax is computed elementwise, by number.

    Args:
        graph: The float file's graph.
        batches: The float tensors of each batch of samples, by name.
    """
    wanted = _region(graph)
    found: dict[int, Range] = {}
    for index in wanted:
        values = graph.constant(index)
        if values is not None and values.dtype.kind == "f" and values.size:
            found[index] = _of(values)
    for values in batches:
        for index in wanted:
            array = values.get(graph.name(index))
            if array is not None and array.size:
                found[index] = _joined(found.get(index), _of(array))
    return found


def _region(graph: Graph) -> list[int]:
    wanted: dict[int, None] = {}
    for at in reversed(range(len(graph.operators))):
        leads = graph.names[at] not in LAYERS and graph.result(at) in wanted
        if not leads and graph.names[at] not in SOFTMAXES:
            continue
        inputs = graph.operators[at].inputs
        wanted |= dict.fromkeys(int(index) for index in ([] if inputs is None else inputs) if index >= 0)
    return list(wanted)


def _of(array: Any) -> Range:
    least = np.abs(array).min(where=array != 0, initial=np.inf)
    return Range(float(array.min()), float(array.max()), float(least), bool((array == 0).any()))


def _joined(one: Range | None, other: Range) -> Range:
    if one is None:
        return other
    low, high, least = min(one.low, other.low), max(one.high, other.high), min(one.least, other.least)
    return Range(low, high, least, one.has_zeros or other.has_zeros)
