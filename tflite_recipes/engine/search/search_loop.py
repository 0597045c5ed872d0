"""The loop over candidates, above the runner. Emits events; knows no tracker and no console."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tflite_recipes.config.recipe import Recipe
from tflite_recipes.core import events
from tflite_recipes.core.analysis import kept
from tflite_recipes.core.errors import ExitStatus, Problem, RecipeError, RequestError, StepError
from tflite_recipes.core.outcome import OUTCOME, RunOutcome
from tflite_recipes.core.result import CANDIDATES, MODEL, RunResult
from tflite_recipes.engine import runner
from tflite_recipes.engine.fingerprint import TAG as FINGERPRINT
from tflite_recipes.engine.fingerprint import run_fingerprint
from tflite_recipes.engine.search import delivery, hints, strategy
from tflite_recipes.engine.search.candidate_outcome import (
    DONE,
    DROP_GATE,
    FAILED,
    MISSED,
    PASSED,
    REFUSED,
    UNJUDGED,
    Outcome,
    best,
    best_of_each,
)
from tflite_recipes.engine.search.candidates import Candidate, folder_name, option, recipe_of
from tflite_recipes.engine.shared_results import Memo
from tflite_recipes.engine.spool import Spool
from tflite_recipes.engine.step_clock import SEARCH, STARTUP, TOTAL
from tflite_recipes.engine.worker import WorkerPool
from tflite_recipes.steps.auto_optimization import AutoOptimization

_OUTCOMES = {
    RunOutcome.passed: PASSED,
    RunOutcome.done: DONE,
    RunOutcome.gate_failed: MISSED,
    RunOutcome.not_evaluated: UNJUDGED,
}
# If so many candidates have a file and none could be evaluated, the evaluation is at fault.
_ENOUGH_UNJUDGED = 2


@dataclass(frozen=True)
class Follower:
    """Who listens to one candidate. `close` waits until all is told, and gives the ID of the run that it was told to,
    None where there is none."""

    listeners: Sequence[events.Listener] = ()
    close: Callable[[], str | None] = lambda: None


Follow = Callable[[str], Follower]


def asked_of(recipe: Recipe) -> AutoOptimization | None:
    """What the recipe lets a search try; None where it is an ordinary one."""
    instance = next((spec.instance for spec in recipe.steps if spec.name == "optimization"), None)
    return instance if isinstance(instance, AutoOptimization) else None


def space_of(auto: AutoOptimization) -> strategy.Space:
    """The same in plain names, with the keys that every scheme's option has."""
    schemes = tuple(scheme.name for scheme in auto.schemes)
    keys = frozenset.intersection(*(frozenset(option(scheme)) for scheme in schemes))
    quantizers = tuple(quantizer.name for quantizer in auto.quantizers)
    return strategy.Space(schemes, quantizers, auto.objective.name, auto.max_runs, keys)


def rehearsed(recipe: Recipe) -> tuple[Candidate, Recipe] | None:
    """The first candidate that can be had, with its recipe, to try a search by; None for an ordinary recipe.

    Errors: RequestError where no scheme can be had as it is.
    """
    auto = asked_of(recipe)
    if auto is None:
        return None
    outcomes: list[Outcome] = []
    while (candidate := strategy.next_candidate(space_of(auto), outcomes)) is not None:
        try:
            return candidate, recipe_of(recipe, auto, candidate)
        except RequestError as error:
            outcomes.append(Outcome(len(outcomes) + 1, candidate, REFUSED, ran=False, reason=reason_of(error.problems)))
    raise RequestError([_nothing_to_try(outcomes)])


def search(
    recipe: Recipe, output_dir: Path, listeners: Sequence[events.Listener], pool: WorkerPool, follow: Follow
) -> RunResult:
    """Search into `output_dir`: the winner's files there, all candidates below `candidates/`.

    `follow` gives the listeners of a candidate, by its name. Errors end up in the result; KeyboardInterrupt is told and
    raised again.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    pool.ready()
    return _Search(recipe, output_dir, Spool(output_dir, listeners), pool, follow).run()


@dataclass
class _Trial:
    """What one candidate's run told: every event, and the step that it came to."""

    told: list[events.Event] = field(default_factory=list)
    step: str = ""

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.StepStarted):
            self.step = event.step
        if not isinstance(event, events.Progress):
            self.told.append(event)


class _Search:
    """One search at work."""

    def __init__(self, recipe: Recipe, folder: Path, spool: Spool, pool: WorkerPool, follow: Follow) -> None:
        auto = asked_of(recipe)
        assert auto is not None
        self._recipe, self._auto, self._space = recipe, auto, space_of(auto)
        self._folder, self._spool, self._pool, self._follow = folder, spool, pool, follow
        self._outcomes: list[Outcome] = []
        self._trials: dict[int, _Trial] = {}
        self._started = self._opened = time.monotonic()

    def run(self) -> RunResult:
        try:
            self._open()
            self._opened = time.monotonic()
            with runner.scratch_folder(self._folder, self._pool) as scratch:
                self._try_all(Memo(scratch))
            return self._conclude()
        except RecipeError as error:
            return self._end(RunOutcome.failed, error.status, error.problems)
        except OSError as error:  # a full disk, a folder that may not be written
            problem = Problem(error.strerror or str(error), str(error.filename or ""))
            return self._end(RunOutcome.failed, ExitStatus.FAILED, (problem,))
        except BaseException:
            self._end(RunOutcome.killed, ExitStatus.KILLED)
            raise

    def _open(self) -> None:
        recipe = self._recipe
        for name, text in (
            (delivery.SEARCH_RECIPE, recipe.to_yaml()),
            ("overrides.txt", "".join(f"{o}\n" for o in recipe.overrides)),
        ):
            (self._folder / name).write_text(text, encoding="utf-8")
        started = events.RunStarted(
            recipe.name, recipe.digest, recipe.choices, recipe.config, recipe.overrides, str(self._folder)
        )
        self._spool.tell(started)
        for name in (delivery.SEARCH_RECIPE, "overrides.txt"):
            self._spool.tell(events.ArtifactKept(str(self._folder / name)))
        runner.tell_origins(recipe, self._spool)

    def _try_all(self, memo: Memo) -> None:
        while (candidate := strategy.next_candidate(self._space, self._outcomes)) is not None:
            number = len(self._outcomes) + 1
            self._spool.tell(events.Progress("candidates", number - 1, self._space.max_runs, str(candidate)))
            outcome = self._try(number, candidate, memo)
            self._outcomes.append(outcome)
            self._spool.tell(_tried(outcome))
            unjudged = sum(one.outcome == UNJUDGED for one in self._outcomes)
            if unjudged >= _ENOUGH_UNJUDGED and not any(one.has_file for one in self._outcomes):
                break

    def _try(self, number: int, candidate: Candidate, memo: Memo) -> Outcome:
        try:
            recipe = recipe_of(self._recipe, self._auto, candidate)
        except RequestError as error:
            return Outcome(number, candidate, REFUSED, ran=False, reason=reason_of(error.problems))
        follower, trial = self._follow(f"{number:02d} {candidate}"), _Trial()
        folder = self._folder / CANDIDATES / folder_name(number, candidate)
        self._trials[number] = trial
        try:
            result = runner.run(recipe, folder, [trial, *follower.listeners], self._pool, memo=memo)
        finally:
            run_id = follower.close()
        _end_if_shared(result, trial.step)
        return outcome_of(number, candidate, replace(result, run_id=run_id))

    def _conclude(self) -> RunResult:
        chosen = best(self._outcomes, self._space.objective)
        if chosen is None:
            delivery.keep_tables(self._folder, self._recipe, self._outcomes, None, self._space, self._spool)
            return self._end(RunOutcome.failed, ExitStatus.FAILED, (_nothing_to_try(self._outcomes),))
        delivery.deliver(chosen, self._trials[chosen.number].told, self._spool)
        ran = sum(outcome.ran for outcome in self._outcomes)
        counts = {"search.runs": ran, "search.passed": sum(outcome.passed for outcome in self._outcomes)}
        now = time.monotonic()
        times = {STARTUP: self._opened - self._started, SEARCH: now - self._opened, TOTAL: now - self._started}
        self._spool.tell(events.Measured({**counts, **times}))
        if not chosen.passed:
            self._spool.tell(events.Warned(_nearest(self._space, self._outcomes)))
        with kept(events.EventReporter(self._spool.tell), "the report", delivery.REPORT, judges=False):
            delivery.keep_tables(self._folder, self._recipe, self._outcomes, chosen, self._space, self._spool)
        return self._end(*runner.delivered(self._spool))

    def _end(self, outcome: RunOutcome, status: ExitStatus, problems: tuple[Problem, ...] = ()) -> RunResult:
        spool, seconds = self._spool, time.monotonic() - self._started
        spool.tell(events.Tagged({OUTCOME: outcome}))
        if outcome.has_file:
            fingerprint = run_fingerprint(spool.recipe_digest, spool.inputs, spool.code)
            spool.tell(events.Tagged({FINGERPRINT: fingerprint}))
        spool.tell(events.RunFinished(outcome, seconds, problems))
        spool.close()
        return RunResult(
            recipe=self._recipe.name,
            digest=self._recipe.digest,
            status=status,
            output_dir=self._folder,
            path=self._folder / MODEL if outcome.has_file else None,
            metrics=dict(spool.metrics),
            gates=tuple(spool.gates),
            warnings=tuple(spool.warnings),
            tags=dict(spool.tags),
            problems=problems,
            found=self._folder / delivery.RECIPE if outcome.has_file else None,
            outcome=outcome,
        )


def _end_if_shared(result: RunResult, step: str) -> None:
    """A model or data that every candidate has: where one cannot have it, no other can. Errors: what was wrong."""
    if result.status is ExitStatus.REQUEST and step != "optimization":
        raise RequestError(result.problems)
    if result.status is ExitStatus.FAILED and step in ("", "source"):
        raise StepError(result.problems)


def outcome_of(number: int, candidate: Candidate, result: RunResult) -> Outcome:
    """What the result of a candidate's run is to the search."""
    refused = result.status is ExitStatus.REQUEST
    kind, metrics = _OUTCOMES.get(result.outcome, REFUSED if refused else FAILED), result.metrics
    drop = next((gate.measured for gate in result.gates if gate.name == DROP_GATE), metrics.get("accuracy.drop"))
    missed = "; ".join(f"{gate.name} {gate.measured:g} of {gate.limit:g}" for gate in result.gates if not gate.passed)
    folder = result.output_dir if result.path is not None else None
    return Outcome(
        number=number,
        candidate=candidate,
        outcome=kind,
        size=metrics.get("size.tflite_bytes") if folder else None,
        latency=metrics.get("latency.p50_ms"),
        source_score=metrics.get("accuracy.source"),
        score=metrics.get("accuracy.tflite"),
        drop=drop,
        gates=result.gates,
        reason=missed or reason_of(result.problems),
        run_id=result.run_id,
        folder=result.output_dir,
        ops=hints.losing_ops(folder) if folder else (),
        heads=hints.heads(folder) if folder else (),
    )


def reason_of(problems: Sequence[Problem]) -> str:
    """The first of several problems, where it is, on one line."""
    return problems[0].lines()[0].splitlines()[0] if problems else ""


def _tried(outcome: Outcome) -> events.Tried:
    named = {
        "size.tflite_bytes": outcome.size,
        "latency.p50_ms": outcome.latency,
        "accuracy.tflite": outcome.score,
        "accuracy.drop": outcome.drop,
    }
    metrics = {name: value for name, value in named.items() if value is not None}
    return events.Tried(outcome.number, str(outcome.candidate), outcome.outcome, metrics, outcome.reason)


def _nearest(space: strategy.Space, outcomes: Sequence[Outcome]) -> str:
    """What every scheme came to at best, where none passes."""
    said = [
        f"{one.candidate} {one.outcome}" + ("" if one.drop is None else f", drop {one.drop:.4g}")
        for one in best_of_each(space.schemes, outcomes, space.objective)
    ]
    return f"no candidate passes; the nearest of each scheme: {'; '.join(said)}"


def _nothing_to_try(outcomes: Sequence[Outcome]) -> Problem:
    said = "; ".join(f"{outcome.candidate}: {outcome.reason}" for outcome in outcomes[:6])
    more = f" and {len(outcomes) - 6} more" if len(outcomes) > 6 else ""
    return Problem(f"no candidate gave a file: {said}{more}", "optimization")
