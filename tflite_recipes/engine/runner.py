"""The loop over steps, in the parent. Emits events; knows no tracker and no console."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tflite_recipes.config import recipe_inputs
from tflite_recipes.config.recipe import Recipe
from tflite_recipes.core import events, leftovers
from tflite_recipes.core.analysis import failure, keep_written, kept
from tflite_recipes.core.environment import ENVIRONMENT, environment_text, git_commit
from tflite_recipes.core.errors import ExitStatus, Problem, RecipeError, RequestError, StepError
from tflite_recipes.core.outcome import OUTCOME, RunOutcome, of_gates
from tflite_recipes.core.result import LOG, MODEL, RunResult
from tflite_recipes.core.state import Intent, State
from tflite_recipes.engine import fix_trials, memory_check, memory_limits
from tflite_recipes.engine.attempt_loop import AttemptLoop
from tflite_recipes.engine.fingerprint import TAG as FINGERPRINT
from tflite_recipes.engine.fingerprint import run_fingerprint
from tflite_recipes.engine.shared_results import Memo
from tflite_recipes.engine.spool import Spool
from tflite_recipes.engine.step_clock import StepClock
from tflite_recipes.engine.worker import WorkerDied, WorkerPool
from tflite_recipes.files.models import sha256_of
from tflite_recipes.files.samples.input_example import FEEDING, write_example
from tflite_recipes.files.tflite import size_metrics as sizes
from tflite_recipes.report import plots, run_page, tables

_TAIL_LINES = 20
_TAIL_WIDTH = 300


@dataclass(frozen=True)
class _End:
    """How a run ended."""

    outcome: RunOutcome
    status: ExitStatus
    problems: tuple[Problem, ...] = ()
    died: bool = False


def run(
    recipe: Recipe,
    output_dir: Path,
    listeners: Sequence[events.Listener],
    pool: WorkerPool,
    intent: Intent | None = None,
    memo: Memo | None = None,
    tags: Mapping[str, str] | None = None,
) -> RunResult:
    """Run a recipe into `output_dir`. Errors end up in the result; KeyboardInterrupt is told and raised again.

    `intent` stands in for the recipe's own, where some of its steps are left out. `memo` holds what runs have in common
    that differ in their later steps only, the candidates of a search. `tags` are told before the first step.
    """
    started = time.monotonic()
    output_dir.mkdir(parents=True, exist_ok=True)
    pool.ready()  # TensorFlow loads while the listeners set themselves up
    spool = Spool(output_dir, listeners)
    clock = StepClock(spool.tell, started)
    try:
        end = _attempt(recipe, intent or recipe.intent, spool, pool, clock, memo, tags or {})
    except BaseException:
        _conclude(recipe, spool, _End(RunOutcome.killed, ExitStatus.KILLED), clock)
        raise
    end = _conclude(recipe, spool, end, clock)
    return RunResult(
        recipe=recipe.name,
        digest=recipe.digest,
        status=end.status,
        output_dir=output_dir,
        path=output_dir / MODEL if end.outcome.has_file else None,
        metrics=dict(spool.metrics),
        gates=tuple(spool.gates),
        warnings=tuple(spool.warnings),
        tags=dict(spool.tags),
        problems=end.problems,
        outcome=end.outcome,
    )


def _attempt(
    recipe: Recipe,
    intent: Intent,
    spool: Spool,
    pool: WorkerPool,
    clock: StepClock,
    memo: Memo | None,
    tags: Mapping[str, str],
) -> _End:
    try:
        spool.tell(_started(recipe, spool.output_dir))
        if tags:
            spool.tell(events.Tagged(tags))
        tell_origins(recipe, spool, shared=memo is not None)
        if (problem := memory_check.refusal(recipe, memory_limits.limits(), pool.held())) is not None:
            raise RequestError(problem)
        with scratch_folder(spool.output_dir, pool) as scratch:
            _deliver(_run_steps(recipe, intent, scratch, spool, pool, clock, memo), spool)
    except RecipeError as error:
        return _End(RunOutcome.failed, error.status, _placed(error, spool.step), isinstance(error, WorkerDied))
    except OSError as error:  # a full disk, a folder that may not be written
        return _End(
            RunOutcome.failed, ExitStatus.FAILED, (Problem(error.strerror or str(error), str(error.filename or "")),)
        )
    return _End(*delivered(spool))


def delivered(spool: Spool) -> tuple[RunOutcome, ExitStatus, tuple[Problem, ...]]:
    """Return how a run with a file ends: by its gates, unless an analysis failed that decides with them."""
    problems = tuple(dict.fromkeys(failure.problem for failure in spool.failures))
    outcome = of_gates(gate.passed for gate in spool.gates)
    if any(failure.judges for failure in spool.failures):
        outcome = RunOutcome.not_evaluated
    status = ExitStatus.GATE if outcome is RunOutcome.gate_failed else ExitStatus.DONE
    return outcome, ExitStatus.FAILED if problems else status, problems


def _conclude(recipe: Recipe, spool: Spool, end: _End, clock: StepClock) -> _End:
    spool.tell(events.Measured(clock.stop()))
    spool.tell(events.Tagged({OUTCOME: end.outcome}))
    if end.outcome.has_file:
        fingerprint = run_fingerprint(spool.recipe_digest, spool.inputs, spool.code)
        spool.tell(events.Tagged({FINGERPRINT: fingerprint}))
    log = spool.output_dir / LOG
    tail = _tail(log) if end.status is ExitStatus.FAILED else ""
    if end.outcome is not RunOutcome.killed:
        end = _with_report(recipe, spool, end, tail)
    if log.exists():
        spool.tell(events.ArtifactKept(str(log)))
    spool.tell(events.RunFinished(end.outcome, time.monotonic() - clock.started, end.problems, tail, end.died))
    spool.close()
    return end


def _with_report(recipe: Recipe, spool: Spool, end: _End, tail: str) -> _End:
    """Keep the plots and the page of the run. A run without them has failed, but keeps its file and its outcome."""
    told = (spool.metrics, spool.gates, spool.warnings, spool.tags, spool.output_dir, spool.notes)
    path = spool.output_dir / run_page.REPORT
    try:
        for plot in plots.write(spool.output_dir):
            spool.tell(events.ArtifactKept(str(plot)))
        path.write_text(run_page.render(recipe, *told, problems=end.problems, log_tail=tail), encoding="utf-8")
        spool.tell(events.ArtifactKept(str(path)))
    except Exception as error:  # a full disk, or whatever the run's files lead to
        problem = failure("the report", run_page.REPORT, error)
        spool.tell(events.AnalysisFailed(problem, False))
        return replace(end, status=ExitStatus.FAILED, problems=(*end.problems, problem))
    return end


def _started(recipe: Recipe, output_dir: Path) -> events.RunStarted:
    for name, text in (
        ("recipe.yaml", recipe.to_yaml()),
        ("overrides.txt", "".join(f"{o}\n" for o in recipe.overrides)),
    ):
        (output_dir / name).write_text(text, encoding="utf-8")
    return events.RunStarted(
        recipe.name, recipe.digest, recipe.choices, recipe.config, recipe.overrides, str(output_dir)
    )


def tell_origins(recipe: Recipe, spool: Spool, shared: bool = False) -> None:
    """What the run starts from: the machine with its packages, the commit that the user stands at, and the files that
    the recipe names, digested. shared: a run above, which has the same files, tells of them too."""
    if commit := git_commit():
        spool.tell(events.Tagged({"tflite_recipes.git_commit": commit}))
    read = recipe_inputs.read_inputs(recipe)
    reporter = events.EventReporter(spool.tell)
    for name, text in ((ENVIRONMENT, environment_text()), (recipe_inputs.INPUTS, recipe_inputs.to_text(read))):
        write = functools.partial(Path.write_text, data=text, encoding="utf-8")
        keep_written(reporter, spool.output_dir / name, write, name)
    for given in read:
        spool.tell(events.InputRead(**asdict(given), shared=shared))


@contextlib.contextmanager
def scratch_folder(output_dir: Path, pool: WorkerPool) -> Iterator[Path]:
    """A folder for what only lasts as long as a run. The worker is ended before it goes in an interrupt."""
    with leftovers.folder(output_dir / f".work_{leftovers.token()}") as scratch:
        try:
            yield scratch
        except KeyboardInterrupt:
            pool.kill()  # or it would write on
            raise


def _run_steps(
    recipe: Recipe,
    intent: Intent,
    scratch: Path,
    spool: Spool,
    pool: WorkerPool,
    clock: StepClock,
    memo: Memo | None,
) -> State:
    """Run the steps, in several attempts if need be. A fix of a failed run is tried before it is printed.

    Errors: RecipeError.
    """
    for name in ("recipe.yaml", "overrides.txt"):
        spool.tell(events.ArtifactKept(str(spool.output_dir / name)))
    log = spool.output_dir / LOG
    loop = AttemptLoop(scratch, log, pool, clock.started, clock.tell, clock.attempt_failed, memo)
    try:
        return loop.run(recipe, intent)
    except StepError as error:
        if memo is not None:  # a candidate of a search, whose place another takes
            raise
        raise fix_trials.with_tried_fixes(error, recipe, intent, loop) from error


def _deliver(state: State, spool: Spool) -> None:
    """The file appears under its final name only when every step has run; what it weighs is known only now."""
    assert state.tflite is not None
    reporter = events.EventReporter(spool.tell)
    with kept(reporter, "the size", "size"):
        spool.tell(events.Measured(sizes.size_metrics(state.tflite, state.parameters)))
    digest = sha256_of(state.tflite)
    final = state.workdir / MODEL
    if not state.tflite.resolve().is_relative_to(state.workdir):
        copied = final.with_name(f".{MODEL}.{leftovers.token()}")
        with leftovers.claimed(copied):
            shutil.copyfile(state.tflite, copied)  # a file of the user's own, which stays where it is
            os.replace(copied, final)
    elif state.tflite != final:
        os.replace(state.tflite, final)
    with kept(reporter, "the table of sizes", run_page.REPORT, judges=False):
        try:
            for table in tables.write(replace(state, tflite=final), final.parent):
                spool.tell(events.ArtifactKept(str(table)))
        except RequestError as error:  # a file that our reader does not understand is delivered all the same
            spool.tell(events.Warned(f"the report has no sizes by layer: {error}"))
    spool.tell(events.Tagged({"tflite_recipes.tflite_sha256": digest}))
    with kept(reporter, "the input example", "model", judges=False):
        if (example := write_example(replace(state, tflite=final))) is not None:
            spool.tell(events.Noted({FEEDING: example[1]}))
            spool.tell(events.ArtifactKept(str(example[0]), "model"))
    spool.tell(events.ArtifactKept(str(final), "model"))


def _placed(error: RecipeError, step: str) -> tuple[Problem, ...]:
    return tuple(problem if problem.where else replace(problem, where=step) for problem in error.problems)


def _tail(log: Path) -> str:
    if not log.exists():
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    # A crash report ends with every extension module that was loaded, on one line.
    telling = [line[:_TAIL_WIDTH] for line in lines if not line.startswith("Extension modules:")]
    return "\n".join(telling[-_TAIL_LINES:])
