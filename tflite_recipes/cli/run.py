"""The command run: one run, or a sweep."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pickle
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tflite_recipes.cli import compare
from tflite_recipes.cli.parser import Add
from tflite_recipes.core import leftovers, paths
from tflite_recipes.core.errors import ExitStatus, Problem, RequestError
from tflite_recipes.core.plain_output import show

if TYPE_CHECKING:
    from tflite_recipes.config.composition import Job
    from tflite_recipes.config.recipe import Recipe
    from tflite_recipes.core.result import RunResult

_SWEEP = "TFLITE_RECIPES_SWEEP"
_FOLDER = "sweep_folder"
_MOST_SHOWN = 3  # runs that were killed, of those that are found
# Of several jobs' statuses, the first of these that occurs is the sweep's.
_WORST = (ExitStatus.FAILED, ExitStatus.REQUEST, ExitStatus.GATE, ExitStatus.UNTRACKED, ExitStatus.DONE)


def add_to(add: Add) -> None:
    """The command's own lines in the parser."""
    run = add("run", _run, "run a recipe; with -m a sweep over comma-separated values")
    run.add_argument("recipe", metavar="RECIPE", help="a recipe's name, or a YAML file")
    run.add_argument("-m", "--multirun", action="store_true", help="sweep: one run for each combination of values")
    run.add_argument("-cd", "--config-dir", type=Path, metavar="DIR", help="a folder with your own config groups")
    run.add_argument("-c", "--cfg", choices=("job", "hydra", "all"), help="print the config as Hydra composes it")
    run.add_argument("-i", "--info", nargs="?", const="all", metavar="WHAT", help="print Hydra's own information")
    run.add_argument("-p", "--package", metavar="KEY", help="with --cfg: print only this part")
    run.add_argument("--resolve", action="store_true", help="with --cfg: resolve interpolations")
    run.add_argument("--hydra-help", action="store_true", help="print Hydra's own help")
    run.add_argument("overrides", nargs="*", metavar="key=value", help="group=option or group.key=value")


def _run(options: argparse.Namespace) -> ExitStatus:
    from tflite_recipes import api
    from tflite_recipes.config import composition

    if unknown := [text for text in options.rest if text.startswith("-")]:
        what = f"{' '.join(unknown)} is not known here"
        raise RequestError(Problem(what, "run", "", ("tflite-recipes run --help",)))
    overrides = [*options.overrides, *options.rest]
    if options.config_dir is not None and not os.path.isdir(options.config_dir):
        what = f"there is no folder {paths.shortened(str(options.config_dir))}"
        raise RequestError(Problem(what, "--config-dir"))
    if questions := _questions(options):
        arguments = [*questions, *overrides, *(["--multirun"] if options.multirun else [])]
        composition.launch(options.recipe, arguments, options.config_dir, lambda job: None)
        return ExitStatus.DONE
    prepared = composition.prepare(options.recipe, overrides, options.config_dir, options.multirun)
    if options.multirun:
        return _sweep(options, prepared)
    api.warm_up()  # while Hydra makes its folders
    with _collected({}) as results:
        composition.launch(options.recipe, prepared.overrides, options.config_dir, _job)
        ((_, result),) = _gathered(results)
    return finish(result)


def _questions(options: argparse.Namespace) -> list[str]:
    """Hydra's flags that ask about the config instead of running it."""
    asked = [f"--{name}={value}" for name in ("cfg", "info", "package") if (value := getattr(options, name))]
    return [*asked, *(f"--{name.replace('_', '-')}" for name in ("resolve", "hydra_help") if getattr(options, name))]


def finish(result: RunResult) -> ExitStatus:
    """Print what a run came to, and give its exit status."""
    from tflite_recipes.report.console import show_problems, show_result

    with contextlib.suppress(BrokenPipeError):  # nobody reads on; the run is done all the same
        sys.stdout.flush()
        show_problems(result.problems)
        show_result(result)
    return result.status


def _sweep(options: argparse.Namespace, prepared: Any) -> ExitStatus:
    from tflite_recipes.config import composition
    from tflite_recipes.engine.guard import guarded
    from tflite_recipes.report.console import show_problems, show_sweep

    tracking, sweep = prepared.recipes[0].tracking, None
    if tracking is not None:
        from tflite_recipes.tracking.sweeps import Sweep

        sweep = Sweep(tracking, prepared.recipes[0].name, [*options.overrides, *options.rest])
    outcome, folder = "KILLED", None
    told = {"sweep": sweep.to_json() if sweep is not None else None, "shared": list(prepared.shared)}
    with _collected(told) as results, guarded():
        try:
            composition.launch(options.recipe, ["--multirun", *prepared.overrides], options.config_dir, _job)
            jobs = _gathered(results)
            status = next(s for s in _WORST if s in {result.status for _, result in jobs} or s is ExitStatus.DONE)
            outcome = "FAILED" if status is ExitStatus.FAILED else "FINISHED"
        finally:
            if sweep is not None:
                folder = _sweep_folder(results)
                sweep.end(folder, outcome)
    shared = set.intersection(*(set(overrides) for overrides, _ in jobs)) if len(jobs) > 1 else set()
    own = [([text for text in overrides if text not in shared], result) for overrides, result in jobs]
    for overrides, result in own:
        if result.problems:
            show(f"\n{' '.join(overrides)}:", sys.stderr)
            show_problems(result.problems)
    show_sweep(own, sweep.run_id if sweep is not None else None)
    if sweep is not None and sweep.failure:
        show_problems((sweep.problem(folder),))
        status = ExitStatus.UNTRACKED if status is ExitStatus.DONE else status
    elif sweep is not None and sweep.run_id is not None:
        compare.keep_of_sweep(tracking.uri, sweep.run_id)
    return status


@contextlib.contextmanager
def _collected(settings: dict[str, Any]) -> Iterator[Path]:
    """A folder for the results of the jobs that Hydra launches, because a launcher may run them in other processes. Its
    place goes down in the environment."""
    with leftovers.temporary_folder() as folder:
        os.environ[_SWEEP] = json.dumps({**settings, "results": folder})
        try:
            yield Path(folder)
        finally:
            del os.environ[_SWEEP]


def _gathered(results: Path) -> list[tuple[tuple[str, ...], RunResult]]:
    """The jobs' overrides and what they came to."""
    return [pickle.loads(file.read_bytes()) for file in sorted(results.glob("*.pickle"))]  # written by our own jobs


def _sweep_folder(results: Path) -> Path | None:
    """Where the jobs say that their sweep is; None where none has begun."""
    file = results / _FOLDER
    return Path(file.read_text(encoding="utf-8")) if file.exists() else None


def _job(job: Job) -> None:
    """One job, in whichever process Hydra's launcher put it. Never raises but for an interrupt."""
    from tflite_recipes import api
    from tflite_recipes.core.result import RunResult

    settings = json.loads(os.environ[_SWEEP])
    key: str | None = None
    problems = job.problems
    if (sweep := settings.get("sweep")) is not None:
        from tflite_recipes.tracking.sweeps import remember

        if (problem := remember(job.sweep_dir, sweep)) is not None:
            problems = (*problems, problem)
        else:
            (Path(settings["results"]) / _FOLDER).write_text(str(job.sweep_dir), encoding="utf-8")
        key = sweep["key"]
    if job.recipe is None or problems:
        result = RunResult("", "", ExitStatus.REQUEST, job.output_dir, problems=problems)
    else:
        if job.number == 0:
            _show_unfinished(job)
        try:
            recipe = _told_apart(job, settings.get("shared"))
            result = api.run(recipe, output_dir=_relative(job.output_dir), parent_key=key)
        except RequestError as error:
            result = RunResult(
                job.recipe.name, job.recipe.digest, error.status, job.output_dir, problems=error.problems
            )
    (Path(settings["results"]) / f"{job.number:06d}.pickle").write_bytes(pickle.dumps((job.overrides, result)))


def _show_unfinished(job: Job) -> None:
    """Print what earlier runs of the recipe left to upload that were killed."""
    assert job.recipe is not None
    if job.recipe.tracking is None:
        return
    from tflite_recipes.tracking import unfinished_runs

    left = list(unfinished_runs.beside(_relative(job.sweep_dir), job.recipe.name))
    for unfinished in left[:_MOST_SHOWN]:
        show(str(unfinished), sys.stderr)
    if len(left) > _MOST_SHOWN:
        place = shlex.quote(str(left[0].folder.parent))
        show(f"{len(left) - _MOST_SHOWN} more. Upload all of them: tflite-recipes sync {place}", sys.stderr)


def _told_apart(job: Job, shared: Sequence[str] | None) -> Recipe:
    """The job's recipe; that of a sweep's with its run in MLflow called by what the sweep varies, unless the user named
    it. shared: the keys that every job has; None for a job alone."""
    from tflite_recipes.config.composition import key_of

    assert job.recipe is not None
    tracking = job.recipe.tracking
    if shared is None or tracking is None or tracking.run_name:
        return job.recipe
    name = " ".join([job.recipe.name, *(text.lstrip("+") for text in job.overrides if key_of(text) not in shared)])
    return replace(job.recipe, tracking=replace(tracking, run_name=name))


def _relative(path: Path) -> Path:
    """As the user would write it from where they stand."""
    with contextlib.suppress(ValueError):
        return path.relative_to(Path.cwd())
    return path
