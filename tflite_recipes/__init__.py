"""TensorFlow and Keras models to TensorFlow Lite, as recipes that can be repeated exactly."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from tflite_recipes.api import check as check
    from tflite_recipes.api import compose as compose
    from tflite_recipes.api import run as run
    from tflite_recipes.config.recipe import Recipe as Recipe
    from tflite_recipes.core.errors import Problem as Problem
    from tflite_recipes.core.errors import RequestError as RequestError
    from tflite_recipes.core.errors import StepError as StepError
    from tflite_recipes.core.events import Reporter as Reporter
    from tflite_recipes.core.result import RunResult as RunResult
    from tflite_recipes.core.schema import ExistingPath as ExistingPath
    from tflite_recipes.core.schema import within as within
    from tflite_recipes.core.state import Gate as Gate
    from tflite_recipes.core.state import Intent as Intent
    from tflite_recipes.core.state import State as State
    from tflite_recipes.core.state import TensorSpec as TensorSpec
    from tflite_recipes.past_runs.compare.api import compare as compare
    from tflite_recipes.past_runs.compare.api import diff as diff
    from tflite_recipes.past_runs.reproduce import Reproduction as Reproduction
    from tflite_recipes.past_runs.reproduce import reproduce as reproduce

_HOMES = {
    "check": "api",
    "compare": "past_runs.compare.api",
    "compose": "api",
    "diff": "past_runs.compare.api",
    "run": "api",
    "Problem": "core.errors",
    "RequestError": "core.errors",
    "StepError": "core.errors",
    "Reporter": "core.events",
    "Recipe": "config.recipe",
    "Reproduction": "past_runs.reproduce",
    "reproduce": "past_runs.reproduce",
    "RunResult": "core.result",
    "ExistingPath": "core.schema",
    "within": "core.schema",
    "Gate": "core.state",
    "Intent": "core.state",
    "State": "core.state",
    "TensorSpec": "core.state",
}
__all__ = [
    "ExistingPath",
    "Gate",
    "Intent",
    "Problem",
    "Recipe",
    "Reporter",
    "Reproduction",
    "RequestError",
    "RunResult",
    "State",
    "StepError",
    "TensorSpec",
    "check",
    "compare",
    "compose",
    "diff",
    "reproduce",
    "run",
    "within",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    # Lazy, because the worker and the quick commands need only their own part.
    if name not in _HOMES:
        from tflite_recipes.core import old_names

        return old_names.submodule(sys.modules[__name__], name)
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


class _OldNames:
    """Lets the code that past runs kept import our modules by the names that these had. Asked only for modules that
    nothing else finds; only then is the table of names loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(f"{__name__}."):
            return None
        from tflite_recipes.core import old_names

        return old_names.find_spec(name)


sys.meta_path.append(_OldNames())
