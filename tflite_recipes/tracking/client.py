"""MLflow's client, quiet and without telemetry."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import os
import random
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tflite_recipes.core import leftovers, lock_files
from tflite_recipes.core.tracking_uri import located, scrubbed, sqlite_file, without_password
from tflite_recipes.core.user_folder import state_folder
from tflite_recipes.tracking import local_store, sqlite_store
from tflite_recipes.tracking.patience import current
from tflite_recipes.tracking.server_errors import in_words, is_silence

PREFIX = "tflite_recipes"
_REQUEST = "MLFLOW_HTTP_REQUEST_"
# What MLflow waits for a server, where the user's environment does not say. Its own defaults keep at a dead one for
# minutes, and asleep for as long as a 429 asks; the events are on disk, so that a run need not.
_HASTY = {"TIMEOUT": "20", "MAX_RETRIES": "1", "BACKOFF_FACTOR": "1"}
# Once one has let us wait in vain, by whoever asks again in this process or one that it starts.
_BRIEF = {"TIMEOUT": "3", "MAX_RETRIES": "0", "BACKOFF_FACTOR": "1"}
_PATIENT = {"TIMEOUT": "120", "MAX_RETRIES": "3", "BACKOFF_FACTOR": "1"}
_MLFLOW_LOGGERS = ("mlflow", "alembic", "alembic.runtime.migration", "mlflow.store.db.utils")
_LOCKED_FOR_S = 60.0
_LONGEST_TEXT = 1000  # characters of an error: a server's may quote its whole answer
_environment = threading.RLock()


def be_patient() -> None:
    """Wait for servers as somebody does who has nothing else to do. To be said before the first client is made."""
    _prefer(_PATIENT)


def client(uri: str) -> Any:
    """An MLflow client with telemetry off and MLflow's own log lines kept from the terminal."""
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    _prefer(_HASTY)
    # What MLflow logs as an error it raises too, and that is what our own lines tell.
    for name in _MLFLOW_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    from mlflow.tracking import MlflowClient

    from tflite_recipes.tracking import bounded_http

    bounded_http.install()
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    place = _with_driver(located(uri))
    _reach(place)
    with alone(place):
        if (file := sqlite_file(place)) and not file.startswith("file:"):
            steadily(sqlite_store.prepare, Path(file))
        made = steadily(MlflowClient, tracking_uri=place)
    return _Steady(made) if sqlite_file(place) else made


def greet(uri: str, timeout_s: int) -> Any:
    """A client of a server that has just answered, within `timeout_s`. Errors: whatever MLflow raises."""
    try:
        with hurried(timeout_s):
            made = client(uri)
            made.search_experiments(max_results=1)
    except Exception as error:
        heed(error)
        raise
    _exchange(_BRIEF, _HASTY)
    return made


def heed(error: Exception) -> None:
    """After an error of a server that hangs, wait for servers only briefly until one answers: each run of a sweep
    would lose the same time again."""
    if is_silence(error):
        _exchange(_HASTY, _BRIEF)


def _exchange(old: dict[str, str], new: dict[str, str]) -> None:
    """Other values for our own; what the user's environment says stays."""
    with _environment:
        for name, value in new.items():
            if os.environ.get(_REQUEST + name) == old[name]:
                os.environ[_REQUEST + name] = value


def _reach(uri: str) -> None:
    """Connect to a database once. MLflow would try for two minutes where nobody answers, and longer where somebody
    does not answer."""
    local_store.open_briefly(uri)
    kind = uri.partition(":")[0].partition("+")[0]
    if kind not in ("postgresql", "mysql"):
        return
    import sqlalchemy

    patience = current()
    most_s = int(os.environ[f"{_REQUEST}TIMEOUT"])
    timeout_s = max(2, most_s if patience is None else min(most_s, int(patience.limit_s())))  # libpq takes no less
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(timeout_s))  # for MLflow's own connections
    engine = sqlalchemy.create_engine(
        uri, poolclass=sqlalchemy.pool.NullPool, connect_args={"connect_timeout": timeout_s}
    )
    with engine.connect():
        pass


def _with_driver(uri: str) -> str:
    """SQLAlchemy 2.1 takes psycopg for PostgreSQL where none is named, and 2.0 psycopg2: the one that is there."""
    scheme, sign, rest = uri.partition("://")
    installed = [name for name in ("psycopg2", "psycopg") if importlib.util.find_spec(name)]
    return f"{scheme}+{installed[0]}{sign}{rest}" if scheme == "postgresql" and installed else uri


def _prefer(values: dict[str, str]) -> None:
    for name, value in values.items():
        os.environ.setdefault(f"{_REQUEST}{name}", value)


@contextlib.contextmanager
def hurried(timeout_s: int | None = None) -> Iterator[None]:
    """Ask a server once only: it is not known to be there, or what is asked must not be done twice."""
    with _environment:  # MLflow reads it at every request; threads take turns, or one would restore another's value
        _prefer(_HASTY)  # to be there afterwards too, where there is no client yet
        wanted = {f"{_REQUEST}MAX_RETRIES": "0"}
        if timeout_s is not None:
            said = os.environ.get(f"{_REQUEST}TIMEOUT", "")
            wanted[f"{_REQUEST}TIMEOUT"] = str(min(timeout_s, int(said)) if said.isdecimal() else timeout_s)
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


@contextlib.contextmanager
def alone(uri: str) -> Iterator[None]:
    """Let nobody else on this machine set up the same database meanwhile: two first runs at once would spoil its
    schema. A server sees to that itself."""
    if uri.startswith(("http", "databricks")):
        yield
        return
    with contextlib.ExitStack() as stack:
        for lock in _locks(uri):
            with contextlib.suppress(OSError):  # where nobody can write a lock, nobody sets up a database
                stack.enter_context(leftovers.claimed(lock))
                stack.enter_context(lock_files.locked(lock))
                break
        yield


def _locks(uri: str) -> Iterator[Path]:
    """Where the lock of a database is: beside its file, else in the state folder of the user."""
    if uri.startswith("file://"):
        yield lock_files.beside(Path(uri.removeprefix("file://")))
    elif file := sqlite_file(located(uri)):
        yield lock_files.beside(Path(file))
    if (folder := state_folder("locks")) is not None:
        place = hashlib.sha256(without_password(uri).encode()).hexdigest()[:16]
        yield folder / f".{place}{lock_files.SUFFIX}"


class _Steady:
    """A client of a SQLite file that waits for other writers. SQLite itself waits 20 s (MLflow sets that), but answers
    at once where two that have read both want to write. Such a write has left nothing behind, so it is done again."""

    def __init__(self, mlflow_client: Any) -> None:
        self._client = mlflow_client

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def call(*positional: Any, **named: Any) -> Any:
            return steadily(found, *positional, **named)

        return call


def steadily(call: Any, *positional: Any, **named: Any) -> Any:
    """Return what the call gives, made again for a while as long as the database's file is locked.

    Errors: the call's.
    """
    until = time.monotonic() + _LOCKED_FOR_S
    while True:
        try:
            return call(*positional, **named)
        except Exception as error:
            if "database is locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(random.uniform(0.05, 0.5))


def experiment_id(mlflow_client: Any, name: str) -> str:
    """The experiment of this name, made where there is none; two runs may try at once."""
    found = mlflow_client.get_experiment_by_name(name)
    if found is None:
        # Without its kind, MLflow's page takes an experiment for one of language models.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        try:
            return str(mlflow_client.create_experiment(name, _artifacts_beside(mlflow_client.tracking_uri, name), tags))
        except Exception:
            found = mlflow_client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _artifacts_beside(uri: str, name: str) -> str | None:
    """Where an experiment in a SQLite file elsewhere keeps its artifacts: beside that file. None: as MLflow has it."""
    file = sqlite_file(located(uri))
    if file is None or Path(file).parent.resolve() == Path.cwd().resolve():
        return None
    plain = "".join(c if c.isalnum() or c in "_-." else "_" for c in name)
    return (Path(file).parent / "mlruns" / plain).as_uri()


def first_line(error: Exception, uri: str = "") -> str:
    """An error in one line, without the password that the URI may hold."""
    if words := in_words(error):
        return scrubbed(words, uri)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and (cause := re.search(r"Max retries exceeded.*\(Caused by .*?([^:'\"]+)['\")]*$", lines[0])):
        return f"no answer from the server: {cause[1].strip()}"
    return scrubbed(f"{type(error).__name__}: {lines[0] if lines else 'no message'}", uri)[:_LONGEST_TEXT]
