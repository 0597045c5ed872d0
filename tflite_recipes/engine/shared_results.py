"""Work that several runs share, done once: what a job gave, by what it was made from.

Never by the bytes of what it gave: a frozen model that is made again in a process has others, and is the same model.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tflite_recipes.core import events

Tell = Callable[[events.Event], None]


@dataclass(frozen=True)
class _Done:
    """A job that was done: the folder of its files, the state after it, and what it told."""

    folder: Path
    state: Mapping[str, Any]
    told: tuple[events.Event, ...]


def key_of(made_from: Any) -> str:
    """SHA-256 of the canonical JSON of all that decides what a job gives."""
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


class Memo:
    """Keeps files below `folder`, which must outlive the runs that use them. A job that fails is not kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._done: dict[str, _Done] = {}

    def recall(
        self,
        key: str,
        state: Mapping[str, Any],
        tell: Tell,
        work: Callable[[dict[str, Any], Tell], dict[str, Any]],
    ) -> dict[str, Any]:
        """The state after the job of this key: worked out now, or as it was, with the events that belong to it.

        `state` is the state before, as JSON. What comes back has its `workdir` and its `intent`; every other path in it
        lies below the memo's folder. Errors: those of `work`.
        """
        own = Path(state["workdir"])
        if (done := self._done.get(key)) is None:
            done = self._work(key, state, _copying(own, self._folder, tell), work)
        else:
            told = _copying(own, self._folder, tell)
            for event in done.told:
                told(_as_of_now(event))
            names = [event.step for event in done.told if isinstance(event, events.StepFinished)]
            tell(events.Tagged({f"tflite_recipes.shared.{name}": "done once, by an earlier run" for name in names}))
        return {**done.state, "workdir": state["workdir"], "intent": state["intent"]}

    def _work(
        self,
        key: str,
        state: Mapping[str, Any],
        tell: Tell,
        work: Callable[[dict[str, Any], Tell], dict[str, Any]],
    ) -> _Done:
        folder = self._folder / key[:16]
        folder.mkdir(parents=True)
        told: list[events.Event] = []

        def record(event: events.Event) -> None:
            if not isinstance(event, events.Progress):
                told.append(event)
            tell(event)

        try:
            after = work({**state, "workdir": str(folder)}, record)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._done[key] = _Done(folder, after, tuple(told))
        return self._done[key]


def _copying(own: Path, shared: Path, tell: Tell) -> Tell:
    """Tells of a copy of each file that is kept, because who is told may move it."""

    def told(event: events.Event) -> None:
        if isinstance(event, events.ArtifactKept) and Path(event.path).resolve().is_relative_to(shared):
            copied = own / Path(event.path).name
            shutil.copyfile(event.path, copied)
            event = replace(event, path=str(copied))
        tell(event)

    return told


def _as_of_now(event: events.Event) -> events.Event:
    """The event again; a step that is not repeated takes no time."""
    if isinstance(event, events.StepFinished):
        event = replace(event, seconds=0.0)
    return replace(event, at=time.time())
