"""The parent run of a sweep."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tflite_recipes.core.environment import git_commit
from tflite_recipes.core.errors import Problem
from tflite_recipes.core.tracking_uri import scrubbed, without_password
from tflite_recipes.tracking import run_record as records
from tflite_recipes.tracking.client import PREFIX, first_line, greet, hurried
from tflite_recipes.tracking.run_upload import Place, begin_sweep, replay_held
from tflite_recipes.tracking.settings import Mlflow

# How long a server may take to answer before the jobs begin, and once they are done. It may be told later.
_BEFORE_S, _AFTER_S = 10, 5


class Sweep:
    """A sweep's run in MLflow, and its record, which stands in the sweep's folder as soon as a job has told which that
    is. `failure`: why there is no run (yet). Nothing here raises."""

    def __init__(self, settings: Mlflow, recipe: str, overrides: Sequence[str]) -> None:
        self._settings = settings
        said = [scrubbed(override, settings.uri) for override in overrides]
        pairs = [text.partition("=") for text in said]
        params = {f"sweep.{key.lstrip('+~')}": value for key, _, value in pairs}
        about = {"recipe": recipe, "params": params, "overrides": said, "started": time.time()}
        commit = git_commit()
        tags = {f"{PREFIX}.git_commit": commit} if commit else {}
        self._record = records.begun(settings, tags, sweep=about)
        self.failure: str | None = None
        self._lock = contextlib.ExitStack()
        try:
            self._lock.enter_context(records.running(self._record.key))
            place = Place(settings.uri, greet(settings.uri, _BEFORE_S))
            with hurried(_BEFORE_S):
                self._record = replace(self._record, run_id=begin_sweep(self._record, place))
        except Exception as error:  # no server: the sweep runs all the same, and each run says so
            self.failure = first_line(error, settings.uri)

    @property
    def run_id(self) -> str | None:
        """The run's ID, None where there is none (yet)."""
        return self._record.run_id

    def to_json(self) -> dict[str, Any]:
        """The record, for the jobs."""
        return asdict(self._record)

    def end(self, folder: Path | None, outcome: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED; where there is none, or no server, the record says so."""
        about = {**(self._record.sweep or {}), "outcome": outcome, "ended": time.time()}
        self._record = replace(self._record, sweep=about)
        self._lock.close()
        try:
            if folder is None:  # not one job has begun
                if self.run_id is not None:
                    Place.of(self._settings.uri).client.set_terminated(self.run_id, outcome)
                return
            with records.held(folder, "run"):
                known = records.load(folder)
                records.save(folder, replace(self._record, run_id=self._record.run_id or known.run_id))
                place = Place(self._settings.uri, greet(self._settings.uri, _AFTER_S))
                self._record, self.failure = replay_held(folder, place), None
        except Exception as error:
            self.failure = first_line(error, self._settings.uri)

    def problem(self, folder: Path | None) -> Problem:
        """That the sweep's own run is not (wholly) in MLflow."""
        what = f"the sweep is not (wholly) tracked at {without_password(self._settings.uri)}: {self.failure}"
        later = (f"tflite-recipes sync {shlex.quote(os.path.relpath(folder))}",) if folder is not None else ()
        return Problem(what, "tracking.uri", "tracking=none", later)


def remember(folder: Path, record: dict[str, Any]) -> None:
    """Leave a sweep's record in its folder, by the first of its jobs."""
    with contextlib.suppress(OSError):
        if not (folder / records.RECORD).exists():
            records.save(folder, records.Record(**record))
