"""Decibels of whatever two sums of squares come to."""

import math

import numpy as np
import pytest

from tflite_recipes.conversion.quality import parity
from tflite_recipes.conversion.quality.decibels import decibels


@pytest.mark.parametrize(
    ("signal", "noise", "expected"),
    [
        *((100.0, 1.0, 20.0), (1.0, 0.0, 200.0), (0.0, 1.0, -200.0), (0.0, 0.0, 200.0), (1e300, 1e-300, 200.0)),
        # The quotient of these is 0 in float64, of which there is no logarithm.
        *((1e-200, 1e200, -200.0), (5e-324, 1.0, -200.0), (1.0, math.inf, -200.0)),
        *((1e300, 1e301, -10.0), (1e-310, 1e-300, -100.0)),
        *((math.inf, 1.0, 200.0), (math.inf, math.inf, -200.0), (math.nan, 1.0, -200.0), (1.0, math.nan, -200.0)),
    ],
)
def test_decibels_of_any_two_sums_are_a_number(signal, noise, expected):
    assert decibels(signal, noise) == pytest.approx(expected)


def test_parity_of_a_vanishing_output_and_an_infinite_one_is_the_least():
    found = parity.measure({"y": np.full((4, 2), 1e-200)}, {"y": np.full((4, 2), np.inf)})
    assert found.sqnr_db == -200.0
