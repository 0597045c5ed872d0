"""Runs, sweeps and searches that a kill cut off, beside a new run of the same recipe: what `sync` can still upload."""

from __future__ import annotations

import contextlib
import itertools
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tflite_recipes.core import events, paths
from tflite_recipes.core.errors import RequestError
from tflite_recipes.core.outcome import RunOutcome
from tflite_recipes.core.result import CANDIDATES
from tflite_recipes.tracking import run_record as records
from tflite_recipes.tracking import spool_reader
from tflite_recipes.tracking.run_upload import records_below

# Folders that are looked at, the newest first: a folder takes a few milliseconds if it is not finished.
_MOST = 100


@dataclass(frozen=True)
class Unfinished:
    """One that was cut off.

    folder: its output folder.
    kind: "run", "sweep" or "search".
    recipe: the name of its recipe.
    runs: how many runs it has, its own and those below it.
    missing: how many of them MLflow does not have completely.
    """

    folder: Path
    kind: str
    recipe: str
    runs: int
    missing: int

    @property
    def sync(self) -> str:
        """The command that uploads it."""
        return f"tflite-recipes sync {shlex.quote(str(self.folder))}"

    def __str__(self) -> str:
        of = f"{self.missing} of its {self.runs} runs are" if self.runs > 1 else "the run is"
        return f"{self.folder}: A {self.kind} was killed here, and {of} not completely in MLflow. Upload: {self.sync}"


def beside(folder: Path, recipe: str) -> Iterator[Unfinished]:
    """Yield what was cut off of a recipe in the folders beside a folder, the newest first."""
    names = [name for name in reversed(paths.names_in(folder.parent)) if name != folder.name]
    tracked = (folder.parent / name for name in names if (folder.parent / name / records.RECORD).is_file())
    for other in itertools.islice(tracked, _MOST):
        unfinished = at(other)
        if unfinished is not None and unfinished.recipe == recipe:
            yield unfinished


def at(folder: Path) -> Unfinished | None:
    """Return what was cut off in a folder; None if nothing was, if it is at work, or if its files are damaged."""
    try:
        record = records.load(folder)
        if record.complete or record.parent_key is not None:
            return None
        if record.sweep is not None:
            if record.sweep.get("outcome") is not None or records.is_running(record.key):
                return None
            kind, recipe = "sweep", str(record.sweep["recipe"])
        else:
            if records.is_held(folder):
                return None
            told = spool_reader.read(folder, record.cwd)
            if not _was_killed(told[-1]):
                return None
            kind, recipe = "search" if (folder / CANDIDATES).is_dir() else "run", _recipe(told[0])
    except RequestError:
        return None
    complete = [_is_complete(place) for place in records_below(folder)]
    return Unfinished(folder, kind, recipe, len(complete), complete.count(False))


def _was_killed(last: events.Event) -> bool:
    return isinstance(last, events.RunFinished) and last.outcome is RunOutcome.killed


def _recipe(first: events.Event) -> str:
    return first.recipe if isinstance(first, events.RunStarted) else ""


def _is_complete(folder: Path) -> bool:
    with contextlib.suppress(RequestError):
        return records.load(folder).complete
    return False
