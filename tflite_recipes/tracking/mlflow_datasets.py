"""The data that a run used, as MLflow's datasets."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tflite_recipes.core.events import DatasetUsed
from tflite_recipes.tracking.mlflow_limits import cut

_DIGEST = 36  # characters that MLflow takes; the whole one stands in the profile


def log_dataset(mlflow_client: Any, run_id: str, event: DatasetUsed, paths: Collection[str]) -> None:
    """Log what the event tells as an input of the run, in its context. `paths`: those that the recipe names."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    kind, source = source_of(event, paths)
    dataset = Dataset(event.name, event.sha256[:_DIGEST], kind, json.dumps(source), schema_of(event), profile_of(event))
    mlflow_client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", event.context)])])


def source_of(event: DatasetUsed, paths: Collection[str]) -> tuple[str, dict[str, Any]]:
    """MLflow's type of the source and the source itself: a local file or folder, else what made the data."""
    if event.source in paths:
        return "local", {"uri": event.source}
    return "code", {"tags": {"mlflow.source.type": "LOCAL", "mlflow.source.name": event.source}}


def schema_of(event: DatasetUsed) -> str | None:
    """MLflow's schema of arrays: features and, where there are labels, targets; None where no array is known, or where
    one is of a type that is no tensor's (objects)."""
    features = [(n, a) for n, a in event.arrays.items() if not a.get("labels")]
    targets = [(n, a) for n, a in event.arrays.items() if a.get("labels")]
    if not features or any(array["dtype"] == "object" for _, array in (*features, *targets)):
        return None
    spec = {"features": _specs(features), "targets": _specs(targets) if targets else None}
    return json.dumps({"mlflow_tensorspec": spec})


def _specs(arrays: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    specs = ((name, {"dtype": _type(array["dtype"]), "shape": [-1, *array["shape"]]}) for name, array in arrays)
    return json.dumps([{"name": name, "type": "tensor", "tensor-spec": spec} for name, spec in specs])


def _type(dtype: str) -> str:
    """NumPy's name without the width of a text (`str96`), which MLflow has none for."""
    return "str" if dtype.startswith("str") else "bytes" if dtype.startswith("bytes") else dtype


def profile_of(event: DatasetUsed) -> str:
    """What MLflow's page lists, a line each: rows, where they are from, the digest, and each array with its range."""
    profile: dict[str, Any] = {"num_rows": event.samples, "source": cut(event.source, 1000), "sha256": event.sha256}
    for name, array in event.arrays.items():
        said = f"{array['dtype']} {tuple(array['shape'])}"
        if "min" in array:
            said += f", {array['min']:.6g} to {array['max']:.6g}, mean {array['mean']:.6g}"
        profile[name if name not in profile else f"{name} (array)"] = said
    return json.dumps(profile)
