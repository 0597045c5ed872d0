"""Holds plain data (from JSON) against the types of a dataclass, before anything works with it."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

_LATEST = 1e11  # the year 5138


def misfits(kind: type, data: Any) -> str:
    """Return what keeps a mapping from being the fields of a dataclass, "" if nothing does.

    Fields of other classes than plain ones are held against nothing: who builds them checks them.
    """
    if not isinstance(data, Mapping):
        return f"it is {_named(data)}, not a mapping"
    hints = _hints(kind)
    if unknown := [str(key) for key in data if key not in hints]:
        return f"it has no key {unknown[0][:80]!r}"
    for field in fields(kind):
        if field.name not in data:
            if field.default is MISSING and field.default_factory is MISSING:
                return f"the key {field.name!r} is missing"
        elif not _fits(hints[field.name], data[field.name]):
            return f"{field.name!r} is {_named(data[field.name])}"
    return ""


def is_time(seconds: float) -> bool:
    """Return whether a number can be a time, in seconds since 1970, that a database takes."""
    return 0 <= seconds < _LATEST


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _fits(hint: Any, value: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(option, value) for option in inner)
    if origin is tuple:
        return isinstance(value, (list, tuple)) and all(_fits(inner[0], item) for item in value)
    if origin is list:
        return isinstance(value, list) and all(_fits(inner[0], item) for item in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(
            _fits(inner[0], name) and _fits(inner[1], item) for name, item in value.items()
        )
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return isinstance(value, (str, hint))
    return not (hint in (str, bool, type(None)) and not isinstance(value, hint))


def _named(value: Any) -> str:
    """Return what a value of JSON is."""
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
