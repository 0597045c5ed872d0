"""The delivered file is the judged one. The worker is a stand-in, so that TensorFlow stays out of it."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from support import tracked_models
from support.stand_in_worker import StandInWorker

from tflite_recipes.config import composition
from tflite_recipes.core import events
from tflite_recipes.core.errors import ExitStatus
from tflite_recipes.core.state import Gate, State
from tflite_recipes.engine import runner

OURS = ["source", "substitution", "freeze", "calibration", "optimization"]
GATE = Gate("evaluation.max_drop", 0.0, 0.02, True)


class StandIn(StandInWorker):
    """Do the jobs of a run: `optimization` writes a file, and each step applies its change to the state."""

    def __init__(self, gates, changes):
        self._gates, self._changes = gates, changes

    def run(self, job, tell, limits, started):
        state, name = State.from_json(job["state"]), job["steps"][-1]["name"]
        tell(events.StepStarted(name))
        if name == "optimization":
            state = replace(state, tflite=tracked_models.small_file(state.workdir / "model.tflite"), parameters=4)
        if name in self._changes:
            state = self._changes[name](state)
        for gate in self._gates.get(name, ()):
            tell(events.Judged(gate))
        tell(events.StepFinished(name, 0.1))
        return state.to_json()


def in_place(state):
    state.tflite.write_bytes(state.tflite.read_bytes() + b"\0\0\0\0")
    return state


def elsewhere(state):
    path = state.tflite.with_name("other.tflite")
    path.write_bytes(state.tflite.read_bytes() + b"\0\0\0\0")
    return replace(state, tflite=path)


def lost(state):
    return replace(state, tflite=None)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    step = "from dataclasses import dataclass\n\n\n@dataclass(frozen=True)\nclass {}:\n    pass\n"
    Path("own.py").write_text("".join(step.format(name) for name in ("First", "Second")))

    def runs(steps, gates=(), **changes):
        own = [f"+{name}._target_=own.{name.title()}" for name in ("first", "second") if name in steps]
        listed = f"steps=[{','.join([*OURS, *steps])}]"
        recipe = composition.compose("digits_integer_only", ["tracking=none", listed, *own])
        stand_in = StandIn({"evaluation": [GATE]} if gates == () else gates, changes)
        result = runner.run(recipe, tmp_path / "out", [], stand_in)
        if result.path is not None:
            delivered = hashlib.sha256(result.path.read_bytes()).hexdigest()
            assert result.tags["tflite_recipes.tflite_sha256"] == delivered
        return result

    return runs


@pytest.mark.parametrize("change", [in_place, elsewhere])
def test_step_behind_evaluation_that_changes_the_file_leaves_it_not_evaluated(run, change):
    result = run(["target", "evaluation", "first"], first=change)
    assert (result.outcome, result.status) == ("not_evaluated", ExitStatus.FAILED)
    (problem,) = result.problems
    assert problem.where == "steps"
    assert "first" in problem.what
    assert GATE.name in problem.what
    assert problem.fix == f"'steps=[{','.join(OURS)},first,target,evaluation]'"


def test_steps_between_target_and_evaluation_move_before_a_target_that_judged(run):
    gates = {"target": [Gate("target.flash_kb", 1.0, 2.0, True)], "evaluation": [GATE]}
    result = run(["target", "first", "evaluation", "second"], gates, first=in_place, second=in_place)
    assert (result.outcome, result.status) == ("not_evaluated", ExitStatus.FAILED)
    assert result.problems[0].fix == f"'steps=[{','.join(OURS)},first,second,target,evaluation]'"


@pytest.mark.parametrize("steps", [["first", "target", "evaluation"], ["target", "evaluation", "first"]])
def test_file_that_no_step_changes_behind_its_gates_passes(run, steps):
    late = steps[-1] == "first"
    result = run(steps, first=(lambda state: state) if late else in_place, target=elsewhere)
    assert (result.outcome, result.status, result.problems) == ("passed", ExitStatus.DONE, ())
    assert not any("changed the file" in warning for warning in result.warnings)


OWN_GATE = Gate("first.limit", 0.0, 1.0, True)


@pytest.mark.parametrize(
    ("steps", "gates", "order"),
    [
        (
            ["first", "target", "evaluation", "second"],
            {"first": [OWN_GATE]},
            ["second", "first", "target", "evaluation"],
        ),
        (
            ["target", "first", "evaluation", "second"],
            {"first": [OWN_GATE]},
            ["second", "first", "target", "evaluation"],
        ),
        (["first", "second", "target", "evaluation"], {"first": [OWN_GATE], "second": [OWN_GATE]}, None),
    ],
)
def test_step_that_changes_the_file_behind_one_that_changes_and_judges_it(run, steps, gates, order):
    result = run(steps, gates, first=in_place, second=in_place)
    assert (result.outcome, result.status) == ("not_evaluated", ExitStatus.FAILED)
    (problem,) = result.problems
    assert problem.where == "steps"
    assert problem.fix == (f"'steps=[{','.join([*OURS, *order])}]'" if order else "")
    assert bool(problem.alternatives) is not bool(order)
    if order is not None:
        assert run(order, gates, first=in_place, second=in_place).outcome == "passed"


def test_own_gate_survives_metadata_that_the_target_adds(run):
    gates = {"first": [Gate("first.limit", 0.0, 1.0, True)]}
    assert run(["first", "target", "evaluation"], gates, target=elsewhere).outcome == "passed"


def test_changed_file_without_gates_warns_of_its_metrics(run):
    result = run(["target", "evaluation", "first"], {}, first=in_place)
    assert (result.outcome, result.status) == ("done", ExitStatus.DONE)
    (warning,) = [text for text in result.warnings if "first changed the file after target and evaluation" in text]
    assert f"fix: 'steps=[{','.join(OURS)},first,target,evaluation]'" in warning


def test_step_that_leaves_no_file_fails(run):
    result = run(["target", "evaluation", "first"], first=lost)
    assert (result.outcome, result.status, result.path) == ("failed", ExitStatus.FAILED, None)
    assert result.problems[0].where == "first"


def test_file_of_the_user_that_a_step_names_stays_where_it_is(run, tmp_path):
    mine = tracked_models.small_file(tmp_path / "mine.tflite")
    result = run(["first", "target", "evaluation"], first=lambda state: replace(state, tflite=mine))
    assert result.outcome == "passed"
    assert mine.read_bytes() == result.path.read_bytes()
