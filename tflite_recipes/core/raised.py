"""Exceptions in words: no text of Python's own stands alone in a message."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tflite_recipes.core.errors import gist

_PACKAGE = str(Path(__file__).resolve().parents[1]) + os.sep
_PYTHON = tuple({prefix + os.sep for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix)})
# Where installed libraries lie.
_LIBRARIES = f"{os.sep}site-packages{os.sep}"
# What AutoGraph writes of a function while TensorFlow traces it.
_GENERATED = "__autograph_generated_file"


def raised(error: BaseException) -> str:
    """Return what the user's own code raised, and where: `ValueError at line 3 of my_step.py: the shapes differ`.

    The text of an exception that the user's code raises is the user's own, or that of a library which it calls.
    """
    if isinstance(error, SyntaxError):
        return f"line {error.lineno or '?'} of {_shown(error.filename or 'the file')} is not Python: {error.msg}"
    kind, text = type(error).__name__, gist(error)
    told = "" if text == kind else f": {text}"
    return f"{kind}{_place(error)}{told}"


def unexpected(error: BaseException) -> str:
    """Return what is known of an exception that no code has words for.

    Only what the user's own code, the system or an installed library says of it is repeated. Anything else is a fault
    of this package, which its place describes better than Python's words.
    """
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if any(map(_is_users, files)) or isinstance(error, SyntaxError):
        return raised(error)
    if isinstance(error, MemoryError):
        return "memory ran out"
    if isinstance(error, OSError) and error.strerror:
        return f"the system refused: {gist(error)}"
    kind = type(error).__name__
    if files and _LIBRARIES in files[-1] and not files[-1].startswith(_PACKAGE) and gist(error) != kind:
        library = files[-1].rpartition(_LIBRARIES)[2].partition(os.sep)[0]
        return f"{library} failed ({kind}): {gist(error)}"
    return f"a fault of this version, {kind}{_place(error)}"


def misfit(function: Callable[..., Any], *values: Any, **arguments: Any) -> str:
    """Return why a function cannot be called with these arguments, "" if it can, or if its form is not known."""
    if not callable(function):
        return f"is {named(function)}, which cannot be called"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""  # which only compiled code lacks
    try:
        signature.bind(*values, **arguments)
    except TypeError:
        given = [f"{len(values)} value{'s' * (len(values) != 1)}"] * bool(values)
        given += [f"{name}=…" for name in arguments]
        return f"takes {signature}, and is called with {', '.join(given) or 'nothing'}"
    return ""


def named(value: Any) -> str:
    """Return what a value is: `None`, `a list`."""
    return "None" if value is None else f"a {type(value).__name__}"


def _place(error: BaseException) -> str:
    """Where an exception came from: the last line of the user's code if there is one, else the last line of all."""
    frames = list(traceback.extract_tb(error.__traceback__))
    own = [frame for frame in frames if _is_users(frame.filename)] or frames
    return f" at line {own[-1].lineno} of {_shown(own[-1].filename)}" if own else ""


def _is_users(file: str) -> bool:
    if file.startswith("<") or os.path.basename(file).startswith(_GENERATED):
        return False
    return not file.startswith((_PACKAGE, *_PYTHON)) and _LIBRARIES not in file


def _shown(file: str) -> str:
    path = Path(file)
    if file.startswith(_PACKAGE):
        return str(path.relative_to(Path(_PACKAGE).parent))
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return path.name
