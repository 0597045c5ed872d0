"""A run's events read back from its folder, with their paths as they are now."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tflite_recipes.core import events, regular_files
from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.core.outcome import RunOutcome
from tflite_recipes.core.plain_types import is_time, misfits
from tflite_recipes.core.result import SPOOL
from tflite_recipes.core.state import Gate

# Bytes that the events of a run may have. Those of a search of a hundred candidates have 3 MB.
_MOST = 256 << 20


def read(folder: Path, cwd: str) -> list[events.Event]:
    """All events of the run in `folder`, which may have been moved since; `cwd` is where the run stood.

    A run that ended before it could say so gets an end: killed, at its last event. A last line that is cut off is left
    out. Errors: RequestError that names the file and the line of any other damage.
    """
    told = list(_located(_parsed(folder / SPOOL), folder, cwd))
    if not isinstance(told[-1], events.RunFinished):
        told.append(events.RunFinished(RunOutcome.killed, told[-1].at - told[0].at, at=told[-1].at))
    return told


def left_out(told: list[events.Event], folder: Path) -> dict[events.ArtifactKept, str]:
    """Return the artifacts that must not be uploaded, each with the reason.

    A folder that came from somebody else can name any file of the machine: an artifact is a regular file that really
    lies in the run's folder, whatever links lead to it.
    """
    whole = folder.resolve()
    kept = [event for event in told if isinstance(event, events.ArtifactKept)]
    reasons = {event: _why_not(event, whole) for event in kept}
    return {event: reason for event, reason in reasons.items() if reason}


def _why_not(event: events.ArtifactKept, folder: Path) -> str:
    place = event.folder
    if place and (posixpath.normpath(place) != place or place.startswith(("/", ".."))):
        return f"belongs to {place!r}, which is no folder of a run"
    try:
        real = Path(event.path).resolve()
    except (OSError, ValueError, RuntimeError):  # RuntimeError: links in a circle
        return "is not a path"
    if not real.is_relative_to(folder):
        return "lies outside the folder of the run"
    if not os.path.lexists(real):
        return "is gone from the folder"
    try:
        regular_files.open_regular(real).close()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""


def _parsed(file: Path) -> list[events.Event]:
    try:
        lines = regular_files.read_bytes(file, _MOST).split(b"\n")
    except OSError as error:
        raise RequestError(Problem(f"cannot be read: {error.strerror}", str(file))) from error
    found: list[events.Event] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(_event(regular_files.parse_json(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if number == len(lines):  # no newline behind it: the process ended while it wrote
                break
            what = "is not an event; the folder is left as it is"
            raise RequestError(Problem(what, f"{file}, line {number}")) from error
    if not found or not isinstance(found[0], events.RunStarted):
        raise RequestError(Problem("does not begin with the start of a run", f"{file}, line 1"))
    return found


def _event(data: Any) -> events.Event:
    """Return the event that a line holds. Errors: ValueError, KeyError or TypeError for anything else."""
    if isinstance(data, Mapping):
        problems = data.get("problems", ())
        parts = [(Gate, data.get("gate")), (Problem, data.get("problem")), *((Problem, one) for one in problems)]
        if wrong := [words for kind, part in parts if part is not None and (words := misfits(kind, part))]:
            raise ValueError(wrong[0])
    event = events.from_json(data)
    if wrong_field := misfits(type(event), vars(event)):
        raise ValueError(wrong_field)
    if not is_time(event.at):
        raise ValueError("'at' is not a time")
    return event


def _located(told: list[events.Event], folder: Path, cwd: str) -> Iterator[events.Event]:
    started = told[0]
    assert isinstance(started, events.RunStarted)
    for event in told:
        match event:
            case events.ArtifactKept(path=path):
                yield replace(event, path=_place(path, started.output_dir, folder, cwd))
            case _:
                yield event


def _place(path: str, output_dir: str, folder: Path, cwd: str) -> str:
    """A path of the run's folder in the folder as it is now; any other from where the run stood."""
    if Path(path).is_relative_to(output_dir):
        return str(folder / Path(path).relative_to(output_dir))
    return os.path.join(cwd, path)
