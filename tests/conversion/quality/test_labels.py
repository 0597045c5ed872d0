"""Labels are refused before anything is scored or trained with them."""

import numpy as np
import pytest

from tflite_recipes.conversion.quality.labels import class_numbers, targets
from tflite_recipes.core.errors import RequestError


@pytest.mark.parametrize(
    "labels",
    [[0, 2, 1], [0.0, 2.0, 1.0], [[1, 0, 0], [0, 0, 1], [0, 1, 0]], [[0], [2], [1]], np.array([0, 2, 1], "uint8")],
)
def test_numbers_and_one_hot_rows_are_classes(labels):
    assert class_numbers(labels, 3, 3, "t.npz", "evaluation.labels").tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 3, 1], "label 3 of sample 1"),
        ([0, 1, -1], "label -1 of sample 2"),
        ([0.5, 1, 1], "label 0.5 of sample 0"),
        ([0, float("nan"), 1], "label nan of sample 1"),
        ([0, 1], "2 labels"),
        (["a", "b", "c"], "labels (<U1)"),
        ([[1, 0, 0], [0, 3, 0], [0, 0, 1]], "sample 1 is neither one-hot nor shares"),
        ([[1, 0, 0], [0, 1, 0], [-1, 1, 1]], "sample 2 is neither one-hot nor shares"),
        ([[1, 0, 0], [0, 1, 0], [0.5, float("nan"), 0]], "sample 2 is neither one-hot nor shares"),
    ],
)
def test_what_is_no_class_is_named_with_its_sample(labels, said):
    with pytest.raises(RequestError) as refused:
        class_numbers(labels, 3, 3, "t.npz", "evaluation.labels")
    (problem,) = refused.value.problems
    assert said in problem.what
    assert problem.what.startswith("t.npz: ")
    assert problem.where == "evaluation.labels"


def test_smoothed_rows_are_the_class_of_their_largest_share():
    assert class_numbers([[0.9, 0.05, 0.05], [0.1, 0.1, 0.8]], 3, 2, "t.npz", "k").tolist() == [0, 2]


def test_one_output_means_two_classes():
    assert class_numbers([0, 1], 1, 2, "t.npz", "k").tolist() == [0, 1]
    with pytest.raises(RequestError, match="label 2 of sample 1"):
        class_numbers([0, 2], 1, 2, "t.npz", "k")


def test_targets_have_the_outputs_size_and_are_finite():
    assert targets([1, 2], (2, 1), "t.npz", "k").shape == (2, 1)
    with pytest.raises(RequestError, match=r"labels \(3,\)"):
        targets([1, 2, 3], (2, 1), "t.npz", "k")
    with pytest.raises(RequestError, match="sample 1"):
        targets([1, float("inf")], (2, 1), "t.npz", "k")
