"""Compose, check and run from Python. The command line is a thin layer over this.

import tflite_recipes
result = tflite_recipes.run("digits_integer_only", ["calibration.samples=50"])
result.path, result.metrics["accuracy.tflite"], result.gates, result.run_id
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tflite_recipes.config import composition
from tflite_recipes.config.recipe import Recipe, StepSpec
from tflite_recipes.core import leftovers, public_names
from tflite_recipes.core.errors import ExitStatus, Problem, RequestError
from tflite_recipes.core.events import Listener
from tflite_recipes.core.plain_output import show
from tflite_recipes.core.result import SPOOL, RunResult
from tflite_recipes.core.state import Intent
from tflite_recipes.core.tracking_uri import without_password
from tflite_recipes.engine import search
from tflite_recipes.engine.runner import run as run_steps
from tflite_recipes.engine.worker import WorkerPool
from tflite_recipes.steps import ParityEvaluation

if TYPE_CHECKING:
    from tflite_recipes.tracking.mlflow_tracker import MlflowTracker

_POOL = WorkerPool()
# What takes long or measures, and decides nothing of whether a model converts.
_NOT_REHEARSED = ("pruning", "target", "evaluation")
atexit.register(_POOL.close)


def compose(recipe: str, overrides: Sequence[str] = ()) -> Recipe:
    """Return the resolved recipe.

    Args:
        recipe: name of a recipe, or path of a YAML file.
        overrides: `group=option` and `group.key=value`, as on the command line.

    Raises:
        RequestError: The request is wrong. `problems` has all problems.
    """
    return composition.compose(recipe, overrides)


def check(recipe: str, overrides: Sequence[str] = ()) -> tuple[Problem, ...]:
    """Return the problems of a request without loading TensorFlow; () if there are none.

    Args:
        recipe: name of a recipe, or path of a YAML file.
        overrides: `group=option` and `group.key=value`, as on the command line.
    """
    try:
        composition.compose(recipe, overrides)
    except RequestError as error:
        return error.problems
    return ()


@dataclass(frozen=True)
class Rehearsal:
    """What a deep check came to: the run that was tried, without its file, and the file's contract ({} without one).
    candidate: of a search, what was tried of it; "" for any other run."""

    result: RunResult
    contract: Mapping[str, Any]
    candidate: str = ""


def rehearse(recipe: str | Recipe, overrides: Sequence[str] = (), *, progress: bool = True) -> Rehearsal:
    """Check a request with TensorFlow: load the model, look for ops that cannot be converted, try the remedies, convert
    and hold the file against its source on a few samples. Training, measuring, labels and tracking are left out, and
    nothing is left behind. Of a search its first candidate is tried.

    Errors: RequestError where the recipe does not compose; what goes wrong later is in the result.
    """
    composed = recipe if isinstance(recipe, Recipe) else composition.compose(recipe, overrides)
    candidate = ""
    if (first := search.rehearsed(composed)) is not None:
        candidate, composed = str(first[0]), first[1]
    kept = [spec for spec in composed.steps if spec.name not in _NOT_REHEARSED]
    parity = StepSpec("evaluation", public_names.public_name(ParityEvaluation), {"samples": 16, "seed": 0})
    tried = replace(composed, steps=(*kept, parity))
    with leftovers.temporary_folder() as folder:
        result = run_steps(tried, Path(folder), _console(progress), _POOL, composed.intent)
        written = Path(folder) / "io_contract.json"
        contract = json.loads(written.read_text(encoding="utf-8")) if result.path and written.exists() else {}
    return Rehearsal(replace(result, path=None), contract, candidate)


def _console(progress: bool) -> list[Listener]:
    if not progress:
        return []
    from tflite_recipes.report.console import Console

    return [Console()]


def begin_anew() -> None:
    """End the process that owns TensorFlow; the next run starts another, in the environment as it is then."""
    _POOL.close()


def warm_up() -> None:
    """Start loading TensorFlow now, for a run that is sure to come."""
    _POOL.ready()


def run(
    recipe: str | Recipe,
    overrides: Sequence[str] = (),
    *,
    output_dir: str | Path | None = None,
    progress: bool = True,
    parent_run_id: str | None = None,
    parent_key: str | None = None,
    intent: Intent | None = None,
    tags: Mapping[str, str] | None = None,
) -> RunResult:
    """Run a recipe and return its result. With `optimization=auto`, run a search.

    A step that fails does not raise. `status` and `problems` of the result say what failed.

    Args:
        recipe: name of a recipe, path of a YAML file, or a composed recipe.
        overrides: `group=option` and `group.key=value`, as on the command line. Not used for a composed recipe.
        output_dir: folder for the results; by default a new folder below `outputs/`.
        progress: whether the steps are printed as on the command line.
        parent_run_id: MLflow run that the new run becomes a child of.
        parent_key: key of a parent run whose record is in a folder above, if MLflow may not have it yet.
        intent: replaces what the steps get to know of the recipe. Not for a search.
        tags: tags that are logged first. Not for a search.

    Raises:
        RequestError: The request is wrong, or the output folder has a run already.
    """
    composed = recipe if isinstance(recipe, Recipe) else composition.compose(recipe, overrides)
    folder = Path(output_dir) if output_dir is not None else fresh_folder(composed.name)
    if (folder / SPOOL).exists():
        from tflite_recipes.tracking.sweeps import earlier_run

        raise RequestError(earlier_run(folder, "hydra.run.dir"))
    listeners = _console(progress)
    folder.mkdir(parents=True, exist_ok=True)
    _POOL.ready()
    searching = search.asked_of(composed) is not None
    plain = functools.partial(run_steps, intent=intent, tags=tags)
    if composed.tracking is None:
        go = _searching(None) if searching else plain
        return go(composed, folder, listeners, _POOL)
    from tflite_recipes.tracking.mlflow_tracker import MlflowTracker

    tracker = MlflowTracker(composed.tracking, parent_run_id, parent_key, show if progress else None)
    go = _searching(tracker) if searching else plain
    try:
        result = go(composed, folder, [*listeners, tracker], _POOL)
    except BaseException:
        tracker.close(wait=False)
        _say_untracked(tracker, folder, progress)
        raise
    with contextlib.suppress(KeyboardInterrupt):  # the run is done; what ends is the wait for the tracker
        tracker.close()
    if tracker.registered:
        result = replace(result, tags={**result.tags, "tflite_recipes.registered": tracker.registered})
    return _tracked(result, tracker.run_id, next(iter(tracker.failures), None), composed.tracking.uri)


def _searching(tracker: MlflowTracker | None) -> Callable[..., RunResult]:
    """A search whose candidates are tracked below its own run."""

    def follow(name: str) -> search.Follower:
        child = tracker.child(name) if tracker is not None else None
        if child is None:
            return search.Follower()

        def close() -> str | None:
            child.close(wait=not isinstance(sys.exception(), KeyboardInterrupt))
            return child.run_id

        return search.Follower([child], close)

    return functools.partial(search.search, follow=follow)


def fresh_folder(name: str) -> Path:
    """Where a run goes that was given no folder: one of its own, by the time, below `outputs/NAME`."""
    moment = time.time()
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(moment))
    return Path("outputs") / name / f"{stamp}.{int(moment % 1 * 1e6):06d}"


def _say_untracked(tracker: MlflowTracker, folder: Path, progress: bool) -> None:
    """Of a run that was interrupted, which has no result to say it in."""
    if progress and tracker.failures:
        from tflite_recipes.report.console import show_problems

        show_problems((_untracked(tracker.failures[0], folder, tracker.uri),))


def _tracked(result: RunResult, run_id: str | None, failure: str | None, uri: str) -> RunResult:
    if failure is None:
        return replace(result, run_id=run_id)
    problem = _untracked(failure, result.output_dir, uri)
    status = ExitStatus.UNTRACKED if result.status == ExitStatus.DONE else result.status
    return replace(result, run_id=run_id, status=status, problems=(*result.problems, problem))


def _untracked(failure: str, folder: Path, uri: str) -> Problem:
    what = (
        f"the run is not (wholly) tracked at {without_password(uri)}: {failure}; its files and events are in {folder}"
    )
    # No override: to paste one behind the command would run all of it again.
    return Problem(what, "tracking.uri", "", (f"tflite-recipes sync {shlex.quote(str(folder))}",))
