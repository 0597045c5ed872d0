"""What is suspicious about samples: each suspicion fires on its case, and is silent beside it."""

from __future__ import annotations

import numpy as np
import pytest

from tflite_recipes.core.state import State
from tflite_recipes.files.samples import sample_checks


def unsuited(name):
    return False


UNIT = np.random.default_rng(0).random((50, 6)).astype("float32")
IMAGES = np.random.default_rng(1).random((20, 4, 4, 3)).astype("float32")

BYTES = (UNIT * 255).astype("uint8")


def with_one(value, row=7, base=UNIT):
    changed = base.copy()
    changed[row, 0] = value
    return changed


def test_one_value_everywhere():
    assert sample_checks.constant({"x": UNIT, "y": np.zeros((50, 2))}) == [
        "every value of the calibration input 'y' is 0: it says nothing of ranges"
    ]
    assert sample_checks.constant({"x": UNIT, "text": np.array(["a", "a"], object)}) == []


def test_all_samples_alike():
    same = np.repeat(UNIT[:1], 50, axis=0)
    (text,) = sample_checks.alike({"x": same, "y": np.ones((50, 1))})
    assert text.startswith("all 50 calibration samples are the same")
    (text,) = sample_checks.alike({"x": UNIT[:1]})
    assert text.startswith("there is one calibration sample")


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": UNIT},
        {"x": np.repeat(UNIT[:1], 50, axis=0), "y": np.arange(50.0)[:, None]},
        {"x": np.zeros((1, 3))},
        {"x": np.zeros((50, 3))},  # said as one value everywhere
        {"x": with_one(2.0, 49, np.repeat(UNIT[:1], 50, axis=0))},
    ],
)
def test_samples_that_differ_somewhere_are_not_alike(arrays):
    assert sample_checks.alike(arrays) == []


def test_one_outlier_sets_the_range_and_is_named():
    (text,) = sample_checks.outlier({"x": with_one(-1e4)})
    assert text.startswith("sample 7 of the calibration input 'x' reaches 10000, all others stay within 0.99")
    assert text.endswith("one outlier sets the range")
    (text,) = sample_checks.outlier({"x": with_one(1e4)}, "cats/{}.png".format)
    assert text.startswith("cats/7.png of")


def test_a_few_outliers_set_the_range():
    (text,) = sample_checks.outlier({"x": with_one(9e3, 3, with_one(1e4))})
    assert text.startswith("sample 3, sample 7 of the calibration input 'x' reach 10000")


@pytest.mark.parametrize(
    "array",
    [
        UNIT,
        with_one(9.0),  # further than others, but not ten times
        np.concatenate([UNIT[:40], UNIT[40:] * 1e4]),  # a fifth of them is no outlier
        np.eye(50, 6, dtype="float32"),  # most samples are zero
        with_one(1e4)[:8][[0, 1, 7]],  # too few to tell
        (with_one(3.0) * 1000).astype("int32"),
    ],
)
def test_data_without_an_outlier_is_let_be(array):
    assert sample_checks.outlier({"x": array}) == []


@pytest.mark.parametrize("array", [(UNIT * 255).round(), IMAGES * 255])
def test_raw_bytes_against_a_model_that_does_not_scale(array):
    (text,) = sample_checks.raw_pixels({"x": array}, unsuited)
    assert "the calibration input 'x' has values in" in text
    assert "the model begins with no scaling" in text
    assert sample_checks.raw_pixels({"x": array}, lambda name: name == "x") == []


@pytest.mark.parametrize(
    "array",
    [
        UNIT,
        IMAGES,
        (UNIT * 100).round(),  # not beyond 127
        UNIT * 255,  # no whole numbers, no images
        (UNIT * 255).round() - 100,
        (UNIT * 999).round(),
        (UNIT * 255).astype("uint8"),  # the model takes bytes
    ],
)
def test_values_that_are_no_bytes_are_let_be_without_a_look_into_the_model(array):
    def never(name):
        raise AssertionError

    assert sample_checks.raw_pixels({"x": array}, never) == []


@pytest.mark.parametrize(
    ("calibration", "evaluation"), [(UNIT * 255, UNIT), (UNIT, UNIT * 255), (UNIT * 255, UNIT * 2 - 1)]
)
def test_calibration_and_evaluation_of_another_scale(calibration, evaluation):
    (text,) = sample_checks.other_scale({"x": calibration}, {"x": evaluation})
    assert text.startswith("the input 'x' spans ")
    assert "not scaled as the model needs it" in text


@pytest.mark.parametrize(
    ("calibration", "evaluation"),
    [
        (UNIT, UNIT),
        (UNIT * 10, UNIT),
        (UNIT, np.zeros_like(UNIT)),
        ((UNIT * 255).astype("uint8"), UNIT.astype("uint8")),
    ],
)
def test_scales_that_agree_are_let_be(calibration, evaluation):
    assert sample_checks.other_scale({"x": calibration}, {"x": evaluation}) == []


def test_samples_that_are_in_both_are_counted():
    mixed = np.concatenate([UNIT[:12], UNIT[12:] + 1])
    assert sample_checks.overlap({"x": mixed}, {"x": UNIT}) == [
        "12 of 50 calibration samples are evaluation samples as well: what is measured may be better than on new data"
    ]
    (text,) = sample_checks.overlap({"x": mixed[11:]}, {"x": UNIT})
    assert text.startswith("1 of 39 calibration samples is an evaluation sample as well")


def test_samples_that_are_in_one_only_are_let_be():
    assert sample_checks.overlap({"x": UNIT[:25]}, {"x": UNIT[25:]}) == []
    pair = {"x": UNIT, "y": np.arange(50.0)[:, None]}
    assert sample_checks.overlap(pair, {**pair, "y": pair["y"] + 100}) == []  # equal in one input only
    assert sample_checks.overlap({"x": np.array(["a"], object)}, {"x": np.array(["b"], object)}) == []


def test_a_zero_with_a_sign_is_a_zero():
    assert sample_checks.overlap({"x": np.array([[-0.0]])}, {"x": np.array([[0.0]])})


def test_a_run_is_told_of_its_own_samples(tmp_path):
    from tflite_recipes.files.samples import npz

    told = []
    reporter = type("Told", (), {"warn": lambda self, text: told.append(text)})()
    sample_checks.warn_of_evaluation(State(tmp_path), {"x": UNIT}, reporter)
    assert told == []
    folder = npz.save_arrays(tmp_path / "calibration", {"x": UNIT * 255})
    sample_checks.warn_of_evaluation(State(tmp_path, calibration=folder), {"x": UNIT}, reporter)
    assert len(told) == 1
