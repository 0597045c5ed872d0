"""Tells MLflow what happens, in a thread of its own: MLflow takes seconds to load, and TensorFlow need not wait."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tflite_recipes.core import events
from tflite_recipes.tracking import run_record as records
from tflite_recipes.tracking.client import first_line, greet, heed
from tflite_recipes.tracking.run_upload import Place, begin_above, replay, replay_held
from tflite_recipes.tracking.run_writer import RunWriter
from tflite_recipes.tracking.settings import Mlflow

_FIRST_S = 10  # for a server to answer at all, which it does while the model is read
_PROBE_S = 5  # for a server that was away to answer, before the run is told again
_LEAVING_S = 5.0  # for what is left to be told, once the user wants to go


class MlflowTracker:
    """A listener that passes events on to MLflow. `close` waits for the last, and says what went wrong, if anything.

    Nothing that MLflow does can end a run: after a failure the events are only drained, as they are on disk already,
    with a record of where they belong. When the run is over they are told again, if the server answers then.
    `parent` and `parent_key` are of the run above, which may have a key only.
    """

    def __init__(self, settings: Mlflow, parent: str | None = None, parent_key: str | None = None) -> None:
        self._settings, self._parent, self._parent_key = settings, parent, parent_key
        self._events: queue.Queue[events.Event | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._decided, self._leaving, self._abandoned = threading.Event(), threading.Event(), threading.Event()
        self._children: list[MlflowTracker] = []
        self._writer: RunWriter | None = None
        self._folder: Path | None = None
        self._record: records.Record | None = None
        self._lock = contextlib.ExitStack()
        self._above: MlflowTracker | None = None
        self._run_id: str | None = None
        self._registered = ""
        self.failure: str | None = None
        self._thread.start()

    @property
    def uri(self) -> str:
        """Where the run goes, with the password that is part of it."""
        return self._settings.uri

    @property
    def run_id(self) -> str | None:
        """The run's ID, None while there is no run."""
        return self._run_id or (self._writer.run_id if self._writer is not None else None)

    @property
    def registered(self) -> str:
        """The version that the run became, as "NAME/VERSION", or why none; "" where none was asked for."""
        return self._registered or (self._writer.registered if self._writer is not None else "")

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.RunStarted):
            self._remember(Path(event.output_dir))
        if not isinstance(event, events.Progress):
            self._events.put(event)

    def child(self, name: str) -> MlflowTracker:
        """A tracker for a run below this one, which has begun. Where this one cannot be told to anybody, neither can
        that one, before both are told again."""
        self._decided.wait()
        key = self._record.key if self._record is not None else None
        own = replace(self._settings, run_name=name, register_as=None)  # a candidate is no result
        child = MlflowTracker(own, self.run_id, key)
        child._above, child.failure = self, self.failure
        self._children.append(child)
        return child

    @property
    def failures(self) -> list[str]:
        """What went wrong with this run and with those below it."""
        return [tracker.failure for tracker in (self, *self._children) if tracker.failure is not None]

    def close(self, wait: bool = True) -> None:
        """Wait until everything is told; without `wait` for a few seconds only. An interrupt ends the waiting."""
        if not wait:
            self._leaving.set()
        self._events.put(None)
        try:
            self._thread.join(None if wait else _LEAVING_S)
        except KeyboardInterrupt:
            self._give_up()
            raise
        if self._thread.is_alive():
            self._give_up()

    def _give_up(self) -> None:
        self._leaving.set()
        self._abandoned.set()
        self.failure = self.failure or "interrupted before all was told"

    def _remember(self, folder: Path) -> None:
        """Leave in the run's folder what it takes to track it later, and keep everybody else from doing so now."""
        try:
            above = {"parent_key": self._parent_key, "parent_run_id": self._parent}
            self._record = records.begun(self._settings, {}, **above)
            self._folder = folder.absolute()
            self._lock.enter_context(records.held(self._folder, "run"))
            records.save(self._folder, self._record)
        except Exception as error:
            self.failure = first_line(error, self._settings.uri)

    def _work(self) -> None:
        made = None
        with self._telling():
            made = greet(self._settings.uri, _FIRST_S)
        while (event := self._events.get()) is not None:
            if self.failure is None and not self._abandoned.is_set():
                with self._telling():
                    self._tell(made, event)
            if isinstance(event, events.RunStarted):
                self._decided.set()
        self._decided.set()
        if self._above is None and not self._leaving.is_set():
            self._heal()
        self._lock.close()

    def _tell(self, made: object, event: events.Event) -> None:
        assert self._folder is not None
        if self._writer is None:
            assert self._record is not None
            parent = self._parent
            if parent is None and self._parent_key is not None:
                parent = begin_above(self._folder, self._parent_key, Place(self._settings.uri, made))
            self._writer = RunWriter(made, self._settings, parent, None, self._record.stamp)
        self._writer.tell(event)
        if isinstance(event, events.RunStarted):
            records.update(self._folder, run_id=self._writer.run_id)
        if isinstance(event, events.RunFinished):
            records.update(self._folder, complete=True)

    def _heal(self) -> None:
        """Once the run is over: if the server answers (again), tell it what it missed, of the runs below too."""
        lost = [tracker for tracker in (self, *self._children) if tracker.failure is not None]
        if not lost:
            return
        try:
            place = Place(self._settings.uri, greet(self._settings.uri, _PROBE_S))
        except Exception:
            return
        for tracker in lost:
            if tracker._folder is None or not (tracker._folder / records.RECORD).exists():
                continue
            with tracker._telling():
                told = replay_held(tracker._folder, place) if tracker is self else replay(tracker._folder, place, "run")
                tracker._run_id, tracker._registered, tracker.failure = told.run_id, told.registered, None

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Whatever goes wrong inside is kept as this run's failure."""
        try:
            yield
        except Exception as error:
            heed(error)
            self.failure = first_line(error, self._settings.uri)
