"""Float files that the converter gets wrong without an error: found behind every scheme, named, and mended."""

import shlex

import pytest
from support import hard_models

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus

pytestmark = pytest.mark.slow
PLAIN = "conversion.fallback=[]"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wrong")
    plain = ("branch", "unstacked", "unstacked_floor", "column", "classifier", "words", "whole_pixels")
    hard_models.write(folder, *plain, "choice", "choice_with_effect", "centred")
    return folder


@pytest.fixture
def convert(here, models):
    def run(name, scheme, *overrides):
        folder = models / name
        source = ["source=saved_model", f"source.path={folder / 'saved_model'}"]
        if not (folder / "saved_model").is_dir():
            source = ["source=keras", f"source.path={folder / 'model.keras'}"]
        samples = folder / "samples.npz"
        calibration = ["calibration=npz", f"calibration.path={samples}"] if samples.exists() else []
        return api.run(
            "convert", [*source, *calibration, f"optimization={scheme}", "tracking=none", *overrides], progress=False
        )

    return run


# The remedy, and what the message names: an op of the file, and the op of the model that it stands for.
WRONG = {
    "branch": ("branches", "IF", "StatelessIf cond"),
    "unstacked": ("unstack", "RESHAPE", "ConcatV2 concat"),
    "column": ("l2_norm", "L2_NORMALIZATION", "l2_normalize"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("scheme", ["none", "full_integer"])
def test_run_of_a_miscompiled_model_fails_and_names_the_op(convert, name, scheme):
    result = convert(name, scheme, PLAIN)
    assert result.status == ExitStatus.FAILED
    (problem,) = result.problems
    assert problem.where == "output y"
    assert all(word in problem.what for word in WRONG[name][1:]), problem.what
    assert problem.fix == f"substitution=rules 'substitution.rules=[{WRONG[name][0]}]'"
    assert any(problem.fix in warning for warning in result.warnings)  # told before converting, with the reason


def test_refused_integer_run_of_a_miscompiled_model_gets_the_fix_of_the_float_file_first(convert):
    """Before, the fix was full_integer, whose file was refused in turn."""
    result = convert("unstacked_floor", "integer_only", PLAIN)
    assert [(problem.where, problem.fix) for problem in result.problems] == [
        ("output y", "substitution=rules 'substitution.rules=[unstack]'")
    ]
    fixes = shlex.split(result.problems[0].fix)
    refused = convert("unstacked_floor", "integer_only", PLAIN, *fixes)
    assert [problem.fix for problem in refused.problems] == ["optimization=full_integer"]
    result = convert("unstacked_floor", "integer_only", PLAIN, *fixes, *shlex.split(refused.problems[0].fix))
    assert result.status == ExitStatus.DONE, result.problems
    assert result.metrics["parity.float_relative_error"] < 1e-5


@pytest.mark.parametrize("name", WRONG)
def test_float_run_with_the_default_remedies_is_right(convert, name):
    result = convert(name, "none")
    assert result.status == ExitStatus.DONE, result.problems
    assert result.tags["tflite_recipes.remedies"] == WRONG[name][0]
    assert result.metrics["parity.max_abs_error"] < 1e-5


@pytest.mark.parametrize("name", WRONG)
def test_integer_only_run_with_the_pasted_fix_is_right(convert, name):
    fix = shlex.split(f"substitution=rules 'substitution.rules=[{WRONG[name][0]}]'")
    result = convert(name, "integer_only", PLAIN, *fix)
    assert result.status == ExitStatus.DONE, result.problems
    assert result.metrics["ops.float"] == 0
    assert result.metrics["parity.float_relative_error"] < 1e-5
    assert result.metrics["parity.cosine"] > 0.99


def test_branch_in_an_integer_only_run_gets_a_fix_that_helps(convert):
    (problem,) = convert("branch", "integer_only", PLAIN).problems
    assert problem.fix == "substitution=rules 'substitution.rules=[branches]'"


def test_run_with_on_wrong_file_warn_delivers_the_file_and_warns(convert):
    """So do recipes of past runs, which lack the key."""
    result = convert("column", "dynamic_range", PLAIN, "conversion.on_wrong_file=warn")
    assert result.status == ExitStatus.DONE
    assert any("first in L2_NORMALIZATION" in warning for warning in result.warnings)
    assert result.metrics["parity.float_relative_error"] > 0.1


def test_quantized_run_of_a_sound_model_measures_its_float_file(convert):
    result = convert("classifier", "integer_only", "optimization.equalize=true")
    assert result.status == ExitStatus.DONE
    assert result.metrics["parity.float_relative_error"] < 1e-5


def test_quantized_run_of_a_model_whose_rows_depend_on_each_other_checks_the_same_batch(convert, models):
    """Calibration takes one sample at a time, so the quantized file is poor. The float file behind it is right."""
    samples = f"evaluation.path={models / 'centred' / 'samples.npz'}"
    result = convert("centred", "full_integer", "evaluation=npz", samples, "evaluation.labels=null")
    assert result.status == ExitStatus.DONE, result.problems
    assert result.metrics["parity.float_relative_error"] < 1e-5
    assert result.metrics["parity.without_delegates_cosine"] == pytest.approx(result.metrics["parity.cosine"], rel=1e-3)


def test_file_that_fails_at_a_batch_of_one_gets_a_fixed_batch(convert):
    result = convert("words", "none")
    assert result.status == ExitStatus.DONE, result.problems
    assert result.tags["tflite_recipes.remedies"] == "fixed_batch"
    assert result.metrics["parity.max_abs_error"] < 1e-5


def test_file_that_fails_at_a_batch_of_one_is_refused_without_remedies_or_delivered_with_a_warning(convert):
    """A recipe of a past run lacks the key, and gives its file as before."""
    (problem,) = convert("words", "none", PLAIN).problems
    assert problem.fix == "'source.input_shapes={word:[1,1]}'"
    delivered = convert("words", "none", "conversion.on_wrong_file=warn")
    assert delivered.status == ExitStatus.DONE
    assert "tflite_recipes.remedies" not in delivered.tags
    assert any("fix: 'source.input_shapes={word:[1,1]}'" in warning for warning in delivered.warnings)


def test_scheme_that_no_quantizer_has_gets_the_fix_that_was_tried(convert):
    """litert_quantizer, whose file LiteRT refuses, was the fix before."""
    (problem,) = convert("whole_pixels", "int16x8").problems
    assert problem.fix == "optimization=full_integer"
    result = convert("whole_pixels", "int16x8", problem.fix)
    assert result.status == ExitStatus.DONE, result.problems
    assert result.metrics["parity.cosine"] > 0.99


def test_choice_by_a_number_is_right_by_the_remedy_and_by_the_fix(convert):
    """The converter ends in `only merge nodes with two inputs supported`."""
    result = convert("choice", "none")
    assert (result.status, result.tags["tflite_recipes.remedies"]) == (ExitStatus.DONE, "branches")
    assert result.metrics["parity.max_abs_error"] < 1e-5
    (problem,) = convert("choice", "none", PLAIN).problems
    assert problem.fix == "substitution=rules 'substitution.rules=[branches]'"
    result = convert("choice", "none", PLAIN, *shlex.split(problem.fix))
    assert result.status == ExitStatus.DONE, result.problems
    assert result.metrics["parity.max_abs_error"] < 1e-5


def test_choice_among_branches_with_effects_is_refused_by_its_name_without_a_fix(convert):
    (problem,) = convert("choice_with_effect", "none").problems
    assert (problem.where, problem.fix) == ("optimization", "")
    assert problem.what.startswith("Case in switch_case: ")
