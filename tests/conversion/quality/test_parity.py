"""How far outputs are from their source's: known values, and what holds for any outputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tflite_recipes.conversion.quality import parity

shapes = hnp.array_shapes(min_dims=2, max_dims=3, max_side=4)
floats = st.floats(width=32, allow_nan=True, allow_infinity=True)
finite = st.floats(-1e6, 1e6, width=32)


def of(source, tflite):
    return parity.measure({"y": np.array(source)}, {"y": np.array(tflite)})


def test_known_values():
    source, tflite = np.array([[0.0, 4.0], [3.0, 0.0]]), np.array([[0.0, 4.0], [2.0, 0.0]])
    found = parity.measure({"logits": source}, {"logits": tflite})
    assert found.max_abs_error == 1.0
    assert found.mean_abs_error == 0.25
    assert found.cosine == pytest.approx(22 / (5 * math.sqrt(20)))
    assert found.sqnr_db == pytest.approx(10 * math.log10(25 / 1))
    assert found.top1_agreement == 1.0
    assert found.relative_error == 0.25
    assert (found.worst_output, found.finite) == ("logits", True)


@pytest.mark.parametrize(
    ("rows", "error", "nothing"),
    [
        ([[1.0, 2.0], [1.0, 2.0]], 0.0, True),
        ([[1.0, 2.0], [1.0, 3.0]], 0.0, False),
        ([[1.0, 2.0], [1.0, 2.0]], 0.1, False),
        ([[1.0, 2.0]], 0.0, False),
    ],
)
def test_equal_outputs_for_every_sample_tell_nothing(rows, error, nothing):
    assert parity.tells_nothing({"y": np.array(rows)}, error) is nothing


@pytest.mark.parametrize(
    ("rows", "constant"),
    [
        ([[1.0, 2.0], [1.0, 2.0]], True),
        ([[1.0, 2.0], [1.0, 2.0 + 1e-7]], True),
        ([[0.0, 0.0], [0.0, 0.0]], True),
        ([[1.0, 2.0], [1.0, 2.1]], False),
        ([[1.0, 2.0]], False),
    ],
)
def test_outputs_that_differ_by_rounding_alone_are_constant(rows, constant):
    assert parity.is_constant({"y": np.array(rows)}) is constant


def test_identical_outputs_are_as_near_as_can_be():
    found = of([[0.25, 0.75]], [[0.25, 0.75]])
    assert found.metrics() == {
        "parity.max_abs_error": 0.0,
        "parity.mean_abs_error": 0.0,
        "parity.cosine": pytest.approx(1.0),
        "parity.sqnr_db": 200.0,
        "parity.top1_agreement": 1.0,
    }


def test_top1_is_the_share_of_samples_whose_largest_class_agrees():
    source, tflite = [[0.0, 1], [1, 0], [1, 0], [0, 1]], [[0.0, 1], [1, 0], [0, 1], [1, 0]]
    assert of(source, tflite).top1_agreement == 0.5
    other = parity.measure({"y": 9 * np.array(source)}, {"y": np.array(tflite)}, logits=["y"])
    assert other.top1_agreement == 0.5


def test_outputs_that_are_no_classes_have_no_largest_one():
    """Two angles are no classes, though one is larger."""
    angles = np.array([[0.3, 1.2], [2.0, -1.0]])
    found = parity.measure({"y": angles}, {"y": angles})
    assert found.top1_agreement is None
    both = parity.measure({"y": angles, "p": np.eye(2)}, {"y": -angles, "p": np.eye(2)})
    assert both.top1_agreement == 1.0


def test_one_number_a_sample_has_no_largest_class():
    found = of([[1.0], [2.0]], [[1.0], [2.0]])
    assert found.top1_agreement is None
    assert "parity.top1_agreement" not in found.metrics()


def test_of_several_outputs_errors_are_over_all_and_the_rest_is_the_worst_ones():
    source = {"far": np.array([[1.0, 0.0]]), "near": np.array([[0.0, 10.0]])}
    tflite = {"near": np.array([[0.0, 9.0]]), "far": np.array([[0.5, 1.0]])}
    found = parity.measure(source, tflite)
    assert found.max_abs_error == 1.0
    assert found.mean_abs_error == pytest.approx((1 + 0.5 + 1) / 4)
    assert found.cosine == parity.measure({"far": source["far"]}, {"far": tflite["far"]}).cosine
    assert found.sqnr_db == pytest.approx(10 * math.log10(1 / 1.25))
    assert found.top1_agreement == 0.0
    assert (found.relative_error, found.worst_output) == (1.0, "far")


def test_integers_and_truth_values_are_compared_as_numbers():
    assert of(np.array([[True, False]]), np.array([[True, True]])).max_abs_error == 1.0
    assert of(np.array([[255]], "uint8"), np.array([[1]], "uint8")).max_abs_error == 254.0


def test_a_file_that_gives_nothing_where_the_source_gives_something():
    found = of([[1.0, -1.0]], [[0.0, 0.0]])
    assert (found.cosine, found.sqnr_db, found.relative_error) == (0.0, 0.0, 0.5)


def test_a_constant_output_is_measured_against_its_own_size():
    assert of([[2.0], [2.0]], [[2.5], [2.5]]).relative_error == 0.25


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_told(bad):
    assert not of([[1.0, 2.0]], [[1.0, bad]]).finite
    assert of([[1.0, bad]], [[1.0, bad]]).finite
    assert of([[1.0, bad]], [[1.0, 0.0]]).finite  # the source's own doing


@given(shapes.flatmap(lambda shape: st.tuples(*[hnp.arrays("float32", shape, elements=floats)] * 2)))
def test_metrics_are_always_numbers_in_their_ranges(pair):
    found = of(*pair)
    assert all(math.isfinite(value) for value in found.metrics().values())
    assert 0 <= found.mean_abs_error <= found.max_abs_error * (1 + 1e-9)
    assert -1 <= found.cosine <= 1
    assert -200 <= found.sqnr_db <= 200
    assert found.top1_agreement is None or 0 <= found.top1_agreement <= 1
    assert found.relative_error >= 0


@given(hnp.arrays("float32", shapes, elements=finite))
def test_an_output_agrees_with_itself(array):
    found = of(array, array.copy())
    assert (found.max_abs_error, found.relative_error, found.sqnr_db) == (0.0, 0.0, 200.0)
    assert found.cosine == pytest.approx(1.0)
    assert found.top1_agreement in (None, 1.0)


@given(hnp.arrays("float32", shapes, elements=finite), st.floats(2.0**-10, 2.0**10))
def test_the_scale_of_the_outputs_does_not_matter_to_what_is_relative(array, factor):
    noisy = array + np.linspace(0, 1, array.size).reshape(array.shape)
    one, other = of(array.astype("float64"), noisy), of(array * np.float64(factor), noisy * factor)
    assert other.cosine == pytest.approx(one.cosine, abs=1e-9)
    assert other.sqnr_db == pytest.approx(one.sqnr_db, abs=1e-6)
    if np.ptp(array) > 1e-6:
        assert other.relative_error == pytest.approx(one.relative_error, rel=1e-6)


@given(hnp.arrays("float32", (3, 4), elements=finite), st.floats(0, 100))
def test_a_larger_error_is_never_a_better_figure(array, error):
    near, far = array.astype("float64"), array.astype("float64")
    near[0, 0] += error
    far[0, 0] += 2 * error
    assert of(array, near).max_abs_error <= of(array, far).max_abs_error
    assert of(array, near).sqnr_db >= of(array, far).sqnr_db


# Channels of different scales


def mixed(rows=30):
    rng = np.random.default_rng(0)
    return (rng.uniform(-1, 1, (rows, 4)) * [1, 500, 2, 700]).astype("float32")


def test_channels_are_grouped_by_the_decade_of_their_range():
    source = mixed()
    noisy = source + np.array([0.5, 0, 0.5, 0], "float32")
    small, large = parity.channel_groups(source, noisy)
    assert (small.channels, large.channels) == ((0, 2), (1, 3))
    assert small.scale == pytest.approx(np.ptp(source[:, 2]))
    assert small.relative_rmse == pytest.approx(0.5 / small.scale, rel=1e-5)
    assert (large.relative_rmse, large.sqnr_db) == (0.0, 200.0)
    found = parity.measure({"y": source}, {"y": noisy})
    assert found.cosine > 0.999  # as a whole it looks fine
    assert found.lost_groups() == {"y": (small,)}
    assert [group["channels"] for group in found.to_json()["y"]["channel_groups"]] == [(0, 2), (1, 3)]


def test_a_group_that_is_well_kept_is_not_lost():
    source = mixed()
    found = parity.measure({"y": source}, {"y": source * np.float32(1.001)})
    assert len(found.groups["y"]) == 2
    assert found.lost_groups() == {}


@pytest.mark.parametrize(
    "source",
    [
        mixed()[:, [0, 2]],  # of one scale
        mixed()[:3],  # too few to tell a range
        np.abs(mixed()) / 1000,  # probabilities
        mixed()[:, :1],
        mixed()[:, 0],
        np.zeros((30, 4), "float32"),
        mixed().astype("int64"),
        np.geomspace(1, 1e6, 8).astype("float32") * mixed(30)[:, :1],  # no gap above ten
    ],
    ids=["one scale", "few", "probabilities", "one channel", "flat", "zeros", "integers", "no gap"],
)
def test_no_groups_where_nothing_is_mixed(source):
    assert parity.channel_groups(source, source) == ()


def test_offsets_do_not_hide_a_small_range_but_constants_have_their_size():
    rng = np.random.default_rng(0)
    source = np.stack([1e3 + rng.uniform(0, 100, 30), rng.uniform(0, 1, 30), np.full(30, 90.0)], axis=1)
    small, large = parity.channel_groups(source.astype("float32"), source.astype("float32"))
    assert (small.channels, large.channels) == ((1, 2), (0,))


@given(hnp.arrays("float32", (5, 4), elements=floats), hnp.arrays("float32", (5, 4), elements=floats))
def test_groups_are_numbers_and_each_channel_is_in_one_at_most(source, tflite):
    groups = parity.channel_groups(source, tflite)
    channels = [channel for group in groups for channel in group.channels]
    assert len(channels) == len(set(channels))
    assert all(math.isfinite(group.relative_rmse) and group.fidelity <= 1.0 for group in groups)
    assert parity.fidelity(source, source) == 1.0
    assert math.isfinite(parity.fidelity(source, tflite))


def explained(source, tflite):
    return parity.fidelity(np.array(source, "float32"), np.array(tflite, "float32"))


def test_fidelity_is_one_less_the_rmse_over_the_deviation_from_the_mean():
    source = np.array([[1.0, 3.0], [5.0, 7.0]])  # mean 4, RMS of the deviation √5
    assert explained(source, source + 1.0) == pytest.approx(1 - 1 / math.sqrt(5))
    assert explained(source, source) == 1.0


def test_fidelity_of_a_constant_output_is_0():
    rng = np.random.default_rng(0)
    source = rng.standard_normal((64, 3)) + np.array([0.0, 10.0, 5.0])
    assert explained(source, np.full((64, 3), source.mean())) == 0.0
    assert explained(source, np.tile(source.mean(axis=0), (64, 1))) == 0.0  # the same for each sample
    assert explained(source, source + 100.0) == 0.0  # never less


def test_fidelity_of_a_ruined_sparse_output_is_low():
    """Note probabilities: most are 0, and a file that finds every second note looks near by the range alone."""
    rng = np.random.default_rng(0)
    source = (rng.uniform(size=(200, 88)) < 0.03).astype("float32")
    half = source * (np.arange(88) % 2)
    assert 1 - parity.relative_rmse(source, half) > 0.85
    assert explained(source, half) == pytest.approx(1 - math.sqrt(0.5), abs=0.03)


def test_fidelity_of_one_constant_counts_by_its_size():
    source = np.full((8, 4), 0.5) + 1e-8 * np.arange(4)
    assert explained(source, source + 0.01) == pytest.approx(0.98)
    assert explained(np.zeros((8, 4)), np.ones((8, 4))) == 0.0
