"""Where runs are looked for. Imports nothing heavy: every command reads it."""

from __future__ import annotations

import os

DEFAULT_URI = "sqlite:///mlflow.db"


def default_uri() -> str:
    """The tracking URI if nothing else is said."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
