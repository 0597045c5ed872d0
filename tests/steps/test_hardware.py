"""What every target states: types of inputs and outputs, limits, and what pruning gives it."""

import pytest
from support import npu_files
from support.reporters import RecordingReporter

from tflite_recipes.config import composition
from tflite_recipes.core.errors import RequestError
from tflite_recipes.core.state import Gate, Intent, State
from tflite_recipes.steps.hardware import least, limit, tell_pruning
from tflite_recipes.steps.litert_target import CpuTarget, Runner


def problems(*overrides):
    try:
        composition.prepare("digits_integer_only", overrides)
    except RequestError as error:
        return {found.where: found for found in error.problems}
    return {}


def test_a_limit_that_is_not_set_is_no_gate():
    assert list(limit("ram_kb", 5.0, None, "KiB", fix="a=b")) == []


@pytest.mark.parametrize(("bound", "passed", "fix"), [(5.0, True, ""), (4.9, False, "a=b")])
def test_a_limit_may_be_reached_and_says_what_fits_where_it_is_passed_over(bound, passed, fix):
    (gate,) = limit("ram_kb", 5.0, bound, "KiB", fix="a=b", estimated=True)
    assert gate == Gate("target.ram_kb", 5.0, bound, passed, "KiB", True, fix)


def test_types_that_the_runtime_does_not_take_are_refused_with_one_that_both_have(here):
    found = problems("target.io_types=[uint8]")
    assert set(found) == {"optimization.input_type", "optimization.output_type"}
    assert found["optimization.input_type"].fix == "optimization.input_type=uint8"
    assert found["optimization.input_type"].alternatives == ("'target.io_types=[uint8,int8]'",)
    assert problems("target.io_types=[uint8]", "optimization.input_type=uint8", "optimization.output_type=uint8") == {}


def test_where_the_scheme_has_no_type_that_the_runtime_takes_another_scheme_is_named(here):
    found = problems("optimization=none", "target.io_types=[int8]")
    assert found["optimization.input_type"].fix.startswith("optimization=integer_only")


@pytest.mark.slow
def test_digits_bring_their_own_samples_for_that_scheme(here):
    found = problems("calibration=none", "optimization=none", "target.io_types=[int8]")
    assert found["optimization.input_type"].fix == "optimization=integer_only calibration=digits"


@pytest.mark.parametrize(("measured", "passed", "fix"), [(80.0, True, ""), (79.9, False, "a=b")])
def test_what_has_to_be_there_may_be_just_enough(measured, passed, fix):
    gate = least("share", measured, 80.0, "%", fix="a=b")
    assert gate == Gate("target.share", measured, 80.0, passed, "%", fix=fix, at_least=True)
    assert (gate.margin >= 0) == passed


def test_of_pruning_nothing_is_said_where_nothing_was_pruned(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"no file")
    reporter = RecordingReporter()
    tell_pruning(State(tmp_path, Intent(pruned=False), tflite=tmp_path / "model.tflite"), reporter)
    assert reporter.warnings == []


@pytest.mark.parametrize("pruned", [True, False])
def test_pruning_is_told_to_give_nothing_also_where_nothing_is_measured(tmp_path, pruned):
    reporter = RecordingReporter()
    state = State(tmp_path, Intent(pruned=pruned), tflite=npu_files.write(tmp_path / "tiny.tflite", "conv", zeros=0.5))
    CpuTarget(runner=Runner.none, metadata=False, deploy=False)(state, reporter)
    assert any("of the weights zero, which gives this target nothing" in text for text in reporter.warnings) == pruned
