"""Runs that were tracked before: what MLflow knows of them, read and never changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tflite_recipes.conversion.former_names import in_todays_names
from tflite_recipes.core import leftovers
from tflite_recipes.core.errors import Problem, RequestError, gist
from tflite_recipes.core.outcome import of_tags, verdict_of_tags
from tflite_recipes.core.regular_files import parse_json
from tflite_recipes.tracking.client import PREFIX, client, first_line
from tflite_recipes.tracking.settings import uri_problems

_PAGE = 1000
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
        with _reaching(uri):
            self._client = client(uri)

    def run(self, run_id: str) -> PastRun:
        """The run of this ID."""
        from mlflow.exceptions import MlflowException

        with _reaching(self.uri):
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
        with _reaching(self.uri):
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
        with _reaching(self.uri):
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
        with _reaching(self.uri):
            if path not in {item.path for item in self._client.list_artifacts(run.run_id, parent or None)}:
                return None
            return Path(self._client.download_artifacts(run.run_id, path, str(folder)))

    def files(self, run: PastRun, folder: str = "") -> dict[str, int]:
        """Every file among a run's artifacts below `folder`, by its path, with its size in bytes as the server states
        it. The names are the server's: they may be anything."""
        found: dict[str, int] = {}
        with _reaching(self.uri):
            for item in self._client.list_artifacts(run.run_id, folder or None):
                if not item.is_dir:
                    found[item.path] = int(item.file_size or 0)
                elif len(item.path) > len(folder):  # or a folder that holds itself would never end
                    found |= self.files(run, item.path)
        return found

    def experiment_name(self, run: PastRun) -> str:
        """The name of the experiment that a run is in."""
        with _reaching(self.uri):
            return str(self._client.get_experiment(run.experiment_id).name)

    def _search(self, experiments: list[str], condition: str) -> list[PastRun]:
        found: list[PastRun] = []
        token: str | None = None
        while True:
            with _reaching(self.uri):
                page = self._client.search_runs(
                    experiments, condition, max_results=_PAGE, order_by=["attributes.start_time ASC"], page_token=token
                )
            found += [self._of(run) for run in page]
            token = page.token
            if not token:
                return found

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


class _reaching:
    """Turns whatever MLflow raises inside into a RequestError that the tracking URI cannot be read."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, RequestError):
            what = f"{self._uri} cannot be read: {first_line(error)}"
            raise RequestError(
                Problem(what, "tracking.uri", "", ("tracking.uri=URI of your server or file",))
            ) from error
