"""The sample that a run leaves for those who want to see what its model is fed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tflite_recipes.core.state import Intent, State, TensorSpec
from tflite_recipes.files.samples import npz
from tflite_recipes.files.samples.input_example import EXAMPLE, MOST_VALUES, keep_of_evaluation, to_text, write_example

INPUTS = (TensorSpec("x", (None, None, 2), "float32"), TensorSpec("ids", (None, 3), "int32"))


@given(hnp.arrays("float32", (2, 5), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_float32_comes_back_exactly(array):
    (back,) = json.loads(to_text({"x": array})).values()
    np.testing.assert_array_equal(np.array(back, "float32"), array[:1])


def test_the_first_sample_of_every_type_in_few_digits():
    arrays = {
        "image": np.full((4, 1, 2), 0.1, "float32"),
        "flag": np.array([True, False]),
        "count": np.array([[2**40], [1]]),
        "word": np.array([b"gr\xc3\xb6\xc3\x9fer", b"b"], object),
    }
    text = to_text(arrays)
    assert json.loads(text) == {"image": [[[0.1, 0.1]]][0:1], "flag": [True], "count": [[2**40]], "word": ["größer"]}
    assert "0.10000000149" not in text


@pytest.mark.parametrize(
    "arrays",
    [{"x": np.zeros((1, MOST_VALUES + 1), "float32")}, {"x": np.zeros((1, 2), "complex64")}, {"x": np.float32(1)}, {}],
    ids=["long", "complex", "scalar", "none"],
)
def test_there_is_none_where_it_would_be_long_or_no_json(arrays):
    assert to_text(arrays) is None


def state(folder, **fields):
    return State(workdir=folder, intent=Intent(sizes={"x": [9, 7, 2]}), inputs=INPUTS, **fields)


def arrays(value):
    return {"x": np.full((3, 4, 2), value, "float32"), "ids": np.full((3, 3), value, "int32")}


def test_a_calibration_sample_comes_first(tmp_path):
    (tmp_path / "calibration").mkdir()
    folder = npz.save_arrays(tmp_path / "calibration", arrays(5))
    calibrated = state(tmp_path, calibration=folder)
    keep_of_evaluation(calibrated, arrays(6))
    path, what = write_example(calibrated)
    assert what == "first calibration sample"
    assert json.loads(path.read_text())["ids"] == [[5, 5, 5]]


def test_then_an_evaluation_sample(tmp_path):
    keep_of_evaluation(state(tmp_path), arrays(6))
    path, what = write_example(state(tmp_path))
    assert (what, path.name) == ("first evaluation sample", EXAMPLE)
    assert np.shape(json.loads(path.read_text())["x"]) == (1, 4, 2)


def test_then_numbers_that_are_the_same_each_time(tmp_path):
    path, what = write_example(state(tmp_path))
    first = path.read_text()
    path.unlink()
    again, _ = write_example(state(tmp_path))
    assert what.startswith("random numbers")
    assert again.read_text() == first
    assert np.shape(json.loads(first)["x"]) == (1, 7, 2)
    assert np.shape(json.loads(first)["ids"]) == (1, 3)


def test_none_of_a_type_that_numpy_does_not_know(tmp_path):
    odd = State(workdir=tmp_path, inputs=(TensorSpec("x", (None, 2), "bfloat16"),))
    assert write_example(odd) is None
