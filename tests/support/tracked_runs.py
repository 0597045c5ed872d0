"""Runs in a real MLflow, written event by event: no TensorFlow, a store on SQLite for each folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tflite_recipes.config.recipe_inputs import described
from tflite_recipes.core import events
from tflite_recipes.core.outcome import RunOutcome
from tflite_recipes.tracking.client import client
from tflite_recipes.tracking.run_writer import RunWriter
from tflite_recipes.tracking.settings import LogSource, Mlflow


def settings(uri: str, **values: Any) -> Mlflow:
    kind = LogSource[values.pop("log_source", "auto")]
    return Mlflow(**{"uri": uri, "experiment": "e", "run_name": None, "tags": {}, **values}, log_source=kind)


def started(**config: Any) -> events.RunStarted:
    return events.RunStarted("small", "d" * 64, {"source": "keras"}, config, (), "out")


def read(key: str, path: Path | str, shared: bool = False) -> events.InputRead:
    """The input as it is now."""
    found = described(key, str(path))
    return events.InputRead(found.key, found.path, found.sha256, found.bytes, shared)


def finished(outcome: str = "done") -> events.RunFinished:
    return events.RunFinished(RunOutcome(outcome), 1.0)


def tracked(told: Iterable[events.Event], asked: Mlflow, parent: str | None = None) -> Any:
    """MLflow's run after all these events."""
    writer = RunWriter(client(asked.uri), asked, parent)
    for event in told:
        writer.tell(event)
    return client(asked.uri).get_run(writer.run_id)
