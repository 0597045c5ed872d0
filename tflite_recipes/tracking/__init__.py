"""The only package that knows MLflow. It listens to events.

The package offers the class that recipes name, and imports it when it is asked for.
"""

import os
from typing import TYPE_CHECKING

from tflite_recipes.core import public_names

if TYPE_CHECKING:
    from tflite_recipes.tracking.settings import Mlflow as Mlflow

# MLflow decides on its telemetry while it is imported, and nothing imports it before this package.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"

_HOMES = {"Mlflow": "settings"}
__all__ = [*_HOMES]


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:  # which would take any name for one that is here
    __getattr__ = public_names.lazy(__name__, _HOMES)
