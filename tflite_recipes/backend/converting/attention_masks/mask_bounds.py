"""How far below the scores a mask has to lie so that a softmax cannot tell it from one that lies further below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tflite_recipes.backend.converting.attention_masks.mask_paths import DEEP, LEAST, MASKED, UNMASKED, Merge
from tflite_recipes.backend.converting.attention_masks.mask_ranges import Range
from tflite_recipes.backend.converting.attention_masks.mask_statistics import Statistics, scores_of
from tflite_recipes.backend.converting.attention_masks.soft_masks import SoftMask, Way, soft_mask
from tflite_recipes.backend.converting.attention_masks.softmax_paths import SELECT, Reach
from tflite_recipes.backend.converting.equalization.float_graph import Graph

# The share of a softmax that all values below the mask may take together.
_SHARE = 1e-8
# A bound that shortens the range of the scores by less than this factor is no gain.
_GAIN = 1.5
_EQUAL = 1e-6
# What lies below has no float32 factor that makes it a bound, of eight bits on both sides.
_LEAST_PRODUCT = -1e30


@dataclass(frozen=True)
class Bound:
    """What becomes of a mask where it meets the scores.

    value: what a selected mask becomes, or the least that an added one may be. was: what it is now, where it masks
    least. absorbs: whether the scores have to be multiplied by 0 where it masks, because a row was masked throughout.
    There a mask that is many times greater than the scores makes them all equal, and a bounded one would not.
    soft: how a mask with other values is bounded.
    """

    merge: Merge
    value: float
    was: float
    absorbs: bool = False
    soft: SoftMask | None = None


def bound(graph: Graph, merge: Merge, seen: Statistics) -> Bound | str:
    """Return the bound of a mask, or why it stays as it is."""
    mask = graph.input(merge.at, merge.position)
    if mask not in seen.low:
        return "the samples do not reach it"
    low, high = _added(merge, mask, seen)
    if low == 0 == high:
        return NOTHING_MASKED
    is_binary = merge.sign == 0 or graph.constant(mask) is not None or _is_binary(merge, mask, seen)
    if merge.logarithm < 0 and (merge.is_soft or not is_binary):
        return _soft(graph, merge, Range(low, high, seen.least[mask], True), seen)
    value = _value(graph, merge, seen, low)
    if value is None:
        return NO_ROWS
    open_rows = any(_has_masked_rows(graph, reach, low, seen) for reach in merge.reaches)
    top = _top(graph, merge, seen)
    if merge.sign == 0:
        return _selected(graph, Bound(merge, value, low), high, top)
    if merge.logarithm >= 0:
        return Bound(merge, min(value - top, -1.0), low)
    weakest = low if graph.constant(mask) is not None else -seen.least[mask]
    if open_rows and weakest > 0.999 * low:  # among masked places alone, a softmax takes those that it masks least
        return _soft(graph, merge, Range(low, high, seen.least[mask], True), seen)
    absorbs = open_rows and seen.spreads.get(merge.at, 0.0) > _EQUAL and weakest < 0.999 * low
    depth = min(value, -1.0) if absorbs else min(value - top, -1.0)
    if low < _LEAST_PRODUCT and not merge.roots:
        soft = None if absorbs else soft_mask(graph, merge, Range(low, high, seen.least[mask], True), depth)
        if soft is not None and soft.way is Way.samples:
            return Bound(merge, depth, weakest, soft=soft)
    if low > _GAIN * min(depth, -LEAST):
        return "it is no lower than it has to be"
    return Bound(merge, depth, weakest, absorbs)


NO_ROWS = "the samples have no row that is not masked throughout"
_BETWEEN = "its values lie between masked and not masked"
NOTHING_MASKED = "the samples have nothing masked"


def _added(merge: Merge, mask: int, seen: Statistics) -> tuple[float, float]:
    """Least and greatest value of a mask as it acts on the scores."""
    low, high = seen.low[mask], seen.high[mask]
    return (-high, -low) if merge.acting < 0 else (low, high)


def _top(graph: Graph, merge: Merge, seen: Statistics) -> float:
    """The greatest of the scores that a mask meets, as they act on the softmax."""
    scores = scores_of(graph, merge)
    is_negative = merge.reaches[0].sign < 0
    if graph.names[merge.at] == "SUB" and merge.position == 0:
        is_negative = not is_negative
    return -seen.low.get(scores, 0.0) if is_negative else seen.high.get(scores, 0.0)


def _as_mask(reach: Reach, value: float) -> float:
    """A mask that lies below `value` in front of the softmax, whatever it is multiplied by on the way."""
    return float(value / (reach.factor if value < 0 else reach.most))


def _cut(reach: Reach, low: float) -> float:
    """Scores below are masked ones."""
    return max(low * reach.factor / 2, -1e30)


def _least_top(graph: Graph, reach: Reach, cut: float, seen: Statistics) -> float | None:
    """The least of the greatest scores of rows with any that are not masked, in front of the softmax, without what is
    added on the way."""
    tops = seen.tops[graph.input(reach.softmax, 0)]
    live = tops[tops * _beta(graph, reach) > cut]
    if not live.size:
        return None
    shift = sum(
        max(*(sign * factor * end for end in _ends(seen, term) for factor in (least, most)), 0.0)
        for term, sign, least, most in reach.terms
    )
    return float(live.min() * _beta(graph, reach) - shift)


def _ends(seen: Statistics, tensor: int) -> tuple[float, float]:
    return seen.low.get(tensor, 0.0), seen.high.get(tensor, 0.0)


def _beta(graph: Graph, reach: Reach) -> float:
    return float(getattr(graph.operators[reach.softmax].builtinOptions, "beta", 1.0))


def _has_masked_rows(graph: Graph, reach: Reach, low: float, seen: Statistics) -> bool:
    tops = seen.tops[graph.input(reach.softmax, 0)] * _beta(graph, reach)
    return bool((tops <= _cut(reach, low)).any())


def _selected(graph: Graph, made: Bound, high: float, top: float) -> Bound | str:
    merge = made.merge
    if graph.names[merge.at] not in SELECT:  # the lesser of the scores and a value far above or below them
        return made if high >= top else "it bounds the scores"
    constant = graph.constant(graph.input(merge.at, merge.position))
    if constant is None and (high > made.value or not _has_full_condition(graph, merge.at)):
        return "its values are not all masked"
    if top - made.was < _GAIN * max(top - made.value, LEAST):
        return "it is no lower than it has to be"
    return made


def _soft(graph: Graph, merge: Merge, mask: Range, seen: Statistics) -> Bound | str:
    if mask.low > -DEEP:
        return _BETWEEN
    # Rows that the mask leaves no score of count too: the bound must not change how it weighs them.
    value = _value(graph, merge, seen)
    if value is None:
        return NO_ROWS
    depth = min(value - _top(graph, merge, seen), -1.0)
    if all(depth * reach.factor < -DEEP for reach in merge.reaches):
        return "a row that it masks throughout still depends on it"
    soft = soft_mask(graph, merge, mask, depth)
    return _BETWEEN if soft is None else Bound(merge, depth, mask.low, soft=soft)


def _value(graph: Graph, merge: Merge, seen: Statistics, low: float | None = None) -> float | None:
    """How low a mask has to be if it meets no scores. `low`: rows of this mask alone do not count."""
    value = np.inf
    for reach in merge.reaches:
        least = _least_top(graph, reach, -np.inf if low is None else _cut(reach, low), seen)
        if least is None:
            return None
        value = min(value, _as_mask(reach, least - np.log(seen.widths[graph.input(reach.softmax, 0)] / _SHARE)))
    return value


def _has_full_condition(graph: Graph, at: int) -> bool:
    """Whether both versions of SELECT do the same with the condition: the first takes a single axis as the first."""
    return graph.names[at] == "SELECT_V2" or graph.rank(graph.input(at, 0)) == graph.rank(graph.result(at))


def _is_binary(merge: Merge, mask: int, seen: Statistics) -> bool:
    low, high = _added(merge, mask, seen)
    return high <= UNMASKED * -low and seen.least[mask] >= MASKED * -low and bool(np.isfinite(low))
