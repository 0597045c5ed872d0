"""Find the masks of a float `.tflite`: constants far below zero that reach the scores in front of a softmax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tflite_recipes.backend.converting.attention_masks.mask_ranges import LAYERS, Range, Ranges
from tflite_recipes.backend.converting.attention_masks.softmax_paths import (
    LAYOUT,
    SELECT,
    Reach,
    is_plain,
    known,
    reaches,
    sign_of,
)
from tflite_recipes.backend.converting.equalization.float_graph import Graph

# A constant nearer to zero than this is no mask: exp(-20) is 2e-9.
LEAST = 20.0
# What lies below is a mask, whatever the scores are.
DEEP = 1e3
# Where masks meet scores.
MERGING = ("ADD", "ADD_N", "SUB", "MINIMUM", "MAXIMUM", *SELECT)
# A mask that is computed has these shares of its depth at least where it masks, and at most where it does not.
MASKED, UNMASKED = 0.1, 1e-3
# (operator, place of the constant among its inputs)
Root = tuple[int, int]


@dataclass(frozen=True)
class Merge:
    """Where a mask meets the scores.

    at, position: the operator, and the place of the mask among its inputs. sign: 0 if the mask is selected; else the
    sign with which it acts on the scores in front of the softmax. roots: the constants that the mask is made of, none
    if the samples showed it. reaches: every softmax behind it. logarithm: the LOG of 0 that makes the mask, or -1.
    is_soft: whether it has values between those that mask and those that do not.
    """

    at: int
    position: int
    sign: int
    roots: frozenset[Root] = frozenset()
    reaches: tuple[Reach, ...] = ()
    logarithm: int = -1
    is_soft: bool = False

    @property
    def acting(self) -> int:
        """The sign with which the mask acts on the softmax, also if it is selected."""
        return self.sign or self.reaches[0].sign


def merges(graph: Graph, least: float = LEAST, ranges: Ranges | None = None) -> list[Merge]:
    """Return the places where masks meet scores that go to nothing but softmaxes, in the graph's order.

    Args:
        graph: The graph.
        least: The least magnitude of a constant that may be a mask.
        ranges: The ranges on the calibration samples. Without them, masks are found that are made of constants alone.
    """
    ranges = ranges or {}
    rows = _of_constants(graph, least, ranges)
    for found in (_of_values(graph, ranges), _of_soft_values(graph, ranges)):
        for row in found:
            places = {row.at for row in rows}
            # A mask that is computed from bounded values is bounded already.
            if row.at not in places and graph.input(row.at, row.position) not in _behind(graph, places):
                rows.append(row)
    return sorted(rows, key=lambda row: row.at)


def _behind(graph: Graph, places: set[int]) -> set[int]:
    """What is computed from the results of these operators."""
    tensors: set[int] = set()
    for at, op in enumerate(graph.operators):
        inputs = [] if op.inputs is None or graph.names[at] in LAYERS else op.inputs
        if at in places or any(int(index) in tensors for index in inputs):
            tensors |= {int(index) for index in op.outputs}
    return tensors


def _of_values(graph: Graph, ranges: Ranges) -> list[Merge]:
    """The merges whose masks are seen by their values: 0 where nothing is masked, and far below the scores else."""
    rows: list[Merge] = []
    for at in range(len(graph.operators)):
        if graph.names[at] not in ("ADD", "SUB", "MINIMUM", "MAXIMUM") or not is_plain(graph, at):
            continue
        if not (found := reaches(graph, graph.result(at), ranges)) or not (sign := sign_of(found)):
            continue
        ends = [known(graph, graph.input(at, position), ranges) for position in (0, 1)]
        for position, mask in enumerate(ends):
            if mask is None or _is_constant(graph, at, 1 - position):
                continue
            if graph.names[at] in ("ADD", "SUB"):
                acting = -sign if graph.names[at] == "SUB" and position else sign
                row = _added(graph, Merge(at, position, acting, reaches=tuple(found)), mask.acting(acting))
                beside = (ends[1 - position], ranges.get(graph.result(at)))
                is_mask = any(end is not None and (_is_mask(end) or _is_mask(end.acting(-1))) for end in beside)
                rows += [row] if row is not None and not is_mask else []
            elif graph.names[at] == ("MINIMUM" if sign > 0 else "MAXIMUM") and sign > 0 and _is_choice(mask):
                rows.append(Merge(at, position, 0, reaches=tuple(found)))
    return rows


def _of_soft_values(graph: Graph, ranges: Ranges) -> list[Merge]:
    """The merges of computed values far below the scores, whatever lies between."""
    rows: list[Merge] = []
    for at in range(len(graph.operators)):
        if graph.names[at] not in ("ADD", "SUB") or not is_plain(graph, at):
            continue
        if not (found := reaches(graph, graph.result(at), ranges)) or not (sign := sign_of(found)):
            continue
        for position in (0, 1):
            acting = -sign if graph.names[at] == "SUB" and position else sign
            mask = ranges.get(graph.input(at, position))
            if mask is not None and mask.acting(acting).low <= -DEEP and not _is_constant(graph, at, position):
                rows.append(Merge(at, position, acting, reaches=tuple(found), is_soft=True))
    return rows


def _added(graph: Graph, row: Merge, mask: Range) -> Merge | None:
    at, floors = _logarithm(graph, graph.input(row.at, row.position))
    if at >= 0 and row.sign > 0 and mask.low <= -DEEP:
        reaches = tuple(replace(reach, floors=(*reach.floors, *floors)) for reach in row.reaches)
        return replace(row, logarithm=at, reaches=reaches)
    return row if _is_mask(mask) else None


def _logarithm(graph: Graph, tensor: int) -> tuple[int, tuple[int, ...]]:
    """The LOG that makes a tensor, which may be laid out anew or kept above a mask in between, and what keeps it so.

    -1 if another operator makes it.
    """
    makers = {graph.result(at): at for at in range(len(graph.operators))}
    floors: list[int] = []
    while (at := makers.get(tensor, -1)) >= 0:
        constants = [graph.constant(graph.input(at, position)) for position in (0, 1)]
        if graph.names[at] in LAYOUT:
            tensor = graph.input(at, 0)
        elif graph.names[at] in ("MAXIMUM", "MINIMUM") and (constants[0] is None) != (constants[1] is None):
            if graph.names[at] == "MAXIMUM":
                floors.append(at)
            if _is_shallow(constants[1] if constants[0] is None else constants[0], graph.names[at]):
                return -1, ()
            tensor = graph.input(at, 0 if constants[0] is None else 1)
        else:
            break
    alone = at >= 0 and graph.names[at] == "LOG" and graph.result(at) not in graph.outputs
    return (at, tuple(floors)) if alone else (-1, ())


def _is_shallow(values: Any, name: str) -> bool:
    """Whether a constant keeps more of a logarithm from the scores than what masks."""
    return bool(values.max() > -DEEP) if name == "MAXIMUM" else bool(values.min() < 0)


def _is_constant(graph: Graph, at: int, position: int) -> bool:
    return graph.constant(graph.input(at, position)) is not None


def _is_mask(mask: Range) -> bool:
    """Whether values are 0, or far below, and nothing between."""
    deep = -np.inf < mask.low <= -LEAST
    return deep and mask.high <= UNMASKED * -mask.low and mask.least >= MASKED * -mask.low


def _is_choice(mask: Range) -> bool:
    """Whether values are far below 0 or far above, so that the lesser of them and the scores is one or the other."""
    deep = -np.inf < mask.low <= -LEAST and mask.high >= LEAST
    return deep and not mask.has_zeros and mask.least >= MASKED * max(-mask.low, mask.high)


def _of_constants(graph: Graph, least: float, ranges: Ranges) -> list[Merge]:
    masks: dict[int, frozenset[Root]] = {}
    broken: set[Root] = set()
    rows: list[Merge] = []
    for at in range(len(graph.operators)):
        here = _masks_of(graph, at, masks, least)
        if not here:
            continue
        roots = frozenset().union(*here.values())
        if _keeps_mask(graph, at, here) and graph.result(at) not in graph.outputs:
            masks[graph.result(at)] = roots
        elif (met := _merge(graph, at, here)) is not None:
            rows.append(met)
        elif not _is_floor(graph, at, here):
            broken |= roots
    complete: list[Merge] = []
    for row in rows:
        found = reaches(graph, graph.result(row.at), ranges)
        sign = sign_of(found) if found else 0
        if found and sign:
            complete.append(replace(row, sign=row.sign * sign, reaches=tuple(found)))
        else:
            broken |= row.roots
    return [row for row in complete if row.sign == 0 or not row.roots & broken]


def _is_floor(graph: Graph, at: int, here: Mapping[int, frozenset[Root]]) -> bool:
    """Whether a constant only bounds what is masked already."""
    return graph.names[at] in ("MAXIMUM", "MINIMUM") and all(_is_constant(graph, at, position) for position in here)


def _masks_of(graph: Graph, at: int, masks: dict[int, frozenset[Root]], least: float) -> dict[int, frozenset[Root]]:
    """The roots of each input of an operator that holds a mask, by its place."""
    found: dict[int, frozenset[Root]] = {}
    for position in range(_count(graph, at)):
        tensor = graph.input(at, position)
        if tensor in masks:
            found[position] = masks[tensor]
        elif _is_large(graph.constant(tensor), least):
            found[position] = frozenset([(at, position)])
    return found


def _count(graph: Graph, at: int) -> int:
    inputs = graph.operators[at].inputs
    return 0 if inputs is None else len(inputs)


def _is_large(values: Any, least: float) -> bool:
    return values is not None and values.dtype.kind == "f" and values.size > 0 and bool(np.abs(values).max() >= least)


def _keeps_mask(graph: Graph, at: int, here: dict[int, frozenset[Root]]) -> bool:
    """Whether the result holds a mask and no scores."""
    name = graph.names[at]
    if name in LAYOUT or name == "NEG":
        return set(here) == {0}
    if name == "FILL":
        return set(here) == {1}
    if name == "MUL":  # a product of two masks does not grow with its constants in proportion
        return is_plain(graph, at) and len(here) == 1
    if name == "CONCATENATION":
        others = (graph.input(at, position) for position in range(_count(graph, at)) if position not in here)
        return all(_is_zero(graph.constant(other)) for other in others)
    if name in ("MAXIMUM", "MINIMUM"):
        return len(here) == 2
    if name in SELECT:
        other = next((position for position in (1, 2) if position not in here), None)
        return other is None or _is_zero(graph.constant(graph.input(at, other)))
    if name in ("ADD", "SUB") and is_plain(graph, at):
        return len(here) == 2 or any(_is_all_large(graph.constant(graph.input(at, position))) for position in here)
    return False


def _is_zero(values: Any) -> bool:
    return values is not None and not values.any()


def _is_all_large(values: Any) -> bool:
    """Whether a constant masks all that it is added to, which only a SELECT behind it can undo."""
    return values is not None and bool(np.abs(values).min() >= LEAST)


def _merge(graph: Graph, at: int, here: dict[int, frozenset[Root]]) -> Merge | None:
    """Where exactly one of an operator's inputs is a mask: how it meets the scores in the other one."""
    (position, roots), *more = here.items()
    name = graph.names[at]
    if more:
        return None
    if name in SELECT and position in (1, 2):
        return Merge(at, position, 0, roots)
    if name == "ADD" and is_plain(graph, at):
        return Merge(at, position, 1, roots)
    if name == "SUB" and is_plain(graph, at):
        return Merge(at, position, -1 if position else 1, roots)
    return None
