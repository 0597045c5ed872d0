"""Former names of choices: how the recipe of a past run reads in the names of today."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tflite_recipes.conversion.remedies import Remedy
from tflite_recipes.conversion.schemes import Quantizer
from tflite_recipes.core.schema import former_names

# The keys whose choices have former names.
RENAMED: Mapping[str, Mapping[str, str]] = {
    "optimization.quantizer": former_names(Quantizer),
    "optimization.quantizers": former_names(Quantizer),
    "conversion.fallback": former_names(Remedy),
}


def in_todays_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a flat recipe (`optimization.quantizer`), or a run's params, with the choices under their names of today.

    A recipe that is composed needs none of this: its types replace the names.
    """
    return {key: _renamed(value, RENAMED[key]) if key in RENAMED else value for key, value in config.items()}


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A param is text, also where the recipe has a list."""
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return re.sub(r"\w+", lambda word: names.get(word[0], word[0]), value) if isinstance(value, str) else value
