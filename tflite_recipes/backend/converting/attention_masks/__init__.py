"""Attention masks: a float `.tflite` → the same function with masks that leave the scores their integer scale.

A mask of -1e9 is added to the scores in front of a softmax, or selected in their place. In integers it sets the scale
of the scores: 1e9 / 255, so that all scores are 0. A softmax cannot tell -1e9 from a value that lies about 20 below the
greatest score of a row: exp(-20) is 2e-9.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ai_edge_litert.tools import flatbuffer_utils

from tflite_recipes.backend.converting.attention_masks.mask_bounds import NOTHING_MASKED, Bound, bound
from tflite_recipes.backend.converting.attention_masks.mask_edits import Editor
from tflite_recipes.backend.converting.attention_masks.mask_paths import DEEP, Merge, Root, merges
from tflite_recipes.backend.converting.attention_masks.mask_ranges import Ranges, survey
from tflite_recipes.backend.converting.attention_masks.mask_statistics import Statistics, collect
from tflite_recipes.backend.converting.attention_masks.soft_masks import Way, only_masks
from tflite_recipes.backend.converting.equalization.float_graph import Graph, buffer_uses


@dataclass(frozen=True)
class Mask:
    """A mask: the name of the masked scores, its value, and its bound or, if it has none, why."""

    name: str
    was: float
    value: float | None = None
    reason: str = ""

    @property
    def is_unseen(self) -> bool:
        """Whether the samples mask nothing, so that their ranges leave no room for the mask."""
        return self.reason == NOTHING_MASKED


@dataclass(frozen=True)
class Unbounded:
    """A softmax without a bounded mask: its name, and how far its least value lies below its greatest."""

    name: str
    span: float


@dataclass(frozen=True)
class Bounded:
    """A file with bounded masks, or as it was.

    masks: each place where a mask meets scores. unbounded: the softmaxes without a bounded mask. limits: by input, the
    least and the greatest value that calibration may see of it, because it is a mask.
    """

    data: bytes
    masks: tuple[Mask, ...] = ()
    unbounded: tuple[Unbounded, ...] = ()
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def bounded(self) -> tuple[Mask, ...]:
        """The masks that have a bound."""
        return tuple(mask for mask in self.masks if mask.value is not None)


def find(data: bytes, number: int) -> list[str]:
    """Return the names of the masked scores in subgraph `number` of a float file, without samples to judge them by."""
    graph = _graph(flatbuffer_utils.read_model_from_bytearray(bytearray(data)), number)
    return [graph.name(graph.result(row.at)) for row in merges(graph, DEEP)]


def in_pairs(data: bytes, number: int) -> bytes:
    """Return a float file with a chain of ADDs in place of each ADD_N, which has no integer kernel."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    graph = _graph(model, number)
    editor = Editor(model, number, graph, {})
    for at, op in enumerate(graph.operators):
        if graph.names[at] == "ADD_N" and len(op.inputs) > 1:
            editor.add_pairs(at)
    editor.finish()
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def bound_masks(data: bytes, number: int, activations: Callable[[], Iterable[Mapping[str, Any]]]) -> Bounded:
    """Return a float file whose masks a softmax cannot tell from those of `data`, to 1e-7.

    Args:
        data: the file.
        number: the subgraph.
        activations: gives the float tensors of each batch of samples, by name. It is called if there are masks.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    graph = _graph(model, number)
    ranges = survey(graph, activations())
    rows = merges(graph, ranges=ranges)
    seen = collect(graph, rows, activations()) if rows else Statistics()
    found = _without_mixed(graph, [bound(graph, row, seen) for row in rows])
    masks = tuple(_mask(graph, row, made) for row, made in zip(rows, found, strict=True))
    made = _edited(graph, rows, found)
    unbounded = _unbounded(graph, ranges, made)
    limits = _limits(model, number, made)
    if not [single for single in made if not _is_input(single)]:
        return Bounded(data, masks, unbounded, limits)
    _edit(Editor(model, number, graph, ranges), graph, made)
    return Bounded(bytes(flatbuffer_utils.convert_object_to_bytearray(model)), masks, unbounded, limits)


def _is_input(single: Bound) -> bool:
    return single.soft is not None and single.soft.way is Way.samples


def _without_mixed(graph: Graph, found: list[Bound | str]) -> list[Bound | str]:
    """Leave masks alone that are inputs and are read as something else too."""
    inputs = [single for single in found if isinstance(single, Bound) and _is_input(single)]
    places = frozenset((single.merge.at, single.merge.position) for single in inputs)
    return [
        "the model reads it as something else too"
        if isinstance(single, Bound)
        and single in inputs
        and single.soft is not None
        and not only_masks(graph, single.soft.tensor, places)
        else single
        for single in found
    ]


def _limits(model: Any, number: int, made: list[Bound]) -> dict[str, tuple[float, float]]:
    """The least and the greatest value of each input that is a mask."""
    names = {
        int(port.tensorIndex): bytes(port.name).decode()
        for signature in model.signatureDefs or ()
        if signature.subgraphIndex == number
        for port in signature.inputs
    }
    limits: dict[str, tuple[float, float]] = {}
    for single in made:
        if single.soft is not None and single.soft.way is Way.samples and single.soft.tensor in names:
            name = names[single.soft.tensor]
            low, high = limits.get(name, (0.0, 0.0))
            end = single.value * single.merge.sign * single.soft.factor
            limits[name] = (min(low, end), high) if end < 0 else (low, max(high, end))
    return {name: (low or -math.inf, high or math.inf) for name, (low, high) in limits.items()}


def _edit(editor: Editor, graph: Graph, made: list[Bound]) -> None:
    for single in made:
        if single.merge.sign == 0:
            editor.select(single)
        elif single.soft is not None:
            editor.soften(single)
    added = [single for single in made if single.merge.sign and single.merge.logarithm < 0 and single.soft is None]
    for group in _groups(graph, added):
        editor.add(group)
    depths: dict[int, float] = {}
    for single in made:
        if (at := single.merge.logarithm) >= 0:
            depths[at] = min(depths.get(at, 0.0), single.value)
    for at, depth in depths.items():
        editor.bound_logarithm(at, depth)
    for at in sorted({at for single in made for reach in single.merge.reaches for at in reach.floors}):
        editor.drop(at)
    editor.finish()


def _unbounded(graph: Graph, ranges: Ranges, made: list[Bound]) -> tuple[Unbounded, ...]:
    """The softmaxes that stay with values further apart than integers can hold."""
    bounded = {reach.softmax for single in made for reach in single.merge.reaches}
    found: list[Unbounded] = []
    for at, name in enumerate(graph.names):
        scores = ranges.get(graph.input(at, 0))
        if name in ("SOFTMAX", "LOG_SOFTMAX") and scores is not None and at not in bounded:
            beta = float(getattr(graph.operators[at].builtinOptions, "beta", 1.0))
            found.append(Unbounded(graph.name(graph.result(at)), (scores.high - scores.low) * beta))
    return tuple(found)


def _graph(model: Any, number: int) -> Graph:
    return Graph(model, number, buffer_uses(model))


def _mask(graph: Graph, row: Merge, made: Bound | str) -> Mask:
    name = graph.name(graph.result(row.at))
    return Mask(name, 0.0, reason=made) if isinstance(made, str) else Mask(name, made.was, made.value)


def _edited(graph: Graph, rows: list[Merge], found: list[Bound | str]) -> list[Bound]:
    """The bounds, without those of masks that are computed from a constant of one that has none."""
    kept: set[Root] = set()
    for row, made in zip(rows, found, strict=True):
        if row.sign and (isinstance(made, str) or made.soft is not None):
            kept |= _keys(graph, row)
    bounds = [made for made in found if isinstance(made, Bound)]
    return [made for made in bounds if made.soft is not None or not _keys(graph, made.merge) & kept]


def _keys(graph: Graph, row: Merge) -> set[Root]:
    """What added masks share: the constants that they are computed from, or a constant that is added itself."""
    if row.sign == 0:
        return set()
    tensor = graph.input(row.at, row.position)
    return set(row.roots) if graph.constant(tensor) is None else {(-1, tensor)}


def _groups(graph: Graph, made: list[Bound]) -> list[list[Bound]]:
    """Bounds in groups that share constants."""
    groups: list[tuple[set[Root], list[Bound]]] = []
    for single in made:
        keys, members = _keys(graph, single.merge), [single]
        for other in [group for group in groups if group[0] & keys]:
            groups.remove(other)
            keys, members = keys | other[0], [*other[1], *members]
        groups.append((keys, members))
    return [members for _, members in groups]
