"""Which error a run of several attempts reports. The worker is a stand-in, so that TensorFlow stays out of it."""

from dataclasses import replace

import pytest
from support.stand_in_worker import StandInWorker

from tflite_recipes.config import composition
from tflite_recipes.core import events
from tflite_recipes.core.errors import Problem, StepError
from tflite_recipes.core.state import State, TensorSpec
from tflite_recipes.engine import runner
from tflite_recipes.engine.worker import WorkerDied

LOOP = StepError(Problem("a loop", "optimization", "optimization=full_integer", (), ("unroll",)))
KILLED = WorkerDied(Problem("the process that owns TensorFlow was killed by SIGABRT"))
TIME = WorkerDied(Problem("ended after 5 s", "worker.timeout_s", "worker.timeout_s=10"))
MEMORY = WorkerDied(Problem("ended at 3 GiB", "worker.memory_gb", "worker.memory_gb=4"))


class StandIn(StandInWorker):
    """Freeze a model that a remedy would change, and end each conversion with the next of some errors."""

    def __init__(self, conversions):
        self._errors, self._frozen = iter(conversions), 0

    def run(self, job, tell, limits, started):
        state, name = State.from_json(job["state"]), job["steps"][-1]["name"]
        tell(events.StepStarted(name))
        if name == "optimization":
            raise next(self._errors)
        if name == "freeze":
            self._frozen += 1
            inputs = (TensorSpec("x", (None, self._frozen, None), "float32"),)
            findings = (f"found in attempt {self._frozen}",)
            state = replace(state, offered=("unroll",), findings=findings, inputs=inputs)
        tell(events.StepFinished(name, 0.1))
        return state.to_json()


@pytest.fixture
def problem_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*conversions, scheme="integer_only"):
        recipe = composition.compose("digits_integer_only", ["tracking=none", f"optimization={scheme}"])
        result = runner.run(recipe, tmp_path / "out", [], StandIn(conversions))
        (problem,) = result.problems
        return problem

    return run


@pytest.mark.parametrize("death", [TIME, MEMORY])
@pytest.mark.parametrize("before", [(), (LOOP,), (KILLED,)])
def test_death_at_a_limit_keeps_its_own_fix(problem_of, before, death):
    assert problem_of(*before, death) == death.problems[0]


def test_death_is_told_with_what_its_own_attempt_found(problem_of):
    problem = problem_of(KILLED, KILLED)
    assert "found in attempt 1" in problem.what
    assert "found in attempt 2" not in problem.what


@pytest.mark.parametrize(
    ("scheme", "other"),
    [
        ("integer_only", "optimization=dynamic_range"),
        ("dynamic_range", "optimization=none"),
        ("float16", "optimization=none"),
        ("none", None),
    ],
)
def test_death_names_another_scheme_than_the_one_that_died(problem_of, scheme, other):
    problem = problem_of(KILLED, KILLED, scheme=scheme)
    named = [line for line in (problem.fix, *problem.alternatives) if line.startswith("optimization=")]
    assert named == ([other] if other else [])
