"""What the user may set of the tracking. No MLflow here, so that composing stays quick."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tflite_recipes.errors import Problem

_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")


@dataclass(frozen=True)
class MlflowSettings:
    """Where runs go: a tracking URI, an experiment, and the run's name and extra tags."""

    uri: str
    experiment: str
    run_name: str | None
    tags: dict[str, str]

    def problems(self) -> Iterable[Problem]:
        scheme = self.uri.partition(":")[0].partition("+")[0]
        if scheme not in _SCHEMES:
            what = f"{self.uri!r} is not a tracking URI that MLflow takes ({', '.join(_SCHEMES)})"
            yield Problem(what, "tracking.uri", "tracking.uri=sqlite:///mlflow.db")
        if not self.experiment.strip():
            yield Problem("the experiment has no name", "tracking.experiment", "tracking.experiment=tflite_recipes")
