"""The dataclass is the schema: a YAML section becomes a frozen instance, and every mistake in it is said at once.

A field of a section's class has a default where recipes were written down before the field was there, and the default
is what a run did then. It never changes, because recipes that lack the key get it, and because a key at its default
does not count in a recipe's digest. Values for new recipes stand in `conf/`, and may be others.
"""

from __future__ import annotations

import copy
import difflib
import functools
import importlib
import importlib.util
import math
import os
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, make_dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tflite_recipes.core import paths, public_names, regular_files
from tflite_recipes.core.errors import Problem, RequestError, assignment, gist
from tflite_recipes.core.raised import raised

TARGET = "_target_"
MOST_CODE = 4 << 20  # bytes of a file of Python code
OF_FILE = "tflite_recipes_user_"  # what the modules that are loaded from a named file are called, before its name


@dataclass(frozen=True)
class Bounds:
    """What a number must keep within, sign by sign (`>=`, `>`, `<=`, `<`)."""

    limits: tuple[tuple[str, float], ...]


def within(
    *, ge: float | None = None, gt: float | None = None, le: float | None = None, lt: float | None = None
) -> Bounds:
    """Return the bounds of a numeric field, for example `samples: Annotated[int, within(ge=1)]`."""
    signs = {">=": ge, ">": gt, "<=": le, "<": lt}
    return Bounds(tuple((sign, bound) for sign, bound in signs.items() if bound is not None))


@dataclass(frozen=True)
class NamesFile:
    """Marks a text that names a file or folder which the run reads.

    must_exist: a recipe is refused where it is not there; else the text may be something other than a path. private:
    it is this machine's own (a key, say), no input of the run: never digested, never sent anywhere.
    """

    must_exist: bool = True
    private: bool = False


ExistingPath = Annotated[str, NamesFile()]
PossiblePath = Annotated[str, NamesFile(must_exist=False)]
PrivatePath = Annotated[str, NamesFile(private=True)]


@dataclass(frozen=True)
class NeedsTrust:
    """Marks a key that has code or a program run, or another machine reached. In a recipe that came from a server it
    keeps its default unless the user trusts the recipe.

    unless: values, as they stand in YAML, that are harmless besides its default and what is empty.
    """

    unless: tuple[str, ...] = ()


def marked(instance: Any, kind: type) -> dict[str, tuple[Any, Any]]:
    """The fields of a dataclass's instance that carry a mark of this kind: name, the mark, and the value."""
    return {name: (mark, getattr(instance, name)) for name, mark in marks_of(type(instance), kind).items()}


def marks_of(schema: type, kind: type) -> dict[str, Any]:
    """The fields of a dataclass that carry a mark of this kind, each with its mark."""
    found = {name: [mark for mark in marks if isinstance(mark, kind)] for name, (_, marks) in _hints(schema).items()}
    return {name: marks[0] for name, marks in found.items() if marks}


def near(name: str, known: Sequence[str]) -> list[str]:
    """The known names most like `name`, best first."""
    found = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return found or [other for other in known if other.lower() == name.lower()]


def class_of(target: Any) -> type | None:
    """Return the class of ours that a `_target_` names, None for anything else. Imports no code of the user's."""
    name = public_names.resolved(target)
    if name is None:
        return None
    package, _, last = name.rpartition(".")
    kind: type = getattr(importlib.import_module(package), last)
    return kind


def load_target(target: str) -> Any:
    """The object that `module.Name`, `module:name` or `file.py:name` stands for.

    A file's folder is not put on the path: a file is loaded as itself. Errors: RequestError, also for what the module
    raises while it is imported.
    """
    place, _, name = target.rpartition(":") if ":" in target else target.rpartition(".")
    if not place or not name:
        raise RequestError(Problem(f"{target!r} is not module:name or file.py:name"))
    import_from_here()
    try:
        module = _load_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except RequestError:
        raise
    except ImportError as error:
        raise RequestError(Problem(f"{target!r} cannot be imported: {gist(error)}")) from error
    except (Exception, SystemExit) as error:
        raise RequestError(Problem(f"{target!r} cannot be imported: {raised(error)}")) from error
    if not hasattr(module, name):
        known = [other for other in vars(module) if not other.startswith("_")]
        hint = f"; did you mean {' or '.join(near(name, known))}?" if near(name, known) else ""
        raise RequestError(Problem(f"{place} has no {name!r}{hint}"))
    return getattr(module, name)


_own_folder = ""


def import_from_here() -> None:
    """Let modules of the user's be imported from the working folder, and no more from that of an earlier run."""
    global _own_folder  # a console script does not have the working folder on its path
    here = str(Path.cwd())
    if here != _own_folder and _own_folder in sys.path:
        sys.path.remove(_own_folder)
    if "" not in sys.path and here not in sys.path:
        sys.path.append(here)
        _own_folder = here


def unusable_code(path: Path) -> str:
    """Return why a path is no file of Python code that may be read, "" if it is one."""
    reason = regular_files.unreadable(path)
    if not reason and not os.path.isfile(path):
        return f"there is no file {path}"
    if not reason and path.stat().st_size > MOST_CODE:
        reason = f"it has more than {regular_files.size_in_words(MOST_CODE)}"
    return f"{path} cannot be read: {reason}" if reason else ""


def _load_file(path: Path) -> types.ModuleType:
    if reason := unusable_code(path):
        raise RequestError(Problem(reason))
    name = f"{OF_FILE}{path.stem}"
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path.resolve()):
        return known  # a class must not be there twice because two of its file are named
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look their module up by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def former_names(choices: type[Enum]) -> dict[str, str]:
    """Return the names that choices had before, each with its name of today.

    They are the aliases of an Enum, which a recipe may use, and which are never offered or written.
    """
    return {name: member.name for name, member in choices.__members__.items() if name != member.name}


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
    return {TARGET: public_names.public_name(type(instance)), **values_of(instance)}


def values_of(instance: Any) -> dict[str, Any]:
    """The same of a section that no step has, whose class is not written down."""
    return {name: to_plain(getattr(instance, name)) for name in keys_of(type(instance))}


def keys_of(kind: type) -> list[str]:
    """The keys of a section of this dataclass, in the order in which they are written: keyword-only fields, which are
    what several classes share, come last. (`dataclasses.fields` has inherited ones first.)"""
    return [f.name for f in sorted(fields(kind), key=lambda f: bool(f.kw_only))]


def defaults_of(kind: type) -> dict[str, Any]:
    """Return the plain values that a section gets for the keys which it lacks."""
    single = {f.name: f.default for f in fields(kind) if f.default is not MISSING}
    made = {f.name: f.default_factory() for f in fields(kind) if f.default_factory is not MISSING}
    return {name: to_plain(value) for name, value in {**single, **made}.items()}


def spelled(kind: type, section: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section that was written down by `values_of`, with the names that choices have now.

    What the class does not know or take stays as it is, and keys that the section lacks are not added.
    """
    types = types_of(kind)
    return {str(name): _spelled(types.get(name), value) for name, value in section.items() if name != TARGET}


def _spelled(hint: Any, value: Any) -> Any:
    """Return a plain value as its type writes it down. Not by OmegaConf, which would fill in what is from elsewhere."""
    inner = [option for option in get_args(hint) if option is not type(None)]
    if type(None) in get_args(hint) and value is not None:
        return _spelled(inner[0], value)
    if isinstance(hint, type) and issubclass(hint, Enum) and str(value) in hint.__members__:
        return hint[str(value)].name
    if get_origin(hint) is list and isinstance(value, list):
        return [_spelled(inner[0], item) for item in value]
    if get_origin(hint) is dict and isinstance(value, Mapping):
        return {str(name): _spelled(inner[1], item) for name, item in value.items()}
    return float(value) if hint is float and type(value) is int else to_plain(value)


def build(kind: type, section: Mapping[str, Any], where: str) -> tuple[Any, list[Problem]]:
    """An instance of the frozen dataclass `kind` from a plain section, or None and every problem.

    `where` is the section's dotted key. Keys unknown to the dataclass, keys missing, values that are `???`, of the
    wrong type or out of their bounds, and paths that do not exist are problems. A key with a default may be missing.
    """
    values = {str(key): value for key, value in section.items() if key != TARGET}
    known = _hints(kind)
    problems = [_unknown_key(where, key, types_of(kind), value) for key, value in values.items() if key not in known]
    typed: dict[str, Any] = {}
    for f in fields(kind):
        key, (hint, marks) = f"{where}.{f.name}", known[f.name]
        if f.name not in values and f.default is not MISSING:
            typed[f.name] = f.default
            continue
        if f.name not in values and f.default_factory is not MISSING:
            typed[f.name] = f.default_factory()
            continue
        if f.name not in values:
            optional = type(None) in get_args(hint)
            fix = assignment(f"+{key}", None if optional else _example(hint, marks))
            problems.append(Problem("is missing from the recipe", key, fix))
            continue
        if values[f.name] == "???":
            problems.append(Problem("must be given", key, assignment(key, _example(hint, marks))))
            continue
        value, found = _typed(key, hint, values[f.name], marks)
        problems += found
        typed[f.name] = value
    return (None, problems) if problems else (kind(**typed), [])


def types_of(kind: Any) -> dict[str, Any]:
    """The fields of a dataclass with their types; none of anything else."""
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return {}
    return {name: hint for name, (hint, _) in _hints(kind).items()}


@functools.lru_cache(maxsize=256)
def _hints(kind: type) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """Return the fields of a dataclass, each with its plain type and its marks."""
    hints = get_type_hints(kind, include_extras=True)
    return {f.name: _split(hints[f.name]) for f in fields(kind)}


def _split(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A field's plain type, and the marks that `Annotated` gives it; also those of what may be null besides."""
    if get_origin(hint) is Annotated:
        return hint.__origin__, hint.__metadata__
    inner = [option for option in get_args(hint) if option is not type(None)]
    if len(inner) == 1 and len(get_args(hint)) == 2 and get_origin(inner[0]) is Annotated:
        return inner[0].__origin__ | None, inner[0].__metadata__
    return hint, ()


def _bounds(marks: tuple[Any, ...]) -> dict[str, float]:
    return dict(limit for mark in marks if isinstance(mark, Bounds) for limit in mark.limits)


def _must_exist(marks: tuple[Any, ...]) -> bool:
    return any(isinstance(mark, NamesFile) and mark.must_exist for mark in marks)


def _unknown_key(where: str, key: str, known: Mapping[str, Any], value: Any) -> Problem:
    """`known`: the types of the keys that there are. The value goes to the one that is most alike and takes it."""
    similar = near(key, list(known))
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"known: {', '.join(known) or 'none'}"
    fix = assignment(f"~{where}.{key}", ...)
    moved = ((name, closest(known[name], value)) for name in similar)
    meant = next(((name, given) for name, given in moved if given is not None), None)
    if meant is not None and not isinstance(value, Mapping):
        fix += f" {assignment(f'{where}.{meant[0]}', meant[1])}"
    return Problem(f"unknown key; {hint}", f"{where}.{key}", fix)


def closest(hint: Any, value: Any) -> Any:
    """The value, or a list of it alone where a list is taken; None where the type takes neither."""
    if get_origin(hint) is list and not isinstance(value, list):
        if isinstance(value, Mapping) and get_origin(get_args(hint)[0]) is not dict:
            return None  # OmegaConf would take it for text
        value = [value]
    return value if _coerce(hint, value)[1] else None


def _typed(key: str, hint: Any, value: Any, marks: tuple[Any, ...]) -> tuple[Any, list[Problem]]:
    """The value as its type, its bounds and its file are asked for, or what is wrong with it."""
    if isinstance(value, Mapping):
        value = {str(name): item for name, item in value.items()}
    typed, fits = _coerce(hint, value)
    if not fits and get_origin(hint) is dict and isinstance(value, dict):
        found = [p for name, item in value.items() for p in _typed(f"{key}.{name}", get_args(hint)[1], item, ())[1]]
    elif not fits and (wrong := _wrong_items(hint, value)):
        found = [_better_items(key, hint, value, wrong)]
    elif not fits:
        what = f"{_shown(value)} is not {_words(hint)}"
        meant = closest(hint, value) if get_origin(hint) is list else _choice_near(hint, value)
        found = [Problem(what, key, assignment(key, _example(hint, marks) if meant is None else meant))]
    else:
        typed = _each_once(value, typed)
        found = [*_out_of_bounds(key, typed, marks), *_no_such_path(key, typed, marks)]
    return typed, found


def _wrong_items(hint: Any, value: Any) -> list[Any]:
    """Of a list of choices, those that are none."""
    members = getattr(next(iter(get_args(hint)), None), "__members__", None)
    if get_origin(hint) is not list or not isinstance(value, list) or members is None:
        return []
    return [item for item in value if str(item) not in members]


def _better_items(key: str, hint: Any, value: list[Any], wrong: list[Any]) -> Problem:
    choices = get_args(hint)[0]
    better = [name for item in value for name in _choices_near(choices, str(item))]
    similar = [name for item in wrong for name in _choices_near(choices, str(item))]
    known = ", ".join(member.name for member in choices)
    hint_text = f"did you mean {', '.join(similar)}?" if similar else f"there are {known}"
    what = f"there is no {', '.join(map(str, wrong))}; {hint_text}"
    return Problem(what, key, assignment(key, list(dict.fromkeys(better))))


def _choice_near(hint: Any, value: Any) -> str | None:
    """Return the choice that is most like a value which is none, of a type that takes one, or one or null."""
    kinds = (kind for kind in (hint, *get_args(hint)) if isinstance(kind, type))
    choices = next((kind for kind in kinds if issubclass(kind, Enum)), None)
    return next(iter(_choices_near(choices, str(value))), None) if choices is not None else None


def _choices_near(choices: type[Enum], name: str) -> list[str]:
    """Return the choice that a name is, begins, or is most like, by its name of today; nothing if none is like it."""
    begun = [known for known in choices.__members__ if name and known.startswith(name.lower())]
    return [choices[found].name for found in (begun or near(name, list(choices.__members__)))[:1]]


def _each_once(named: Any, typed: Any) -> Any:
    """Return a list in which a choice that has both its former and its new name in `named` stands once."""
    are_choices = isinstance(typed, list) and all(isinstance(choice, Enum) for choice in typed)
    return list(dict.fromkeys(typed)) if are_choices and len(set(typed)) < len(set(map(str, named))) else typed


def _coerce(hint: Any, value: Any) -> tuple[Any, bool]:
    """The value in its type, and whether it has one there."""
    if isinstance(value, bool) and {"true", "false"} <= set(getattr(hint, "__members__", ())):
        value = str(value).lower()  # choices among which are what YAML takes for booleans
    if not _is_plain(value):
        return _coerce_by_omegaconf(hint, value)
    # A list or a mapping of the caller's own each time.
    return copy.deepcopy(_coerce_plain(hint, _Plain(value)))


def _is_plain(value: Any) -> bool:
    """Return whether a value is what YAML gives, which its text tells whole."""
    if type(value) is dict:
        return all(_is_plain(item) for pair in value.items() for item in pair)
    return all(map(_is_plain, value)) if type(value) is list else type(value) in _PLAIN


_PLAIN = frozenset((str, int, float, bool, type(None)))


class _Plain:
    """A plain value as a key of a cache. Its text tells apart what Python takes for equal: 1, 1.0 and true, 0.0 and
    -0.0."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self._text = repr(value)

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Plain) and self._text == other._text


@functools.lru_cache(maxsize=4096)
def _coerce_plain(hint: Any, plain: _Plain) -> tuple[Any, bool]:
    """Do the same once. OmegaConf takes 3 ms, and sections hold the same values again and again."""
    return _coerce_by_omegaconf(hint, plain.value)


def _coerce_by_omegaconf(hint: Any, value: Any) -> tuple[Any, bool]:
    """OmegaConf checks one field at a time here, because a whole dataclass stops at its first error."""
    try:
        config = OmegaConf.merge(_holder(hint), {"field": value})
        typed = getattr(OmegaConf.to_object(config), "field")  # noqa: B009 (the class is made here)
    except OmegaConfBaseException:
        return None, False
    return (None, False) if _has_stray_containers(hint, typed) else (typed, True)


def _has_stray_containers(hint: Any, typed: Any) -> bool:
    """Return whether a list or mapping stands where the type has a plain value. OmegaConf does not look at those."""
    whole = next((kind for kind in (hint, *get_args(hint)) if get_origin(kind) in (list, dict)), None)
    if whole is None or not isinstance(typed, (list, dict)):
        return False
    item_hint = get_args(whole)[-1]
    if not isinstance(item_hint, type) or not issubclass(item_hint, (Enum, str, int, float)):
        return False
    items = typed if isinstance(typed, list) else typed.values()
    return any(isinstance(item, (list, dict)) for item in items)


@functools.cache
def _holder(hint: Any) -> Any:
    return OmegaConf.structured(make_dataclass("Holder", [("field", hint)]))


def _shown(value: Any) -> str:
    text = repr(to_plain(value))
    return text if len(text) <= 80 else f"{text[:77]}…"


_SIMPLE: dict[Any, tuple[str, Any]] = {
    int: ("a whole number", 1),
    float: ("a number", 1.0),
    bool: ("true or false", True),
    str: ("text", "TEXT"),
}


def _words(hint: Any) -> str:
    """What a type hint takes."""
    inner = [option for option in get_args(hint) if option is not type(None)]
    if type(None) in get_args(hint):
        return f"{_words(inner[0])} or null"
    if get_origin(hint) is list:
        return "a list" if inner[0] is Any else f"a list, each item {_words(inner[0])}"
    if get_origin(hint) is dict:
        return "a mapping of names" if inner[1] is Any else f"a mapping of names, each to {_words(inner[1])}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f"one of {', '.join(member.name for member in hint)}"
    return str(_SIMPLE[hint][0]) if hint in _SIMPLE else f"of the form {hint}"


def _example(hint: Any, marks: tuple[Any, ...]) -> Any:
    """A value that a type hint takes, within its bounds."""
    if _must_exist(marks):
        return "FILE"
    inner = [option for option in get_args(hint) if option is not type(None)]
    if type(None) in get_args(hint):
        return _example(inner[0], marks)
    if get_origin(hint) is list:
        return [] if inner[0] is Any or get_origin(inner[0]) is dict else [_example(inner[0], ())]
    if get_origin(hint) is dict:
        return {}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return next(iter(hint)).name
    if bounds := _bounds(marks):
        return _inside(bounds, hint(0))
    return _SIMPLE[hint][1] if hint in _SIMPLE else None


def _out_of_bounds(key: str, value: Any, marks: tuple[Any, ...]) -> list[Problem]:
    bounds = _bounds(marks)
    if isinstance(value, float) and not math.isfinite(value):
        return [Problem(f"{value} is not a finite number", key, assignment(key, _inside(bounds, 0.0)))]
    if value is None or all(_holds(value, sign, bound) for sign, bound in bounds.items()):
        return []
    limits = " and ".join(f"{sign} {bound}" for sign, bound in bounds.items())
    what = f"{value} is out of range, it must be {limits}"
    return [Problem(what, key, assignment(key, _inside(bounds, value)))]


def _holds(value: float, sign: str, bound: float) -> bool:
    return {">=": value >= bound, ">": value > bound, "<=": value <= bound, "<": value < bound}[sign]


def _inside(bounds: Mapping[str, float], value: float) -> float:
    """The value within the bounds that is nearest to `value`; a round one where the bound itself is outside."""
    low, high = bounds.get(">=", bounds.get(">")), bounds.get("<=", bounds.get("<"))
    if low is not None and (value < low or (value == low and ">" in bounds)):
        return low if ">=" in bounds else _between(low, high, value)
    if high is not None and (value > high or (value == high and "<" in bounds)):
        return high if "<=" in bounds else _between(low, high, value)
    return value


def _between(low: float | None, high: float | None, value: float) -> float:
    if isinstance(value, int):
        return low + 1 if low is not None and value <= low else (high or 0) - 1
    if low is not None and high is not None:
        return (low + high) / 2
    return low + 1.0 if low is not None else (high or 0) - 1.0


# A missing model is no file of samples beside it, whatever its name is like.
_OF_MODELS = (".keras", ".h5", ".hdf5", ".tflite", ".pb")


def _no_such_path(key: str, value: Any, marks: tuple[Any, ...]) -> list[Problem]:
    is_path = any(isinstance(mark, NamesFile) for mark in marks) and isinstance(value, str)
    if is_path and (reason := paths.unusable(value)):
        return [Problem(f"there is no {paths.shortened(value)!r}: {reason}", key)]
    if is_path and (reason := regular_files.unreadable(value)):
        return [Problem(f"{paths.shortened(value)} cannot be read: {reason}", key)]
    if not _must_exist(marks) or value is None or os.path.exists(value):
        return []
    at_home = os.path.expanduser(value)
    if at_home != value and os.path.exists(at_home):
        return [Problem(f"there is no {value}: ~ is not expanded here", key, assignment(key, at_home))]
    folder = Path(value).parent
    beside = paths.names_in(folder)
    models = [name for name in beside if Path(name).suffix in _OF_MODELS or os.path.isdir(folder / name)]
    similar = near(Path(value).name, models if Path(value).suffix in _OF_MODELS else beside)
    if similar:
        return [Problem(f"there is no {value}", key, assignment(key, str(folder / similar[0])))]
    named = value or "file of an empty name"
    holds = f"{folder} holds {', '.join(beside[:8]) or 'nothing'}" if os.path.isdir(folder) else f"no folder {folder}"
    return [Problem(f"there is no {named}; {holds}", key, assignment(key, "FILE"))]


@dataclass(frozen=True)
class WorkerLimits:
    """What the process that owns TensorFlow may use: seconds for a whole run, GiB of resident memory."""

    timeout_s: Annotated[float | None, within(gt=0)]
    memory_gb: Annotated[float | None, within(gt=0)]
