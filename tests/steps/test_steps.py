"""What steps find wrong before anything runs, and the arithmetic that needs no TensorFlow."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checkout import first_way, write
from support.reporters import RecordingReporter
from support.tflite_builders import dense

from tflite_recipes.conversion.ranges import Ranges
from tflite_recipes.conversion.schemes import CALIBRATED, IOType, Quantizer, Scheme, takes
from tflite_recipes.core.shapes import shape_problems
from tflite_recipes.core.state import Gate, State, TensorSpec
from tflite_recipes.files.models import read_float_tflite
from tflite_recipes.steps import optimization as optimization_step
from tflite_recipes.steps import source as sources
from tflite_recipes.steps.calibration import DigitsCalibration, NpzCalibration, RandomCalibration
from tflite_recipes.steps.evaluation import DigitsEvaluation, Metric, NpzEvaluation
from tflite_recipes.steps.freeze import Variables
from tflite_recipes.steps.litert_target import GenericTarget
from tflite_recipes.steps.optimization import Optimization
from tflite_recipes.steps.pruning import ConstantPruning, Loss, PolynomialDecayPruning

X = TensorSpec("x", (None, 4), "float32")
DIGITS = sources.DigitsSource(1, 32, 0.1, 0, {})


@dataclass(frozen=True)
class Other(sources.Source):
    """A source that declares what it is told to."""

    declared: tuple[TensorSpec, ...] | None
    input_shapes: sources.Shapes

    def inputs(self):
        return self.declared


def said(step, **steps):
    return [(problem.where, problem.what) for problem in step.problems(steps)]


# Optimization


ABLE = [(scheme, quantizer) for scheme, quantizer in itertools.product(Scheme, Quantizer) if takes(quantizer, scheme)]


def optimization(scheme, quantizer=Quantizer.litert_quantizer, kind=IOType.float32, **values):
    return Optimization(scheme, kind, kind, values.pop("per_channel", True), quantizer, **values)


@pytest.mark.parametrize(("given_", "able"), itertools.product(IOType, ABLE))
def test_each_scheme_takes_its_own_types_and_the_fix_is_one_of_them(given_, able):
    scheme, quantizer = able
    types = {
        "full_integer": {"float32", "int8", "uint8"},
        "integer_only": {"float32", "int8", "uint8"},
        "int16x8": {"float32", "int16"},
        "int16x8_fallback": {"float32", "int16"},
    }.get(scheme.name, {"float32"})
    step = Optimization(scheme, given_, IOType.float32, True, quantizer)
    problems = list(step.problems({"source": DIGITS, "calibration": None}))
    assert bool(problems) == (given_.name not in types)
    for problem in problems:
        key, _, value = problem.fix.partition("=")
        assert key == problem.where == "optimization.input_type"
        assert value in types
        assert all(f"optimization.input_type={given_.name}" in other for other in problem.alternatives)


@pytest.mark.parametrize("scheme", Scheme)
def test_what_only_one_quantizer_makes_is_refused_of_the_other(scheme):
    only = scheme.name in ("dynamic_range_int4", "weight_only_int8", "weight_only_int4")
    fixes = [p.fix for p in optimization(scheme, Quantizer.tflite_converter).problems({"calibration": None})]
    assert fixes == (["optimization.quantizer=litert_quantizer"] if only else [])
    assert not list(optimization(scheme).problems({"calibration": None}))


@pytest.mark.parametrize("key", ["per_channel", "per_channel_dense"])
@pytest.mark.parametrize(("scheme", "quantizer"), ABLE)
def test_only_some_schemes_have_a_per_tensor_form(scheme, quantizer, key):
    step = optimization(scheme, quantizer, **{key: False})
    fixes = [problem.fix for problem in step.problems({"source": DIGITS, "calibration": None})]
    has = scheme in CALIBRATED or scheme.name.startswith("weight_only")
    assert fixes == ([] if has else [f"optimization.{key}=true"])


@pytest.mark.parametrize(
    ("scheme", "size", "more", "fix"),
    [
        ("weight_only_int4", 32, {}, None),
        ("weight_only_int8", 256, {}, None),
        ("dynamic_range_int4", 64, {}, None),
        ("weight_only_int4", 48, {}, "optimization.block_size=32"),
        ("weight_only_int4", 32, {"per_channel": False}, "optimization.per_channel=true"),
        ("integer_only", 32, {}, "optimization.block_size=null"),
        ("dynamic_range", 32, {}, "optimization.block_size=null"),
    ],
)
def test_blocks_are_for_weights_alone(scheme, size, more, fix):
    step = optimization(Scheme[scheme], block_size=size, **more)
    assert [problem.fix for problem in step.problems({"calibration": None})] == ([fix] if fix else [])


@pytest.mark.parametrize(
    ("scheme", "quantizer", "fix"),
    [
        ("integer_only", "tflite_converter", None),
        ("int16x8", "tflite_converter", None),
        ("dynamic_range", "litert_quantizer", None),
        ("dynamic_range", "tflite_converter", "optimization.quantizer=litert_quantizer"),
        ("none", "tflite_converter", "optimization.equalize=false"),
    ],
)
def test_channels_are_evened_out_in_a_float_file(scheme, quantizer, fix):
    step = optimization(Scheme[scheme], Quantizer[quantizer], equalize=True)
    assert [problem.fix for problem in step.problems({"calibration": None})] == ([fix] if fix else [])


@pytest.mark.parametrize(
    ("scheme", "quantizer", "rule", "fix"),
    [
        ("full_integer", "tflite_converter", "float", None),
        ("full_integer", "tflite_converter", "full_integer", None),
        ("full_integer", "tflite_converter", "int16x8", "optimization.quantizer=litert_quantizer"),
        ("full_integer", "litert_quantizer", "weight_only_int4", None),
        ("int16x8_fallback", "tflite_converter", "float", "optimization.quantizer=litert_quantizer"),
        ("dynamic_range", "tflite_converter", "float", "optimization.quantizer=litert_quantizer"),
        ("integer_only", "litert_quantizer", "int16x8", None),
        (
            "integer_only",
            "tflite_converter",
            "float",
            "optimization=full_integer optimization.input_type=float32 optimization.output_type=float32",
        ),
        ("int16x8", "litert_quantizer", "dynamic_range", "optimization=int16x8_fallback"),
        ("none", "litert_quantizer", "float", "optimization=full_integer"),
    ],
)
def test_rules_fit_their_scheme_and_quantizer(scheme, quantizer, rule, fix):
    step = optimization(Scheme[scheme], Quantizer[quantizer], rules=[{"op": "SOFTMAX", "scheme": rule}])
    assert [problem.fix for problem in step.problems({"calibration": None})] == ([fix] if fix else [])


def test_a_rule_that_needs_ranges_needs_samples():
    step = optimization(Scheme.dynamic_range, rules=[{"scheme": "full_integer"}])
    assert [problem.fix for problem in step.problems({"source": DIGITS})] == ["calibration=digits"]


@pytest.mark.parametrize("method", ["percentile", "mse", "moving_average"])
def test_the_converter_takes_ranges_as_they_are(method):
    calibration = SimpleNamespace(method=SimpleNamespace(name=method))
    fixes = [
        [p.fix for p in optimization(Scheme.integer_only, quantizer).problems({"calibration": calibration})]
        for quantizer in Quantizer
    ]
    assert fixes == [["optimization.quantizer=litert_quantizer"], []]


@pytest.mark.parametrize(("greatest", "warned"), [([1.0, 1.1] * 8, False), ([1.0, 4.0] * 8, True)])
def test_ranges_that_two_halves_do_not_agree_on_are_told(greatest, warned):
    reporter = RecordingReporter()
    steady = Ranges({"relu": np.zeros(16)}, {"relu": np.array(greatest)})
    optimization_step.tell_stability(steady, reporter)
    assert reporter.metrics == {"calibration.stability": pytest.approx(greatest[0] / greatest[1])}
    told = [warning for warning in reporter.warnings if "least in relu (25%)" in warning]
    assert (len(told), len(reporter.warnings)) == (int(warned), int(warned))


@pytest.mark.parametrize("scheme", Scheme)
def test_integers_need_representative_data_and_nothing_else_does(scheme):
    step = optimization(scheme)
    fixes = [problem.fix for problem in step.problems({"source": DIGITS})]
    assert fixes == (["calibration=digits"] if scheme in CALIBRATED else [])
    (*_, fix) = ["", *(first_way(problem) for problem in step.problems({"source": Other(None, {})}))]
    assert fix == ("calibration=npz calibration.path=FILE" if scheme in CALIBRATED else "")


def test_random_data_is_never_the_fix():
    for source in (DIGITS, Other(None, {})):
        for problem in Optimization(
            Scheme.integer_only, IOType.int8, IOType.int8, True, Quantizer.tflite_converter
        ).problems({"source": source}):
            assert "random" not in problem.fix


# Calibration and evaluation


@pytest.mark.parametrize(
    ("low", "high", "fix"),
    [(0.0, 1.0, None), (1.0, -1.0, "calibration.low=-1 calibration.high=1"), (2.0, 2.0, "calibration.high=3")],
)
def test_a_range_of_noise_must_be_one(low, high, fix):
    problems = list(RandomCalibration(1, 0, low, high).problems({}))
    assert [problem.fix for problem in problems] == ([fix] if fix else [])


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        (TensorSpec("image", (None, 8, 8, 1), "float32"), True),
        (TensorSpec("anything", (1, None, None, 1), "float32"), True),
        (TensorSpec("image", (None, 28, 28, 1), "float32"), False),
        (TensorSpec("image", (None, 64), "float32"), False),
    ],
)
def test_the_digits_suit_models_of_their_shape(spec, fits):
    for step in (DigitsCalibration(1, 0), DigitsEvaluation(None)):
        assert bool(said(step, source=Other((spec,), {}))) is not fits
        assert said(step, source=Other((spec, spec), {}))
        assert said(step, source=Other(None, {})) == []


def test_input_shapes_are_what_data_is_held_against(here):
    np.savez(here / "x.npz", x=np.zeros((3, 9), "float32"), labels=np.zeros(3))
    open_, fixed = Other((TensorSpec("x", (None, None), "float32"),), {}), {"x": [1, 4]}
    steps = [NpzCalibration("x.npz", None, 0), NpzEvaluation("x.npz", "labels", Metric.accuracy, None, 0, None)]
    for step in steps:
        assert said(step, source=open_) == []
        ((where, what),) = said(step, source=replace(open_, input_shapes=fixed))
        assert where.endswith(".path")
        assert "shape (3, 9) does not fit the model's x (1, 4) float32" in what


# Pruning


def pruning(kind=ConstantPruning, **changes):
    values = {
        "final_sparsity": 0.5,
        "frequency": 1,
        "layers": ["*"],
        "data": None,
        "epochs": 0,
        "batch_size": 32,
        "learning_rate": 0.1,
        "loss": Loss.mean_squared_error,
        "from_logits": False,
        "validation_split": 0.1,
        "seed": 0,
    }
    if kind is PolynomialDecayPruning:
        values |= {"initial_sparsity": 0.0, "power": 3.0, "begin_step": 0, "end_step": None}
    return kind(**{**values, **changes})


def test_pruning_without_data_takes_no_epochs(here):
    assert said(pruning(), source=DIGITS) == []
    (problem,) = pruning(epochs=2).problems({"source": DIGITS})
    assert (problem.where, problem.fix, problem.alternatives) == (
        "pruning.data",
        "pruning.data=digits",
        ("pruning.epochs=0",),
    )
    (problem,) = pruning(epochs=2).problems({"source": Other(None, {})})
    assert first_way(problem) == "pruning.data=FILE.npz"


def test_pruning_data_is_checked_like_any_other(here):
    np.savez(here / "x.npz", x=np.zeros((3, 4)), labels=np.zeros(3))
    source = Other((X,), {})
    assert said(pruning(data="x.npz"), source=source) == []
    assert said(pruning(data="y.npz"), source=source) == [("pruning.data", "there is no y.npz")]
    assert "x.npz has not the model's inputs" in said(pruning(data="x.npz"), source=DIGITS)[0][1]
    (problem,) = pruning(data="digits").problems({"source": source})
    assert problem.what == "the digits are image (?, 8, 8, 1) float32, the model takes x (?, 4) float32"
    assert first_way(problem) == "pruning.data=FILE.npz"


def test_a_saved_model_cannot_be_pruned(here):
    saved = sources.SavedModelSource("nowhere", None, input_shapes={})
    assert said(pruning(), source=saved)[0] == (
        "pruning",
        "pruning works on Keras models, and the source is a SavedModel",
    )


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"initial_sparsity": 0.6}, "pruning.initial_sparsity"),
        ({"begin_step": 5, "end_step": 5}, "pruning.end_step"),
    ],
)
def test_a_schedule_must_rise_over_time(changes, where):
    assert [place for place, _ in said(pruning(PolynomialDecayPruning, **changes), source=DIGITS)] == [where]


def test_the_schedule_is_that_of_the_paper():
    step = pruning(PolynomialDecayPruning, initial_sparsity=0.2, final_sparsity=0.8, begin_step=10, end_step=110)
    assert [step.sparsity_at(at, 200) for at in (9, 10, 60, 110, 150)] == pytest.approx(
        [0.0, 0.2, 0.8 + (0.2 - 0.8) * 0.5**3, 0.8, 0.8]
    )
    step = pruning(PolynomialDecayPruning)
    assert step.sparsity_at(150, 200) == 0.5 > step.sparsity_at(149, 200)
    assert {pruning().sparsity_at(at, 200) for at in range(200)} == {0.5}


@given(
    st.floats(0, 0.5), st.floats(0.5, 0.99), st.floats(0.1, 10), st.integers(0, 50), st.none() | st.integers(51, 99),
    st.integers(1, 200),
)  # fmt: skip
def test_a_schedule_never_falls_and_ends_where_it_should(initial, final, power, begin, end, total):
    step = pruning(PolynomialDecayPruning, initial_sparsity=initial, final_sparsity=final, power=power,
                   begin_step=begin, end_step=end)  # fmt: skip
    values = [step.sparsity_at(at, total) for at in range(begin, 300)]
    assert all(later >= earlier - 1e-12 for earlier, later in itertools.pairwise(values))
    assert values[-1] == pytest.approx(final)
    assert all(0 <= value < 1 for value in values)


# Sources


@pytest.mark.parametrize(
    ("shapes", "what"),
    [
        ({}, None),
        ({"x": [1, 4]}, None),
        ({"x": [None, 4]}, None),
        ({"x": [1, 5]}, "[1, 5] does not fit the model's own shape x (?, 4) float32"),
        ({"x": [1]}, "[1] does not fit"),
        ({"x": [0, 4]}, "[0, 4] has a size below 1; null leaves a dimension dynamic"),
        ({"z": [1, 4]}, "the model has no input 'z'; it has: x (?, 4) float32"),
    ],
)
def test_shapes_are_held_against_the_models_own(shapes, what):
    whats = [problem.what for problem in shape_problems(shapes, (X,))]
    assert len(whats) == (what is not None)
    assert all(what in found for found in whats)


def test_shapes_cannot_be_judged_where_the_model_does_not_say():
    assert list(shape_problems({"x": [1, 5]}, None)) == []
    assert list(shape_problems({"x": [-1]}, None))


@pytest.mark.parametrize(
    ("target", "what", "fix"),
    [
        ("mine.py:build", None, None),
        ("mine.py:constant", None, None),
        ("mine.py:Path", None, None),
        ("mine:anything", None, None),
        ("json:loads", None, None),
        ("build", "'build' is not module:name or file.py:name", "source.function=my_model.py:build"),
        ("mien.py:build", "there is no file mien.py", "source.function=mine.py:build"),
        ("mine.py:biuld", "mine.py has no 'biuld'; it defines build", "source.function=mine.py:build"),
        ("broken.py:build", "broken.py is not Python", ""),
        ("nowhere:build", "there is no module 'nowhere'", ""),
    ],
)
def test_code_is_looked_for_and_not_run(here, target, what, fix):
    write(here / "mine.py", "from pathlib import Path\nconstant = 1 / 0\ndef build():\n    pass\n")
    write(here / "broken.py", "def build(:\n")
    problems = list(sources.code_problems(target, "source.function"))
    assert len(problems) == (what is not None)
    for problem in problems:
        assert what in problem.what
        assert (problem.where, first_way(problem)) == ("source.function", fix)


def test_applications_are_known_without_keras():
    names = sources.application_names()
    assert {"MobileNetV2", "ResNet50", "EfficientNetB0"} <= set(names)
    source = sources.KerasApplicationSource("MobileNetV9", "nothing", {}, 0, {})
    assert [place for place, _ in said(source)] == ["source.name", "source.weights"]


# Choices


@pytest.mark.parametrize("choice", [Scheme, IOType, Metric, Loss, Variables])
def test_no_choice_is_another_by_having_its_value(choice):
    assert len(choice.__members__) == len(list(choice))


# Targets


class Judge:
    """A reporter of which only the verdicts matter."""

    def __init__(self):
        self.gates = []

    def judge(self, gate):
        self.gates.append(gate)


def gate(limit, passed):
    return Gate("target.flash_kb", 2.0, limit, passed, "KiB", fix="" if passed else "optimization=float16")


@pytest.mark.parametrize(("limit", "passed"), [(None, None), (2.0, True), (1.9, False)])
def test_the_size_of_the_file_is_a_gate_where_there_is_a_limit(tmp_path, limit, passed, monkeypatch):
    monkeypatch.setattr("tflite_recipes.steps.litert_target.smaller_scheme", lambda *_: "optimization=float16")
    (tmp_path / "model.tflite").write_bytes(bytes(2048))
    state, judge = State(tmp_path, tflite=tmp_path / "model.tflite"), Judge()
    target = GenericTarget(limit, True, [], metadata=False, deploy=False)
    assert target(state, judge) == state
    assert judge.gates == ([] if limit is None else [gate(limit, passed)])


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["ops.json", "io_contract.json"])
def test_listing_that_cannot_be_written_loses_no_file(tmp_path, monkeypatch, lost):
    path = tmp_path / "model.tflite"
    path.write_bytes(dense())
    found = read_float_tflite(path)
    sides = {"inputs": found.inputs, "outputs": found.outputs, "signature": found.signature}
    state, reporter = State(tmp_path / "work", float_file=path, **sides), RecordingReporter()
    state.workdir.mkdir()
    keep = optimization_step._keep

    def fails(state, name, data, reporter):
        if name == lost:
            raise OSError(28, "No space left on device")
        keep(state, name, data, reporter)

    monkeypatch.setattr(optimization_step, "_keep", fails)
    after = optimization(Scheme.none, Quantizer.tflite_converter)(state, reporter)
    assert after.tflite.is_file()
    ((problem, judges),) = reporter.failures
    assert (problem.where, judges) == ("optimization", False)
    assert lost in problem.what
