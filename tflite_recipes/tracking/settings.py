"""What the user may set of the tracking. No MLflow here, so that composing stays quick."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, unique
from typing import Annotated

from tflite_recipes.errors import Problem
from tflite_recipes.schema import within
from tflite_recipes.tracking.registry import name_problems

_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")


@unique
class LogSource(Enum):
    """Whether the files that a recipe reads (source, weights, samples) are kept as artifacts."""

    true = "all of them"
    false = "none: their paths and digests only"
    auto = "those within log_source_limit_mb"


@dataclass(frozen=True)
class MlflowSettings:
    """Where runs go: a tracking URI, an experiment, and the run's name and extra tags.

    log_source: whether the files that the recipe reads are kept as artifacts too. log_source_limit_mb: for auto, how
    large (10^6 bytes) all of them together may be. register_as: the registered model that a run whose gates passed
    becomes a version of; null for none. alias: what that version is called there.
    """

    uri: str
    experiment: str
    run_name: str | None
    tags: dict[str, str]
    log_source: LogSource = LogSource.auto
    log_source_limit_mb: Annotated[float, within(ge=0)] = 100.0
    register_as: str | None = None
    alias: str | None = "candidate"

    def problems(self) -> Iterable[Problem]:
        scheme = self.uri.partition(":")[0].partition("+")[0]
        if scheme not in _SCHEMES:
            what = f"{self.uri!r} is not a tracking URI that MLflow takes ({', '.join(_SCHEMES)})"
            yield Problem(what, "tracking.uri", "tracking.uri=sqlite:///mlflow.db")
        if not self.experiment.strip():
            yield Problem("the experiment has no name", "tracking.experiment", "tracking.experiment=tflite_recipes")
        yield from name_problems(self.register_as, self.alias)
