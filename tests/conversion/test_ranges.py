"""Ranges of activations from their values on the samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tflite_recipes.conversion import ranges
from tflite_recipes.conversion.ranges import Ranges

VALUES = hnp.arrays("float64", st.integers(1, 40), elements=st.floats(-1e3, 1e3))


def measured(low, high):
    return Ranges({"x": np.asarray(low, "float64")}, {"x": np.asarray(high, "float64")})


@given(VALUES)
def test_overall_is_the_least_and_the_greatest(values):
    assert measured(values, values + 1).overall() == {"x": (values.min(), values.max() + 1)}


@given(VALUES, st.floats(0, 1))
def test_a_moving_average_stays_between_what_it_saw(values, smoothing):
    low, high = measured(values, values + 1).moving_average(smoothing)["x"]
    assert values.min() - 1e-6 <= low <= values.max() + 1e-6
    assert high == pytest.approx(low + 1, abs=1e-6)


@pytest.mark.slow
def test_a_moving_average_is_the_quantizers_own():
    from litert_quantizer.utils.qsv_utils import moving_average_update

    lows, highs = [-1.0, -3.0, -2.0], [1.0, 5.0, 2.0]
    state = {}
    for low, high in zip(lows, highs, strict=True):
        state = moving_average_update(state, {"min": np.array(low), "max": np.array(high)}, 0.9)
    assert measured(lows, highs).moving_average(0.9)["x"] == pytest.approx((float(state["min"]), float(state["max"])))


@pytest.mark.parametrize(
    ("low", "high", "stable"),
    [
        ([0, 0, 0, 0], [1, 1, 1, 1], 1.0),
        ([0, 0, 0, 0], [1, 2, 1, 2], 0.5),
        ([0, 5, 0, 5], [1, 6, 1, 6], 0.0),  # nothing in common
        ([3, 3, 3, 3], [3, 3, 3, 3], 1.0),  # a constant
    ],
)
def test_stability_is_what_both_halves_cover_of_what_either_does(low, high, stable):
    assert measured(low, high).stability() == {"x": stable}


def test_too_few_samples_have_no_halves():
    assert measured([0, 0, 0], [1, 1, 1]).stability() == {}


@given(hnp.arrays("int64", ranges.BINS, elements=st.integers(0, 50)), st.floats(90, 100))
def test_a_percentile_cuts_no_more_than_its_tails(counts, percentile):
    low, high = ranges.with_percentile(counts, -1.0, 3.0, percentile)
    assert -1.0 - 1e-9 <= low <= high <= 3.0 + 1e-9
    if counts.sum():
        centres = -1.0 + (np.arange(ranges.BINS) + 0.5) * 4.0 / ranges.BINS
        outside = counts[(centres < low) | (centres > high)].sum() / counts.sum()
        assert outside <= 2 * (1 - percentile / 100) + 1e-9


def test_a_percentile_leaves_an_outlier_out():
    values = np.append(np.random.default_rng(0).uniform(-1, 1, 100_000), 500.0)
    counts = np.histogram(values, ranges.BINS)[0]
    assert ranges.with_percentile(counts, values.min(), values.max(), 99.99)[1] < 2
    assert ranges.with_percentile(counts, values.min(), values.max(), 100.0)[1] == pytest.approx(500.0)


@pytest.mark.parametrize(("bits", "symmetric"), [(8, False), (8, True), (16, True)])
def test_the_range_of_least_error_has_no_more_than_the_whole_range(bits, symmetric):
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=50_000), rng.laplace(size=50_000), rng.uniform(size=50_000)):
        counts = np.histogram(values, ranges.BINS)[0]
        whole = (values.min(), values.max())
        found = ranges.with_least_error(counts, *whole, bits, symmetric)

        def error(limits, values=values):
            kept = ranges.after_quantizing(values, min(limits[0], 0.0), max(limits[1], 0.0), bits, symmetric)
            return ((values - kept) ** 2).mean()

        assert error(found) <= error(whole) * 1.01
        if bits == 8 and values.min() < -6:  # the tails of a Laplace distribution are worth clipping
            assert error(found) < 0.9 * error(whole)


def test_a_constant_tensor_keeps_its_range():
    assert ranges.with_least_error(np.zeros(ranges.BINS), 2.0, 2.0, 8, False) == (2.0, 2.0)
    assert ranges.with_percentile(np.zeros(ranges.BINS), 2.0, 2.0, 99.0) == (2.0, 2.0)
