"""TensorFlow and Keras models to TensorFlow Lite, as recipes that can be repeated exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tflite_recipes.api import check as check
    from tflite_recipes.api import compose as compose
    from tflite_recipes.api import run as run
    from tflite_recipes.comparing.asking import compare as compare
    from tflite_recipes.comparing.asking import diff as diff
    from tflite_recipes.errors import Problem as Problem
    from tflite_recipes.errors import RequestError as RequestError
    from tflite_recipes.recipe import Recipe as Recipe
    from tflite_recipes.reproducing import Reproduction as Reproduction
    from tflite_recipes.reproducing import reproduce as reproduce
    from tflite_recipes.result import RunResult as RunResult
    from tflite_recipes.state import State as State

_HOMES = {
    "check": "api",
    "compare": "comparing.asking",
    "compose": "api",
    "diff": "comparing.asking",
    "run": "api",
    "Problem": "errors",
    "RequestError": "errors",
    "Recipe": "recipe",
    "Reproduction": "reproducing",
    "reproduce": "reproducing",
    "RunResult": "result",
    "State": "state",
}
__all__ = [
    "Problem",
    "Recipe",
    "Reproduction",
    "RequestError",
    "RunResult",
    "State",
    "check",
    "compare",
    "compose",
    "diff",
    "reproduce",
    "run",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    # Lazy, because the worker and the quick commands need only their own part.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
