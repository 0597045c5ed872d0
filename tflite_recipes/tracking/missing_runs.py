"""Runs that MLflow does not (wholly) know, told to it now."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, unique
from pathlib import Path

from tflite_recipes.core import paths, regular_files
from tflite_recipes.core.errors import Problem, RequestError, assignment
from tflite_recipes.core.tracking_uri import located, same_place, sqlite_file, without_password
from tflite_recipes.tracking import credentials, local_store
from tflite_recipes.tracking.client import be_patient, first_line, greet
from tflite_recipes.tracking.patience import Patience, limited
from tflite_recipes.tracking.run_record import RECORD, Busy, Record, load
from tflite_recipes.tracking.run_upload import Place, above, replay
from tflite_recipes.tracking.settings import uri_problems
from tflite_recipes.tracking.uris import DEFAULT_URI

_ANSWER_S = 20  # for a server to answer at all; what is uploaded may take longer


@unique
class Outcome(Enum):
    """What became of one folder."""

    TOLD = "told"
    WAITING = "to be told"
    RUNNING = "still running"
    AWAY = "not told"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class Synced:
    """A folder, what became of it, its run's ID (None where there is none), what was wrong, and whether it is a
    sweep's."""

    folder: Path
    outcome: Outcome
    uri: str = ""
    run_id: str | None = None
    problems: tuple[Problem, ...] = ()
    sweep: bool = False


def sync(
    folders: Sequence[Path],
    uri: str | None = None,
    dry_run: bool = False,
    announce: Callable[[str], None] = lambda server: None,
) -> Iterator[Synced]:
    """Tell MLflow what it lacks of the runs in these folders and below, those above before those below.

    uri: where all of them go, with its password; None for where each belongs (MLFLOW_TRACKING_URI lends its password
    to those that differ from it in that only). Runs that are complete, and those without a record, are passed over.
    dry_run: say what there is to tell, and ask nobody. announce: called once with each server, without a password,
    before anything is sent there. The credentials of the environment go only to a server that the user named, see
    `credentials.is_named`. Errors: RequestError where a folder is not there.
    """
    be_patient()
    known: dict[str, Place | str] = {}
    patience: dict[str, Patience] = {}
    announced: set[str] = set()
    for folder, record in _incomplete(folders):
        if isinstance(record, RequestError):
            yield Synced(folder, Outcome.DAMAGED, problems=record.problems)
            continue
        there = destination(record, uri)
        if problems := tuple(uri_problems(there)):
            wrong = tuple(
                Problem(problem.what, str(folder / RECORD), "", ("tracking.uri=URI",)) for problem in problems
            )
            yield Synced(folder, Outcome.DAMAGED, problems=wrong)
            continue
        is_named = credentials.is_named(there, uri)
        if not is_named and (why := local_store.why_not_written(there, str(record.settings["experiment"]), folder)):
            yield Synced(folder, Outcome.AWAY, without_password(there), problems=(_unnamed(folder, there, why),))
            continue
        if dry_run:
            yield Synced(folder, Outcome.WAITING, without_password(there), record.run_id)
            continue
        if there not in announced:
            announced.add(there)
            announce(without_password(there))
        asking = limited(patience.setdefault(there, Patience.of_sync()))
        with asking, contextlib.nullcontext() if is_named else credentials.withheld():
            synced = _one(folder, there, known)
        is_server = sqlite_file(there) is None
        withholding = is_server and not is_named and synced.outcome is Outcome.AWAY and credentials.present()
        yield _told_to_name(synced) if withholding else synced


def destination(record: Record, uri: str | None) -> str:
    """Where a run goes: what was asked for; else where it belongs, with the password that the environment has."""
    if uri is not None:
        return located(uri)
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    return given if given and same_place(given, record.uri) else record.uri


def _told_to_name(synced: Synced) -> Synced:
    """Say that a server got no credentials, and how it gets them."""
    what = "The credentials of the environment were withheld, because only the folder names this server"
    return replace(
        synced,
        problems=(
            *synced.problems,
            Problem(what, "tracking.uri", "", (assignment("tracking.uri", synced.uri),)),
        ),
    )


def _unnamed(folder: Path, uri: str, why: str) -> Problem:
    """Say why a store that only the folder names is not written to, and how the user names it."""
    what = f"{folder} is not uploaded to {uri}, because only the folder names this store, and {why}"
    file = sqlite_file(uri)
    places = [uri] if file and Path(file).parent.is_dir() else []
    return Problem(what, "tracking.uri", "", tuple(assignment("tracking.uri", one) for one in (*places, DEFAULT_URI)))


def _one(folder: Path, uri: str, known: dict[str, Place | str]) -> Synced:
    """A folder at a URI. `known`: by URI its client, or why it cannot be had, which is asked once only."""
    place = known.get(uri) or _place(uri)
    known[uri] = place
    shown = without_password(uri)
    if isinstance(place, str):
        return Synced(folder, Outcome.AWAY, shown, problems=(_away(folder, shown, place),))
    try:
        record = replay(folder, place)
    except Busy:
        return Synced(folder, Outcome.RUNNING, shown)
    except RequestError as error:
        return Synced(folder, Outcome.DAMAGED, shown, problems=error.problems)
    except Exception as error:
        said = first_line(error, uri)
        if not _answers(place):
            known[uri] = said
        return Synced(folder, Outcome.AWAY, shown, problems=(_away(folder, shown, said),))
    return Synced(folder, Outcome.TOLD, shown, record.run_id, sweep=record.sweep is not None)


def _place(uri: str) -> Place | str:
    file = sqlite_file(uri)
    if file is not None and not Path(file).parent.is_dir():  # which MLflow would make
        return f"there is no folder {Path(file).parent}; tracking.uri=sqlite:///FILE says where the runs are now"
    try:
        return Place(uri, greet(uri, _ANSWER_S))
    except Exception as error:
        return first_line(error, uri)


def _answers(place: Place) -> bool:
    try:
        greet(place.uri, _ANSWER_S)
    except Exception:
        return False
    return True


def _away(folder: Path, uri: str, why: str) -> Problem:
    return Problem(f"{folder} is not (wholly) at {uri}: {why}", "tracking.uri", "", ("tracking.uri=URI",))


def _incomplete(folders: Sequence[Path]) -> Iterator[tuple[Path, Record | RequestError]]:
    """The folders with something to tell, with their records, or why these cannot be read. Runs above come too: a run
    cannot be put below one that is not there."""
    seen: set[Path] = set()
    for folder in _ordered(folders):
        if folder.resolve() in seen:
            continue
        seen.add(folder.resolve())
        try:
            record = load(folder)
        except RequestError as error:
            yield folder, error
            continue
        if not record.complete:
            yield folder, record


def _ordered(folders: Iterable[Path]) -> list[Path]:
    """The folders with records at and below these, and those above that they are part of, the outermost first."""
    found: list[Path] = []
    for folder in folders:
        if not os.path.isdir(folder):
            raise RequestError(Problem(f"there is no folder {paths.shortened(str(folder))}", "FOLDER"))
        for file in regular_files.files_below(folder, RECORD):
            found += [*_around(file.parent), file.parent]
    return sorted(dict.fromkeys(found), key=lambda place: (len(place.resolve().parts), str(place)))


def _around(folder: Path) -> Iterator[Path]:
    try:
        key = load(folder).parent_key
    except RequestError:
        return
    if key is not None and (found := above(folder, key)) is not None:
        near = Path(os.path.relpath(found)) if not folder.is_absolute() else found
        yield from (*_around(near), near)
