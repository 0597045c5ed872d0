"""Public names: how recipes call the classes of this package, whichever file holds them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from tflite_recipes.core import old_names
from tflite_recipes.core.old_names import PACKAGE, TARGETS

STEPS, TRACKING = f"{PACKAGE}.steps", f"{PACKAGE}.tracking"


def lazy(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package that imports each public class when it is asked for.

    Args:
        package: `__name__`, in the package itself.
        homes: the module below the package that holds each class.
    """

    def attribute(name: str) -> Any:
        if name not in homes:
            return old_names.submodule(sys.modules[package], name)
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return attribute


def offered(package: str) -> list[str]:
    """Return the names of the classes that recipes may name in `STEPS` or `TRACKING`. Imports none of their files."""
    return list(importlib.import_module(package).__all__)


def resolved(target: Any) -> str | None:
    """Return the public name of the class that a `_target_` names.

    Args:
        target: a public name, or one that recipes had before. A colon may stand for the last dot.

    Returns:
        None for anything else: code of the user's own, and whatever else this package holds.
    """
    dotted = ".".join(target.rsplit(":", 1)) if isinstance(target, str) else ""
    name = TARGETS.get(dotted, dotted)
    package, _, last = name.rpartition(".")
    return name if package in (STEPS, TRACKING) and last in offered(package) else None


def is_ours(target: Any) -> bool:
    """Return whether a `_target_` names something of this package, allowed or not, and no code of the user's own."""
    place, colon, _ = str(target).partition(":")
    is_file = bool(colon) and place.endswith(".py")
    return place.partition(".")[0] == PACKAGE and not is_file


def public_name(kind: type) -> str:
    """Return what a `_target_` names a class by: its public name, or where it stands if it is not ours.

    Raises:
        LookupError: the class is ours, and recipes have no name for it.
    """
    for package in (STEPS, TRACKING):
        if kind.__module__.startswith(f"{package}.") and kind.__name__ in offered(package):
            return f"{package}.{kind.__name__}"
    name = f"{kind.__module__}.{kind.__qualname__}"
    if is_ours(name):
        raise LookupError(f"{name} has no public name: add it to the package that holds it")
    return name
