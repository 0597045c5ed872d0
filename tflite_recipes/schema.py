"""The dataclass is the schema: a YAML section becomes a frozen instance, and every mistake in it is said at once."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tflite_recipes.errors import Problem, RequestError

TARGET = "_target_"


def within(
    *, ge: float | None = None, gt: float | None = None, le: float | None = None, lt: float | None = None
) -> Any:
    """A numeric field and its bounds."""
    bounds = {">=": ge, ">": gt, "<=": le, "<": lt}
    return field(metadata={"bounds": {sign: bound for sign, bound in bounds.items() if bound is not None}})


def existing_path() -> Any:
    """A field that names a file or folder which must exist when the recipe is checked."""
    return field(metadata={"exists": True})


def near(name: str, known: Sequence[str]) -> list[str]:
    """The known names most like `name`, best first."""
    return difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)


def load_target(target: str) -> Any:
    """The object that `module.Name`, `module:name` or `file.py:name` stands for.

    A file's folder is not put on the path: a file is loaded as itself. Errors: RequestError.
    """
    place, colon, name = target.rpartition(":") if ":" in target else target.rpartition(".")
    if not place or not name:
        raise RequestError(Problem(f"{target!r} is not module:name or file.py:name"))
    try:
        module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    except ImportError as error:
        raise RequestError(Problem(f"{target!r} cannot be imported: {error}")) from error
    if not hasattr(module, name):
        known = [other for other in vars(module) if not other.startswith("_")]
        hint = f"; did you mean {' or '.join(near(name, known))}?" if near(name, known) else ""
        raise RequestError(Problem(f"{place} has no {name!r}{hint}"))
    return getattr(module, name)


def _load_module(name: str) -> types.ModuleType:
    # A console script does not have the working directory on its path, where users keep their modules.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    return importlib.import_module(name)


def _load_file(path: Path) -> types.ModuleType:
    if not path.is_file():
        raise RequestError(Problem(f"there is no file {path}"))
    name = f"tflite_recipes_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look their module up by name
    spec.loader.exec_module(module)
    return module


def to_plain(value: Any) -> Any:
    """Enums as their names, tuples as lists: what YAML and JSON can hold."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value


def section_of(instance: Any) -> dict[str, Any]:
    """The plain section that `build` turns into `instance` again, `_target_` included."""
    kind = type(instance)
    values = {f.name: to_plain(getattr(instance, f.name)) for f in fields(instance)}
    return {TARGET: f"{kind.__module__}.{kind.__qualname__}", **values}


def build(kind: type, section: Mapping[str, Any], where: str) -> tuple[Any, list[Problem]]:
    """An instance of the frozen dataclass `kind` from a plain section, or None and every problem.

    `where` is the section's dotted key. Keys unknown to the dataclass, keys missing, values that are `???`, of the
    wrong type or out of their bounds, and paths that do not exist are problems.
    """
    values = {key: value for key, value in section.items() if key != TARGET}
    known = [f.name for f in fields(kind)]
    problems = [_unknown_key(where, key, known) for key in values if key not in known]
    hints = get_type_hints(kind)
    typed: dict[str, Any] = {}
    for f in fields(kind):
        key = f"{where}.{f.name}"
        if f.name not in values:
            problems.append(Problem("is missing from the recipe", key, f"+{key}=VALUE"))
            continue
        if values[f.name] == "???":
            problems.append(Problem("must be given", key, f"{key}={_example(f.metadata, hints[f.name])}"))
            continue
        value, problem = _coerce(f.name, hints[f.name], values[f.name], key)
        problem = problem or _out_of_bounds(key, value, f.metadata) or _no_such_path(key, value, f.metadata)
        if problem:
            problems.append(problem)
        else:
            typed[f.name] = value
    return (None, problems) if problems else (kind(**typed), [])


def _unknown_key(where: str, key: str, known: list[str]) -> Problem:
    similar = near(key, known)
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"known: {', '.join(known) or 'none'}"
    return Problem(f"unknown key; {hint}", f"{where}.{key}", f"'~{where}.{key}'")


def _example(metadata: Mapping[str, Any], hint: Any) -> str:
    return "FILE" if metadata.get("exists") else "VALUE"


def _coerce(name: str, hint: Any, value: Any, key: str) -> tuple[Any, Problem | None]:
    # OmegaConf checks one field at a time here, because a whole dataclass stops at its first error.
    holder = _holder(name, hint)
    try:
        config = OmegaConf.merge(OmegaConf.structured(holder), {name: value})
        return getattr(OmegaConf.to_object(config), name), None
    except OmegaConfBaseException:
        wanted, example = _describe(hint)
        return None, Problem(f"{value!r} is not {wanted}", key, f"{key}={example}" if example else "")


def _holder(name: str, hint: Any) -> type:
    return make_dataclass("Holder", [(name, hint)])


def _describe(hint: Any) -> tuple[str, str]:
    """What a type hint takes, in words, and one value that it takes."""
    options = getattr(hint, "__args__", ())
    if type(None) in options:
        words, example = _describe(next(option for option in options if option is not type(None)))
        return f"{words} or null", example
    if isinstance(hint, type) and issubclass(hint, Enum):
        names = [member.name for member in hint]
        return f"one of {', '.join(names)}", names[0]
    simple = {int: ("a whole number", "1"), float: ("a number", "1.0"), bool: ("true or false", "true")}
    if hint in simple:
        return simple[hint]
    if hint is str:
        return "text", "TEXT"
    text = str(hint).replace("typing.", "")
    return f"of the form {text}", ""


def _out_of_bounds(key: str, value: Any, metadata: Mapping[str, Any]) -> Problem | None:
    bounds: Mapping[str, float] = metadata.get("bounds", {})
    if value is None or all(_holds(value, sign, bound) for sign, bound in bounds.items()):
        return None
    limits = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds.items())
    return Problem(f"{value:g} is out of range, it must be {limits}", key, f"{key}={_inside(bounds, value)}")


def _holds(value: float, sign: str, bound: float) -> bool:
    # NaN fails every comparison, so it is refused by any bound.
    return {">=": value >= bound, ">": value > bound, "<=": value <= bound, "<": value < bound}[sign]


def _inside(bounds: Mapping[str, float], value: float) -> str:
    closed = [bound for sign, bound in bounds.items() if sign in (">=", "<=")]
    low, high = bounds.get(">=", bounds.get(">")), bounds.get("<=", bounds.get("<"))
    if low is not None and high is not None and not closed:
        return f"{(low + high) / 2:g}"
    if low is not None and not value >= low or high is None:
        return f"{low:g}" if ">=" in bounds else f"{(low or 0) + 1:g}"
    return f"{high:g}" if "<=" in bounds else f"{(high + (low or 0)) / 2:g}"


def _no_such_path(key: str, value: Any, metadata: Mapping[str, Any]) -> Problem | None:
    if not metadata.get("exists") or value is None or Path(value).expanduser().exists():
        return None
    folder = Path(value).expanduser().parent
    beside = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    similar = near(Path(value).name, beside)
    if similar:
        return Problem(f"there is no {value}", key, f"{key}={folder / similar[0]}")
    where = f"; {folder} holds {', '.join(beside[:8]) or 'nothing'}" if folder.is_dir() else f"; no folder {folder}"
    return Problem(f"there is no {value}{where}", key, f"{key}=FILE")


@dataclass(frozen=True)
class WorkerLimits:
    """What the process that owns TensorFlow may use: seconds for a whole run, GiB of resident memory."""

    timeout_s: float | None = within(gt=0)
    memory_gb: float | None = within(gt=0)
