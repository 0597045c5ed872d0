"""What the user may set of the tracking. No MLflow here, so that composing stays quick."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, unique
from typing import Annotated
from urllib.parse import urlsplit

from tflite_recipes.core import old_names
from tflite_recipes.core.errors import Problem, assignment
from tflite_recipes.core.schema import within
from tflite_recipes.core.tracking_uri import without_password
from tflite_recipes.tracking import local_store
from tflite_recipes.tracking.mlflow_limits import EXPERIMENT_LENGTH, NAME_LENGTH, allowed
from tflite_recipes.tracking.model_registry import name_problems

old_names.offer(__name__)
_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
# Tags that a run sets itself, and the override that may be meant.
_OWN = {"mlflow.runName": ("tracking.run_name=NAME",), "mlflow.parentRunId": (), "mlflow.note.content": ()}


@unique
class LogSource(Enum):
    """Whether the files that a recipe reads (source, weights, samples) are kept as artifacts."""

    true = "all of them"
    false = "none: their paths and digests only"
    auto = "all of a run that gave a file, where they are within log_source_limit_mb"


@dataclass(frozen=True)
class Mlflow:
    """Where runs go: a tracking URI, an experiment, and the run's name and extra tags.

    log_source: whether the files that the recipe reads are kept as artifacts too. log_source_limit_mb: for auto, how
    large (10^6 bytes) all of them together may be; beyond it those that make the file, without the evaluation's, where
    these are within it. register_as: the registered model that a run whose gates passed becomes a version of; null
    for none. alias: what that version is called there. max_wait_s: for how many seconds a run waits for its uploads
    after its last step, those below it included; null for as long as they take.
    """

    uri: str
    experiment: str
    run_name: str | None
    tags: dict[str, str]
    log_source: LogSource = LogSource.auto
    log_source_limit_mb: Annotated[float, within(ge=0)] = 100.0
    register_as: str | None = None
    alias: str | None = "candidate"
    max_wait_s: Annotated[float, within(ge=0)] | None = None

    def problems(self) -> Iterable[Problem]:
        wrong = [*uri_problems(self.uri)]
        yield from wrong or local_store.writing_problems(self.uri)
        if not self.experiment.strip():
            yield Problem("the experiment has no name", "tracking.experiment", "tracking.experiment=tflite_recipes")
        yield from name_problems(self.register_as, self.alias)
        yield from _too_long(self.experiment, "tracking.experiment", EXPERIMENT_LENGTH)
        yield from _too_long(self.run_name or "", "tracking.run_name", NAME_LENGTH)
        yield from self._tag_problems()

    def _tag_problems(self) -> Iterable[Problem]:
        """Tags that MLflow would refuse when the run has begun, or that the run sets itself."""
        own = [name for name in self.tags if name in _OWN or name.startswith("tflite_recipes.")]
        better = {allowed(name): value for name, value in self.tags.items() if name not in own}
        # A mapping is merged with the recipe's, unless that is taken away first.
        fix = f"{assignment('~tracking.tags', ...)} {assignment('+tracking.tags', better)}"
        for name in own:
            meant = _OWN.get(name, ())
            yield Problem(f"the tag {name} is the run's own", "tracking.tags", fix, meant)
        for name in self.tags:
            if name not in own and name != allowed(name):
                what = (
                    f"MLflow takes no tag {name[:80]!r}: letters, digits, spaces and _-./ only, at most {NAME_LENGTH}"
                )
                yield Problem(what, "tracking.tags", fix)


def uri_problems(uri: str) -> Iterable[Problem]:
    """A tracking URI that MLflow does not take."""
    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme not in _SCHEMES:
        what = f"{without_password(uri)!r} is not a tracking URI that MLflow takes ({', '.join(_SCHEMES)})"
        host = re.fullmatch(r"[\w.-]+:\d+(/.*)?", uri)
        fix = f"tracking.uri=http://{uri}" if host else "tracking.uri=sqlite:///mlflow.db"
        yield Problem(what, "tracking.uri", fix)
    elif scheme in ("http", "https") and not _is_address(uri):
        yield Problem(f"{without_password(uri)!r} is not the address of a server", "tracking.uri")
    yield from local_store.uri_problems(uri)


def _is_address(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", parts.netloc)
    except ValueError:  # brackets that do not close, a port that is none
        return False


def _too_long(text: str, key: str, limit: int) -> Iterable[Problem]:
    if len(text) > limit:
        yield Problem(f"{len(text)} characters, and MLflow takes {limit}", key, assignment(key, text[:limit].strip()))
