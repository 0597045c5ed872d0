"""A resolved recipe as MLflow's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def params_of(choices: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, str]:
    """One parameter for each group's choice (`source`), one for each resolved key (`source.path`)."""
    return {**flat(config), **choices}


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """`{"a": {"b": 1}}` as `{"a.b": "1"}`; the classes behind the options are no parameters."""
    found: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if key == "_target_" or (not prefix and key in ("name", "tracking")):
            continue
        if isinstance(value, Mapping) and value:
            found.update(flat(value, f"{name}."))
        else:
            found[name] = str(value)
    return found
