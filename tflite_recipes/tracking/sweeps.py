"""The parent run of a sweep."""

from __future__ import annotations

import contextlib

from tflite_recipes.environment import version
from tflite_recipes.tracking.client import PREFIX, alone, client, experiment_id
from tflite_recipes.tracking.limits import NAME_LENGTH, VALUE_LENGTH, allowed, cut
from tflite_recipes.tracking.run_tags import started_by
from tflite_recipes.tracking.settings import MlflowSettings


def start_parent(settings: MlflowSettings, recipe: str, overrides: list[str]) -> str:
    """A sweep's parent run, made before its jobs are launched."""
    mlflow_client = client(settings.uri)
    tags = {
        f"{PREFIX}.recipe": recipe,
        f"{PREFIX}.version": version(),
        "mlflow.runName": cut(f"{recipe} sweep", NAME_LENGTH),
    }
    with alone(settings.uri):
        experiment = experiment_id(mlflow_client, settings.experiment)
    run = mlflow_client.create_run(experiment, tags={**started_by(), **settings.tags, **tags})
    for override in overrides:
        key, _, value = override.partition("=")
        with contextlib.suppress(Exception):
            name = allowed(f"sweep.{key.lstrip('+~')}")
            mlflow_client.log_param(run.info.run_id, name, cut(value, VALUE_LENGTH, "all in multirun.yaml"))
    return str(run.info.run_id)


def end_parent(settings: MlflowSettings, run_id: str, status: str) -> None:
    """Close a sweep's parent run as FINISHED, FAILED or KILLED."""
    client(settings.uri).set_terminated(run_id, status)
