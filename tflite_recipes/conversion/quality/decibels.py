"""Ratios of signal to noise in decibels, for whatever two sums of squares come to."""

from __future__ import annotations

import math

# Identical values have no noise; MLflow's stores take no infinity.
MOST_DB = 200.0


def decibels(signal: float, noise: float) -> float:
    """Return 10 log10(signal / noise) of two sums of squares, within ±200. A noise that is no finite number is −200.

    The logarithms are taken apart: the quotient of a small signal and a large noise is 0 in float64.
    """
    if not math.isfinite(noise):
        return -MOST_DB
    if noise <= 0.0:
        return MOST_DB
    if math.isnan(signal) or signal <= 0.0:
        return -MOST_DB
    if math.isinf(signal):
        return MOST_DB
    return min(max(10.0 * (math.log10(signal) - math.log10(noise)), -MOST_DB), MOST_DB)
