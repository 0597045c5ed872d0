"""A fix that names another scheme or quantizer is printed only if a trial with it ends in a right file."""

import pytest

from tflite_recipes import api
from tflite_recipes.core import events
from tflite_recipes.core.errors import Problem, RequestError, StepError, WrongFile
from tflite_recipes.engine.fix_trials import TrialProblems, changed, shown_to_help, trial_recipe

LITERT, FULL = "optimization.quantizer=litert_quantizer", "optimization=full_integer"
ERROR = StepError(Problem("NEG cannot be quantized", "optimization", LITERT, (FULL, "ask for another op")))


@pytest.fixture(scope="module")
def recipe():
    overrides = ["source=digits", "calibration=digits", "optimization=int16x8", "optimization.per_channel=true"]
    return api.compose("convert", [*overrides, "tracking=none"])


def trial_of(**failures):
    """Return a trial that fails by quantizer and scheme, and the list of what was tried."""
    tried = []

    def trial(changed):
        section = changed.config["optimization"]
        name = section["scheme"] if section["quantizer"] == "tflite_converter" else section["quantizer"]
        tried.append(name)
        if name in failures:
            raise failures[name]

    return trial, tried


def test_fix_that_helps_in_a_trial_stays(recipe):
    trial, tried = trial_of()
    assert shown_to_help(ERROR, recipe, trial, lambda _: None) is ERROR
    assert tried == ["litert_quantizer"]


def test_fix_that_fails_in_a_trial_gives_way_to_the_alternative_that_helps(recipe):
    trial, tried = trial_of(litert_quantizer=StepError(Problem("LiteRT cannot load the file", "target")))
    (problem,) = shown_to_help(ERROR, recipe, trial, lambda _: None).problems
    assert tried == ["litert_quantizer", "full_integer"]
    assert (problem.fix, problem.alternatives) == (FULL, ("ask for another op",))
    assert "LiteRT cannot load the file" in problem.what


def test_no_fix_is_left_if_every_trial_fails(recipe):
    wrong = WrongFile(Problem("the float file is wrong", "output y"))
    trial, tried = trial_of(litert_quantizer=wrong, full_integer=wrong)
    (problem,) = shown_to_help(ERROR, recipe, trial, lambda _: None).problems
    assert tried == ["litert_quantizer", "full_integer"]
    assert (problem.fix, problem.alternatives) == ("", ("ask for another op",))


def test_trial_whose_file_is_far_from_its_source_is_no_help():
    """Such a file is delivered with a warning. A fix that leads to it was printed."""
    problems = TrialProblems()
    problems(events.Measured({"parity.cosine": 0.97}))
    problems.conclude()
    problems(events.Measured({"parity.cosine": 0.31}))
    with pytest.raises(StepError) as failed:
        problems.conclude()
    (problem,) = failed.value.problems
    assert problem.where == "evaluation"
    assert "0.31" in problem.what


def test_fix_of_a_failed_trial_is_tried_as_well(recipe):
    back = "optimization.quantizer=tflite_converter"  # which this run has: it would go in a circle
    offered = [
        Problem("lost values", "output y", "optimization=dynamic_range"),
        Problem("no ranges", "optimization", back),
    ]
    trial, tried = trial_of(litert_quantizer=StepError(offered))
    error = StepError(Problem("NEG cannot be quantized", "optimization", LITERT))
    (problem,) = shown_to_help(error, recipe, trial, lambda _: None).problems
    assert (problem.fix, tried) == ("optimization=dynamic_range", ["litert_quantizer", "dynamic_range"])


def test_fix_that_another_key_contradicts_is_left_out(recipe):
    error = StepError(Problem("NEG cannot be quantized", "optimization", "optimization.input_type=float64"))
    trial, tried = trial_of()
    (problem,) = shown_to_help(error, recipe, trial, lambda _: None).problems
    assert (problem.fix, tried) == ("", [])


@pytest.mark.parametrize("fix", ["source.trust=true", "", "substitution=rules optimization=none", "conversion.x=true"])
def test_fix_of_another_group_is_not_tried(recipe, fix):
    error = StepError(Problem("refused", "optimization", fix, (FULL,)))
    trial, tried = trial_of()
    assert shown_to_help(error, recipe, trial, lambda _: None) is error
    assert tried == []


def test_changed_option_keeps_the_keys_that_were_asked_for(recipe):
    section = changed(recipe, f"{FULL} optimization.input_type=int8").config["optimization"]
    assert (section["scheme"], section["input_type"], section["per_channel"]) == ("full_integer", "int8", True)
    assert changed(recipe, "optimization=int16x8") is None
    with pytest.raises(RequestError):
        changed(recipe, "optimization.block_size=32")


def test_trial_runs_no_target_and_compares_with_the_source(recipe):
    names = [spec.name for spec in trial_recipe(recipe).steps]
    assert names == ["source", "freeze", "calibration", "optimization", "evaluation"]
