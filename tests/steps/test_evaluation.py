"""What an evaluation asks and answers: refusals before anything runs, scores, gates, classes, and whole runs."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
from support import keras_models
from support.checkout import first_way, write
from support.reporters import RecordingReporter

from tflite_recipes import api
from tflite_recipes.conversion.quality import metrics
from tflite_recipes.conversion.quality.metrics import Metric
from tflite_recipes.core import schema
from tflite_recipes.core.errors import ExitStatus, RequestError
from tflite_recipes.core.state import Gate, State, TensorSpec
from tflite_recipes.steps import baseline, evaluation, scoring
from tflite_recipes.steps.evaluation import DigitsEvaluation, NpzEvaluation, ParityEvaluation
from tflite_recipes.steps.scoring import Question
from tflite_recipes.steps.source import Source, TFLiteSource

X = TensorSpec("x", (None, 4), "float32")


@dataclass(frozen=True)
class Known(Source):
    """A source with the input x."""

    input_shapes: dict = field(default_factory=dict)

    def inputs(self):
        return (X,)


def npz(**changes):
    first = NpzEvaluation("t.npz", "labels", Metric.auto, None, 0, None)
    return replace(first, **changes)


def said(step):
    return [(problem.where, first_way(problem)) for problem in step.problems({"source": Known()})]


@pytest.fixture
def samples(here):
    """`t.npz` with the input, and several arrays that might be labels."""
    np.savez(
        here / "t.npz",
        x=np.zeros((6, 4), "float32"),
        labels=np.arange(6),
        words=np.array(list("abcdef")),
        maps=np.zeros((6, 2, 3)),
    )
    write(here / "own.py", "def score(outputs, labels):\n    return 1.0\n")
    return here


# Before anything runs


@pytest.mark.parametrize(
    "step",
    [
        npz(),
        npz(metric=Metric.accuracy, max_drop=0.1, relative_drop=True),
        npz(metric=Metric.accuracy, min_score=0.9),
        npz(labels=None),
        npz(labels=None, metric=Metric.reconstruction, output="y"),
        npz(labels="nothing", metric=Metric.top1_agreement),  # labels are not read
        npz(metric=Metric.function, function="own.py:score", higher_is_better=False),
        npz(metric=Metric.function, function="own.py:score", labels=None),
        npz(metric=Metric.mean_absolute_error, labels="maps"),
        ParityEvaluation(4, 0),
        ParityEvaluation(4, 0, Metric.range_fidelity, "y", 0.1),
    ],
)
def test_what_is_in_order(samples, step):
    assert said(step) == []


@pytest.mark.parametrize(
    ("step", "where", "fix"),
    [
        (npz(metric=Metric.function), "evaluation.function", "evaluation.function=my_metric.py:score"),
        (npz(function="own.py:score"), "evaluation.function", "evaluation.metric=function"),
        (
            npz(metric=Metric.function, function="own.py:scor"),
            "evaluation.function",
            "evaluation.function=own.py:score",
        ),
        (
            npz(metric=Metric.function, function="own.py:score", output="y"),
            "evaluation.output",
            "evaluation.output=null",
        ),
        (npz(higher_is_better=False), "evaluation.higher_is_better", "evaluation.higher_is_better=true"),
        (npz(relative_drop=True), "evaluation.relative_drop", "evaluation.max_drop=0.01"),
        (npz(min_score=95.0), "evaluation.min_score", "evaluation.min_score=0.95"),
        (npz(min_score=math.nan), "evaluation.min_score", "evaluation.min_score=null"),
        (
            npz(min_score=-1.0, labels="maps", metric=Metric.mean_squared_error),
            "evaluation.min_score",
            "evaluation.min_score=null",
        ),
        (npz(labels=None, metric=Metric.r2), "evaluation.labels", "evaluation.metric=auto"),
        (npz(labels="words"), "evaluation.labels", "evaluation.labels=labels"),
        (npz(labels="maps"), "evaluation.labels", "evaluation.metric=mean_absolute_error"),
        (ParityEvaluation(4, 0, Metric.accuracy), "evaluation.metric", "evaluation.metric=auto"),
        (ParityEvaluation(4, 0, Metric.function), "evaluation.metric", "evaluation.metric=auto"),
        (ParityEvaluation(4, 0, output="y"), "evaluation.output", "evaluation.output=null"),
    ],
)
def test_what_contradicts_itself_is_said_with_its_fix(samples, step, where, fix):
    assert said(step) == [(where, fix)]


def test_labels_that_are_not_there_may_not_be_needed(samples):
    (problem,) = npz(labels="label").problems({"source": Known()})
    assert problem.fix == "evaluation.labels=labels"
    assert problem.alternatives == ("evaluation.labels=null",)
    (problem,) = npz(labels="label", metric=Metric.accuracy).problems({"source": Known()})
    assert problem.alternatives == ()


def test_digits_are_ten_classes(here):
    assert [p.fix for p in DigitsEvaluation(None, Metric.r2).problems({})] == ["evaluation.metric=accuracy"]
    assert list(DigitsEvaluation(0.1, Metric.top5_accuracy, True).problems({})) == []


def test_an_output_is_looked_for_where_the_source_tells_its_outputs(shared):
    source = TFLiteSource(str(shared / "models" / "no.tflite"))
    assert (
        list(ParityEvaluation(4, 0, max_drop=0.1, output="y").problems({"source": source})) == []
    )  # said by the source
    step = ParityEvaluation(4, 0, max_drop=0.1, output="y")
    assert list(step.problems({"source": source})) == []  # said by the source
    assert list(step.problems({"source": Known()})) == []


# Scores and gates, of outputs that are made up


def told(here, source, tflite, question, inputs=None):
    """What is reported of these outputs."""
    specs = tuple(TensorSpec(name, (None, *values.shape[1:]), "float32") for name, values in source.items())
    reporter = RecordingReporter()
    state = State(here, inputs=(X,), outputs=specs)
    samples = baseline.same(inputs or {"x": np.zeros((len(next(iter(source.values()))), 4))})
    outputs = SimpleNamespace(source=source, tflite=tflite)
    evaluation.score_outputs(state, samples, question, reporter, lambda *_: outputs)
    return reporter


def one_hot(classes, width=3):
    return np.eye(width, dtype="float32")[classes]


def test_table_of_classes_that_cannot_be_written_leaves_the_gate_to_its_answer(here):
    (here / "per_class.csv").mkdir()
    labels = np.repeat([0, 1, 2], 20)
    found = told(
        here, {"y": one_hot(labels)}, {"y": one_hot(labels)}, Question("t.npz", labels, Metric.auto, max_drop=0.02)
    )
    assert [(problem.where, judges) for problem, judges in found.failures] == [("evaluation", False)]
    assert found.gates == [Gate("evaluation.max_drop", 0.0, 0.02, True)]
    assert found.metrics["accuracy.worst_class_drop"] == 0.0


def test_accuracy_is_gated_and_classes_are_told(here):
    labels = np.repeat([0, 1, 2], 20)
    guessed = labels.copy()
    guessed[20:26] = 0
    question = Question("t.npz", labels, Metric.auto, max_drop=0.02)
    found = told(here, {"y": one_hot(labels)}, {"y": one_hot(guessed)}, question)
    assert found.params["accuracy.metric"] == "accuracy"
    assert found.metrics == {
        "accuracy.source": 1.0,
        "accuracy.tflite": 0.9,
        "accuracy.drop": pytest.approx(0.1),
        "accuracy.worst_class_drop": pytest.approx(0.3),
    }
    assert found.gates == [Gate("evaluation.max_drop", pytest.approx(0.1), 0.02, False)]
    assert found.warnings == [
        "class 1: of 20 samples 70.0% are recognised, by the source 100.0%; per_class.csv has all classes"
    ]
    rows = list(csv.DictReader((here / "per_class.csv").open(encoding="utf-8")))
    assert [row["class"] for row in rows] == ["1", "0", "2"]
    assert rows[0] == {
        "class": "1",
        "samples": "20",
        "source_recall": "1.000000",
        "tflite_recall": "0.700000",
        "drop": "0.300000",
    }


@pytest.mark.parametrize(("wrong", "samples", "limit"), [(2, 20, None), (6, 9, None), (6, 20, 0.2)])
def test_a_class_that_loses_little_or_is_small_or_was_given_up_is_no_warning(here, wrong, samples, limit):
    labels = np.repeat([0, 1, 2], samples)
    guessed = labels.copy()
    guessed[samples : samples + wrong] = 0
    question = Question("t.npz", labels, Metric.accuracy, max_drop=limit)
    assert told(here, {"y": one_hot(labels)}, {"y": one_hot(guessed)}, question).warnings == []


@pytest.mark.parametrize(("samples", "limit", "relative"), [(299, 0.01, False), (10, 0.2, True), (100, 0.0, False)])
def test_few_samples_do_not_tell_a_small_drop(here, samples, limit, relative):
    labels = np.arange(samples) % 3
    outputs = {"y": one_hot(labels)}
    question = Question("t", labels, Metric.auto, max_drop=limit, relative_drop=relative)
    found = told(here, outputs, outputs, question).warnings
    if not limit:  # whose limit is no drop at all knows what is counted
        assert found == []
        return
    assert found == [
        f"{samples} samples are few for a drop of {limit:g}: though none of them were lost, "
        f"{3 / samples:.0%} of others might be; {round(3 / limit)} would tell"
    ]
    enough = np.arange(round(3 / limit)) % 3
    outputs = {"y": one_hot(enough)}
    assert told(here, outputs, outputs, replace(question, labels=enough)).warnings == []
    values = replace(question, metric=Metric.range_fidelity)
    assert told(here, {"y": one_hot(labels)}, {"y": one_hot(labels)}, values).warnings == []


def test_top5_stands_beside_the_accuracy_of_many_classes(here):
    labels = np.arange(12)
    outputs = {"y": one_hot(labels, 12)}
    found = told(here, outputs, outputs, Question("t", labels, Metric.accuracy))
    assert (found.metrics["accuracy.top5_source"], found.metrics["accuracy.top5_tflite"]) == (1.0, 1.0)
    few = told(here, {"y": one_hot([0, 1])}, {"y": one_hot([0, 1])}, Question("t", [0, 1], Metric.auto))
    assert "accuracy.top5_source" not in few.metrics


@pytest.mark.parametrize(
    ("right", "samples", "width", "warned"),
    [
        (36, 360, 10, True),  # exactly 1/classes
        (47, 360, 10, True),  # 0.1 + 2 × 0.0158
        (48, 360, 10, False),
        (2, 360, 10, True),  # worse than a guess: classes in another order
        (60, 100, 2, True),
        (61, 100, 2, False),
        (3, 3, 2, False),  # a perfect score on so few may be a guess, and is no alarm
    ],
)
def test_a_source_at_chance_level_is_warned_of(here, right, samples, width, warned):
    labels = np.arange(samples) % width
    outputs = {"y": one_hot(np.where(np.arange(samples) < right, labels, (labels + 1) % width), width)}
    for limit in (None, 0.02):
        found = told(here, outputs, outputs, Question("t", labels, Metric.accuracy, max_drop=limit))
        assert found.metrics["accuracy.source"] == right / samples
        alarms = [warning for warning in found.warnings if "guessing scores" in warning]
        assert len(alarms) == warned


def test_chance_of_other_metrics():
    values, labels = np.zeros((400, 10), "float32"), np.arange(400) % 2
    assert metrics.chance(Metric.top5_accuracy, values, labels) == (0.5, pytest.approx(0.025))
    assert metrics.chance(Metric.anomaly_auc, values, labels) == (0.5, pytest.approx((401 / (12 * 200 * 200)) ** 0.5))
    assert metrics.chance(Metric.accuracy, values[:, :1], labels) == (0.5, pytest.approx(0.025))
    assert metrics.chance(Metric.r2, values, labels) is None


@pytest.mark.parametrize(
    ("metric", "limit", "passed"),
    [
        (Metric.accuracy, 0.9, True),
        (Metric.accuracy, 0.91, False),
        (Metric.mean_absolute_error, 0.07, True),  # less is better
        (Metric.mean_absolute_error, 0.06, False),
        (Metric.top1_agreement, 0.9, True),
        (Metric.top1_agreement, 0.95, False),
    ],
)
def test_min_score_is_a_gate_on_the_file_alone(here, metric, limit, passed):
    classes = np.arange(30) % 3
    guessed = np.where(np.arange(30) < 3, (classes + 1) % 3, classes)
    labels = one_hot(classes) if metric is Metric.mean_absolute_error else classes
    source = {"y": one_hot(classes)}
    found = told(here, source, {"y": one_hot(guessed)}, Question("t", labels, metric, min_score=limit))
    (gate,) = found.gates
    higher = metric is not Metric.mean_absolute_error
    score = pytest.approx(0.9 if higher else 0.2 / 3)
    assert gate == Gate("evaluation.min_score", score, limit, passed, at_least=higher)


def test_a_score_that_is_no_number_reaches_no_limit():
    assert not metrics.reaches(math.nan, 0.0, True)
    assert not metrics.reaches(math.nan, 9.0, False)


@pytest.mark.parametrize(("limit", "relative", "passed"), [(0.5, False, False), (0.5, True, True), (0.2, True, False)])
def test_a_relative_drop_is_a_share_of_the_sources_score(here, limit, relative, passed):
    source = {"y": np.array([[2.0], [-2.0]])}
    tflite = {"y": np.array([[2.6], [-2.6]])}
    question = Question("t", [[0.0], [0.0]], Metric.mean_absolute_error, None, limit, relative)
    found = told(here, source, tflite, question)
    assert found.metrics["accuracy.drop"] == pytest.approx(0.6)
    (gate,) = found.gates
    assert (gate.measured, gate.passed) == (pytest.approx(0.3 if relative else 0.6), passed)
    assert ("accuracy.relative_drop" in found.metrics) is relative


def test_without_labels_the_source_is_the_measure(here):
    classes = {"y": one_hot([0, 1, 2, 2])}
    found = told(here, classes, {"y": one_hot([0, 1, 2, 1])}, Question("t", None, Metric.auto, max_drop=0.3))
    assert found.params["accuracy.metric"] == "top1_agreement"
    assert (found.metrics["accuracy.source"], found.metrics["accuracy.tflite"]) == (1.0, 0.75)
    assert [gate.passed for gate in found.gates] == [True]
    numbers = {"y": np.array([[0.0], [10.0], [4.0]])}
    found = told(here, numbers, {"y": numbers["y"] + 1}, Question("t", None, Metric.auto, max_drop=0.05))
    assert found.params["accuracy.metric"] == "range_fidelity"
    assert found.metrics["accuracy.tflite"] == pytest.approx(1 - 1 / np.std([0.0, 10.0, 4.0]))
    assert [gate.passed for gate in found.gates] == [False]


def test_the_output_that_is_named_is_scored(here):
    source = {"one": one_hot([0, 1]), "two": one_hot([0, 1])}
    tflite = {"one": one_hot([1, 0]), "two": one_hot([0, 1])}
    first = told(here, source, tflite, Question("t", [0, 1], Metric.accuracy))
    assert first.metrics["accuracy.tflite"] == 0.0
    assert first.warnings == ["labels are held against the first output, one; parity covers two too"]
    named = told(here, source, tflite, Question("t", [0, 1], Metric.accuracy, "two"))
    assert (named.metrics["accuracy.tflite"], named.warnings) == (1.0, [])
    agreeing = told(here, source, tflite, Question("t", None, Metric.top1_agreement, "two"))
    assert (agreeing.metrics["accuracy.tflite"], agreeing.warnings) == (1.0, [])
    assert told(here, source, tflite, Question("t", None, Metric.auto)).metrics["accuracy.tflite"] == 0.0
    with pytest.raises(RequestError) as refused:
        told(here, source, tflite, Question("t", None, Metric.auto, "twos"))
    (problem,) = refused.value.problems
    assert (problem.fix, problem.alternatives) == ("evaluation.output=two", ("evaluation.output=one",))


def test_outputs_that_are_no_classes_are_not_left_out_silently(here):
    outputs = {"kind": one_hot([0, 1]), "box": np.array([[1.0, 5.0], [2.0, 3.0]])}
    (warning,) = told(here, outputs, outputs, Question("t", None, Metric.auto)).warnings
    assert warning.startswith("top1_agreement is that of kind; box is in parity alone")


@pytest.mark.parametrize(
    ("metric", "labels", "fix"),
    [
        (Metric.auto, [[0.5, 0.1, 0.2], [1.5, 0, 0]], "evaluation.metric=mean_absolute_error"),
        (Metric.auto, [0, 7], ""),
        (Metric.mean_squared_error, [0, 1], "evaluation.metric=accuracy"),
        (Metric.mean_squared_error, [0, 1, 2], ""),
    ],
)
def test_labels_of_another_kind_are_told_their_metric(here, metric, labels, fix):
    outputs = {"y": np.array([[0.5, 0.25, 0.5], [1.5, 0.0, 0.0]])}
    with pytest.raises(RequestError) as refused:
        told(here, outputs, outputs, Question("t", labels, metric))
    (problem,) = refused.value.problems
    assert (problem.where, problem.fix) == ("evaluation.labels", fix)


@pytest.mark.parametrize(
    ("kind", "old"),
    [
        (ParityEvaluation, {"samples": 4, "seed": 0}),
        (
            NpzEvaluation,
            {"path": "t.npz", "labels": "l", "metric": "accuracy", "samples": None, "seed": 0, "max_drop": 0},
        ),
        (DigitsEvaluation, {"max_drop": 0.02}),
    ],
)
def test_recipes_of_before_still_mean_the_same(samples, kind, old):
    step, problems = schema.build(kind, old, "evaluation")
    assert problems == []
    assert schema.section_of(step).items() >= old.items()


def test_outputs_are_held_against_their_input(here):
    inputs = {"x": np.array([[1.0, 2], [3, 4], [5, 6], [7, 8]])}
    source, tflite = {"y": inputs["x"] + 1}, {"y": inputs["x"] * [[1], [1], [1], [2]]}
    found = told(here, source, tflite, Question("t", None, Metric.reconstruction), inputs)
    assert found.metrics["accuracy.source"] == 1.0
    assert found.metrics["accuracy.drop"] == pytest.approx(math.sqrt((49 + 64) / 8) - 1)
    found = told(here, tflite, tflite, Question("t", [0, 0, 0, 1], Metric.anomaly_auc), inputs)
    assert found.metrics["accuracy.tflite"] == 1.0


# A function of the user's


def by_function(here, text, **more):
    write(here / "own.py", text)
    outputs = {"one": one_hot([0, 1]), "two": one_hot([1, 1])}
    other = {"one": one_hot([0, 1]), "two": one_hot([1, 0])}
    question = Question("t", {"a": np.array([0, 1])}, Metric.function, function="own.py:score", **more)
    return told(here, outputs, other, question)


def test_a_function_scores_all_outputs_with_its_first_figure(here):
    text = (
        "def score(outputs, labels):\n"
        "    right = (outputs['two'].argmax(axis=1) != labels['a']).mean()\n"
        "    return {'mine': right, 'other figure!': outputs['one'].sum()}\n"
    )
    found = by_function(here, text, max_drop=0.1, higher_is_better=False)
    assert found.params["accuracy.metric"] == "own.py:score"
    assert found.metrics == {
        "accuracy.source": 0.5,
        "accuracy.tflite": 1.0,
        "accuracy.drop": 0.5,
        "accuracy.other figure__source": 2.0,
        "accuracy.other figure__tflite": 2.0,
    }
    assert found.gates == [Gate("evaluation.max_drop", 0.5, 0.1, False)]
    assert found.tags["tflite_recipes.metric"].startswith("own.py:score sha256:")
    assert [path.rpartition("/")[2] for path in found.kept] == ["own.py"]


def test_no_number_fails_the_gate(here):
    found = by_function(here, "def score(outputs, labels):\n    return float('nan')\n", max_drop=9.0)
    assert [gate.passed for gate in found.gates] == [False]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("def score(outputs, labels):\n    return 'good'\n", "gave good (str), not a number"),
        ("def score(outputs, labels):\n    return {}\n", "gave {} (dict), not a number"),
        (
            "def score(outputs, labels):\n    return outputs['three']\n",
            "raised KeyError at line 2 of own.py: the key 'three' is missing",
        ),
        ("def score(outputs):\n    return 1.0\n", "takes (outputs), and is called with 2 values"),
        ("import sys\n\n\ndef score(outputs, labels):\n    sys.exit(3)\n", "raised SystemExit"),
        ("score = 3\n", "is int, not a function"),
        ("import nowhere_to_be_found\n", "cannot be imported"),
        ("1 / 0\n", "cannot be imported: ZeroDivisionError at line 1 of own.py"),
        ("import random\ndef score(o, l):\n    return {str(random.random()): 1}\n", "for the source, and"),
    ],
)
def test_a_function_that_gives_no_number_is_said_in_a_line(here, text, what):
    with pytest.raises(RequestError) as refused:
        by_function(here, text)
    (problem,) = refused.value.problems
    assert problem.where == "evaluation.function"
    assert what in problem.what


def test_labels_of_a_function_may_be_one_array():
    assert scoring.called(lambda outputs, labels: labels.sum(), "f", {}, np.ones(3)) == {"score": 3.0}


# Whole runs


def ran(*overrides):
    return api.run("convert", [*overrides, "tracking=none", "conversion.fallback=[]"], progress=False)


@pytest.fixture(scope="module")
def scales(tmp_path_factory):
    """A model whose output mixes scales: two channels in 0…1 beside two that are a thousand times as large, and
    samples without labels."""
    import keras

    folder = tmp_path_factory.mktemp("scales")
    keras.utils.set_random_seed(0)
    x = keras.Input((4,), name="x")
    small = keras.layers.Dense(2, use_bias=False)(x)
    large = keras.layers.Rescaling(1e3)(keras.layers.Dense(2, use_bias=False)(x))
    keras.Model(x, keras.layers.Concatenate(name="mixed")([small, large])).save(folder / "model.keras")
    np.savez(folder / "t.npz", x=np.random.default_rng(0).uniform(-1, 1, (100, 4)).astype("float32"))
    return ["source=keras", f"source.path={folder / 'model.keras'}", f"calibration.path={folder / 't.npz'}"]


INTEGER = ["calibration=npz", "optimization=integer_only"]


@pytest.mark.slow
def test_lost_values_end_a_run_without_a_gate_and_fail_one_with_it(here, scales):
    plain = ran(*scales, *INTEGER, "evaluation.samples=64")
    assert plain.status == ExitStatus.FAILED
    assert "values are the same for every sample" in plain.problems[0].what
    gated = ran(*scales, *INTEGER, "evaluation.samples=64", "evaluation.max_drop=0.01")
    assert gated.status == ExitStatus.GATE
    assert gated.path.is_file()
    assert gated.tags["tflite_recipes.outcome"] == "gate_failed"
    gates = {gate.name: gate for gate in gated.gates}
    assert (gates["evaluation.collapsed"].measured, gates["evaluation.collapsed"].passed) == (0.5, False)
    assert not gates["evaluation.max_drop"].passed
    assert gated.metrics["accuracy.source"] == 1.0
    assert gated.metrics["accuracy.tflite"] < 0.9
    figures = json.loads((gated.output_dir / "parity.json").read_text())["mixed"]
    assert figures["cosine"] > 0.99
    small, large = figures["channel_groups"]
    assert (small["channels"], large["channels"]) == ([0, 1], [2, 3])
    assert small["fidelity"] < 0.9 < large["fidelity"]
    assert figures["without_delegates"]["samples"] == 64
    assert any("channels 0, 1 of range" in warning for warning in gated.warnings)
    assert gated.metrics["parity.without_delegates_cosine"] == pytest.approx(gated.metrics["parity.cosine"], abs=1e-3)


@pytest.mark.slow
def test_lost_values_of_dynamic_range_name_a_scheme_that_keeps_them(here, tmp_path):
    import keras

    x = keras.Input((32,), name="x")
    model = keras.Model(x, keras.layers.Dense(32, use_bias=False, name="y")(x))
    model.layers[-1].set_weights([np.eye(32, dtype="float32")])
    model.save(tmp_path / "model.keras")
    # A row has one scale while it is multiplied, and the first of its values sets it.
    values = np.random.default_rng(0).uniform(-1, 1, (64, 32)).astype("float32")
    values[:, 0] = 1e4
    np.savez(tmp_path / "t.npz", x=values)
    data = ["calibration=npz", f"calibration.path={tmp_path / 't.npz'}"]
    result = ran("source=keras", f"source.path={tmp_path / 'model.keras'}", *data, "optimization=dynamic_range")
    assert result.status == ExitStatus.FAILED
    assert [(problem.where, problem.fix) for problem in result.problems] == [("output y", "optimization=none")]


@pytest.fixture(scope="module")
def constant(tmp_path_factory):
    """A model whose output does not depend on its input."""
    import keras

    path = tmp_path_factory.mktemp("constant") / "model.keras"
    x = keras.Input((4,), name="x")
    classes = keras.layers.Dense(3, kernel_initializer="zeros", activation="softmax", name="y")
    model = keras.Model(x, classes(x))
    classes.bias.assign([0.3, 1.0, -0.5])
    model.save(path)
    beside = keras.layers.Dense(2, name="beside")(x)
    keras.Model(x, [classes(x), beside]).save(path.with_name("two.keras"))
    return ["source=keras", f"source.path={path}"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("evaluation.max_drop=0.01",),
        (
            "evaluation.metric=range_fidelity",
            "evaluation.min_score=0.5",
            "calibration=random",
            "optimization=full_integer",
        ),
        (
            "evaluation.max_drop=0.01",
            "optimization=auto",
            "optimization.schemes=[none,float16]",
            "optimization.max_runs=2",
        ),
    ],
)
def test_gates_without_labels_on_a_source_that_is_constant_are_not_evaluated(here, constant, overrides):
    result = ran(*constant, *overrides)
    assert (result.outcome, result.status) == ("not_evaluated", ExitStatus.FAILED)
    assert result.path.is_file()
    assert not result.gates
    assert "accuracy.tflite" not in result.metrics
    problem = result.problems[-1]
    assert (problem.where, problem.fix) == ("evaluation", "")
    assert problem.alternatives[0].startswith("evaluation=npz evaluation.path=FILE.npz ")


@pytest.mark.slow
def test_output_of_classes_that_is_constant_beside_another_is_judged_by_range_fidelity(here, constant):
    source = [text.replace("model.keras", "two.keras") for text in constant]
    agreement = ran(*source, "evaluation.max_drop=0.01", "evaluation.metric=top1_agreement")
    assert (agreement.outcome, agreement.gates) == ("not_evaluated", ())
    assert ran(*source, "evaluation.max_drop=0.01", "evaluation.metric=range_fidelity").outcome == "passed"


@pytest.mark.slow
def test_labels_judge_a_source_that_is_constant(here, constant, tmp_path):
    x, labels = np.random.default_rng(0).uniform(size=(20, 4)).astype("float32"), np.ones(20, "int64")
    np.savez(tmp_path / "t.npz", x=x, labels=labels)
    data = ["evaluation=npz", f"evaluation.path={tmp_path / 't.npz'}", "evaluation.max_drop=0.0"]
    result = ran(*constant, *data)
    assert (result.outcome, result.metrics["accuracy.tflite"]) == ("passed", 1.0)


@pytest.mark.slow
def test_a_float_file_of_the_same_passes_without_labels(here, scales):
    result = ran(*scales[:2], "evaluation.max_drop=0.001")
    assert result.status == ExitStatus.DONE, result.problems
    assert result.metrics["accuracy.tflite"] == pytest.approx(1.0, abs=1e-5)
    assert result.warnings == ()


@pytest.mark.slow
def test_parity_alone_is_not_scored_unless_asked(here, tmp_path):
    keras_models.write("cnn", tmp_path)
    source = ["source=keras", f"source.path={tmp_path / 'model.keras'}"]
    assert "accuracy.tflite" not in ran(*source).metrics
    assert ran(*source, "evaluation.metric=top1_agreement").metrics["accuracy.tflite"] == 1.0
    refused = ran(*source, "evaluation.output=nothing", "evaluation.max_drop=0")
    assert (refused.status, refused.outcome) == (ExitStatus.FAILED, "not_evaluated")
    assert refused.path.is_file()
    assert refused.problems[0].fix == "evaluation.output=scores"


@pytest.mark.slow
def test_the_wake_word_model_keeps_its_accuracy(here, shared):
    data = np.load(shared / "models" / "str_ww_calibration.npz")
    np.savez(here / "t.npz", input_1=data["specs"].astype("float32"), labels=data["labels"])
    write(
        here / "own.py",
        "def score(outputs, labels):\n"
        "    (scores,) = outputs.values()\n"
        "    return {'right': (scores.argmax(axis=1) == labels).mean(), 'surest': scores.max()}\n",
    )
    common = ["source=keras", f"source.path={shared / 'models' / 'str_ww.h5'}", *INTEGER, "calibration.path=t.npz"]
    labelled = ran(*common, "evaluation=npz", "evaluation.path=t.npz", "evaluation.max_drop=0.01")
    assert labelled.status == ExitStatus.DONE, labelled.problems
    assert labelled.metrics["accuracy.source"] == pytest.approx(0.9111, abs=1e-3)
    assert labelled.metrics["accuracy.drop"] <= 0.01
    rows = list(csv.DictReader((labelled.output_dir / "per_class.csv").open(encoding="utf-8")))
    assert sorted(row["class"] for row in rows) == ["0", "1", "2"]
    assert {row["samples"] for row in rows} == {"15"}
    own = ["evaluation.metric=function", "evaluation.function=own.py:score", "evaluation.max_drop=0.01"]
    scored = ran(*common, "evaluation=npz", "evaluation.path=t.npz", *own)
    assert scored.metrics["accuracy.source"] == labelled.metrics["accuracy.source"]
    assert 0.3 < scored.metrics["accuracy.surest_tflite"] <= 1.0
    assert (scored.output_dir / "own.py").is_file()
    free = ran(*common, "evaluation=npz", "evaluation.path=t.npz", "evaluation.labels=null", "evaluation.max_drop=0.05")
    assert free.metrics["accuracy.source"] == 1.0
    assert free.metrics["accuracy.tflite"] >= 0.95


@pytest.mark.slow
def test_the_autoencoder_tells_anomalies_as_before(here, shared):
    rng = np.random.default_rng(0)
    frames = rng.normal(-6, 1, (60, 640)).astype("float32")
    frames[40:] += rng.normal(0, 4, (20, 640))
    np.savez(here / "t.npz", input_1=frames, labels=np.arange(60) >= 40)
    common = ["source=keras", f"source.path={shared / 'models' / 'ad01.h5'}", *INTEGER, "calibration.path=t.npz"]
    evaluated = ["evaluation=npz", "evaluation.path=t.npz", "evaluation.max_drop=0.05", "evaluation.relative_drop=true"]
    area = ran(*common, *evaluated, "evaluation.metric=anomaly_auc")
    assert area.status == ExitStatus.DONE, area.problems
    assert area.metrics["accuracy.source"] > 0.9
    assert abs(area.metrics["accuracy.drop"]) < 0.05
    again = ran(*common, *evaluated, "evaluation.metric=reconstruction", "evaluation.labels=null")
    assert again.status == ExitStatus.DONE, again.problems
    assert again.metrics["accuracy.source"] > 0
    assert abs(again.metrics["accuracy.relative_drop"]) < 0.05
