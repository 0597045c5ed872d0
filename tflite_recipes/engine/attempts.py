"""One go through a recipe's steps, and what another may do differently where the conversion failed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tflite_recipes.config.recipe import Recipe, StepSpec
from tflite_recipes.conversion.diagnosis import open_sizes, sizes_given
from tflite_recipes.conversion.remedies import override_of
from tflite_recipes.conversion.schemes import plainer
from tflite_recipes.core import events
from tflite_recipes.core.analysis import Analysis, rescued
from tflite_recipes.core.errors import Problem, RecipeError, StepError, WrongFile
from tflite_recipes.core.schema import TARGET
from tflite_recipes.core.state import CALIBRATED, Intent, State, TensorSpec
from tflite_recipes.engine.judged_file import JudgedFile
from tflite_recipes.engine.shared_results import Memo, Tell, key_of
from tflite_recipes.engine.worker import WorkerDied, WorkerPool

# The folder for temporary files of the worker. It goes with the scratch folder, however the worker ends.
_TEMPORARY = "tmp"


class Attempt:
    """One go through the steps, in a folder of its own. `offered` and `inputs` are known once the model is frozen."""

    def __init__(self, recipe: Recipe, folder: Path, intent: Intent, log: Path) -> None:
        folder.mkdir()
        self._recipe, self._log = recipe, log
        self._state = State(workdir=folder.resolve(), intent=intent)
        self.offered: tuple[str, ...] = ()
        self.inputs: tuple[TensorSpec, ...] = ()
        self.findings: tuple[str, ...] = ()
        self.sizes = intent.sizes

    def run(
        self, tell: Callable[[events.Event], None], pool: WorkerPool, started: float, memo: Memo | None = None
    ) -> State:
        """The state after the last step; what `memo` knows is not done again. Errors: RequestError, StepError, of which
        WorkerDied is one."""
        state = self._state.to_json()
        jobs = _jobs(self._recipe.steps)
        shared = _shared(jobs) if memo is not None else 0
        judged = JudgedFile(tell, [str(name) for name in self._recipe.config["steps"]])
        for number, steps in enumerate(jobs):

            def work(before: dict[str, Any], tell: Tell, steps: Sequence[StepSpec] = steps) -> dict[str, Any]:
                return pool.ready().run(self._job(steps, before), tell, self._recipe.worker, started)

            if memo is not None and number < shared:
                state = memo.recall(self._key(jobs[: number + 1]), state, tell, work)
            else:
                state = self._worked(work, steps, state, judged.told)
            reached = State.from_json(state)
            self.offered, self.inputs, self.findings = reached.offered, reached.inputs, reached.findings
            judged.after(steps[-1], reached.tflite)
        judged.conclude()
        return State.from_json(state)

    def _worked(
        self, work: Callable[[dict[str, Any], Tell], dict[str, Any]], steps: Sequence[StepSpec], state: Any, tell: Tell
    ) -> dict[str, Any]:
        """Return the state after a job. An analysis that fails leaves the state as it was."""
        try:
            return work(state, tell)
        except WrongFile:
            raise
        except RecipeError as error:
            if isinstance(error, WorkerDied) and (after := self._after_death(error, tell)) is not None:
                return after
            if not all(isinstance(spec.instance, Analysis) for spec in steps):
                raise
            for problem in error.problems:
                tell(events.AnalysisFailed(replace(problem, where=problem.where or steps[0].name), True))
            return dict(state)

    def _after_death(self, error: WorkerDied, tell: Tell) -> dict[str, Any] | None:
        """The state to go on with if the worker died of an analysis of a finished file; None if it did not.

        A run whose time is over ends there.
        """
        (death, *_) = error.problems
        found = None if death.where == "worker.timeout_s" else rescued(self._state.workdir, death)
        if found is None:
            return None
        tell(events.AnalysisFailed(found.problem, True))
        return dict(found.state)

    def _job(self, steps: Sequence[StepSpec], state: dict[str, Any]) -> dict[str, Any]:
        temporary = self._state.workdir / _TEMPORARY
        temporary.mkdir(exist_ok=True)
        return {
            "temporary": str(temporary),
            "log": str(self._log.resolve()),
            "cwd": os.getcwd(),
            "state": state,
            "steps": [
                {
                    "name": spec.name,
                    "values": {TARGET: spec.target, **spec.values},
                    "option": self._recipe.choices.get(spec.name, ""),
                }
                for spec in steps
            ],
        }

    def _key(self, jobs: Sequence[Sequence[StepSpec]]) -> str:
        """What the state after these jobs is made from: the steps so far, and what they are told of those to come.

        Our own steps ask of the scheme whether integers are to come, and which; all others are alike to them.
        """
        steps = [spec for job in jobs for spec in job]
        intent = asdict(replace(self._state.intent, recipe_digest=""))  # which only the finished file states
        if self._state.intent.scheme not in CALIBRATED and all(spec.instance is not None for spec in steps):
            intent["scheme"] = "none"
        return key_of([[(spec.name, spec.target, dict(spec.values)) for spec in steps], intent])


def _jobs(steps: Sequence[StepSpec]) -> list[Sequence[StepSpec]]:
    """Loading, model edits and freezing are one job, because the model in memory never leaves the worker; after that
    every step's inputs and outputs are files, and each step is a job of its own."""
    freeze = next(position for position, spec in enumerate(steps) if spec.name == "freeze")
    return [steps[: freeze + 1], *([spec] for spec in steps[freeze + 1 :])]


def _shared(jobs: Sequence[Sequence[StepSpec]]) -> int:
    """How many of the jobs, from the first on, runs that differ behind them may share: freezing, then calibration."""
    return 2 if len(jobs) > 1 and jobs[1][0].name == "calibration" else 1


def next_remedy(error: StepError, step: str, attempt: Attempt, intent: Intent) -> str | None:
    """The first of the remedies on offer that may help: any, where the converter died without a word."""
    if step != "optimization" or _at_a_limit(error):
        return None
    named = {name for problem in error.problems for name in problem.remedies}
    open_to = (name for name in attempt.offered if name not in intent.taken)
    return next((name for name in open_to if name in named or isinstance(error, WorkerDied)), None)


def retry(error: StepError, remedy: str, attempt: Attempt) -> str:
    """What to say of an attempt that failed before another is made."""
    return f"{error.problems[0].what}\n  trying the remedy {remedy}; by hand: {override_of(remedy, attempt.inputs)}"


@dataclass(frozen=True)
class Failed:
    """An attempt and the error that ended it."""

    attempt: Attempt
    error: StepError


def telling(first: Failed, last: Failed) -> Failed:
    """Of two attempts, the one whose error to tell: the last where it is not about converting any more."""
    died = isinstance(last.error, WorkerDied) and not _at_a_limit(last.error)
    of_converting = died or any(problem.remedies for problem in last.error.problems)
    return first if of_converting else last


def without_idle_fixes(error: StepError, attempt: Attempt, intent: Intent) -> StepError:
    """Return the error without fixes that this run has shown to be idle.

    Those are remedies that an attempt took and failed with, and those of `conversion.fallback` that change nothing in
    the model: asked for by hand they match nothing.
    """
    if isinstance(error, WorkerDied):
        return error
    problems = [_without_idle(problem, attempt, intent) for problem in error.problems]
    return error if problems == list(error.problems) else type(error)(problems)


def _without_idle(problem: Problem, attempt: Attempt, intent: Intent) -> Problem:
    unoffered = {name for name in intent.fallback if name not in attempt.offered}
    idle = [name for name in problem.remedies if name in unoffered or name in intent.taken]
    lines = {override_of(name, attempt.inputs) for name in idle}
    left = tuple(line for line in problem.alternatives if line not in lines)
    return replace(problem, fix="" if problem.fix in lines else problem.fix, alternatives=left)


def explained(failed: Failed, intent: Intent) -> StepError:
    """Return the error with what was found of the model before converting, if its converter died without a word.

    A death at a limit of the recipe says why, and its fix is the limit.
    """
    error, attempt = failed.error, failed.attempt
    if not isinstance(error, WorkerDied) or not attempt.findings or _at_a_limit(error):
        return error
    (problem, *rest) = error.problems
    what = f"{problem.what}, over what was found before converting: {'; '.join(attempt.findings[:3])}"
    fix, ors = sizes_given(open_sizes(attempt.inputs), attempt.sizes)
    other = plainer(intent.scheme)
    fix, ors = (fix, (*ors, *([other] if other else []))) if fix or ors else (other, ())
    return WorkerDied([replace(problem, what=what, fix=fix, alternatives=ors), *rest])


def _at_a_limit(error: StepError) -> bool:
    """Return whether the run ended a step because its time or its memory was used up."""
    return any(problem.where.startswith("worker.") for problem in error.problems)
