"""One run in MLflow: created by its first event, and told all others."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tflite_recipes.core import events, leftovers
from tflite_recipes.core.environment import version
from tflite_recipes.core.outcome import OUTCOME, RunOutcome
from tflite_recipes.tracking import model_flavor, model_registry
from tflite_recipes.tracking.client import PREFIX, alone, experiment_id, first_line
from tflite_recipes.tracking.kept_inputs import keep
from tflite_recipes.tracking.mlflow_datasets import log_dataset
from tflite_recipes.tracking.mlflow_limits import (
    NAME_LENGTH,
    RECIPE_HAS_IT,
    SPOOL_HAS_IT,
    TAG_LENGTH,
    VALUE_LENGTH,
    batches,
    cut,
    named,
)
from tflite_recipes.tracking.params import params_of
from tflite_recipes.tracking.run_creation import create_once
from tflite_recipes.tracking.run_description import Story, description
from tflite_recipes.tracking.run_record import KEY_TAG
from tflite_recipes.tracking.run_tags import started_by, with_version
from tflite_recipes.tracking.settings import Mlflow

# MLflow's status, by outcome.
_STATUS = {
    RunOutcome.passed: "FINISHED",
    RunOutcome.done: "FINISHED",
    RunOutcome.gate_failed: "FINISHED",
    RunOutcome.failed: "FAILED",
    RunOutcome.killed: "KILLED",
    RunOutcome.not_evaluated: "FAILED",
}


class RunWriter:
    """Writes events to a run with MLflow's client, and raises what that raises. The first event is RunStarted.

    run_id: a run that exists already and is told all its events again, which must leave it as one telling does.
    stamp: tags of its record, of which one is its key. cwd: where the run stood, "" where that is here.
    """

    def __init__(
        self,
        mlflow_client: Any,
        settings: Mlflow,
        parent: str | None = None,
        run_id: str | None = None,
        stamp: Mapping[str, str] | None = None,
        cwd: str = "",
    ) -> None:
        self._client, self._settings, self._parent = mlflow_client, settings, parent
        self.run_id = run_id
        self._stamp = stamp or {KEY_TAG: uuid.uuid4().hex}
        self._experiment, self._cwd = "", cwd
        self.registered = ""  # "NAME/VERSION", or why not
        self._story = Story()
        self._params: dict[str, str] = {}
        self._read: list[events.InputRead] = []
        self._model = model_flavor.ModelParts()
        self._is_model = False

    def tell(self, event: events.Event) -> None:
        """Write one event down. Errors: whatever MLflow raises."""
        self._story.take(event)
        self._model.hear(event)
        match event:
            case events.RunStarted():
                self._start(event)
            case events.Measured(metrics=metrics):
                self._batch(metrics=metrics, at=event.at)
            case events.Tagged(tags=tags):
                self._batch(tags=with_version(tags))
            case events.Noted(params=params):
                self._batch(params=params)
            case events.StepFinished(step=step, seconds=seconds):
                self._batch(metrics={f"time.{step}_s": seconds}, at=event.at)
            case events.Judged(gate=gate):
                self._batch(tags={f"{PREFIX}.gate.{gate.name}": str(gate)})
            case events.ArtifactKept(path=path, folder=model_flavor.FOLDER) if Path(path).name == model_flavor.FILE:
                self._log_model(Path(path))
            case events.ArtifactKept(path=path, folder=folder):
                self._client.log_artifact(self.run_id, path, folder or None)
            case events.DatasetUsed():
                assert self.run_id is not None
                log_dataset(self._client, self.run_id, event, {given.path for given in self._read})
            case events.InputRead():
                self._read.append(event)
            case events.Warned():
                self._tag_warnings()
            case events.RunFinished():
                self._finish(event)

    def _start(self, event: events.RunStarted) -> None:
        settings = self._settings
        tags = {
            **started_by(),
            **{name: cut(value, TAG_LENGTH) for name, value in settings.tags.items()},
            f"{PREFIX}.recipe": event.recipe,
            f"{PREFIX}.recipe_digest": event.digest,
            f"{PREFIX}.version": version(),
            "mlflow.runName": cut(settings.run_name or event.recipe, NAME_LENGTH),
            **self._stamp,
        }
        if self._parent:
            tags["mlflow.parentRunId"] = self._parent
        if self.run_id is None:
            with alone(settings.uri):
                self._experiment = experiment_id(self._client, settings.experiment)
            self.run_id = create_once(self._client, self._experiment, int(event.at * 1e3), tags)
        else:
            self._experiment = str(self._client.get_run(self.run_id).info.experiment_id)
            self._batch(tags=tags)
        self._story.tags.update(tags)
        self._batch(params=params_of(event.choices, event.config))

    def _finish(self, event: events.RunFinished) -> None:
        assert self.run_id is not None
        outcome = self._story.outcome(event)
        self._batch(tags={OUTCOME: outcome})  # spools of earlier versions, and of killed runs, do not hold it
        if event.problems:
            text = "\n".join(line for problem in event.problems for line in problem.lines())
            self._batch(tags={f"{PREFIX}.error": text})
        if event.log_tail:
            tail = cut(event.log_tail, TAG_LENGTH, "all in converter.log", end=True)
            self._batch(tags={f"{PREFIX}.log_tail": tail})
        said = description(self._story, event, self._experiment, self.run_id)
        self._batch(tags={"mlflow.note.content": said})
        # The slow part comes last: all that is said of the run can be seen meanwhile.
        read = [replace(given, path=os.path.join(self._cwd, given.path)) for given in self._read]
        self._batch(tags=keep(self._client, self.run_id, read, self._settings, outcome))
        self._client.set_terminated(self.run_id, _STATUS[outcome], int(event.at * 1e3))
        if self._settings.register_as is not None:
            self._register(self._settings.register_as, outcome)

    def _log_model(self, file: Path) -> None:
        """The folder `model/` as an MLflow model; where it cannot be made one, the file alone."""
        assert self.run_id is not None
        with leftovers.temporary_folder() as place:
            try:
                entry = model_flavor.build(Path(place), file, self._model, self.run_id)
            except Exception as error:  # of nothing but local files: no reason to lose the run
                self._warn(f"the file is logged as it is, and not as an MLflow model: {first_line(error)}")
                self._client.log_artifact(self.run_id, str(file), model_flavor.FOLDER)
                return
            self._client.log_artifacts(self.run_id, place, model_flavor.FOLDER)
        self._is_model = True
        self._batch(tags={model_flavor.HISTORY: json.dumps([entry])})
        if ops := self._model.unsupported_ops:
            self._warn(f"mlflow.pyfunc cannot load the model: LiteRT cannot run {ops}")

    def _register(self, name: str, outcome: RunOutcome) -> None:
        """A version of the registered model `name`, or a tag that says why there is none."""
        assert self.run_id is not None
        reason = model_registry.why_not(outcome, {gate.name: gate.passed for gate in self._story.gates}, self._is_model)
        if reason:
            self.registered = f"no: {reason}"
            self._warn(f"not registered as {name}: {reason}")
        else:
            tags = {**self._story.tags, OUTCOME: outcome}
            version = model_registry.register(self._client, self.run_id, name, self._settings.alias, tags)
            self.registered = f"{name}/{version}"
        self._batch(tags={f"{PREFIX}.registered": self.registered})

    def _warn(self, text: str) -> None:
        self._story.warnings.append(text)
        self._tag_warnings()

    def _tag_warnings(self) -> None:
        self._batch(tags={f"{PREFIX}.warnings": "\n".join(self._story.warnings)})

    def _batch(
        self,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        at: float = 0.0,
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        noted = {name: cut(value, VALUE_LENGTH, RECIPE_HAS_IT) for name, value in named(self._new(params)).items()}
        tagged = {name: cut(value, TAG_LENGTH, SPOOL_HAS_IT) for name, value in named(tags or {}).items()}
        for batch in batches(metrics=named(metrics or {}), params=noted, tags=tagged):
            self._client.log_batch(
                self.run_id,
                [Metric(name, value, int(at * 1e3), 0) for name, value in batch.get("metrics", {}).items()],
                [Param(name, value) for name, value in batch.get("params", {}).items()],
                [RunTag(name, value) for name, value in batch.get("tags", {}).items()],
            )

    def _new(self, params: Mapping[str, Any] | None) -> dict[str, str]:
        """Parameters that were not told yet. One that has changed (a step went again, with a remedy) goes by its name
        with a number, because MLflow lets no parameter change."""
        new: dict[str, str] = {}
        for name, value in (params or {}).items():
            free, number = name, 2
            while self._params.get(free, str(value)) != str(value):
                free, number = f"{name}_{number}", number + 1
            if free not in self._params:
                self._params[free] = new[free] = str(value)
        return new
