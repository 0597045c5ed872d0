"""Tells MLflow what happens, in a thread of its own: MLflow takes seconds to load, and TensorFlow need not wait."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import queue
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tflite_recipes import events
from tflite_recipes.figures import figure
from tflite_recipes.tracking.environment import environment_text, version
from tflite_recipes.tracking.settings import MlflowSettings

PREFIX = "tflite_recipes"
_OUTCOMES = {"done": "FINISHED", "gate": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
_PARAM_LENGTH = 6000  # MLflow's own limit on a parameter's value
_PARAMS_AT_ONCE = 100
_TELLING = ("accuracy.source", "accuracy.tflite", "parity.cosine", "size.tflite_bytes", "size.ratio", "latency.p50_ms")


def client(uri: str) -> Any:
    """An MLflow client with telemetry off and MLflow's own log lines kept from the terminal."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    # MLflow's own default keeps at a dead server for minutes; the events are on disk, so three tries will do.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    import logging

    for name in ("mlflow", "alembic", "alembic.runtime.migration", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from mlflow.tracking import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with alone(uri):
        return MlflowClient(tracking_uri=uri)


@contextlib.contextmanager
def alone(uri: str) -> Iterator[None]:
    """Let nobody else set up the same SQLite file meanwhile: two first runs at once would spoil its schema."""
    if not uri.startswith("sqlite"):
        yield
        return
    place = hashlib.sha256(f"{os.path.abspath('.')}|{uri}".encode()).hexdigest()[:16]
    with open(os.path.join(tempfile.gettempdir(), f"tflite_recipes_{place}.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def experiment_id(mlflow_client: Any, name: str) -> str:
    """The experiment of this name, made where there is none; two runs may try at once."""
    found = mlflow_client.get_experiment_by_name(name)
    if found is None:
        with contextlib.suppress(Exception):
            # Without its kind, MLflow's page takes an experiment for one of language models.
            return str(
                mlflow_client.create_experiment(name, tags={"mlflow.experimentKind": "custom_model_development"})
            )
        found = mlflow_client.get_experiment_by_name(name)
    return str(found.experiment_id)


def start_parent(settings: MlflowSettings, recipe: str, overrides: list[str]) -> str:
    """A sweep's parent run, made before its jobs are launched."""
    mlflow_client = client(settings.uri)
    tags = {f"{PREFIX}.recipe": recipe, f"{PREFIX}.version": version(), "mlflow.runName": f"{recipe} sweep"}
    with alone(settings.uri):
        experiment = experiment_id(mlflow_client, settings.experiment)
    run = mlflow_client.create_run(experiment, tags={**settings.tags, **tags})
    for override in overrides:
        key, _, value = override.partition("=")
        with contextlib.suppress(Exception):
            mlflow_client.log_param(run.info.run_id, f"sweep.{key.lstrip('+~')}", value[:_PARAM_LENGTH])
    return str(run.info.run_id)


def end_parent(settings: MlflowSettings, run_id: str, status: str) -> None:
    """Close a sweep's parent run as FINISHED, FAILED or KILLED."""
    client(settings.uri).set_terminated(run_id, status)


class MlflowTracker:
    """A listener that passes events on to MLflow. `close` waits for the last, and says what went wrong, if anything.

    Nothing that MLflow does can end a run: after a failure the events are only drained, as they are on disk already.
    """

    def __init__(self, settings: MlflowSettings, parent: str | None = None) -> None:
        self._settings, self._parent = settings, parent
        self._events: queue.Queue[events.Event | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._decided = threading.Event()
        self._children: list[MlflowTracker] = []
        self.run_id: str | None = None
        self.failure: str | None = None
        self._thread.start()

    def __call__(self, event: events.Event) -> None:
        if not isinstance(event, events.Progress):
            self._events.put(event)

    def child(self, name: str) -> MlflowTracker | None:
        """A tracker for a run below this one, which has begun; None where this one cannot be told to anybody."""
        self._decided.wait()
        if self.run_id is None or self.failure is not None:
            return None
        self._children.append(MlflowTracker(replace(self._settings, run_name=name), self.run_id))
        return self._children[-1]

    @property
    def failures(self) -> list[str]:
        """What went wrong with this run and with those below it."""
        return [tracker.failure for tracker in (self, *self._children) if tracker.failure is not None]

    def close(self) -> None:
        """Wait until everything is told."""
        self._events.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            self._client = client(self._settings.uri)
        except Exception as error:
            self.failure = _first_line(error)
            self._decided.set()
        while (event := self._events.get()) is not None:
            if self.failure is None:
                try:
                    self._tell(event)
                except Exception as error:
                    self.failure = _first_line(error)
            if isinstance(event, events.RunStarted):
                self._decided.set()

    def _tell(self, event: events.Event) -> None:
        match event:
            case events.RunStarted():
                self._start(event)
            case events.Measured(metrics=metrics):
                self._measured.update(metrics)
                self._batch(metrics=metrics, at=event.at)
            case events.Tagged(tags=tags):
                self._batch(tags=tags)
            case events.Noted(params=params):
                self._batch(params=params)
            case events.StepFinished(step=step, seconds=seconds):
                self._batch(metrics={f"time.{_name(step)}_s": seconds}, at=event.at)
            case events.Judged(gate=gate):
                self._batch(tags={f"{PREFIX}.gate.{gate.name}": str(gate)})
            case events.ArtifactKept(path=path, folder=folder):
                self._client.log_artifact(self.run_id, path, folder or None)
            case events.DatasetUsed():
                self._dataset(event)
            case events.Warned(text=text):
                self._warnings.append(text)
                self._batch(tags={f"{PREFIX}.warnings": "\n".join(self._warnings)[:5000]})
            case events.RunFinished():
                self._finish(event)

    def _start(self, event: events.RunStarted) -> None:
        self._warnings: list[str] = []
        self._measured: dict[str, float] = {}
        self._recipe = event.recipe
        settings = self._settings
        tags = {
            **settings.tags,
            f"{PREFIX}.recipe": event.recipe,
            f"{PREFIX}.recipe_digest": event.digest,
            f"{PREFIX}.version": version(),
            "mlflow.runName": settings.run_name or event.recipe,
            "mlflow.source.name": "tflite-recipes",
        }
        if self._parent:
            tags["mlflow.parentRunId"] = self._parent
        with alone(settings.uri):
            experiment = experiment_id(self._client, settings.experiment)
        if commit := _git_commit():
            tags[f"{PREFIX}.git_commit"] = commit
        run = self._client.create_run(experiment, int(event.at * 1e3), tags)
        self.run_id = run.info.run_id
        self._batch(params={**event.choices, **_flat(event.config)})
        self._output_dir = Path(event.output_dir)
        path = self._output_dir / "environment.txt"
        path.write_text(environment_text(), encoding="utf-8")
        self._client.log_artifact(self.run_id, str(path))

    def _finish(self, event: events.RunFinished) -> None:
        if event.problems:
            text = "\n".join(line for problem in event.problems for line in problem.lines())
            self._batch(tags={f"{PREFIX}.error": text[:5000]})
        if event.log_tail:
            self._batch(tags={f"{PREFIX}.log_tail": event.log_tail[-5000:]})
        self._batch(tags={"mlflow.note.content": self._description(event)})
        self._client.set_terminated(self.run_id, _OUTCOMES[event.outcome], int(event.at * 1e3))

    def _description(self, event: events.RunFinished) -> str:
        """A few lines of Markdown at the top of the run's page."""
        rows = [f"| {name} | {figure(name, self._measured[name])} |" for name in _TELLING if name in self._measured]
        problems = [f"- {line}" for problem in event.problems for line in problem.lines()]
        table = ["", "| | |", "|---|---|", *rows] if rows else []
        again = "`tflite-recipes run recipe.yaml` with the artifact `recipe.yaml` repeats it; `report.html` shows it."
        return "\n".join([f"**{self._recipe}**: {event.outcome}", *problems, *table, "", again])

    def _batch(
        self,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        at: float = 0.0,
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        measured = [Metric(name, value, int(at * 1e3), 0) for name, value in (metrics or {}).items()]
        tagged = [RunTag(name, value) for name, value in (tags or {}).items()]
        listed = [Param(name, str(value)[:_PARAM_LENGTH]) for name, value in (params or {}).items()]
        self._client.log_batch(self.run_id, measured, listed[:_PARAMS_AT_ONCE], tagged)
        for start in range(_PARAMS_AT_ONCE, len(listed), _PARAMS_AT_ONCE):
            self._client.log_batch(self.run_id, params=listed[start : start + _PARAMS_AT_ONCE])

    def _dataset(self, event: events.DatasetUsed) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        profile, source = json.dumps({"num_rows": event.samples}), json.dumps({"uri": event.source})
        dataset = Dataset(event.name, event.sha256[:36], "local", source, None, profile)
        self._client.log_inputs(self.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", event.context)])])


def _name(step: str) -> str:
    """A step's name as MLflow allows it in a metric's."""
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in step)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """`{"a": {"b": 1}}` as `{"a.b": "1"}`; the classes behind the options are no parameters."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = _name(f"{prefix}{key}")
        if key in ("_target_", "tracking") or (not prefix and key == "name"):
            continue
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{name}."))
        else:
            flat[name] = str(value)
    return flat


def _git_commit() -> str:
    """The commit of the repository that the user stands in, "" where there is none."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
        return asked.stdout.strip() if asked.returncode == 0 else ""
    return ""


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
