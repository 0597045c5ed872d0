"""Weights from a file of their own, into a Keras model that somebody else has built."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tflite_recipes.backend.models import source_model
from tflite_recipes.core.errors import Problem, RequestError, gist
from tflite_recipes.core.events import Reporter
from tflite_recipes.files import models as model_files
from tflite_recipes.files.models import WeightsKind

_WHERE = "source.weights"
_SUFFIXES = {WeightsKind.LAYERS: ".h5", WeightsKind.VARIABLES: ".weights.h5", WeightsKind.ARCHIVE: ".keras"}


def load(model: source_model.Model, path: Path, function: str, reporter: Reporter) -> None:
    """Load the weights that `path` holds into the model, in place. Errors: RequestError where they do not fit."""
    if foreign := model_files.foreign_data(path, _WHERE):
        raise RequestError(foreign)
    kind = model_files.weights_kind(path)
    if not model.generation:
        what = f"weights are loaded into a Keras model, and {function} gave {type(model.owner).__name__}"
        raise RequestError(Problem(what, _WHERE, f"{_WHERE}=null"))
    if kind is WeightsKind.CHECKPOINT and model.generation == 3:
        what = f"{path} is a TensorFlow checkpoint, which only tf_keras models take; {function} gave a Keras 3 model"
        raise RequestError(Problem(what, _WHERE, "", ("load it in the function, and save it as .weights.h5",)))
    before = [np.array(variable.numpy()) for variable in _numbers(model)]
    try:
        _load(model.owner, path, kind)
    except Exception as error:  # each Keras has its own way to say that something does not fit
        what = f"{path} does not fit the model that {function} gave: {_reason(error)}"
        raise RequestError(Problem(what, _WHERE)) from error
    _tell(model, before, path, reporter)


def _reason(error: Exception) -> str:
    """Keras 3 counts the layers that failed first, and says how one of them did behind a colon."""
    first = gist(error)
    behind = str(error).partition(first)[2].split("\n")
    return " ".join([first, *[line.strip() for line in behind if line.strip()][:1]]) if first.endswith(":") else first


def _load(owner: Any, path: Path, kind: WeightsKind | None) -> None:
    if kind is WeightsKind.CHECKPOINT:
        status = owner.load_weights(str(model_files.checkpoint_prefix(path)))
        status.assert_existing_objects_matched()
        return
    with tempfile.TemporaryDirectory(prefix="tflite_recipes_") as folder:
        # Keras goes by the name, which need not tell what is inside.
        named = Path(folder) / f"model{_SUFFIXES[kind]}"
        os.symlink(path.resolve(), named)
        owner.load_weights(named if kind is not WeightsKind.LAYERS else str(named))


def _numbers(model: source_model.Model) -> list[Any]:
    return [variable for variable in source_model.variables_of(model) if variable.trainable]


def _tell(model: source_model.Model, before: list[Any], path: Path, reporter: Reporter) -> None:
    """Keras says nothing of weights in the file that no layer of the model asks for."""
    reporter.tag({"tflite_recipes.weights": path.name})
    after = _numbers(model)
    same = [v.name for v, old in zip(after, before, strict=True) if np.array_equal(v.numpy(), old) and old.any()]
    if same:
        reporter.warn(f"{path} left {len(same)} of {len(after)} trainable weights as they were: {', '.join(same[:5])}")


def digest(model: source_model.Model, path: Path) -> str:
    """SHA-256 of the architecture with its weights, and of the file that they came from."""
    parts = f"{source_model.digest(model)}\n{model_files.weights_sha256(path)}"
    return hashlib.sha256(parts.encode()).hexdigest()
