"""Cross-layer range equalization: a float `.tflite` → the same function with channels of like ranges.

A quantized tensor of activations has one scale for all its channels: where they lie decades apart, as in depthwise
networks, the small ones drown. Between two layers with a positively homogeneous activation, dividing a channel in the
first and multiplying what reads it in the second leaves the function as it is. After Nagel et al. 2019, "Data-Free
Quantization Through Weight Equalization and Bias Correction", arXiv 1906.04721, section 4.1.

It is no gain everywhere: a network whose activations are even and whose weights are not may lose by it. What comes of
it is to be measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tflite_recipes.backend.converting import model_objects
from tflite_recipes.backend.converting.equalization import factors
from tflite_recipes.backend.converting.equalization.channel_scaling import Editor
from tflite_recipes.backend.converting.equalization.float_graph import Graph, buffer_uses, to_blocks
from tflite_recipes.backend.converting.equalization.layer_paths import Link, follow


@dataclass(frozen=True)
class Pair:
    """Two layers that were equalized, by the names of their results, and the channels between them.

    before, after: how many times its least range a layer's greatest range is, of the weights that make the channels
    or of those that read them, whichever is more.
    """

    first: str
    second: str
    channels: int
    before: float
    after: float


@dataclass(frozen=True)
class Skipped:
    """A layer that is not scaled against the one behind it, by the name of its result, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Equalized:
    """A file after equalization; that which came in where there was nothing to do.

    unclipped: results whose RELU6 became RELU, because the ranges given say that it never clips: beyond those data
    the function is another there.
    """

    data: bytes
    pairs: tuple[Pair, ...]
    skipped: tuple[Skipped, ...] = ()
    unclipped: tuple[str, ...] = ()


def equalize(data: bytes, ranges: Mapping[str, tuple[float, float]] | None = None) -> Equalized:
    """Scale the channels between consecutive layers of a float file until their weights have like ranges.

    ranges: least and greatest value of tensors by name, as calibrated. They are only needed for RELU6, which stops
    equalization unless its result stays below three quarters of 6. Layers are CONV_2D, DEPTHWISE_CONV_2D,
    FULLY_CONNECTED and TRANSPOSE_CONV with float32 weights of their own. The same bytes and ranges give the same bytes.
    """
    model = model_objects.read(data)
    uses = buffer_uses(model)
    pairs: list[Pair] = []
    skipped: list[Skipped] = []
    unclipped: list[str] = []
    for number in range(len(model.subgraphs)):
        graph = Graph(model, number, uses)
        links, left = _links(graph, ranges or {})
        skipped += left
        pairs += _equalize(graph, links)
        unclipped += [graph.name(graph.result(at)) for link in links for at in link.clips]
    if pairs:
        data = model_objects.write(model)
    return Equalized(data, tuple(pairs), tuple(skipped), tuple(unclipped))


def _links(graph: Graph, ranges: Mapping[str, tuple[float, float]]) -> tuple[list[Link], list[Skipped]]:
    """Links in the graph's order, and the layers with others behind them that begin none."""
    links: list[Link] = []
    skipped: list[Skipped] = []
    leading = graph.leading()
    for at in range(len(graph.operators)):
        if not graph.is_layer(at) or at not in leading:
            continue
        first = graph.layer(at)
        found = first if isinstance(first, str) else follow(graph, first, ranges)
        if isinstance(found, Link):
            links.append(found)
        else:
            skipped.append(Skipped(graph.name(graph.result(at)), found))
    return links, skipped


def _equalize(graph: Graph, links: list[Link]) -> list[Pair]:
    """Scale the links' layers in place."""
    layers = {layer.number: layer for link in links for layer in (link.first, link.second)}
    place = {number: k for k, number in enumerate(layers)}
    chains = [(place[link.first.number], place[link.second.number], link.channels) for link in links]
    before = [factors.extent(b) for b in _blocks(graph, layers)]
    scales = factors.factors(before, chains)
    editor = Editor(graph)
    for link, scale in zip(links, scales, strict=True):
        editor.scale(link, scale)
    after = _blocks(graph, layers)
    return [
        Pair(
            link.first.name,
            link.second.name,
            channels,
            factors.imbalance(before[first], before[second], channels),
            factors.imbalance(after[first], after[second], channels),
        )
        for link, (first, second, channels) in zip(links, chains, strict=True)
    ]


def _blocks(graph: Graph, layers: Mapping[int, Any]) -> list[Any]:
    return [to_blocks(layer, graph.constant(graph.input(at, layer.weights))) for at, layer in layers.items()]
