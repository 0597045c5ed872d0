"""What kind of model lies at a path, and the overrides that have it converted."""

from __future__ import annotations

import os
from pathlib import Path

from tflite_recipes.core.errors import RequestError, assignment
from tflite_recipes.core.state import TensorSpec
from tflite_recipes.files.models.keras_file import read_keras_file
from tflite_recipes.files.models.refusals import FACTORY, GRAPH_FILE, HDF5, TFLITE, ZIP, first_bytes
from tflite_recipes.files.models.saved_model import read_saved_model
from tflite_recipes.files.models.tflite_model import read_float_tflite


def source_of(path: Path) -> tuple[str, Path] | None:
    """Return the option of `source` that reads what lies here, and the path that it takes; None if it is no model."""
    if not os.path.exists(path):  # nor is it a name that a file can have
        return None
    folder = path.parent if path.name == GRAPH_FILE else path
    if (folder / GRAPH_FILE).is_file():
        return "saved_model", folder
    try:
        head = first_bytes(path)
    except RequestError:
        return None
    if head.startswith((ZIP, HDF5)):
        return "keras", path
    return ("tflite", path) if head[4:8] == TFLITE else None


def source_overrides(path: Path) -> str:
    """Return the overrides that convert what lies here; "" for what is no model."""
    if path.suffix == ".pb" and path.name != GRAPH_FILE and os.path.isfile(path):
        return FACTORY  # a frozen graph
    found = source_of(path)
    return "" if found is None else f"source={found[0]} {assignment('source.path', str(found[1]))}"


def inputs_at(path: Path) -> tuple[TensorSpec, ...]:
    """Return the inputs of the model that lies here, as far as its file alone tells; none for what is no model."""
    found = source_of(path)
    try:
        if found is None:
            return ()
        if found[0] == "keras":
            return read_keras_file(found[1]).inputs or ()
        if found[0] == "tflite":
            return read_float_tflite(found[1]).inputs
        signatures = read_saved_model(found[1])
        return (signatures[0].inputs or ()) if len(signatures) == 1 else ()
    except RequestError:
        return ()
