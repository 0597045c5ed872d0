"""What the calibration samples show of masks and of the scores that they meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tflite_recipes.backend.converting.attention_masks.mask_paths import Merge
from tflite_recipes.backend.converting.attention_masks.softmax_paths import SELECT, softmaxes
from tflite_recipes.backend.converting.equalization.float_graph import Graph


@dataclass
class Statistics:
    """Of tensors by number.

    low, high: least and greatest value. least: least magnitude of a value that is not 0. tops: the greatest value of
    each row in front of a softmax. widths: how many values such a row has. spreads: by operator that adds a mask, how
    far the scores below the mask are apart in one batch.
    """

    low: dict[int, float] = field(default_factory=dict)
    high: dict[int, float] = field(default_factory=dict)
    least: dict[int, float] = field(default_factory=dict)
    tops: dict[int, Any] = field(default_factory=dict)
    widths: dict[int, int] = field(default_factory=dict)
    spreads: dict[int, float] = field(default_factory=dict)


def collect(graph: Graph, rows: list[Merge], batches: Iterable[Mapping[str, Any]]) -> Statistics:
    """Return the statistics of what `rows` depend on. `batches`: the float tensors of each batch, by name."""
    made = Statistics()
    scores = {graph.input(at, 0): _axes(graph, at) for at in softmaxes(reach for row in rows for reach in row.reaches)}
    wanted = {index for row in rows for index in _read(graph, row)}
    for index in wanted:
        if (values := graph.constant(index)) is not None:
            _widen(made, index, values)
    tops: dict[int, list[Any]] = {index: [] for index in scores}
    for values in batches:
        for index in wanted:
            if (array := values.get(graph.name(index))) is not None:
                _widen(made, index, array)
        for index, axes in scores.items():
            array = values[graph.name(index)]
            top = array.max(axes).ravel()
            tops[index].append(top)
            made.widths[index] = max(made.widths.get(index, 0), array.size // max(top.size, 1))
        for row in rows:
            if row.sign:
                made.spreads[row.at] = max(made.spreads.get(row.at, 0.0), _spread(graph, row, values))
    made.tops = {index: np.concatenate(parts) for index, parts in tops.items() if parts}
    return made


def _axes(graph: Graph, softmax: int) -> tuple[int, ...]:
    """What a softmax runs over: the last axis, or those of the REDUCE_MAX that one that is written out begins with."""
    axes = graph.constant(graph.input(softmax, 1))
    return (-1,) if axes is None else tuple(int(axis) for axis in axes.ravel())


def _read(graph: Graph, row: Merge) -> set[int]:
    terms = {tensor for reach in row.reaches for tensor, *_ in reach.terms}
    return {graph.input(row.at, row.position), scores_of(graph, row), *terms}


def scores_of(graph: Graph, row: Merge) -> int:
    """The tensor that a mask meets."""
    is_selected = graph.names[row.at] in SELECT
    return graph.input(row.at, (3 if is_selected else 1) - row.position)


def _widen(made: Statistics, index: int, values: Any) -> None:
    if not values.size:
        return
    made.low[index] = min(made.low.get(index, np.inf), float(values.min()))
    made.high[index] = max(made.high.get(index, -np.inf), float(values.max()))
    least = np.abs(values).min(where=values != 0, initial=np.inf)
    made.least[index] = min(made.least.get(index, np.inf), float(least))


def _spread(graph: Graph, row: Merge, values: Mapping[str, Any]) -> float:
    mask, scores = (
        values.get(graph.name(index), graph.constant(index))
        for index in (graph.input(row.at, row.position), scores_of(graph, row))
    )
    if mask is None or scores is None:
        return 0.0
    added = row.sign * mask
    mask, scores = np.broadcast_arrays(added <= added.min() / 2, scores)
    hidden = scores[mask] if added.min() < 0 else scores[:0]
    return float(np.ptp(hidden)) if hidden.size else 0.0
