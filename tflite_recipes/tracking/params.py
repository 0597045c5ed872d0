"""A resolved recipe as MLflow's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VALUE_LENGTH = 6000  # MLflow's own limit on a parameter's value
AT_ONCE = 100  # and on how many go in one request


def allowed(name: str) -> str:
    """A name as MLflow takes it for a metric or a parameter."""
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name)


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """`{"a": {"b": 1}}` as `{"a.b": "1"}`; the classes behind the options are no parameters."""
    found: dict[str, str] = {}
    for key, value in config.items():
        name = allowed(f"{prefix}{key}")
        if key in ("_target_", "tracking") or (not prefix and key == "name"):
            continue
        if isinstance(value, Mapping) and value:
            found.update(flat(value, f"{name}."))
        else:
            found[name] = str(value)
    return found
