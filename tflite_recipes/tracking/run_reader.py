"""Runs that were tracked before: what MLflow knows of them, read and never changed."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tflite_recipes.conversion.former_names import in_todays_names
from tflite_recipes.core import leftovers
from tflite_recipes.core.errors import Problem, RequestError, gist
from tflite_recipes.core.outcome import of_tags, verdict_of_tags
from tflite_recipes.core.plain_output import show
from tflite_recipes.core.regular_files import parse_json
from tflite_recipes.core.tracking_uri import sqlite_file, without_password
from tflite_recipes.tracking.client import PREFIX, client, first_line
from tflite_recipes.tracking.patience import Patience, limited
from tflite_recipes.tracking.settings import uri_problems
from tflite_recipes.tracking.upload_wait import announced

_PAGE = 200
# Pages that a server may answer with, and levels of folders that a run's artifacts may have.
_MOST_PAGES, _DEEPEST = 1000, 50
# Bytes that are downloaded of a file at most, and of one whose size the server does not state.
_LARGEST_FILE, _UNKNOWN_FILE = 4 << 30, 64 << 20
_PREFIX = re.compile("[0-9a-f]{4,31}")
_ELSEWHERE = ("tracking.uri=URI of the server or the file where the runs are",)


@dataclass(frozen=True)
class PastRun:
    """A run as MLflow has it. params, tags, metrics: by tracking name; params with the names that choices have today,
    metrics at their last value. started: seconds since the epoch. parent: the ID of the run above it, None where there
    is none."""

    uri: str
    run_id: str
    name: str
    experiment_id: str
    status: str
    started: float
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]

    @property
    def parent(self) -> str | None:
        return self.tags.get("mlflow.parentRunId")

    def tag(self, name: str) -> str:
        """One of our own tags, by its name without the prefix; "" where it is absent."""
        return self.tags.get(f"{PREFIX}.{name}", "")

    @property
    def outcome(self) -> str:
        """How the run ended. Runs from before the outcome tag have it in their verdict and gates."""
        return of_tags(self.tags, self.status)

    @property
    def verdict(self) -> str:
        """The verdict of `reproduce`; "" for any other run."""
        return verdict_of_tags(self.tags)


class PastRuns:
    """The runs at one tracking URI. Errors, of every method: RequestError that says what is missing, or that the
    server cannot be reached."""

    def __init__(self, uri: str) -> None:
        if problems := list(uri_problems(uri)):
            raise RequestError(problems)
        self.uri = uri
        file = uri.removeprefix("sqlite:///").partition("?")[0]
        if uri.startswith("sqlite:///") and not Path(file).is_file():  # which MLflow would make, empty
            raise RequestError(Problem(f"there is no file {file} with runs", "tracking.uri", "", _ELSEWHERE))
        # Loading MLflow is work of this machine, and so is whatever a file takes.
        self._patience, self._is_announced = Patience.of_command(), True
        with self._reaching():
            self._client = client(uri)
        self._is_announced = sqlite_file(uri) is not None

    def run(self, run_id: str) -> PastRun:
        """The run of this ID."""
        from mlflow.exceptions import MlflowException

        with self._reaching():
            try:
                return self._of(self._client.get_run(run_id))
            except MlflowException as error:
                if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    raise
        what = f"there is no run {run_id!r} at {self.uri}"
        raise RequestError(Problem(what, "RUN_ID", "", _ELSEWHERE))

    def beginning(self, start: str) -> PastRun:
        """The run of this ID, or the only one whose ID begins like this (4 hexadecimal digits at least)."""
        if not _PREFIX.fullmatch(start):
            return self.run(start)
        with self._reaching():
            experiments = [str(found.experiment_id) for found in self._client.search_experiments()]
        found = self._search(experiments, f"attributes.run_id LIKE '{start}%'")
        if len(found) < 2:
            return found[0] if found else self.run(start)
        what = f"{len(found)} runs begin with {start}"
        raise RequestError(Problem(what, "RUN_ID", "", tuple(run.run_id for run in found[:5])))

    def children(self, run_id: str) -> list[PastRun]:
        """The runs below a run (a sweep's jobs, a search's candidates), oldest first."""
        parent = self.run(run_id)
        return self._search([parent.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")

    def of_experiment(self, name: str) -> list[PastRun] | None:
        """The runs of an experiment, oldest first; None where there is none of this name."""
        with self._reaching():
            found = self._client.get_experiment_by_name(name)
        return None if found is None else self._search([found.experiment_id], "")

    def text(self, run: PastRun, path: str) -> str | None:
        """The text of an artifact; None where the run has none at that path."""
        with leftovers.temporary_folder() as folder:
            file = self.download(run, path, Path(folder))
            return None if file is None else file.read_text(encoding="utf-8", errors="replace")

    def json(self, run: PastRun, path: str) -> Any:
        """The content of a JSON artifact; None where there is none."""
        text = self.text(run, path)
        try:
            return None if text is None else parse_json(text)
        except ValueError as error:
            raise RequestError(Problem(f"its {path} is not JSON: {gist(error)}", run.run_id)) from error

    def download(self, run: PastRun, path: str, folder: Path) -> Path | None:
        """An artifact, a file or a folder, copied into `folder` under its own name; None where there is none."""
        parent = path.rpartition("/")[0]
        with self._reaching():
            listed = {item.path: item for item in self._client.list_artifacts(run.run_id, parent or None)}
            if path not in listed:
                return None
            size = _LARGEST_FILE if listed[path].is_dir else int(listed[path].file_size or _UNKNOWN_FILE)
            self._patience.file_bytes = min(size, _LARGEST_FILE)
            return Path(self._client.download_artifacts(run.run_id, path, str(folder)))

    def files(self, run: PastRun, folder: str = "") -> dict[str, int]:
        """Every file among a run's artifacts below `folder`, by its path, with its size in bytes as the server states
        it. The names are the server's: they may be anything."""
        found: dict[str, int] = {}
        with self._reaching():
            for item in self._client.list_artifacts(run.run_id, folder or None):
                if not item.is_dir:
                    found[item.path] = int(item.file_size or 0)
                # Else a folder that holds itself, or one more each time, would never end.
                elif len(item.path) > len(folder) and item.path.count("/") < _DEEPEST:
                    found |= self.files(run, item.path)
        return found

    def experiment_name(self, run: PastRun) -> str:
        """The name of the experiment that a run is in."""
        with self._reaching():
            return str(self._client.get_experiment(run.experiment_id).name)

    def _search(self, experiments: list[str], condition: str) -> list[PastRun]:
        found: list[PastRun] = []
        token: str | None = None
        for _ in range(_MOST_PAGES):
            with self._reaching():
                page = self._client.search_runs(
                    experiments, condition, max_results=_PAGE, order_by=["attributes.start_time ASC"], page_token=token
                )
            found += [self._of(run) for run in page]
            token = page.token
            if not token:
                return found
        what = f"{without_password(self.uri)} has no end of runs: {len(found)} came, and there are more"
        raise RequestError(Problem(what, "tracking.uri"))

    def _of(self, run: Any) -> PastRun:
        return PastRun(
            self.uri,
            str(run.info.run_id),
            str(run.info.run_name or run.info.run_id),
            str(run.info.experiment_id),
            str(run.info.status),
            (run.info.start_time or 0) / 1e3,
            in_todays_names(run.data.params),
            dict(run.data.tags),
            dict(run.data.metrics),
        )

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn whatever MLflow raises inside into a RequestError that the tracking URI cannot be read."""
        where = without_password(self.uri)
        try:
            with limited(self._patience, everywhere=True), announced(where, self._announce):
                yield
        except RequestError:
            raise
        except Exception as error:
            what = f"{where} cannot be read: {first_line(error, self.uri)}"
            problem = Problem(what, "tracking.uri", "", ("tracking.uri=URI of your server or file",))
            raise RequestError(problem) from error

    def _announce(self, text: str) -> None:
        if not self._is_announced:
            show(text, sys.stderr)
        self._is_announced = True
