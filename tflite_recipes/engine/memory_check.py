"""Refuses a run that cannot fit in memory before it starts: by the machine, its control groups and `worker.memory_gb`.

The need is less than what was measured, so that no run is refused that would have fit. Measured by
`benchmarks/memory.py` with TensorFlow 2.21 on models of 281 MB.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tflite_recipes.config.recipe import Recipe
from tflite_recipes.core.errors import Problem
from tflite_recipes.engine.memory_limits import Limit
from tflite_recipes.steps.freeze import Freeze, Variables
from tflite_recipes.steps.source import Source

# The override with which a model takes less.
KEEP = "freeze.variables=keep"
_MB, _GB, _GIB = 1000**2, 1000**3, 1024**3
# Bytes of the worker before it has a model (0.6 GB measured), and its peak beyond that as a multiple of the weights:
# while it converts a model that keeps its variables (4.1 and 5.1 measured), and while it freezes one (25 measured).
_IDLE = 0.4 * _GB
_CONVERTING, _FREEZING = 3.5, 10.0
# More than what was measured, for a limit that is enough.
_ENOUGH_IDLE, _ENOUGH_CONVERTING, _ENOUGH_FREEZING = 1.0 * _GB, 8.0, 30.0


@dataclass(frozen=True)
class Need:
    """What a run takes at least, in bytes. weights: of the model. constants: whether they are copied into its graph."""

    weights: int
    constants: bool

    @property
    def beyond_idle(self) -> float:
        """The peak beyond what the worker takes without a model."""
        return self.weights * (_FREEZING if self.constants else _CONVERTING)

    @property
    def least(self) -> float:
        return _IDLE + self.beyond_idle

    @property
    def enough_gb(self) -> int:
        """A `worker.memory_gb` that is enough."""
        most = _ENOUGH_FREEZING if self.constants else _ENOUGH_CONVERTING
        return math.ceil((_ENOUGH_IDLE + most * self.weights) / _GIB)


def need(recipe: Recipe) -> Need | None:
    """Return what a run of a recipe takes at least; None if the size of its model is not known before it is loaded.

    It is not known either if a step of the user's own, which may make the model smaller, is among the steps.
    """
    if any(spec.instance is None for spec in recipe.steps):
        return None
    steps = {spec.name: spec.instance for spec in recipe.steps}
    source, freeze = steps.get("source"), steps.get("freeze")
    weights = source.weight_bytes() if isinstance(source, Source) else None
    if not weights:
        return None
    return Need(weights, isinstance(freeze, Freeze) and _makes_constants(freeze, weights))


def refusal(recipe: Recipe, limits: Iterable[Limit], held: int) -> Problem | None:
    """Return why a run cannot fit, None if it may fit.

    Args:
        recipe: with the limit of its worker.
        limits: of the machine and of the control groups.
        held: bytes that the worker has already, which it can use again.
    """
    found = need(recipe)
    if found is None:
        return None
    own, every = recipe.worker.memory_gb, tuple(limits)
    less = Need(found.weights, False)
    if grants := _too_little(found, every, held):
        helps = found.constants and not _too_little(less, every, held) and not _over(less, own)
        ors = ("give a smaller model", "use a machine with more memory")
        return Problem(_what(found, grants), "source", KEEP if helps else "", ors)
    if own is not None and _over(found, own):
        grants = f"worker.memory_gb={own:g} is {own * _GIB / _GB:.1f} GB"
        fix = KEEP if found.constants and not _over(less, own) else f"worker.memory_gb={found.enough_gb}"
        return Problem(_what(found, grants), "worker.memory_gb", fix)
    return None


def _too_little(found: Need, limits: Iterable[Limit], held: int) -> str:
    """Return the first limit that is too low, in words; "" if none is."""
    for limit in limits:
        if found.least > limit.total:
            return f"{limit.whose} has {limit.total / _GB:.1f} GB"
        if found.beyond_idle > limit.left + held:
            return f"{limit.whose} has {(limit.left + held) / _GB:.1f} of its {limit.total / _GB:.1f} GB left"
    return ""


def _over(found: Need, own: float | None) -> bool:
    return own is not None and found.least > own * _GIB


def _what(found: Need, grants: str) -> str:
    how = ", as constants of its graph," if found.constants else ""
    model = f"a model with {found.weights / _MB:.0f} MB of weights{how}"
    return f"{model} takes at least {found.least / _GB:.1f} GB of memory, and {grants}"


def _makes_constants(freeze: Freeze, weights: int) -> bool:
    """Whether variables become constants, if the model has no state."""
    if freeze.variables is Variables.keep:
        return False
    most = freeze.constants_mb
    return freeze.variables is Variables.freeze or most is None or weights <= most * _MB
