"""The data that a run used, as MLflow's datasets."""

from __future__ import annotations

import json
from typing import Any

from tflite_recipes.events import DatasetUsed


def log_dataset(mlflow_client: Any, run_id: str, event: DatasetUsed) -> None:
    """Log what the event tells as an input of the run, in its context."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    profile, source = json.dumps({"num_rows": event.samples}), json.dumps({"uri": event.source})
    dataset = Dataset(event.name, event.sha256[:36], "local", source, None, profile)
    mlflow_client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", event.context)])])
