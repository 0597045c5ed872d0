"""From one layer to the next: which ops between them let channels be scaled one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tflite_recipes.backend.converting.equalization.float_graph import Graph, Layer

_ACTIVATION = schema.ActivationFunctionType
_ACTIVATIONS = {number: name for name, number in vars(_ACTIVATION).items() if isinstance(number, int)}
# Calibration sees a part of the data: RELU6 counts as one that never clips only this far below 6. On a MobileNet with
# random statistics, a result that had come to 5.5 on a third of the data went beyond 6 on the rest.
_UNCLIPPED = 0.75 * 6


@dataclass(frozen=True)
class Link:
    """Two layers with `channels` channels between them; element i of the last axis is channel i modulo `channels`.

    offsets: constants that are added on the way, by operator and place among its inputs, scaled like a bias.
    clips: operators whose RELU6 never clips what was calibrated, and becomes RELU.
    """

    first: Layer
    second: Layer
    channels: int
    offsets: tuple[tuple[int, int], ...]
    clips: tuple[int, ...]


def follow(graph: Graph, first: Layer, ranges: Mapping[str, tuple[float, float]]) -> Link | str:
    """The link that begins with a layer, or why there is none."""
    at, channels = first.number, first.outputs
    if graph.last(graph.result(at)) != channels:
        return f"the last axis of its result does not hold its {channels} channels"
    offsets: list[tuple[int, int]] = []
    clips: list[int] = []
    while True:
        if kept := _activation(graph, at, ranges, clips):
            return kept
        tensor = graph.result(at)
        if tensor in graph.outputs:
            return f"{graph.label(tensor)} is an output of the model"
        if len(readers := graph.readers(tensor)) != 1:
            return f"{graph.label(tensor)} is read by {len(readers)} operators"
        at, position = readers[0]
        if graph.is_layer(at):
            second = _second(graph, at, position, channels)
            return Link(first, second, channels, tuple(offsets), tuple(clips)) if isinstance(second, Layer) else second
        passes = _PASSING.get(graph.names[at])
        found = passes(graph, at, position, channels) if passes else None
        if found is None:
            return f"{graph.names[at]} ({graph.label(graph.result(at))}) stands behind it"
        offsets += [(at, place) for place in found]


def _second(graph: Graph, at: int, position: int, channels: int) -> Layer | str:
    found = graph.layer(at)
    if isinstance(found, str):
        return found
    if position != found.data or found.inputs % channels:
        return f"{graph.label(graph.result(at))} does not read it channel by channel"
    return found


def _activation(graph: Graph, at: int, ranges: Mapping[str, tuple[float, float]], clips: list[int]) -> str:
    """Why an operator's activation is not positively homogeneous, f(s·x) = s·f(x) for all s > 0. Empty where it is."""
    fused = getattr(graph.operators[at].builtinOptions, "fusedActivationFunction", _ACTIVATION.NONE)
    name = "RELU6" if graph.names[at] == "RELU6" else _ACTIVATIONS[fused]
    if name in ("NONE", "RELU"):
        return ""
    said, seen = f"{name} ({graph.label(graph.result(at))})", ranges.get(graph.name(graph.result(at)))
    if name != "RELU6":
        return f"{said} is no activation that scales"
    if seen is None:
        return f"{said} clips at 6, and no ranges say that nothing gets there"
    if seen[1] > _UNCLIPPED:
        return f"{said} clips at 6, and the data get to {seen[1]:.3g}"
    clips.append(at)
    return ""


# Each takes a graph, an operator, where it reads the channels, and their number; gives the places of inputs that are
# added to them, mostly none, or None where the operator does not keep the channels apart.
_Passing = Callable[[Graph, int, int, int], "tuple[int, ...] | None"]


def _as_is(graph: Graph, at: int, position: int, channels: int) -> tuple[int, ...] | None:
    return () if position == 0 else None


def _reduction(graph: Graph, at: int, position: int, channels: int) -> tuple[int, ...] | None:
    axes, rank = graph.constant(graph.input(at, 1)), graph.rank(graph.input(at, 0))
    return () if axes is not None and not any(axis % rank == rank - 1 for axis in axes.reshape(-1)) else None


def _padding(graph: Graph, at: int, position: int, channels: int) -> tuple[int, ...] | None:
    sizes, filling = graph.constant(graph.input(at, 1)), graph.constant(graph.input(at, 2))
    if sizes is None or sizes[-1].any() or (graph.names[at] == "PADV2" and (filling is None or filling.any())):
        return None
    return ()


def _batching(graph: Graph, at: int, position: int, channels: int) -> tuple[int, ...] | None:
    blocks = graph.constant(graph.input(at, 1))
    return () if blocks is not None and blocks.size < graph.rank(graph.input(at, 0)) - 1 else None


def _reshape(graph: Graph, at: int, position: int, channels: int) -> tuple[int, ...] | None:
    """Numbers keep their order: the channel stays the place modulo `channels` while the last axis is a multiple."""
    last = graph.last(graph.result(at))
    return () if position == 0 and last is not None and last % channels == 0 else None


def _factor(graph: Graph, at: int, position: int, channels: int) -> tuple[int, ...] | None:
    """Times a constant, or by one."""
    other = _other(graph, at, position)
    return () if other is not None and (position == 0 or graph.names[at] == "MUL") else None


def _offset(graph: Graph, at: int, position: int, channels: int) -> tuple[int, ...] | None:
    """Plus a constant that holds a number for each channel, which is scaled with them."""
    other = _other(graph, at, position)
    last = graph.last(graph.input(at, position))
    return (1 - position,) if other is not None and other.ndim and other.shape[-1] == last else None


def _other(graph: Graph, at: int, position: int) -> Any:
    """The constant operand, where it does not make the last axis longer."""
    other, last = graph.constant(graph.input(at, 1 - position)), graph.last(graph.result(at))
    return other if last is not None and last == graph.last(graph.input(at, position)) else None


_PASSING: dict[str, _Passing] = {
    **dict.fromkeys(("RELU", "RELU6", "LEAKY_RELU", "PRELU", "ABS", "NEG"), _as_is),
    **dict.fromkeys(("MAX_POOL_2D", "AVERAGE_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), _as_is),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"), _reduction),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), _padding),
    **dict.fromkeys(("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"), _batching),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _reshape),
    **dict.fromkeys(("MUL", "DIV"), _factor),
    **dict.fromkeys(("ADD", "SUB"), _offset),
}
