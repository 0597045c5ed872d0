"""A run's events read back from its folder, with their paths as they are now."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tflite_recipes.core import events
from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.core.outcome import RunOutcome
from tflite_recipes.core.result import SPOOL


def read(folder: Path, cwd: str) -> list[events.Event]:
    """All events of the run in `folder`, which may have been moved since; `cwd` is where the run stood.

    A run that ended before it could say so gets an end: killed, at its last event. A last line that is cut off is left
    out. Errors: RequestError that names the file and the line of any other damage.
    """
    told = list(_located(_parsed(folder / SPOOL), folder, cwd))
    if not isinstance(told[-1], events.RunFinished):
        told.append(events.RunFinished(RunOutcome.killed, told[-1].at - told[0].at, at=told[-1].at))
    return told


def missing(told: list[events.Event]) -> list[Path]:
    """The artifacts that are gone from the folder."""
    paths = [Path(event.path) for event in told if isinstance(event, events.ArtifactKept)]
    return [path for path in dict.fromkeys(paths) if not path.exists()]


def _parsed(file: Path) -> list[events.Event]:
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise RequestError(Problem(f"cannot be read: {error.strerror}", str(file))) from error
    found: list[events.Event] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(events.from_json(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if number == len(lines):  # no newline behind it: the process ended while it wrote
                break
            what = "is not an event; the folder is left as it is"
            raise RequestError(Problem(what, f"{file}, line {number}")) from error
    if not found or not isinstance(found[0], events.RunStarted):
        raise RequestError(Problem("does not begin with the start of a run", f"{file}, line 1"))
    return found


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
