"""The parent run of a sweep."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tflite_recipes.core.environment import git_commit
from tflite_recipes.core.errors import Problem, RequestError, assignment
from tflite_recipes.core.plain_output import show
from tflite_recipes.core.tracking_uri import scrubbed, sqlite_file, without_password
from tflite_recipes.tracking import run_record as records
from tflite_recipes.tracking import unfinished_runs
from tflite_recipes.tracking.client import PREFIX, first_line, greet
from tflite_recipes.tracking.patience import Patience, limited
from tflite_recipes.tracking.run_upload import Place, replay_held
from tflite_recipes.tracking.settings import Mlflow
from tflite_recipes.tracking.upload_wait import announced

_AFTER_S = 3  # for a server to answer once the jobs are done; it may be told later


class Sweep:
    """A sweep's record, which is in the sweep's folder as soon as a job begins, and its run in MLflow.

    The first job that MLflow gets makes the run: a run without a record could not be ended after a kill. `failure`: why
    the run is not (wholly) in MLflow. Nothing here raises.
    """

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
        with contextlib.suppress(OSError):
            self._lock.enter_context(records.running(self._record.key))

    @property
    def run_id(self) -> str | None:
        """The run's ID, None before the end of the sweep, and if it is not in MLflow."""
        return self._record.run_id

    def to_json(self) -> dict[str, Any]:
        """The record, for the jobs."""
        return asdict(self._record)

    def end(self, folder: Path | None, outcome: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED; where there is none, or no server, the record says so.

        folder: the sweep's; None if no job has begun, and MLflow has no run.
        """
        about = {**(self._record.sweep or {}), "outcome": outcome, "ended": time.time()}
        self._record = replace(self._record, sweep=about)
        self._lock.close()
        if folder is None:
            return
        try:
            with self._asking(), records.held(folder, "run"):
                known = records.load(folder)
                records.save(folder, replace(self._record, run_id=self._record.run_id or known.run_id))
                place = Place(self._settings.uri, greet(self._settings.uri, _AFTER_S))
                self._record, self.failure = replay_held(folder, place), None
        except Exception as error:
            self.failure = first_line(error, self._settings.uri)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Ask the server for `max_wait_s` at most, and print what is waited for if it takes long."""
        uri = self._settings.uri
        silent = sqlite_file(uri) is not None  # what takes long there is work of this machine
        with (
            limited(Patience.within(self._settings.max_wait_s)),
            contextlib.nullcontext() if silent else announced(without_password(uri), show),
        ):
            yield

    def problem(self, folder: Path | None) -> Problem:
        """That the sweep's own run is not (wholly) in MLflow."""
        what = f"the sweep is not (wholly) tracked at {without_password(self._settings.uri)}: {self.failure}"
        way = "tracking=none" if folder is None else f"tflite-recipes sync {shlex.quote(os.path.relpath(folder))}"
        return Problem(what, "tracking.uri", "", (way,))


def remember(folder: Path, record: dict[str, Any]) -> Problem | None:
    """Leave a sweep's record in its folder, by the first of its jobs. Return what is wrong if it holds another's."""
    with contextlib.suppress(OSError):
        if not (folder / records.RECORD).exists():
            records.save(folder, records.Record(**record))
    with contextlib.suppress(RequestError):
        if records.load(folder).key != record["key"]:
            return earlier_run(folder, "hydra.sweep.dir")
    return None


def earlier_run(folder: Path, key: str) -> Problem:
    """A folder that a new run or sweep must not use. key: the override that names it."""
    what = f"{folder} holds an earlier run, which would be mixed with this one"
    unfinished = unfinished_runs.at(folder)
    ways = (unfinished.sync,) if unfinished is not None else ()
    return Problem(what, "output_dir", assignment(key, f"{os.path.relpath(folder)}_2"), ways)
