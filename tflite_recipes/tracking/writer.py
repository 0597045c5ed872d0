"""One run in MLflow: created by its first event, and told all others."""

from __future__ import annotations

import contextlib
import subprocess
import uuid
from collections.abc import Mapping
from typing import Any

from tflite_recipes import events
from tflite_recipes.environment import version
from tflite_recipes.tracking.client import PREFIX, alone, experiment_id
from tflite_recipes.tracking.creating import create_once
from tflite_recipes.tracking.datasets import log_dataset
from tflite_recipes.tracking.description import description
from tflite_recipes.tracking.params import AT_ONCE, VALUE_LENGTH, allowed, flat
from tflite_recipes.tracking.record import KEY_TAG
from tflite_recipes.tracking.settings import MlflowSettings

_OUTCOMES = {"done": "FINISHED", "gate": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


class RunWriter:
    """Writes events to a run with MLflow's client, and raises what that raises. The first event is RunStarted.

    run_id: a run that exists already and is told all its events again, which must leave it as one telling does.
    stamp: tags of its record, of which one is its key.
    """

    def __init__(
        self,
        mlflow_client: Any,
        settings: MlflowSettings,
        parent: str | None = None,
        run_id: str | None = None,
        stamp: Mapping[str, str] | None = None,
    ) -> None:
        self._client, self._settings, self._parent = mlflow_client, settings, parent
        self.run_id = run_id
        self._stamp = stamp or {KEY_TAG: uuid.uuid4().hex, **commit_tags()}
        self._recipe = ""
        self._warnings: list[str] = []
        self._measured: dict[str, float] = {}

    def tell(self, event: events.Event) -> None:
        """Write one event down. Errors: whatever MLflow raises."""
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
                self._batch(metrics={f"time.{allowed(step)}_s": seconds}, at=event.at)
            case events.Judged(gate=gate):
                self._batch(tags={f"{PREFIX}.gate.{gate.name}": str(gate)})
            case events.ArtifactKept(path=path, folder=folder):
                self._client.log_artifact(self.run_id, path, folder or None)
            case events.DatasetUsed():
                assert self.run_id is not None
                log_dataset(self._client, self.run_id, event)
            case events.Warned(text=text):
                self._warnings.append(text)
                self._batch(tags={f"{PREFIX}.warnings": "\n".join(self._warnings)[:5000]})
            case events.RunFinished():
                self._finish(event)

    def _start(self, event: events.RunStarted) -> None:
        self._recipe = event.recipe
        settings = self._settings
        tags = {
            **settings.tags,
            f"{PREFIX}.recipe": event.recipe,
            f"{PREFIX}.recipe_digest": event.digest,
            f"{PREFIX}.version": version(),
            "mlflow.runName": settings.run_name or event.recipe,
            "mlflow.source.name": "tflite-recipes",
            **self._stamp,
        }
        if self._parent:
            tags["mlflow.parentRunId"] = self._parent
        if self.run_id is None:
            with alone(settings.uri):
                experiment = experiment_id(self._client, settings.experiment)
            self.run_id = create_once(self._client, experiment, int(event.at * 1e3), tags)
        else:
            self._batch(tags=tags)
        self._batch(params={**event.choices, **flat(event.config)})

    def _finish(self, event: events.RunFinished) -> None:
        if event.problems:
            text = "\n".join(line for problem in event.problems for line in problem.lines())
            self._batch(tags={f"{PREFIX}.error": text[:5000]})
        if event.log_tail:
            self._batch(tags={f"{PREFIX}.log_tail": event.log_tail[-5000:]})
        self._batch(tags={"mlflow.note.content": description(self._recipe, event, self._measured)})
        self._client.set_terminated(self.run_id, _OUTCOMES[event.outcome], int(event.at * 1e3))

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
        listed = [Param(name, str(value)[:VALUE_LENGTH]) for name, value in (params or {}).items()]
        self._client.log_batch(self.run_id, measured, listed[:AT_ONCE], tagged)
        for start in range(AT_ONCE, len(listed), AT_ONCE):
            self._client.log_batch(self.run_id, params=listed[start : start + AT_ONCE])


def commit_tags() -> dict[str, str]:
    """The commit of the repository that the user stands in, as a tag; none where there is no repository."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
        if asked.returncode == 0:
            return {f"{PREFIX}.git_commit": asked.stdout.strip()}
    return {}
