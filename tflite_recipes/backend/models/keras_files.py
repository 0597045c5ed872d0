"""Loading a `.keras` or `.h5` file where it takes more than a call of Keras, and telling what is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tflite_recipes.backend.models import tfmot
from tflite_recipes.core import schema
from tflite_recipes.core.errors import Problem, RequestError, gist
from tflite_recipes.core.events import Reporter
from tflite_recipes.files import models as model_files
from tflite_recipes.files.models import KerasFile

_OBJECTS = "source.custom_objects"


def custom_objects(targets: list[str], file: KerasFile) -> dict[str, Any]:
    """The user's classes by their names, and by those that the file has for them. Errors: RequestError."""
    objects: dict[str, Any] = {}
    for target in targets:
        try:
            found = schema.load_target(target)
        except RequestError as error:
            raise RequestError([replace(p, where=_OBJECTS) for p in error.problems]) from error
        objects[getattr(found, "__name__", target.rpartition(":")[2])] = found
    bare = {name: model_files.bare(name) for name in file.custom_layers}
    unnamed = [found for name, found in objects.items() if name not in bare.values() and not isinstance(found, type)]
    if unnamed:
        objects.setdefault(model_files.NAMELESS, unnamed[0])
    return {**{name: objects[short] for name, short in bare.items() if short in objects}, **objects}


def load(library: Any, path: Path, file: KerasFile, arguments: dict[str, Any], reporter: Reporter) -> Any:
    """The model. Errors: whatever Keras raises; `load_problem` says it in our words."""
    if file.wrappers:
        return tfmot.load(path, file.wrappers, arguments, reporter)
    if file.generation == 2 and "safe_mode" not in arguments:
        config, changed = _plain_functions(json.loads(model_files.config_of(path)), arguments["custom_objects"])
        if changed:
            model = library.models.model_from_config(config, custom_objects=arguments["custom_objects"])
            model.load_weights(str(path))
            return model
    return library.models.load_model(path, **arguments)


def _plain_functions(node: Any, objects: dict[str, Any]) -> tuple[Any, bool]:
    """The config with functions by name, and whether that changed it: tf_keras writes them into HDF5 in the form that
    only its `.keras` reader understands."""
    if isinstance(node, dict):
        name = node.get("config")
        if node.get("class_name") == "function" and isinstance(name, str):
            return (model_files.bare(name) if model_files.bare(name) in objects else name), True
        pairs = {key: _plain_functions(value, objects) for key, value in node.items()}
        return {key: value for key, (value, _) in pairs.items()}, any(changed for _, changed in pairs.values())
    if isinstance(node, list):
        items = [_plain_functions(value, objects) for value in node]
        return [value for value, _ in items], any(changed for _, changed in items)
    return node, False


def load_problem(path: Path, error: Exception, file: KerasFile, given: list[str]) -> Problem:
    """What Keras could not load, and what would help."""
    if file.wrappers and path.suffix == ".keras":
        what = f"{path} cannot be loaded: tensorflow-model-optimization reads its layers from .h5 files only"
        return Problem(what, "source.path", "", ("save the model again, as .h5",))
    if "Layer count mismatch" in str(error) and file.class_name not in ("Functional", "Sequential", "Model"):
        what = f"{path} is a subclassed model, which Keras cannot build from an .h5 file"
        ways = ("save it again, as .keras", "source=factory source.function=my_model.py:build source.weights=FILE")
        return Problem(what, "source.path", "", ways)
    text = str(error)
    missing = model_files.not_given([*model_files.missing_in(text), *file.custom_layers], given)
    if missing:
        return model_files.missing_objects(path, missing, given, _reason(text))
    return Problem(f"{path} cannot be loaded: {_reason(text) or gist(error)}", "source.path")


def _reason(text: str) -> str:
    """The sentence behind which Keras stops retelling the config."""
    told = text.rpartition("Exception encountered: ")[2].strip()
    return told.split("\n")[0].partition(" Full object config")[0].partition(". ")[0][:300]
