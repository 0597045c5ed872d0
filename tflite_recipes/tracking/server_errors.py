"""What went wrong with a store or server, in words. MLflow's errors retell those of four libraries below it."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
from collections.abc import Iterator

from tflite_recipes.core.errors import gist
from tflite_recipes.tracking.patience import NoAnswer

_REFUSED = "no answer from the server: the connection is refused, so nothing listens there"
_CLOSED = "no answer from the server: it closed the connection"
_NOT_MLFLOW = "the server's answer is not what an MLflow server sends"
_STATUS = re.compile(r"too many (\d{3}) error responses|failed with error code (\d{3})")
_NAME = re.compile(r"host='([^']*)'|host name \"([^\"]*)\"")


def in_words(error: BaseException) -> str:
    """Return what an error of MLflow's client comes from; "" if its own text says more."""
    for cause in _causes(error):
        match cause:
            case NoAnswer():
                return str(cause)
            case socket.gaierror():
                return _no_host(str(error))
            case ConnectionRefusedError():
                return _REFUSED
            case ConnectionResetError() | BrokenPipeError():
                return _CLOSED
            case TimeoutError():
                return "no answer from the server in time"
            case json.JSONDecodeError() | RecursionError() | UnicodeDecodeError():
                return _NOT_MLFLOW
            case ModuleNotFoundError(name=str(name)):
                return f"the Python package {name} is not installed, which this kind of tracking URI needs"
            case sqlite3.Error():
                return f"the SQLite store cannot be used: {cause}"
    if found := _STATUS.search(str(error)):
        return f"the server answers with the error {found[1] or found[2]}"
    if isinstance(error, OSError) and error.strerror:
        return gist(error)
    return _of_text(str(error))


def is_silence(error: BaseException) -> bool:
    """Return whether a server let somebody wait in vain."""
    silent = any(isinstance(cause, (NoAnswer, TimeoutError)) for cause in _causes(error))
    return silent or bool(re.search(r"timed out|timeout expired", str(error)))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from, or while it was handled."""
    seen: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or any(one is other for other in seen):
            continue
        seen.append(one)
        yield one
        todo += [one.__context__, one.__cause__]
        todo += [part for part in (*one.args, getattr(one, "reason", None)) if isinstance(part, BaseException)]


def _of_text(text: str) -> str:
    """Return the words for an error whose cause MLflow or a database left out."""
    if re.search(r"could not translate host name|Name or service not known|Failed to resolve", text):
        return _no_host(text)
    if re.search(r"not in a valid JSON format|Failed to parse \w+ field", text):
        return _NOT_MLFLOW
    if "Connection refused" in text:
        return _REFUSED
    if re.search(r"Remote end closed|Connection aborted|IncompleteRead|Connection broken", text):
        return _CLOSED
    # SQLAlchemy puts the class of the driver's error first.
    found = re.match(r"\((?:\w+\.)+\w+\) (.+)", text)
    return f"the database cannot be used: {found[1].strip()}" if found else ""


def _no_host(text: str) -> str:
    found = _NAME.search(text)
    host = next((name for name in found.groups() if name), "") if found else ""
    return f"the host name {host} is unknown: no address was found for it" if host else "the host name is unknown"
