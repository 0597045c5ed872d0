"""The files and folders that a recipe reads: which they are, and what was in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tflite_recipes.config.recipe import Recipe
from tflite_recipes.core.regular_files import parse_json
from tflite_recipes.core.schema import NamesFile, marked
from tflite_recipes.files import models
from tflite_recipes.files.models.digest import saved_model_bytes

INPUTS = "inputs.json"


@dataclass(frozen=True)
class Input:
    """What a key of a recipe names: `path` as it stands there, the SHA-256 of the file (of a folder: of its files'
    names and contents, see `files.models.sha256_of`), and its size in bytes."""

    key: str
    path: str
    sha256: str
    bytes: int


def paths_of(recipe: Recipe) -> dict[str, str]:
    """By key (`source.path`, `calibration.path`, …), the files and folders that are there and that the recipe reads."""
    return dict(_paths(recipe))


def _paths(recipe: Recipe) -> Iterator[tuple[str, str]]:
    for spec in recipe.steps:
        if spec.instance is None:
            continue
        for name, (mark, value) in marked(spec.instance, NamesFile).items():
            if value and not mark.private and Path(value).exists():
                yield f"{spec.name}.{name}", str(value)


def read_inputs(recipe: Recipe) -> tuple[Input, ...]:
    """The same with digests, read as they are now. Errors: OSError."""
    return tuple(described(key, path) for key, path in paths_of(recipe).items())


def described(key: str, path: str) -> Input:
    """One of them, read as it is now. Errors: OSError; RequestError where there is nothing."""
    place = Path(path)
    size = saved_model_bytes(place) if place.is_dir() else place.stat().st_size
    return Input(key, path, models.sha256_of(place), size)


def to_text(inputs: Sequence[Input]) -> str:
    """The artifact `inputs.json`."""
    return json.dumps([asdict(given) for given in inputs], indent=2) + "\n"


def from_text(text: str) -> tuple[Input, ...]:
    """What `to_text` wrote. Errors: ValueError, TypeError, KeyError where it is something else."""
    listed: Iterable[Mapping[str, Any]] = parse_json(text)
    return tuple(
        Input(str(entry["key"]), str(entry["path"]), str(entry["sha256"]), int(entry["bytes"])) for entry in listed
    )
