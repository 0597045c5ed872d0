"""Scores against labels, inputs and the source: known values, what holds for any outputs, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tflite_recipes.conversion.quality import metrics
from tflite_recipes.conversion.quality.metrics import Metric, Scores
from tflite_recipes.core.errors import RequestError

finite = st.floats(-1e3, 1e3, width=32)


def scores(rows=40, classes=8, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, classes)).astype("float32")


def labels(rows=40, classes=8, seed=1):
    return np.random.default_rng(seed).integers(0, classes, rows)


# Against labels


@pytest.mark.slow
def test_classes_are_scored_as_scikit_learn_does():
    from sklearn import metrics as reference

    values, wanted = scores(), labels()
    assert metrics.by_labels(Metric.accuracy, values, wanted, "f") == pytest.approx(
        reference.accuracy_score(wanted, values.argmax(axis=1))
    )
    assert metrics.by_labels(Metric.top5_accuracy, values, wanted, "f") == pytest.approx(
        reference.top_k_accuracy_score(wanted, values, k=5, labels=range(8))
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 7))
def test_the_first_of_the_top_k_is_the_largest_output(seed, k):
    values, wanted = np.round(scores(seed=seed)), labels(seed=seed)  # rounded, so that there are ties
    assert metrics.top_k(values, wanted, k=1) == metrics.accuracy(values, wanted)
    assert metrics.top_k(values, wanted, k=k) >= metrics.accuracy(values, wanted)


def test_five_of_five_classes_say_nothing():
    with pytest.raises(RequestError, match="of 5 classes all are among the first 5") as refused:
        metrics.by_labels(Metric.top5_accuracy, scores(classes=5), labels(classes=5), "f.npz")
    assert refused.value.problems[0].fix == "evaluation.metric=accuracy"


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 3])
def test_numbers_are_scored_as_scikit_learn_does(width):
    from sklearn import metrics as reference

    values, wanted = scores(classes=width), scores(classes=width, seed=5)
    expected = {
        Metric.mean_absolute_error: reference.mean_absolute_error(wanted, values),
        Metric.mean_squared_error: reference.mean_squared_error(wanted, values),
        Metric.root_mean_squared_error: math.sqrt(reference.mean_squared_error(wanted, values)),
        Metric.r2: reference.r2_score(wanted, values),
    }
    for metric, value in expected.items():
        assert metrics.by_labels(metric, values, wanted, "f") == pytest.approx(value)
        assert metrics.higher_is_better(metric) is (metric is Metric.r2)


def test_constant_labels_have_no_r2():
    with pytest.raises(RequestError, match="same for every sample") as refused:
        metrics.by_labels(Metric.r2, scores(classes=1), np.ones(40), "f.npz")
    assert refused.value.problems[0].fix == "evaluation.metric=root_mean_squared_error"


# Against the input


@pytest.mark.slow
def test_the_root_of_reconstruction_errors_is_the_rmse():
    from sklearn import metrics as reference

    original, values = scores(6, 4), scores(6, 4, seed=2)
    errors = metrics.reconstruction_errors(values, original.reshape(6, 2, 2))
    assert errors.shape == (6,)
    assert errors.mean() == pytest.approx(reference.mean_squared_error(original, values))


def test_the_original_is_the_input_of_the_outputs_size():
    inputs = {"flag": np.zeros((6, 1)), "frame": np.zeros((6, 2, 2))}
    assert metrics.original_of("y", np.zeros((6, 4)), inputs) is inputs["frame"]
    with pytest.raises(RequestError, match=r"output y \(3,\) cannot be an input given again"):
        metrics.original_of("y", np.zeros((6, 3)), inputs)


@pytest.mark.slow
@given(hnp.arrays("int64", 12, elements=st.integers(0, 4)), hnp.arrays("int64", 12, elements=st.integers(0, 1)))
def test_the_area_under_the_curve_is_scikit_learns(errors, wanted):
    from sklearn import metrics as reference

    if wanted.min() == wanted.max():
        with pytest.raises(RequestError, match="every label is"):
            metrics.roc_auc(errors, wanted, "f")
    else:
        assert metrics.roc_auc(errors, wanted, "f") == pytest.approx(reference.roc_auc_score(wanted, errors))


# Against the source


def softmax(values):
    shares = np.exp(values - values.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("y", softmax(scores()), True),
        ("y", softmax(scores(classes=2)), True),
        ("y", np.round(softmax(scores()) * 256) / 256, True),  # of an int8 file's own steps
        ("y", scores(), False),
        ("class_logits", scores(), True),
        ("y", softmax(scores())[:, :1], False),
        ("y", softmax(scores()).reshape(40, 2, 4), False),
        ("y", np.ones((40, 2), "float32"), False),
        ("y", np.eye(4, dtype="int64"), False),
    ],
)
def test_what_looks_like_classes(name, values, expected):
    assert metrics.is_classes(name, values) is expected


def test_auto_is_the_metric_that_suits():
    classes, numbers = {"y": softmax(scores())}, {"y": scores()}
    assert metrics.resolve(Metric.auto, classes, True) is Metric.accuracy
    assert metrics.resolve(Metric.auto, {**numbers, "c": classes["y"]}, False) is Metric.top1_agreement
    assert metrics.resolve(Metric.auto, numbers, False) is Metric.range_fidelity
    assert metrics.resolve(Metric.r2, classes, True) is Metric.r2


def test_agreement_is_that_of_the_worst_output_with_classes():
    source = {"one": np.eye(4, dtype="float32"), "two": np.eye(4, dtype="float32"), "box": scores(4, 4)}
    tflite = {"one": source["one"], "two": source["two"][[0, 1, 3, 2]], "box": -source["box"]}
    assert metrics.agreement(source, tflite) == Scores(1.0, 0.5)
    assert metrics.agreement({"one": source["one"]}, tflite) == Scores(1.0, 1.0)


def test_agreement_of_sequences_is_by_place():
    source = {"y": np.eye(4, dtype="float32").reshape(2, 2, 4)}
    assert metrics.agreement(source, {"y": source["y"][:, ::-1]}).tflite == 0.0
    changed = source["y"].copy()
    changed[0, 0] = [0, 0, 0, 1]
    assert metrics.agreement(source, {"y": changed}).tflite == 0.75


def test_agreement_needs_something_to_choose_from():
    with pytest.raises(RequestError) as refused:
        metrics.agreement({"y": np.zeros((4, 1))}, {"y": np.zeros((4, 1))})
    assert refused.value.problems[0].fix == "evaluation.metric=range_fidelity"


def test_fidelity_is_that_of_the_worst_output():
    source = {"a": np.array([[0.0, 10.0]]), "b": np.array([[0.0, 4.0]])}  # 5 and 2 from their means
    tflite = {"a": source["a"] + 1.0, "b": source["b"] + 1.0}
    assert metrics.range_fidelity(source, tflite) == Scores(1.0, 0.5)


def test_small_channels_beside_large_ones_count_by_their_own_range():
    rng = np.random.default_rng(0)
    source = np.stack([rng.uniform(0, 1, 50), rng.uniform(0, 1000, 50)], axis=1).astype("float32")
    lost = source.copy()
    lost[:, 0] = 0.5
    assert metrics.range_fidelity({"y": source}, {"y": lost}).tflite == 0.0
    lost[:, 0] = source[:, 0] + 0.1
    score = metrics.range_fidelity({"y": source}, {"y": lost}).tflite
    assert score == pytest.approx(1 - 0.1 / np.std(source[:, 0]))


# Drops and limits


@pytest.mark.parametrize(
    ("scored", "drop", "relative"),
    [
        (Scores(0.8, 0.6), 0.2, 0.25),
        (Scores(0.5, 0.6, higher_is_better=False), 0.1, 0.2),
        (Scores(-2.0, -3.0), 1.0, 0.5),
        (Scores(0.0, 0.1, higher_is_better=False), 0.1, math.inf),
        (Scores(0.0, 0.0), 0.0, 0.0),
        (Scores(0.6, 0.8), -0.2, -1 / 3),
    ],
)
def test_a_drop_is_how_much_worse_the_file_is(scored, drop, relative):
    assert scored.drop == pytest.approx(drop)
    assert scored.relative_drop == pytest.approx(relative)


def test_no_number_never_passes_and_rounding_always_does():
    assert not metrics.within_limit(math.nan, 0.1)
    assert not metrics.within_limit(Scores(math.nan, 1.0).drop, 1.0)
    assert not metrics.within_limit(Scores(0.0, math.nan).relative_drop, 1.0)
    assert not metrics.within_limit(math.inf, 1e9)
    assert metrics.within_limit(0.9 - 0.8, 0.1)  # 0.09999999999999998
    assert metrics.within_limit(1.0 - 0.9, 0.1 - 1e-17)
    assert not metrics.within_limit(0.1001, 0.1)


@given(hnp.arrays("float32", (6, 3), elements=finite))
def test_what_agrees_with_itself_has_no_drop(values):
    assert metrics.range_fidelity({"y": values}, {"y": values.copy()}).drop == 0.0
    assert metrics.agreement({"y": values}, {"y": values.copy()}).drop == 0.0


# Class by class


def test_recall_by_class():
    source, tflite = np.eye(3)[[0, 0, 1, 1]], np.eye(3)[[0, 1, 1, 1]]
    found = metrics.per_class(source, tflite, np.array([0, 0, 1, 2]))
    assert [(c.number, c.samples, c.source, c.tflite, c.drop) for c in found] == [
        (0, 2, 1.0, 0.5, 0.5),
        (1, 1, 1.0, 1.0, 0.0),
        (2, 1, 0.0, 0.0, 0.0),
    ]


@given(st.integers(0, 2**32 - 1))
def test_recalls_weighted_by_samples_are_the_accuracy(seed):
    one, other, wanted = scores(seed=seed), scores(seed=seed + 1), labels(seed=seed)
    found = metrics.per_class(one, other, wanted)
    assert sum(c.samples for c in found) == 40
    assert sum(c.tflite * c.samples for c in found) / 40 == pytest.approx(metrics.accuracy(other, wanted))
