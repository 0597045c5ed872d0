"""Whether a SQLite store can be read, made and written where its URI puts it. No MLflow here."""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
import tempfile
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, unquote

from tflite_recipes.core import paths, regular_files
from tflite_recipes.core.errors import Problem, assignment
from tflite_recipes.core.tracking_uri import located, sqlite_file
from tflite_recipes.tracking.uris import DEFAULT_URI

_KEY = "tracking.uri"
_HEADER = b"SQLite format 3\0"
# Seconds that a store may be locked by others before it counts as one that does not answer.
_LOCKED_S = 5.0


def uri_problems(uri: str) -> Iterable[Problem]:
    """Yield what is wrong with a SQLite URI, whether its store is to be read or written. Nothing for other URIs."""
    scheme, colon, rest = uri.partition(":")
    if not colon or scheme.partition("+")[0] != "sqlite":
        return
    if not rest.startswith("///") and rest != "//":
        what = f"{uri} is not a SQLite URI: three slashes come before the path, four before an absolute one"
        yield Problem(what, _KEY, assignment(_KEY, f"{scheme}:///{rest.lstrip('/')}"))
    elif sqlite_file(uri) is None:
        what = f"{uri} is a store in memory, which is gone when the run ends"
        yield Problem(what, _KEY, assignment(_KEY, DEFAULT_URI), ("tracking=none",))
    elif (file := _file(uri)) is not None and (reason := _no_store(file)):
        yield Problem(f"{paths.shortened(file)} cannot be opened: {reason}", _KEY, _fix(uri))


def writing_problems(uri: str) -> Iterable[Problem]:
    """Yield why no run can be written to the SQLite store at a URI. MLflow would make folders, or retry for minutes."""
    file = _file(uri)
    if file is None:
        return
    folder = os.path.dirname(file)
    where = paths.shortened(folder)
    if not os.path.isdir(folder):
        kind = "is not a folder" if os.path.lexists(folder) else "does not exist"
        ways = (f"mkdir -p {shlex.quote(folder)}",) if _can_be_made(folder) else ()
        yield Problem(f"the folder of the store, {where}, {kind}", _KEY, _fix(uri), ways)
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield Problem(f"the folder of the store, {where}, is read-only", _KEY, _fix(uri))
    elif os.path.exists(file):
        if not os.access(file, os.R_OK | os.W_OK):
            yield Problem(f"{paths.shortened(file)} is read-only", _KEY, _fix(uri))
    elif os.path.lexists(artifacts := os.path.join(folder, "mlruns")) and not os.path.isdir(artifacts):
        what = f"the artifacts of a new store go to {paths.shortened(artifacts)}, which is not a folder"
        yield Problem(what, _KEY, _fix(uri))


def why_not_written(uri: str, experiment: str, folder: Path) -> str:
    """Return why `sync` does not write to a SQLite store that only a run's folder names; "" if it does.

    A folder may come from a stranger. So the store is the default one of the working folder, a new `mlflow.db` in a
    folder above the run, or an MLflow store that keeps the experiment's artifacts beside itself. For URIs that are not
    SQLite's: "".
    """
    if sqlite_file(uri) is None or located(uri) == located(DEFAULT_URI):
        return ""
    file = _file(uri)
    if file is None:
        return "it is named by a URI inside of a URI"
    if not os.path.isdir(os.path.dirname(file)):
        return f"there is no folder {paths.shortened(os.path.dirname(file))}"
    if not os.path.lexists(file) or (os.path.isfile(file) and not os.path.getsize(file)):
        place = Path(file)
        is_near = place.name == sqlite_file(DEFAULT_URI) and place.parent in Path(os.path.abspath(folder)).parents
        return "" if is_near and not place.is_symlink() else "it does not exist"
    try:
        with contextlib.closing(_opened(file, "ro")) as database:
            tables = {str(name) for (name,) in database.execute("SELECT name FROM sqlite_master LIMIT 1000")}
            if "experiments" not in tables:
                return "it is not an MLflow store"
            query = "SELECT artifact_location FROM experiments WHERE name = ?"
            locations = [str(place) for (place,) in database.execute(query, (experiment,))]
    except sqlite3.Error as error:
        return f"it cannot be read: {error}"
    beside = Path(os.path.realpath(file)).parent
    away = next((place for place in locations if not _is_below(beside, place)), None)
    return f"it keeps the artifacts of {experiment} at {paths.shortened(away)}" if away else ""


def _is_below(folder: Path, place: str) -> bool:
    scheme, sign, rest = place.partition("://")
    path = unquote(rest) if scheme == "file" else "" if sign else place.removeprefix("file:")
    return Path(os.path.realpath(path)).is_relative_to(folder) if path else place in ("", "None")


def _opened(file: str, mode: str) -> sqlite3.Connection:
    """Open an existing SQLite file. mode: `ro` or `rw`. Errors: sqlite3.Error."""
    return sqlite3.connect(f"file:{quote(file)}?mode={mode}", uri=True, timeout=_LOCKED_S)


def open_briefly(uri: str) -> None:
    """Open a SQLite store, or make a file in its folder, as a test. Nothing for other URIs.

    MLflow tries ten times, which takes 100 s, to open a store that cannot be opened. Raises: OSError, sqlite3.Error.
    """
    file = _file(uri)
    if file is None:
        return
    if not os.path.exists(file):
        folder = os.path.dirname(file)
        if not os.path.isdir(folder):
            raise NotADirectoryError(20, f"there is no folder {folder}")
        with tempfile.TemporaryFile(dir=folder):
            return
    # A journal that a killed process left is rolled back by the first that opens the file, if it may write.
    mode = "rw" if os.access(file, os.W_OK) else "ro"
    with contextlib.closing(_opened(file, mode)) as connection:
        connection.execute("PRAGMA schema_version").fetchone()


def _file(uri: str) -> str | None:
    """Return the absolute path of the file that a SQLite URI names; None for any other URI."""
    file = sqlite_file(located(uri))
    return None if file is None or file.startswith("file:") else file


def _no_store(file: str) -> str:
    """Return why a path is not a SQLite store; "" for a store, an empty file, and a path that does not exist."""
    if os.path.isdir(file):
        return "it is a folder"
    if reason := regular_files.unreadable(file):
        return reason
    try:
        with regular_files.open_regular(file) as stream:
            start = stream.read(len(_HEADER))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return error.strerror or "it cannot be read"
    return "" if not start or start == _HEADER else "it is not a SQLite database"


def _fix(uri: str) -> str:
    """Return the override of a URI that can be used: ~ as the home folder, else the default store; "" if none can."""
    file = sqlite_file(uri) or ""
    home = [uri.replace(file, os.path.expanduser(file), 1)] if file.startswith("~") else []
    for candidate in (*home, DEFAULT_URI):
        place = _file(candidate)
        if place is None or located(candidate) == located(uri) or not os.path.isdir(os.path.dirname(place)):
            continue
        can_write = os.access(os.path.dirname(place), os.W_OK | os.X_OK)
        if can_write and not _no_store(place) and (not os.path.exists(place) or os.access(place, os.W_OK)):
            return assignment(_KEY, candidate)
    return ""


def _can_be_made(folder: str) -> bool:
    existing = next((parent for parent in Path(folder).parents if parent.exists()), None)
    return existing is not None and existing.is_dir() and os.access(existing, os.W_OK) and not os.path.lexists(folder)
