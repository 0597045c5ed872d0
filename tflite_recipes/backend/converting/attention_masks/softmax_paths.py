"""Where masked scores go: every softmax behind them, and what happens to the scores on the way there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tflite_recipes.backend.converting.attention_masks.mask_ranges import Range, Ranges
from tflite_recipes.backend.converting.equalization.float_graph import Graph

# These place values elsewhere and change none; the values stand at the first place of their inputs.
LAYOUT = frozenset(
    "BROADCAST_TO EXPAND_DIMS GATHER RESHAPE SLICE SQUEEZE STRIDED_SLICE TILE TRANSPOSE".split()  # noqa: SIM905
)
SELECT = ("SELECT", "SELECT_V2")
# A bound that lies so far below is of no use once the mask does not.
_USELESS = -1e3


@dataclass(frozen=True)
class Reach:
    """A softmax behind a mask.

    softmax: the operator's number; of a softmax that is written out, the REDUCE_MAX that it begins with. factor, most:
    the least and the greatest magnitude that the mask is multiplied by on the way. sign: the sign of that factor.
    terms: tensors that are added on the way, each with the sign that it is added with, and what it is multiplied by.
    floors: operators on the way that keep the scores above a constant.
    """

    softmax: int
    factor: float
    most: float
    sign: int = 1
    terms: tuple[tuple[int, int, float, float], ...] = ()
    floors: tuple[int, ...] = ()

    def scaled(self, other: Range) -> Reach | None:
        """Return the reach with a factor before it, None if that may be 0 or has both signs."""
        range_, sign = (other, 1) if other.low > 0 else (other.acting(-1), -1)
        if not 0 < range_.low <= range_.high < float("inf"):
            return None
        return replace(self, factor=self.factor * range_.low, most=self.most * range_.high, sign=self.sign * sign)


def is_plain(graph: Graph, at: int) -> bool:
    """Whether no activation is fused into an operator."""
    return not getattr(graph.operators[at].builtinOptions, "fusedActivationFunction", 0)


def reaches(graph: Graph, tensor: int, ranges: Ranges) -> list[Reach] | None:
    """Return every softmax that masked scores go to. None if they go anywhere else.

    Args:
        graph: The graph.
        tensor: The masked scores.
        ranges: What is known of computed factors. Constants need no range.
    """
    if tensor in graph.outputs:
        return None
    readers = graph.readers(tensor)
    if peaks := [at for at, _ in readers if graph.names[at] == "REDUCE_MAX"]:
        rest = [(at, position) for at, position in readers if at not in peaks]
        is_softmax = bool(rest) and all(_is_exponent(graph, at, position) for at, position in rest)
        return [Reach(peaks[0], 1.0, 1.0)] if is_softmax else None
    found: list[Reach] = []
    for at, position in readers:
        behind = _behind(graph, at, position, ranges)
        if behind is None:
            return None
        found += behind
    return found


def _is_exponent(graph: Graph, at: int, position: int) -> bool:
    """Whether an operator takes something off the scores and the rest is an exponent: a softmax is written out."""
    return graph.names[at] == "SUB" and position == 0 and _only_exponents(graph, graph.result(at))


def _only_exponents(graph: Graph, tensor: int) -> bool:
    behind = [reader for reader, _ in graph.readers(tensor)]
    return tensor not in graph.outputs and bool(behind) and all(graph.names[reader] == "EXP" for reader in behind)


def _behind(graph: Graph, at: int, position: int, ranges: Ranges) -> list[Reach] | None:
    name, result = graph.names[at], graph.result(at)
    if name == "SOFTMAX":
        beta = float(graph.operators[at].builtinOptions.beta)
        return [Reach(at, beta, beta)]
    if name == "LOG_SOFTMAX":  # a logarithm shows how far below a mask lies
        return [Reach(at, 1.0, 1.0)] if _only_exponents(graph, result) else None
    if (name in LAYOUT and position == 0) or (name in SELECT and position > 0) or name == "CONCATENATION":
        return reaches(graph, result, ranges)
    if name == "NEG":
        return _scaled(reaches(graph, result, ranges), Range(-1.0, -1.0, 1.0, False))
    other = graph.input(at, 1 - position) if position < 2 else -1
    if other < 0 or not is_plain(graph, at):
        return None
    if name == "ADD":
        return _with_term(reaches(graph, result, ranges), other, 1)
    if name == "SUB":
        behind = _with_term(reaches(graph, result, ranges), other, 1 if position else -1)
        return _scaled(behind, Range(-1.0, -1.0, 1.0, False)) if position else behind
    if name in ("MAXIMUM", "MINIMUM"):
        return _with_limit(graph, at, other, reaches(graph, result, ranges))
    factor = known(graph, other, ranges)
    if factor is None or (name, position) not in (("MUL", 0), ("MUL", 1), ("DIV", 0)):
        return None
    if name == "DIV":
        if factor.low <= 0 <= factor.high:
            return None
        factor = Range(1 / factor.high, 1 / factor.low, 1 / factor.high, False)
    return _scaled(reaches(graph, result, ranges), factor)


def known(graph: Graph, tensor: int, ranges: Ranges) -> Range | None:
    """Return the range of a float constant, or of a tensor that the samples show."""
    values = graph.constant(tensor)
    if values is None:
        return ranges.get(tensor)
    if values.dtype.kind != "f" or not values.size:
        return None
    return Range(float(values.min()), float(values.max()), 0.0, bool((values == 0).any()))


def _scaled(found: list[Reach] | None, factor: Range) -> list[Reach] | None:
    scaled = [reach.scaled(factor) for reach in found or ()]
    return None if found is None or None in scaled else [reach for reach in scaled if reach is not None]


def _with_term(found: list[Reach] | None, tensor: int, sign: int) -> list[Reach] | None:
    if found is None:
        return None
    return [
        replace(reach, terms=(*reach.terms, (tensor, sign * reach.sign, reach.factor, reach.most))) for reach in found
    ]


def _with_limit(graph: Graph, at: int, bound: int, found: list[Reach] | None) -> list[Reach] | None:
    """Scores that are kept above or below a constant, as they act on the softmax.

    What is kept below a constant lies below it with a bounded mask too, since the mask lies below all scores.
    """
    sign = 1 if graph.names[at] == "MAXIMUM" else -1
    values = graph.constant(bound)
    if not found or values is None or values.dtype.kind != "f" or not sign_of(found):
        return None
    if sign_of(found) != sign:
        return found
    if float((sign * values).max()) > _USELESS:
        return found
    return [replace(reach, floors=(*reach.floors, at)) for reach in found]


def sign_of(found: list[Reach]) -> int:
    """Return the sign that all reaches have, 0 if they differ."""
    signs = {reach.sign for reach in found}
    return signs.pop() if len(signs) == 1 else 0


def softmaxes(found: Iterator[Reach]) -> list[int]:
    """Return the softmaxes of some reaches, each once."""
    return list(dict.fromkeys(reach.softmax for reach in found))
