"""Classes and functions of the user's that a model file names, and the files around it that define them."""

from __future__ import annotations

import ast
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tflite_recipes.core import regular_files
from tflite_recipes.core.errors import Problem, assignment
from tflite_recipes.core.schema import MOST_CODE

_WHERE = "source.custom_objects"
_MOST_FILES = 200
# How both Kerases say which name they miss, somewhere in a message of several lines.
_MISSING = (
    r"Unknown [\w ]+: '([^']+)'",
    r"Could not locate (?:class|function) '([^']+)'",
    r"Cannot deserialize object of type `([^`]+)`",
    r"Unknown \w+ function '([\w>]+)'",
    r"Unknown \w+ function '\{[^}]*'config': '([^']+)'",
)


# What Python calls a function that has no name, and Keras 2 wrote for it. Any function may be given in its place.
NAMELESS = "<lambda>"


def bare(name: str) -> str:
    """A registered name (`Package>Name`) without its package."""
    return name if name == NAMELESS else name.rpartition(">")[2]


def not_given(names: Iterable[str], given: Sequence[str]) -> list[str]:
    """The names, without packages, that no `module:name` of `given` ends with."""
    wanted = list(dict.fromkeys(map(bare, names)))
    there = {re.split(r"[:.]", target)[-1] for target in given}
    there |= {NAMELESS} if there - set(wanted) else set()
    return [name for name in wanted if name not in there]


def missing_in(message: str) -> list[str]:
    """The names that an error of Keras says are missing."""
    found = [name for pattern in _MISSING for name in re.findall(pattern, message)]
    return [name for name in dict.fromkeys(found) if name != "function"]


def missing_objects(model: Path, names: Sequence[str], given: Sequence[str], why: str = "") -> Problem:
    """The problem that `names` are missing, whose fix names the files beside the model, or here, that define them."""
    places = _defined_around(model)
    added = [places.get(name, f"FILE.py:{'NAME' if name == NAMELESS else name}") for name in names]
    what = f"{model} cannot be loaded without its own classes or functions: {', '.join(names)}"
    if NAMELESS in names:
        what += "; a function that had no name may be given under any"
    return Problem(f"{what} ({why})" if why else what, _WHERE, assignment(_WHERE, [*given, *added]))


def _defined_around(model: Path) -> dict[str, str]:
    """The `file.py:name` of classes and functions by their names; the working folder comes first."""
    found: dict[str, str] = {}
    files = [*_python_files(Path()), *_python_files(model.parent)]
    for file in itertools.islice(files, _MOST_FILES):
        try:
            body = ast.parse(regular_files.read_bytes(file, MOST_CODE)).body
        except (SyntaxError, ValueError, OSError, RecursionError, MemoryError):  # of deeply nested code
            continue
        for node in body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                found.setdefault(node.name, f"{os.fspath(file)}:{node.name}")
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        found.setdefault(NAMELESS, f"{os.fspath(file)}:{target.id}")
    return found


def _python_files(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.glob("*.py")) if folder.is_dir() else ())
