"""MLflow's store in a SQLite file: made whole or not at all, and made anew if a killed process left half of one."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tflite_recipes.core import leftovers
from tflite_recipes.core.plain_output import show

_SIBLINGS = ("-journal", "-wal", "-shm")
# The table that MLflow makes first, and in which a store that was ever used has the experiment "Default".
_FIRST_TABLE = "experiments"
# What MLflow's migrations write themselves: the version of the schema, and the workspace "default".
_FILLED_BY_MLFLOW = ("alembic_version", "workspaces")
# Tables that a migration makes for a moment.
_PASSING = "_alembic_tmp_"
# MLflow writes a table every few hundredths of a second while it makes a store.
_AT_REST_S = 2.0


class StoreError(Exception):
    """A store that cannot be made."""


def prepare(file: Path, announce: Callable[[str], None] = lambda text: show(text, sys.stderr)) -> None:
    """Make MLflow's store in a file if there is none, so that no kill leaves half of one under this name.

    MLflow makes a store in about sixty steps, and cannot continue one that was cut off ("table trace_info already
    exists"). A store that was cut off before it held anything is renamed, which is announced, and made anew. Any other
    file is left to MLflow, also a store of an older schema. The caller keeps other processes of this package away.

    Errors: StoreError, OSError and whatever MLflow raises.
    """
    real = Path(os.path.realpath(file))
    real.parent.mkdir(parents=True, exist_ok=True)
    if _is_half_made(real) and _is_at_rest(real):
        aside = _set_aside(real)
        announce(
            f"{file} is only half of an MLflow store, because a process was killed while it made the store. It is kept "
            f"as {aside.name}, and a new store takes its place. `tflite-recipes sync` uploads the runs that it lacks."
        )
    if _is_empty(real):
        _make(real)


def _make(file: Path) -> None:
    """Make a store beside the file and move it there when it is whole. A store of a process that was first stays."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(leftovers.folder(file.with_name(f".{file.name}.{leftovers.token()}")))
        except OSError as error:
            raise StoreError(f"{file} cannot be made: {error.strerror}") from error
        new = folder / "new.db"
        if not make_tables(new):
            return
        if file.exists():  # without a byte, as a process leaves it that was killed before it wrote any
            shutil.copymode(file, new)
            os.replace(new, file)
            return
        for sibling in _siblings(file):  # of a file that is gone; SQLite would apply it to the new one
            os.replace(sibling, _free_name(sibling))
        try:
            os.link(new, file)
        except FileExistsError:
            return
        except OSError:  # a file system without links
            if not file.exists():
                os.rename(new, file)


def make_tables(file: Path) -> bool:
    """Make all tables of MLflow in a new file. False: this version of MLflow has another way, and has to do it."""
    import sqlalchemy
    from mlflow.store.db import utils

    if not hasattr(utils, "_initialize_tables"):
        return False
    engine = utils.create_sqlalchemy_engine(f"sqlite:///{file}")

    @sqlalchemy.event.listens_for(engine, "connect")
    def _write_once(connection: sqlite3.Connection, _: object) -> None:
        # The file is written to the disk when it is whole, and not after each of three hundred statements.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = MEMORY")

    try:
        utils._initialize_tables(engine)
    finally:
        engine.dispose()
    with file.open("rb+") as whole:
        os.fsync(whole.fileno())
    return True


def _is_empty(file: Path) -> bool:
    """Whether there is no file, or one without a byte that nobody writes to."""
    try:
        if file.stat().st_size:
            return False
        with contextlib.closing(_opened(file)) as database:
            database.execute("BEGIN EXCLUSIVE")  # waits for a writer, and has SQLite clear away an old journal
            tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            database.execute("ROLLBACK")
        return not tables and not file.stat().st_size
    except FileNotFoundError:
        return True
    except sqlite3.Error:
        return False


def _is_half_made(file: Path) -> bool:
    """Whether the file holds some of the tables that MLflow makes, and never held anything else.

    A store that was ever whole has an experiment. So a store that is at work, of whatever schema, is never taken for
    half of one.
    """
    try:
        if not file.stat().st_size:
            return False
        with contextlib.closing(_opened(file)) as database:
            names = [str(name) for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            if _FIRST_TABLE not in names:
                return False
            if any(_has_rows(database, name) for name in names if name not in _FILLED_BY_MLFLOW):
                return False
            has_version = "alembic_version" in names
            query = "SELECT version_num FROM alembic_version"
            versions = [str(version) for (version,) in database.execute(query)] if has_version else []
    except (OSError, sqlite3.Error):
        return False
    known, head = _schema()
    foreign = {name for name in names if not name.startswith(_PASSING)} - known
    return not foreign and versions != [head]


def _has_rows(database: sqlite3.Connection, table: str) -> bool:
    quoted = table.replace('"', '""')
    return database.execute(f'SELECT 1 FROM "{quoted}" LIMIT 1').fetchone() is not None


def _schema() -> tuple[set[str], str]:
    """The names of MLflow's tables, and the version of the whole schema."""
    from mlflow.store.db import utils
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase

    names = {*Base.metadata.tables, *InitialBase.metadata.tables, *_FILLED_BY_MLFLOW}
    return names, str(utils._get_latest_schema_revision())


def _opened(file: Path) -> sqlite3.Connection:
    """Open an existing file, also to take back what a killed writer had not finished."""
    return sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=20, isolation_level=None)


def _is_at_rest(file: Path) -> bool:
    """Whether nobody is making the store right now, such as MLflow's own server. Waits until that can be seen."""
    while (since := time.time() - file.stat().st_mtime) < _AT_REST_S:
        time.sleep(max(0.05, _AT_REST_S - max(since, 0.0)))
        if not _is_half_made(file):
            return False
    return not _is_open_elsewhere(file)


def _is_open_elsewhere(file: Path) -> bool:
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, OSError):
            if any(os.path.samefile(opened.path, file) for opened in process.open_files() if opened.path):
                return True
    return False


def _set_aside(file: Path) -> Path:
    """Rename a file and what SQLite keeps beside it, and return the new name."""
    aside = _free_name(file)
    for sibling in _siblings(file):  # first: SQLite would apply them to the new store
        os.replace(sibling, aside.with_name(aside.name + sibling.name.removeprefix(file.name)))
    os.replace(file, aside)
    return aside


def _siblings(file: Path) -> list[Path]:
    return [path for suffix in _SIBLINGS if (path := file.with_name(file.name + suffix)).exists()]


def _free_name(file: Path) -> Path:
    names = (file.with_name(f"{file.name}.half_made{number or ''}") for number in itertools.count())
    return next(name for name in names if not os.path.lexists(name))
