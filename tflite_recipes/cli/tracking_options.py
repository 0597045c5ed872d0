"""Where the commands that read past runs look for them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tflite_recipes.tracking.uris import DEFAULT_URI, default_uri

_KEY = "tracking.uri="


def add_uri(command: argparse.ArgumentParser) -> None:
    """The flag that says where; `tracking.uri=URI`, as `run` takes it, says the same."""
    command.add_argument(
        "--tracking-uri",
        metavar="URI",
        help=f"store of the runs (default: MLFLOW_TRACKING_URI, otherwise {DEFAULT_URI})",
    )


def split(options: argparse.Namespace, words: Sequence[str]) -> tuple[str, list[str]]:
    """The tracking URI that was asked for, and the words that are left when `tracking.uri=URI` is taken from them."""
    said = [word.removeprefix(_KEY) for word in words if word.startswith(_KEY)]
    uri = options.tracking_uri or next(iter(said), None) or default_uri()
    return uri, [word for word in words if not word.startswith(_KEY)]
