"""What a run's folder remembers of its tracking, so that what MLflow was not told can be told later, once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from tflite_recipes.core import leftovers, lock_files, regular_files, schema
from tflite_recipes.core.environment import version
from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.core.plain_types import is_time, misfits
from tflite_recipes.core.tracking_uri import located, without_password
from tflite_recipes.core.user_folder import state_folder
from tflite_recipes.tracking.client import PREFIX
from tflite_recipes.tracking.settings import Mlflow

RECORD = "tracking.json"
KEY_TAG = f"{PREFIX}.run_key"
_LOCK = ".tracking.lock"
_MOST = 4 << 20  # bytes of a record
_OUTCOMES = ("FINISHED", "FAILED", "KILLED")  # of a sweep, as MLflow names them


@dataclass(frozen=True)
class Record:
    """The tracking of one folder.

    settings: the `tracking` section, its URI absolute and without a password. key: the run's own, there before MLflow
    gives it an ID; also a tag. parent_key, parent_run_id: of the run above, None where there is none, or no ID yet.
    tags: what was so when the run began (version, commit). cwd: where it stood. run_id: None until MLflow gave one.
    complete: everything has been told. registered: the version that the run became, or why
    none. sweep: of a sweep's record its recipe, parameters, start and outcome.
    """

    settings: Mapping[str, Any]
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    parent_key: str | None = None
    parent_run_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    cwd: str = field(default_factory=os.getcwd)
    run_id: str | None = None
    complete: bool = False
    registered: str = ""
    sweep: Mapping[str, Any] | None = None

    @property
    def uri(self) -> str:
        """Where the run belongs, without a password."""
        return str(self.settings["uri"])

    @property
    def stamp(self) -> dict[str, str]:
        """The tags that only the record knows."""
        return {**self.tags, KEY_TAG: self.key}

    def typed(self, uri: str) -> Mlflow:
        """The settings as the run had them, at this URI. Errors: RequestError where the record holds others."""
        settings, problems = schema.build(Mlflow, {**self.settings, "uri": uri}, "tracking")
        if problems:  # no override mends what a record holds
            raise RequestError([Problem(f"{problem.where}: {problem.what}", RECORD) for problem in problems])
        assert isinstance(settings, Mlflow)
        return settings


def begun(settings: Mlflow, tags: Mapping[str, str], **values: Any) -> Record:
    """The record of a run that begins now."""
    section = schema.section_of(settings)
    section["uri"] = without_password(located(settings.uri))
    return Record(section, tags={f"{PREFIX}.version": version(), **tags}, **values)


def save(folder: Path, record: Record) -> None:
    """Write the record, whole or not at all."""
    beside = folder / f".{RECORD}.{leftovers.token()}"
    with leftovers.claimed(beside):
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        with beside.open("x", encoding="utf-8") as stream:  # "x" does not follow a link that somebody left there
            stream.write(json.dumps(asdict(record), indent=2) + "\n")
        os.replace(beside, folder / RECORD)


def load(folder: Path) -> Record:
    """The folder's record. Errors: RequestError where there is none, or something else."""
    file = folder / RECORD
    try:
        data = regular_files.parse_json(regular_files.read_text(file, _MOST))
        if wrong := misfits(Record, data) or _sweep_misfits(data.get("sweep")):
            raise _no_record(file, wrong)
        record = Record(**data)
        if not isinstance(record.settings.get("uri"), str):
            raise _no_record(file, "its settings have no URI")
        if not re.fullmatch(r"[\w-]{1,200}", record.key):
            raise _no_record(file, "its key is not a word")
    except FileNotFoundError as error:
        raise RequestError(Problem("there is no record of a tracked run", str(file))) from error
    except OSError as error:
        raise RequestError(Problem(f"cannot be read: {error.strerror}", str(file))) from error
    except UnicodeDecodeError as error:
        raise _no_record(file, "it is not UTF-8 text") from error
    except ValueError as error:
        raise _no_record(file, "it is not JSON, or nested too deep") from error
    return record


def _no_record(file: Path, why: str) -> RequestError:
    return RequestError(Problem(f"is not a record of a tracked run: {why}", str(file)))


@dataclass(frozen=True)
class _SweepRecord:
    """What a sweep's record must hold besides what it may."""

    recipe: str
    started: float
    params: Mapping[str, Any]
    overrides: list[str] = field(default_factory=list)
    outcome: str | None = None
    ended: float | None = None


def _sweep_misfits(sweep: Any) -> str:
    if sweep is None:
        return ""
    wrong = misfits(_SweepRecord, sweep)
    if not wrong and not (is_time(sweep["started"]) and is_time(sweep.get("ended") or 0)):
        wrong = "a time is out of range"
    if not wrong and sweep.get("outcome") not in (None, *_OUTCOMES):
        wrong = f"'outcome' is none of {', '.join(_OUTCOMES)}"
    return f"in its sweep, {wrong}" if wrong else ""


def update(folder: Path, **values: Any) -> Record:
    """Change some values of the folder's record."""
    record = replace(load(folder), **values)
    save(folder, record)
    return record


class Busy(Exception):
    """The run itself is still at work in the folder."""


@contextlib.contextmanager
def held(folder: Path, holder: str) -> Iterator[None]:
    """Keep the folder's tracking to oneself; the lock goes with the process that holds it, however that ends.

    holder: "run" or "sync". Errors: Busy where a run holds it; another sync is waited for.
    """
    file = folder / _LOCK
    with leftovers.claimed(file):
        try:
            lock = _locked(file, holder)
        except OSError as error:
            raise RequestError(Problem(f"cannot be locked: {error.strerror}", str(file))) from error
        try:
            yield
        finally:
            lock_files.release(file, lock)


def is_held(folder: Path) -> bool:
    """Whether a run or a sync is at work in the folder."""
    return lock_files.is_held(folder / _LOCK)


@contextlib.contextmanager
def running(key: str) -> Iterator[None]:
    """Say to this machine that the sweep with this key runs, as long as this process holds it."""
    file = _running_file(key)
    if file is None:  # a user without a home: a sync meanwhile takes the sweep for killed, until it ends
        yield
        return
    with leftovers.claimed(file), lock_files.locked(file):
        yield


def is_running(key: str) -> bool:
    """Whether some process of this machine says so."""
    file = _running_file(key)
    return file is not None and lock_files.is_held(file)


def _running_file(key: str) -> Path | None:
    folder = state_folder("sweeps")
    return None if folder is None else folder / f".{key}{lock_files.SUFFIX}"


def _locked(file: Path, holder: str) -> IO[str]:
    while True:
        stream = lock_files.opened(file)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            other = stream.read()
            stream.close()
            if other == "run":
                raise Busy from None
            time.sleep(0.1)
            continue
        if lock_files.is_current(file, stream):
            stream.truncate(0)
            stream.write(holder)
            stream.flush()
            return stream
        stream.close()  # the one before removed the file with its lock
