"""Tags that MLflow's own pages read: who ran what, from which commit."""

from __future__ import annotations

import contextlib
import getpass
from collections.abc import Mapping

from tflite_recipes.tracking.client import PREFIX

_COMMIT = f"{PREFIX}.git_commit"


def started_by() -> dict[str, str]:
    """For a new run: the columns Source and User."""
    tags = {"mlflow.source.name": "tflite-recipes", "mlflow.source.type": "LOCAL"}
    with contextlib.suppress(Exception):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    return tags


def with_version(tags: Mapping[str, str]) -> dict[str, str]:
    """The same, with the column Version where they tell a commit."""
    return {**tags, "mlflow.source.git.commit": tags[_COMMIT]} if _COMMIT in tags else dict(tags)
