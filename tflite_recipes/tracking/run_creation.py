"""A run made in MLflow once, also where the answer to the request was lost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tflite_recipes.tracking.client import hurried
from tflite_recipes.tracking.run_record import KEY_TAG

_TRIES = 2
_PAUSE_S = 1.0


def create_once(mlflow_client: Any, experiment: str, started_ms: int, tags: Mapping[str, str]) -> str:
    """The ID of a run made with these tags, of which one is its key. Errors: whatever MLflow raises.

    A request that fails may have made the run all the same, so it is not simply sent again: the run is looked
    for first.
    """
    for attempt in range(_TRIES):
        try:
            with hurried():
                return str(mlflow_client.create_run(experiment, started_ms, dict(tags)).info.run_id)
        except Exception:
            if attempt == _TRIES - 1:
                raise
            time.sleep(_PAUSE_S)
        if (found := find(mlflow_client, experiment, tags[KEY_TAG])) is not None:
            return found
    raise AssertionError("unreachable")


def find(mlflow_client: Any, experiment: str, key: str) -> str | None:
    """The ID of the run with this key, None where there is none. Of two, the older."""
    found = mlflow_client.search_runs(
        [experiment], f"tags.`{KEY_TAG}` = '{key}'", max_results=1, order_by=["attributes.start_time ASC"]
    )
    return str(found[0].info.run_id) if found else None


def existing(mlflow_client: Any, experiment: str, key: str, run_id: str | None) -> str | None:
    """The ID of the run that is to be continued: by its ID where the server knows that, else by its key."""
    from mlflow.exceptions import MlflowException

    if run_id is not None:
        try:
            run = mlflow_client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
        else:
            if run.info.lifecycle_stage == "active" and run.data.tags.get(KEY_TAG) in (None, key):
                return run_id
            if run.info.lifecycle_stage != "active":
                raise RunDeleted(run_id)
    return find(mlflow_client, experiment, key)


class RunDeleted(Exception):
    """The run was deleted in MLflow."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} was deleted there; `mlflow runs restore --run-id {run_id}` brings it back")
