"""Find the masks of a float `.tflite`: constants far below zero that reach the scores in front of a softmax."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tflite_recipes.backend.converting.equalization.float_graph import Graph

# A constant nearer to zero than this is no mask: exp(-20) is 2e-9.
LEAST = 20.0
# These place values elsewhere and change none; the values stand at the first place of their inputs.
LAYOUT = frozenset(
    "BROADCAST_TO EXPAND_DIMS GATHER RESHAPE SLICE SQUEEZE STRIDED_SLICE TILE TRANSPOSE".split()  # noqa: SIM905
)
_SELECT = ("SELECT", "SELECT_V2")
# Where masks meet scores.
MERGING = ("ADD", "SUB", *_SELECT)
# (operator, place of the constant among its inputs)
Root = tuple[int, int]


@dataclass(frozen=True)
class Reach:
    """A softmax behind a mask.

    softmax: the operator's number; of a softmax that is written out, the REDUCE_MAX that it begins with. factor: what
    the mask is multiplied by on the way. terms: tensors that are added on the way, each with its factor.
    """

    softmax: int
    factor: float
    terms: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Merge:
    """Where a mask meets the scores.

    at, position: the operator, and the place of the mask among its inputs. sign: 1 if the mask is added, -1 if it is
    subtracted, 0 if it is selected. roots: the constants that the mask is made of. reaches: every softmax behind it.
    """

    at: int
    position: int
    sign: int
    roots: frozenset[Root]
    reaches: tuple[Reach, ...] = ()


def merges(graph: Graph, least: float = LEAST) -> list[Merge]:
    """Return the places where masks meet scores that go to nothing but softmaxes, in the graph's order.

    least: the least magnitude of a constant that may be one.
    """
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
        else:
            broken |= roots
    complete: list[Merge] = []
    for row in rows:
        reaches = _reaches(graph, graph.result(row.at))
        if reaches:
            complete.append(replace(row, reaches=tuple(reaches)))
        else:
            broken |= row.roots
    return [row for row in complete if row.sign == 0 or not row.roots & broken]


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
    if name == "MUL":
        return is_plain(graph, at)
    if name == "CONCATENATION":
        others = (graph.input(at, position) for position in range(_count(graph, at)) if position not in here)
        return all(_is_zero(graph.constant(other)) for other in others)
    if name in ("MAXIMUM", "MINIMUM"):
        return len(here) == 2
    if name in _SELECT:
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
    if name in _SELECT and position in (1, 2):
        return Merge(at, position, 0, roots)
    if name == "ADD" and is_plain(graph, at):
        return Merge(at, position, 1, roots)
    if name == "SUB" and position == 1 and is_plain(graph, at):
        return Merge(at, position, -1, roots)
    return None


def is_plain(graph: Graph, at: int) -> bool:
    """Whether no activation is fused into an operator."""
    return not getattr(graph.operators[at].builtinOptions, "fusedActivationFunction", 0)


def _reaches(graph: Graph, tensor: int) -> list[Reach] | None:
    """Every softmax that masked scores go to. None if they go anywhere else."""
    if tensor in graph.outputs:
        return None
    readers = graph.readers(tensor)
    if peaks := [at for at, _ in readers if graph.names[at] == "REDUCE_MAX"]:
        rest = [(at, position) for at, position in readers if at not in peaks]
        is_softmax = bool(rest) and all(_is_exponent(graph, at, position) for at, position in rest)
        return [Reach(peaks[0], 1.0)] if is_softmax else None
    found: list[Reach] = []
    for at, position in readers:
        behind = _behind(graph, at, position)
        if behind is None:
            return None
        found += behind
    return found


def _is_exponent(graph: Graph, at: int, position: int) -> bool:
    """Whether an operator takes something off the scores and the rest is an exponent: a softmax is written out."""
    behind = [reader for reader, _ in graph.readers(graph.result(at))]
    is_difference = graph.names[at] == "SUB" and position == 0 and graph.result(at) not in graph.outputs
    return is_difference and bool(behind) and all(graph.names[reader] == "EXP" for reader in behind)


def _behind(graph: Graph, at: int, position: int) -> list[Reach] | None:
    name = graph.names[at]
    if name == "SOFTMAX":
        return [Reach(at, float(graph.operators[at].builtinOptions.beta))]
    if (name in LAYOUT and position == 0) or (name in _SELECT and position > 0) or name == "CONCATENATION":
        return _reaches(graph, graph.result(at))
    other = graph.input(at, 1 - position) if position < 2 else -1
    if not is_plain(graph, at) or other < 0:
        return None
    if name == "ADD" or (name == "SUB" and position == 0):
        return _with_term(_reaches(graph, graph.result(at)), other, 1.0 if name == "ADD" else -1.0)
    scale = graph.constant(other)
    if name in ("MUL", "DIV") and scale is not None and scale.size == 1 and scale.item() > 0:
        if name == "DIV" and position:
            return None
        factor = scale.item() if name == "MUL" else 1 / scale.item()
        behind = _reaches(graph, graph.result(at))
        return None if behind is None else [replace(reach, factor=reach.factor * factor) for reach in behind]
    return None


def _with_term(reaches: list[Reach] | None, tensor: int, sign: float) -> list[Reach] | None:
    if reaches is None:
        return None
    return [replace(reach, terms=(*reach.terms, (tensor, sign * reach.factor))) for reach in reaches]


def softmaxes(rows: list[Merge]) -> Iterator[int]:
    """The softmaxes behind some merges, each once."""
    yield from dict.fromkeys(reach.softmax for row in rows for reach in row.reaches)
