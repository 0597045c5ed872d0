"""What a run may do by itself for a model that does not convert, and what it says to do by hand."""

import shlex
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.checkout import REPOSITORY
from support.stand_in_worker import StandInWorker

from tflite_recipes.config import composition
from tflite_recipes.conversion.conversion_settings import Conversion
from tflite_recipes.conversion.remedies import Finding, Remedy, Rule, asked_together, override_of, problem_of
from tflite_recipes.core import events
from tflite_recipes.core.errors import ExitStatus, Problem, RequestError, StepError
from tflite_recipes.core.state import State, TensorSpec
from tflite_recipes.engine.runner import run
from tflite_recipes.engine.worker import WorkerDied
from tflite_recipes.steps.litert_target import GenericTarget, OpSet
from tflite_recipes.targets.litert_ops import ONLY_CUSTOM, ONLY_FLEX, REMEDIES

X = TensorSpec("x", (None, 6, 4), "float32")
CHANGES_OUTPUTS = {"no_dropout", "logits", "token_ids"}


def test_the_default_holds_what_keeps_the_outputs_and_nothing_else():
    default = yaml.safe_load((REPOSITORY / "conf" / "base.yaml").read_text())["conversion"]["fallback"]
    rules = {rule.name for rule in Rule} - CHANGES_OUTPUTS - {"fused_lstm"}
    assert set(default) == rules | {"fixed_batch", "bound_masks"}


@pytest.mark.parametrize("remedy", [remedy.name for remedy in Remedy])
def test_every_remedy_has_an_override_that_composes(here, remedy):
    Path("model.keras").write_bytes(b"")
    asked = shlex.split(override_of(remedy, (X,)))
    with pytest.raises(RequestError) as refused:
        composition.compose("convert", ["source=keras", "source.path=model.keras", *asked])
    keys = {word.lstrip("+~").partition("=")[0].partition(".")[0] for word in asked}
    # The model is an empty file, and the integers lack data; the override itself is understood.
    wheres = {problem.where.partition(".")[0] for problem in refused.value.problems}
    assert not keys & wheres - {"source", "calibration"}, refused.value.problems


def test_rules_that_are_needed_together_stand_on_one_line():
    assert asked_together(["unroll", "erf", "unroll"]) == "substitution=rules 'substitution.rules=[unroll,erf]'"
    both = asked_together(["unroll", "fixed_batch"], (X,))
    assert both == "substitution=rules 'substitution.rules=[unroll]' 'source.input_shapes={x:[1,6,4]}'"


def test_a_problem_has_one_fix_for_all_findings_or_none():
    first, second = (
        Finding("Erf", "a", "no kernel", ("erf",)),
        Finding("While", "b", "a loop", ("unroll", "fixed_batch")),
    )
    problem = problem_of([first, second, first], "optimization", (X,))
    assert problem.what == "Erf in a: no kernel; While in b: a loop"
    assert problem.fix == "substitution=rules 'substitution.rules=[erf,unroll]'"
    assert problem.alternatives == ("'source.input_shapes={x:[1,6,4]}'",)
    assert problem_of([first, Finding("Foo", "", "no kernel")], "optimization", ()).fix == ""


@given(st.lists(st.sampled_from([remedy.name for remedy in Remedy]), max_size=6))
def test_what_is_asked_together_names_each_once(names):
    words = shlex.split(asked_together(names, (X,)))
    assert len(words) == len(set(words))
    for name in set(names) & {rule.name for rule in Rule}:
        assert sum(name in word for word in words) >= 1


def test_a_target_says_which_ops_it_takes():
    builtin_only = {"target": GenericTarget(None, True, [OpSet.builtin])}
    wrong = Conversion([Remedy.unroll, Remedy.select_tf_ops], False, True)
    first, second = wrong.problems(builtin_only)
    assert (first.where, first.fix) == ("conversion.fallback", "'conversion.fallback=[unroll]'")
    assert (second.where, second.fix) == ("conversion.allow_custom_ops", "conversion.allow_custom_ops=false")
    assert list(wrong.problems({"target": GenericTarget(None)})) == []


def test_the_table_of_ops_is_of_a_piece():
    assert not ONLY_FLEX & ONLY_CUSTOM
    assert {name for names in REMEDIES.values() for name in names} <= set(Rule.__members__)


class Dying(StandInWorker):
    """A pool whose worker dies over `optimization` until a remedy is taken, as the converter's calibrator does."""

    def __init__(self, cures: str, error: StepError) -> None:
        self.cures, self.error, self.taken = cures, error, []

    def run(self, job, tell, limits, started):
        state = State.from_json(job["state"])
        tell(events.StepStarted(job["steps"][-1]["name"]))
        if job["steps"][-1]["name"] == "freeze":
            self.taken.append(state.intent.taken)
            offered = tuple(name for name in state.intent.fallback if name not in state.intent.taken)
            return State(state.workdir, state.intent, offered=offered, inputs=(X,)).to_json()
        if job["steps"][-1]["name"] == "optimization":
            if self.cures not in state.intent.taken:
                raise self.error
            (state.workdir / "model.tflite").write_bytes(b"file")
            return State(state.workdir, state.intent, tflite=state.workdir / "model.tflite").to_json()
        return job["state"]


def attempt(pool, tmp_path, *fallback):
    overrides = ["tracking=none", f"conversion.fallback=[{','.join(fallback)}]"]
    return run(composition.compose("digits_integer_only", overrides), tmp_path, [], pool)


DEATH = WorkerDied(Problem("killed by SIGSEGV"))


def test_a_remedy_survives_a_converter_that_dies(here, tmp_path):
    pool = Dying("fixed_batch", DEATH)
    result = attempt(pool, tmp_path, "unroll", "fixed_batch", "erf")
    assert result.status == ExitStatus.DONE
    assert pool.taken == [(), ("unroll",), ("unroll", "fixed_batch")]
    assert any("trying the remedy fixed_batch" in warning for warning in result.warnings)
    times = {name: value for name, value in result.metrics.items() if name.startswith("time.")}
    assert times["time.failed_attempts_s"] > 0.0
    assert sum(times.values()) == pytest.approx(2 * times["time.total_s"], rel=0.005)


def test_an_error_that_names_its_remedies_gets_no_others(here, tmp_path):
    pool = Dying("erf", StepError(Problem("no kernel for Erf", remedies=("erf",))))
    assert attempt(pool, tmp_path, "unroll", "fixed_batch", "erf").status == ExitStatus.DONE
    assert pool.taken == [(), ("erf",)]


def test_where_nothing_helps_the_first_error_stands(here, tmp_path):
    result = attempt(Dying("nothing", DEATH), tmp_path, "unroll")
    assert result.status == ExitStatus.FAILED
    assert [problem.what for problem in result.problems] == ["killed by SIGSEGV"]
    assert result.path is None


def test_a_limit_that_was_passed_is_no_reason_to_try_again(here, tmp_path):
    pool = Dying("unroll", WorkerDied(Problem("ended after 3 s", "worker.timeout_s")))
    assert attempt(pool, tmp_path, "unroll").status == ExitStatus.FAILED
    assert pool.taken == [()]
