"""A run told to MLflow from its folder: begun or continued, and completed, once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tflite_recipes.core import events
from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.tracking import spool_reader
from tflite_recipes.tracking.client import PREFIX, alone, client, experiment_id
from tflite_recipes.tracking.mlflow_limits import NAME_LENGTH, TAG_LENGTH, VALUE_LENGTH, batches, cut, named
from tflite_recipes.tracking.run_creation import create_once, existing
from tflite_recipes.tracking.run_description import sweep_description
from tflite_recipes.tracking.run_record import RECORD, Busy, Record, held, is_running, load, update
from tflite_recipes.tracking.run_tags import started_by, with_version
from tflite_recipes.tracking.run_writer import RunWriter

_ABOVE = 8  # levels: a search's candidates are two below it, a sweep's jobs as many as their names have slashes


@dataclass(frozen=True)
class Place:
    """Where runs go: the tracking URI, with its password, and a client of it."""

    uri: str
    client: Any

    @classmethod
    def of(cls, uri: str) -> Place:
        """Errors: whatever MLflow raises."""
        return cls(uri, client(uri))

    def experiment(self, name: str) -> str:
        """The ID of an experiment, which is made where there is none."""
        with alone(self.uri):
            return experiment_id(self.client, name)


def replay(folder: Path, place: Place, holder: str = "sync") -> Record:
    """Tell MLflow what it lacks of the run in `folder`, and give the record as it is then. What is complete is left as
    it is.

    Errors: Busy where the run is still at work; RequestError where the folder is damaged; whatever MLflow raises.
    """
    with held(folder, holder):
        return replay_held(folder, place)


def replay_held(folder: Path, place: Place) -> Record:
    """The same by who holds the folder already."""
    record = load(folder)
    if record.complete:
        return record
    if record.sweep is not None:
        if is_running(record.key):
            raise Busy
        return update(folder, run_id=_sweep(record, place), complete=True)
    told = spool_reader.read(folder, record.cwd)
    settings = record.typed(place.uri)
    experiment = place.experiment(settings.experiment)
    parent = _parent(folder, record, place, experiment)
    run_id = existing(place.client, experiment, record.key, record.run_id)
    writer = RunWriter(place.client, settings, parent, run_id, record.stamp, record.cwd)
    left_out = spool_reader.left_out(told, folder)
    for event in told:
        if isinstance(event, events.ArtifactKept) and event in left_out:
            continue
        writer.tell(event)
        if isinstance(event, events.RunStarted):
            record = update(folder, run_id=writer.run_id, parent_run_id=parent)
    if left_out:
        rest = f"it is left out, and the rest of the run is uploaded as {writer.run_id}"
        reasons = {event.path: why for event, why in left_out.items()}
        raise RequestError([Problem(f"{why}; {rest}", path) for path, why in reasons.items()])
    return update(folder, complete=True, registered=writer.registered)


def _parent(folder: Path, record: Record, place: Place, experiment: str) -> str | None:
    """The ID of the run above, which is made where MLflow has none yet."""
    if record.parent_key is None:
        return record.parent_run_id
    found = existing(place.client, experiment, record.parent_key, record.parent_run_id)
    above = found or begin_above(folder, record.parent_key, place)
    if above is None:
        what = f"the run above (key {record.parent_key}) is unknown to {record.uri}, and its {RECORD} is not above here"
        raise RequestError(Problem(what, str(folder)))
    return above


def above(folder: Path, key: str) -> Path | None:
    """The folder of the run with this key, looked for in the folders around `folder`."""
    for candidate in list(folder.resolve().parents)[:_ABOVE]:
        if (candidate / RECORD).is_file():
            try:
                if load(candidate).key == key:
                    return candidate
            except RequestError:
                continue
    return None


def begin_above(folder: Path, key: str, place: Place) -> str | None:
    """Make the run above, of which the folders around `folder` hold the record; None where none does.

    Several jobs of a sweep may want that at once, so they take turns.
    """
    found = above(folder, key)
    if found is None:
        return None
    with alone(f"file://{found / RECORD}"):
        record = load(found)
        settings = record.typed(place.uri)
        experiment = place.experiment(settings.experiment)
        run_id = existing(place.client, experiment, key, record.run_id)
        if run_id is None and record.sweep is not None:
            run_id = begin_sweep(record, place)
        elif run_id is None:
            parent = _parent(found, record, place, experiment)
            writer = RunWriter(place.client, settings, parent, None, record.stamp)
            writer.tell(spool_reader.read(found, record.cwd)[0])
            run_id = writer.run_id
    return run_id


def begin_sweep(record: Record, place: Place) -> str:
    """Make a sweep's run, or find it. Errors: whatever MLflow raises."""
    from mlflow.entities import Param

    assert record.sweep is not None
    settings, sweep = record.typed(place.uri), record.sweep
    experiment = place.experiment(settings.experiment)
    run_id = existing(place.client, experiment, record.key, record.run_id)
    if run_id is None:
        own = {f"{PREFIX}.recipe": sweep["recipe"], "mlflow.runName": cut(f"{sweep['recipe']} sweep", NAME_LENGTH)}
        asked = {name: cut(value, TAG_LENGTH) for name, value in settings.tags.items()}
        tags = {**started_by(), **asked, **own, **with_version(record.stamp)}
        run_id = create_once(place.client, experiment, int(sweep["started"] * 1e3), tags)
    params = {name: cut(value, VALUE_LENGTH, "all in multirun.yaml") for name, value in sweep["params"].items()}
    for batch in batches(params=named(params)):
        place.client.log_batch(run_id, params=[Param(name, value) for name, value in batch["params"].items()])
    said = sweep_description(sweep["recipe"], sweep.get("overrides", ()), run_id)
    place.client.set_tag(run_id, "mlflow.note.content", said)
    return run_id


def _sweep(record: Record, place: Place) -> str:
    """A sweep's run, begun or found, and ended. One that could not say how it ended was killed."""
    assert record.sweep is not None
    run_id = begin_sweep(record, place)
    ended = record.sweep.get("ended") or time.time()
    place.client.set_terminated(run_id, record.sweep.get("outcome") or "KILLED", int(ended * 1e3))
    return run_id


def records_below(folder: Path) -> Iterator[Path]:
    """The folders at and below `folder` that hold a record, those above before those below."""
    yield from (file.parent for file in sorted(folder.rglob(RECORD), key=lambda file: (len(file.parts), file)))
