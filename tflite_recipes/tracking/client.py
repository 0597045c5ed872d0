"""MLflow's client, quiet and without telemetry."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from typing import Any

PREFIX = "tflite_recipes"


def client(uri: str) -> Any:
    """An MLflow client with telemetry off and MLflow's own log lines kept from the terminal."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # MLflow's own default keeps at a dead server for minutes; the events are on disk, so three tries will do.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
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


def first_line(error: Exception) -> str:
    """An error in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
