"""How far each channel between two layers is scaled: numbers alone, no file.

A layer's weights are seen as *blocks*: an array of shape (groups, outputs of a group, inputs of a group, rest). A
dense layer and a plain convolution are one group; a depthwise convolution is a group for each input channel. Output
channel o of group g is number g × outputs + o in all, input channel i number g × inputs + i.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# No channel is scaled further, either way: four decades each is more than weights of a working model lie apart, and
# a channel that is as good as dead must not be blown up, with its bias, to the size of the others.
LIMIT = 1e4
_SWEEPS = 200
_SETTLED = 1e-4


def extent(blocks: Any) -> Any:
    """Greatest magnitude of each pair of channels, as blocks whose rest is 1. float64."""
    return np.abs(blocks).max(axis=3, keepdims=True).astype("float64")


def output_ranges(blocks: Any) -> Any:
    """Greatest magnitude of the weights that make each output channel: (outputs,)."""
    return np.abs(blocks).max(axis=(2, 3)).reshape(-1)


def input_ranges(blocks: Any, channels: int) -> Any:
    """Greatest magnitude of the weights that read each of `channels` channels: (channels,).

    There may be more inputs than channels, by a whole factor, where a picture was flattened: input i reads channel
    i modulo `channels`.
    """
    return np.abs(blocks).max(axis=(1, 3)).reshape(-1, channels).max(axis=0)


def with_outputs_scaled(blocks: Any, scales: Any) -> Any:
    """The blocks with each output channel times its scale."""
    return blocks * scales.reshape(blocks.shape[0], -1, 1, 1)


def with_inputs_scaled(blocks: Any, scales: Any) -> Any:
    """The blocks with what reads each channel times the channel's scale."""
    groups, _, inputs, _ = blocks.shape
    return blocks * np.tile(scales, groups * inputs // len(scales)).reshape(groups, 1, inputs, 1)


def spread(ranges: Any) -> float:
    """Greatest range over the least, dead channels left out. 1 where there are fewer than two."""
    live = ranges[ranges > 0]
    return float(live.max() / live.min()) if len(live) else 1.0


def imbalance(first: Any, second: Any, channels: int) -> float:
    """The larger spread of a pair's two sides: of what makes the channels between them, and of what reads them."""
    return max(spread(output_ranges(first)), spread(input_ranges(second, channels)))


def factors(layers: Sequence[Any], links: Sequence[tuple[int, int, int]]) -> list[Any]:
    """For each link (first layer, second layer, channels between them) what each channel is divided by: (channels,).

    layers: blocks. The first layer's outputs are to be divided by the factors and what reads them in the second one
    multiplied. With r₁ and r₂ the ranges of a channel's weights in the two layers, s = √(r₁ / r₂) makes both √(r₁·r₂)
    (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv 1906.04721,
    equation 11). In longer chains the pairs are gone through until nothing changes: a depthwise layer between two
    others comes to the cube root of the three. A channel that is dead on one side keeps the factor 1.
    """
    extents = [extent(blocks) for blocks in layers]
    total = [np.ones(channels) for _, _, channels in links]
    for _ in range(_SWEEPS):
        furthest = 0.0
        for number, (first, second, _) in enumerate(links):
            step = _step(extents[first], extents[second], total[number])
            total[number] = total[number] * step
            extents[first] = with_outputs_scaled(extents[first], 1 / step)
            extents[second] = with_inputs_scaled(extents[second], step)
            furthest = max(furthest, float(np.abs(np.log(step)).max(initial=0.0)))
        if furthest < _SETTLED:
            break
    return total


def _step(first: Any, second: Any, so_far: Any) -> Any:
    """What a pair's factors are multiplied by in one go, within the limit."""
    made, read = output_ranges(first), input_ranges(second, len(so_far))
    live = (made > 0) & (read > 0)
    wanted = np.sqrt(np.divide(made, read, out=np.ones_like(made), where=live))
    return np.clip(so_far * wanted, 1 / LIMIT, LIMIT) / so_far
