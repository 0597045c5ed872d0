"""A failing analysis never loses a good file. The worker is a stand-in, so that TensorFlow stays out of it."""

from dataclasses import dataclass, replace

import pytest
from support import tracked_models
from support.stand_in_worker import StandInWorker

from tflite_recipes.config import composition
from tflite_recipes.core import events
from tflite_recipes.core.analysis import kept
from tflite_recipes.core.errors import ExitStatus, Problem, RequestError, StepError, WrongFile
from tflite_recipes.core.state import Gate, State
from tflite_recipes.engine import runner
from tflite_recipes.engine.worker import WorkerDied
from tflite_recipes.report import run_page

KILLED = Problem("the process that owns TensorFlow was killed by SIGSEGV")
MEMORY = Problem("ended at 2 GiB of memory", "worker.memory_gb", "worker.memory_gb=4")
TIME = Problem("ended after 8 s", "worker.timeout_s", "worker.timeout_s=16")
PROBLEM = Problem("the labels are words", "evaluation.labels", "evaluation.labels=classes")


@dataclass(frozen=True)
class DiesWithin:
    """The worker dies while this part of a step is at work. part: its name, its step, whether it judges."""

    part: tuple[str, str, bool]
    death: Problem = KILLED


class StandIn(StandInWorker):
    """Does the jobs of a run: writes a file, answers a gate, and raises or tells what it is given for a step."""

    def __init__(self, failures):
        self._failures = failures
        self.deaths = 0

    def run(self, job, tell, limits, started):
        state, name = State.from_json(job["state"]), job["steps"][-1]["name"]
        tell(events.StepStarted(name))
        failure = self._failures.get(name)
        if isinstance(failure, Exception):
            raise failure
        if isinstance(failure, events.AnalysisFailed | events.Judged | events.ArtifactKept):
            tell(failure)
        if name == "optimization":
            state = replace(state, tflite=tracked_models.small_file(state.workdir / "model.tflite"), parameters=4)
        if name == "target":
            tell(events.Judged(Gate("target.flash_kb", 1.0, 2.0, True)))
        if isinstance(failure, DiesWithin):
            self.deaths += 1
            block = kept(events.EventReporter(tell), *failure.part, state=state)
            block.__enter__()  # and never left, because the process is gone
            raise WorkerDied(failure.death)
        tell(events.StepFinished(name, 0.1))
        return state.to_json()


@pytest.fixture(scope="module")
def recipe():
    return composition.compose("digits_integer_only", ["tracking=none"])


def run(recipe, folder, **failures):
    happened = []
    worker = StandIn(failures)
    result = runner.run(recipe, folder / "out", [happened.append], worker)
    assert worker.deaths <= 1  # no second attempt
    (finished,) = (event for event in happened if isinstance(event, events.RunFinished))
    assert finished.outcome == result.outcome == result.tags["tflite_recipes.outcome"]
    assert finished.problems == result.problems
    kept = {event.path for event in happened if isinstance(event, events.ArtifactKept) and event.folder == "model"}
    assert (result.path is not None and str(result.path) in kept) == result.outcome.has_file
    times = {name: value for name, value in result.metrics.items() if name.startswith("time.")}
    total = times.pop("time.total_s")
    assert {"time.startup_s", "time.failed_attempts_s"} <= times.keys()
    assert sum(times.values()) == pytest.approx(total, rel=0.01)
    return result


def test_run_without_a_failure_passes(recipe, tmp_path):
    result = run(recipe, tmp_path)
    assert (result.outcome, result.status, result.problems) == ("passed", ExitStatus.DONE, ())
    assert result.path.is_file()


@pytest.mark.parametrize("kind", [RequestError, StepError, WorkerDied])
def test_failing_evaluation_keeps_the_file_and_is_not_evaluated(recipe, tmp_path, kind):
    result = run(recipe, tmp_path, evaluation=kind(PROBLEM))
    assert (result.outcome, result.status, result.problems) == ("not_evaluated", ExitStatus.FAILED, (PROBLEM,))
    assert result.path.is_file()
    assert (tmp_path / "out" / "report.html").is_file()


def test_evaluation_that_shows_a_wrong_file_delivers_none(recipe, tmp_path):
    result = run(recipe, tmp_path, evaluation=WrongFile(Problem("the outputs are NaN", "evaluation")))
    assert (result.outcome, result.status, result.path) == ("failed", ExitStatus.FAILED, None)


def test_failing_conversion_delivers_no_file(recipe, tmp_path):
    result = run(recipe, tmp_path, optimization=StepError(Problem("no kernel", "layer a")))
    assert (result.outcome, result.status, result.path) == ("failed", ExitStatus.FAILED, None)


@pytest.mark.parametrize("death", [KILLED, MEMORY])
@pytest.mark.parametrize("step", ["optimization", "target"])
@pytest.mark.parametrize("judges", [True, False])
def test_death_in_an_analysis_of_the_file_delivers_it(recipe, tmp_path, step, judges, death):
    dies = DiesWithin(("the error analysis", step, judges), death)
    result = run(recipe, tmp_path, **{step: dies})
    (problem,) = result.problems
    assert (result.outcome, result.status, problem.where) == ("not_evaluated", ExitStatus.FAILED, death.where or step)
    assert death.what in problem.what
    assert result.path.is_file()


def test_death_of_a_run_whose_time_is_over_delivers_no_file(recipe, tmp_path):
    dies = DiesWithin(("the error analysis", "optimization", True), TIME)
    result = run(recipe, tmp_path, optimization=dies)
    assert (result.outcome, result.path) == ("failed", None)


def test_death_outside_of_an_analysis_is_not_rescued(recipe, tmp_path):
    result = run(recipe, tmp_path, optimization=WorkerDied(KILLED))
    assert (result.outcome, result.path) == ("failed", None)


@pytest.mark.parametrize(("judges", "outcome"), [(True, "not_evaluated"), (False, "passed")])
def test_failing_part_of_a_step_leaves_the_outcome_to_the_gates_unless_it_judges(recipe, tmp_path, judges, outcome):
    problem = Problem("a part failed", "target")
    result = run(recipe, tmp_path, target=events.AnalysisFailed(problem, judges))
    assert (result.outcome, result.status, result.problems) == (outcome, ExitStatus.FAILED, (problem,))


@pytest.mark.parametrize(("step", "outcome"), [("evaluation", "passed"), ("target", "passed"), ("gate", "gate_failed")])
def test_report_file_that_cannot_be_kept_leaves_the_outcome_to_the_gates(recipe, tmp_path, step, outcome):
    """A folder of its name stands where it is to be."""
    (tmp_path / "out" / "per_class.csv").mkdir(parents=True)
    made = tmp_path / "per_class.csv"
    made.write_text("class\n")
    failures = {"target" if step == "gate" else step: events.ArtifactKept(str(made))}
    if step == "gate":
        failures["evaluation"] = events.Judged(Gate("evaluation.max_drop", 0.5, 0.02, False))
    result = run(recipe, tmp_path, **failures)
    assert (result.outcome, result.status) == (outcome, ExitStatus.FAILED)
    assert [problem.where for problem in result.problems] == ["per_class.csv", "report.html"]  # which would read it
    assert result.path.is_file()


@pytest.mark.parametrize("name", ["environment.txt", "inputs.json"])
def test_record_of_the_start_that_cannot_be_written_leaves_the_outcome_to_the_gates(recipe, tmp_path, name):
    (tmp_path / "out" / name).mkdir(parents=True)
    result = run(recipe, tmp_path)
    assert (result.outcome, result.status) == ("passed", ExitStatus.FAILED)
    assert [problem.where for problem in result.problems] == [name, "report.html"]  # which would read it


def test_model_that_cannot_be_kept_fails_the_run(recipe, tmp_path):
    (tmp_path / "out" / "model.tflite").mkdir(parents=True)
    result = run(recipe, tmp_path)
    assert (result.outcome, result.status, result.path) == ("failed", ExitStatus.FAILED, None)


def test_failing_metadata_does_not_hide_a_failed_gate(recipe, tmp_path):
    failed = events.Judged(Gate("evaluation.max_drop", 0.5, 0.02, False))
    metadata = events.AnalysisFailed(Problem("no room", "target.metadata"), False)
    result = run(recipe, tmp_path, evaluation=failed, target=metadata)
    assert (result.outcome, result.status) == ("gate_failed", ExitStatus.FAILED)


@pytest.mark.parametrize("error", [ValueError("math domain error"), OSError(28, "No space left on device")])
@pytest.mark.parametrize("part", ["tables.write", "plots.write", "run_page.render", "write_example"])
def test_failing_report_leaves_the_outcome_to_the_gates(recipe, tmp_path, monkeypatch, error, part):
    def fails(*_, **__):
        raise error

    owner, _, name = part.rpartition(".")
    monkeypatch.setattr(getattr(runner, owner) if owner else runner, name, fails)
    result = run(recipe, tmp_path)
    assert (result.outcome, result.status) == ("passed", ExitStatus.FAILED)
    assert result.path.is_file()
    assert result.problems[0].where in (run_page.REPORT, "model")


def test_event_of_a_failed_analysis_survives_json():
    event = events.AnalysisFailed(PROBLEM, True)
    assert events.from_json(events.to_json(event)) == event


def test_kept_reports_what_fails_inside_and_goes_on():
    told = []
    reporter = events.EventReporter(told.append)
    with kept(reporter, "the error analysis", "optimization"):
        raise ValueError("math domain error")
    with kept(reporter, "the metadata", "target.metadata", judges=False):
        raise StepError(Problem("no room"))
    with pytest.raises(WrongFile), kept(reporter, "the parity", "evaluation"):
        raise WrongFile(Problem("NaN"))
    assert [(event.problem.where, event.judges) for event in told] == [
        ("optimization", True),
        ("target.metadata", False),
    ]
    assert told[1].problem.what == "no room"


@pytest.mark.parametrize("kind", [StepError, WorkerDied])
def test_failing_target_keeps_the_file_and_is_not_evaluated(recipe, tmp_path, kind):
    problem = Problem("the compiler died", "target", "target=generic")
    result = run(recipe, tmp_path, target=kind(problem))
    assert (result.outcome, result.status, result.problems) == ("not_evaluated", ExitStatus.FAILED, (problem,))
    assert result.path.is_file()
