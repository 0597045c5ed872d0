"""A list where a recipe holds a mapping of names: shapes without the names of the inputs that they are for."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tflite_recipes.config.composition.overrides import value_at
from tflite_recipes.core.errors import Problem, assignment
from tflite_recipes.core.schema import TARGET, class_of, types_of
from tflite_recipes.core.shapes import Shapes, keeps, meant_shape
from tflite_recipes.core.state import TensorSpec
from tflite_recipes.files.models.model_kinds import inputs_at


def lacks_names(override: Override, plain: Mapping[str, Any]) -> bool:
    """Whether a list is given for a mapping of names (`source.input_shapes=[1,4]`)."""
    held = value_at(override.key_or_group, plain) if "." in override.key_or_group else None
    return isinstance(override.value(), list) and isinstance(held, Mapping)


def with_names(key: str, value: list[Any], config: DictConfig) -> Problem:
    """The problem that a mapping of names was given a list. The names are those of the model's inputs where it lies at
    a path: a list of lists is one for each, any other is for the first input that it fits."""
    if not _holds_shapes(key, config):
        return Problem("holds a mapping of names, and this is none", key, assignment(key, {"NAME": "VALUE"}))
    path = None
    with contextlib.suppress(OmegaConfBaseException):  # of an interpolation, which is reported when all are resolved
        path = OmegaConf.select(config, f"{key.partition('.')[0]}.path", throw_on_missing=False)
    inputs = inputs_at(Path(path)) if isinstance(path, str) else ()
    several = bool(value) and all(isinstance(item, list) for item in value)
    pairs = list(zip(inputs, value, strict=False)) if several else _first_fit(inputs, value)
    fix = assignment(key, {spec.name: _sizes(item, spec) for spec, item in pairs}) if pairs else ""
    return Problem("holds a mapping of names, and this is none", key, fix or assignment(key, {"NAME": value}))


def _holds_shapes(key: str, config: DictConfig) -> bool:
    """Return whether a key of a step of ours holds shapes by the names of the model's inputs."""
    group, _, name = key.partition(".")
    return types_of(class_of(OmegaConf.select(config, f"{group}.{TARGET}"))).get(name) == Shapes


def _first_fit(inputs: Sequence[TensorSpec], value: list[Any]) -> list[tuple[TensorSpec, list[Any]]]:
    fitting = [spec for spec in inputs if _is_shape(value) and keeps(value, spec.shape)]
    return [(spec, value) for spec in (fitting or [*inputs])[:1]]


def _sizes(value: list[Any], spec: TensorSpec) -> list[Any]:
    return meant_shape(value, spec.shape) if _is_shape(value) else value


def _is_shape(value: list[Any]) -> bool:
    return all(size is None or (isinstance(size, int) and size > 0) for size in value)
