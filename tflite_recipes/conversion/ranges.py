"""How the range of an activation follows from its values on the calibration samples. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

METHODS = ("min_max", "percentile", "mse", "moving_average")
# Bins of a histogram between a tensor's least and greatest value; 2048 as in TensorRT's calibrator is usual.
BINS = 2048
# A range is shrunk to this share of itself at most, in this many steps, while the one of least error is looked for.
_LEAST_SHARE, _STEPS = 0.1, 90
# Half-ranges of fewer samples than this say nothing.
FEWEST = 4


@dataclass(frozen=True)
class RangeChoice:
    """method: min_max, percentile (both tails cut at `percentile`, in percent), mse (the range of least squared error
    of quantized values) or moving_average (each sample's least and greatest value, `smoothing` of the one before)."""

    method: str = "min_max"
    percentile: float = 99.99
    smoothing: float = 0.95


@dataclass(frozen=True)
class Ranges:
    """By tensor name, arrays (samples,) of the least and the greatest value in each sample."""

    least: Mapping[str, Any] = field(default_factory=dict)
    greatest: Mapping[str, Any] = field(default_factory=dict)

    def overall(self) -> dict[str, tuple[float, float]]:
        """Least and greatest value over all samples."""
        return {name: (float(low.min()), float(self.greatest[name].max())) for name, low in self.least.items()}

    def moving_average(self, smoothing: float) -> dict[str, tuple[float, float]]:
        """Exponential moving averages of the samples' least and greatest values, in their order."""
        sides = ((name, low, self.greatest[name]) for name, low in self.least.items())
        return {name: (_averaged(low, smoothing), _averaged(high, smoothing)) for name, low, high in sides}

    def stability(self) -> dict[str, float]:
        """For each tensor how far the ranges of two disjoint halves of the samples agree: the length of what both
        cover over the length of what either covers, 1 where they are the same. Every second sample is of one half, so
        that data in the order of its labels is not called unstable. Empty for fewer than 4 samples."""
        found: dict[str, float] = {}
        for name, low in self.least.items():
            if len(low) < FEWEST:
                continue
            high = self.greatest[name]
            pairs = [(low[half].min(), high[half].max()) for half in (slice(0, None, 2), slice(1, None, 2))]
            either = max(pairs[0][1], pairs[1][1]) - min(pairs[0][0], pairs[1][0])
            both = min(pairs[0][1], pairs[1][1]) - max(pairs[0][0], pairs[1][0])
            found[name] = float(max(both, 0.0) / either) if either > 0 else 1.0
        return found


def _averaged(values: Any, smoothing: float) -> float:
    average = float(values[0])
    for value in values[1:]:
        average = smoothing * average + (1.0 - smoothing) * float(value)
    return average


def with_percentile(counts: Any, low: float, high: float, percentile: float) -> tuple[float, float]:
    """The range between the two tails that hold 100 − `percentile` percent of the values each. `counts`: (bins,)."""
    import numpy as np

    total, width = counts.sum(), (high - low) / len(counts)
    if not total or width <= 0:
        return low, high
    share, tail = np.cumsum(counts) / total, 1.0 - percentile / 100.0
    first = int(np.searchsorted(share, tail, side="right"))
    last = int(np.searchsorted(share, 1.0 - tail, side="left"))
    return low + first * width, low + (min(last, len(counts) - 1) + 1) * width


def with_least_error(counts: Any, low: float, high: float, bits: int, symmetric: bool) -> tuple[float, float]:
    """The range, a shrunk copy of low…high, whose `bits` wide quantization has the least squared error, clipping
    included. `counts`: (bins,) of the values between them."""
    import numpy as np

    width = (high - low) / len(counts)
    if not counts.sum() or width <= 0:
        return low, high
    values = low + (np.arange(len(counts)) + 0.5) * width
    used = counts > 0
    values, weights = values[used], counts[used]
    best, chosen = np.inf, (low, high)
    for share in np.linspace(1.0, _LEAST_SHARE, _STEPS):
        least, greatest = min(low * share, 0.0), max(high * share, 0.0)
        error = float((weights * (values - after_quantizing(values, least, greatest, bits, symmetric)) ** 2).sum())
        if error < best:
            best, chosen = error, (least, greatest)
    return chosen


def after_quantizing(values: Any, low: float, high: float, bits: int, symmetric: bool) -> Any:
    """The values as they come back from `bits` wide integers between low and high, which include 0."""
    import numpy as np

    if symmetric:
        scale = max(abs(low), abs(high)) / (2 ** (bits - 1) - 1)
        least, greatest = -(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1
        return scale * np.clip(np.rint(values / scale), least, greatest)
    scale = (high - low) / (2**bits - 1)
    zero = np.rint(low / scale)
    return scale * np.clip(np.rint(values / scale), zero, zero + 2**bits - 1)
