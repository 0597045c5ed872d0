"""Several values of a key where one run is asked for: a sweep, a list, a file with a comma in its name."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from tflite_recipes.config.composition.named_shapes import with_names
from tflite_recipes.config.composition.overrides import against, collection, options_of, parsed, plain_of, value_at
from tflite_recipes.core.errors import Problem, assignment


def several_values(
    override: Override, config: DictConfig, fits: Callable[[Sequence[str]], bool], may_sweep: bool
) -> Problem:
    """Return the problem that a key has several values in one run, with the first way that leads on as its fix.

    Args:
        override: the one with several values.
        config: the recipe without it.
        fits: whether the key takes each of these overrides.
        may_sweep: whether `-m` can be added to the command.
    """
    line = override.input_line or ""
    key, _, value = line.partition("=")
    held = value_at(override.key_or_group, plain_of(config))
    quoted, sweep = assignment(key, value), ["-m"] if may_sweep and override.is_discrete_sweep() else []
    ways = [*sweep, quoted]
    if options_of(override.key_or_group):
        ways = sweep
    elif isinstance(held, Mapping) and isinstance(sizes := collection(f"[{value}]"), list):
        named = with_names(override.key_or_group, sizes, config)
        ways = [named.fix] if named.fix else [*named.alternatives]
    elif isinstance(held, list):
        ways = [shlex.quote(f"{key}=[{value}]"), *sweep]
    elif os.path.exists(value):  # a comma in its name; many values are no name at all
        ways = [quoted, *sweep]
    lines = {"-m": _some(override) if sweep else []}
    fitting = [way for way in ways if fits(lines.get(way) or shlex.split(way))]
    advice = ways if override.is_discrete_sweep() and not fitting else fitting[1:]
    fix = fitting[0] if fitting else ""
    return Problem(f"several values for one run: {line}", override.key_or_group, fix, tuple(advice))


def unknown_key(override: Override, plain: dict[str, Any]) -> Problem | None:
    """Return the problem with the key of an override that has several values, None if the recipe has the key."""
    key, _, value = (override.input_line or "").partition("=")
    if override.is_discrete_sweep():
        value = str(next(iter(override.sweep_string_iterator()), value))
    one = parsed(f"{key}={value}")
    return None if one is None or options_of(one.key_or_group) else against(one, plain, set())[1]


# Values of a sweep that are tried before it is the fix.
_TRIED = 3


def _some(override: Override) -> list[str]:
    """Return the overrides of a few jobs, the last among them."""
    key = (override.input_line or "").partition("=")[0]
    values = list(override.sweep_string_iterator())
    return [f"{key}={value}" for value in (*values[:_TRIED], *values[_TRIED:][-1:])]
