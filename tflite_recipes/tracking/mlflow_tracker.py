"""Tells MLflow what happens, in a thread of its own: MLflow takes seconds to load, and TensorFlow need not wait."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tflite_recipes.core import events
from tflite_recipes.core.tracking_uri import without_password
from tflite_recipes.tracking import run_record as records
from tflite_recipes.tracking.client import first_line, greet, heed
from tflite_recipes.tracking.patience import Patience, limited
from tflite_recipes.tracking.run_upload import Place, begin_above, replay, replay_held
from tflite_recipes.tracking.run_writer import RunWriter
from tflite_recipes.tracking.settings import Mlflow
from tflite_recipes.tracking.upload_wait import UploadWait

_FIRST_S = 7  # for a server to answer at all, which it does while the model is read
_PROBE_S = 3  # for a server that was away to answer, before the run is told again
_LEAVING_S = 5.0  # for what is left to be told, once the user wants to go
_LETTING_GO_S = 3.0  # for a request that was ended to come back, and the pause behind it
_INTERRUPTED = "interrupted before all was told"


class MlflowTracker:
    """A listener that passes events on to MLflow. `close` waits for the last, and says what went wrong, if anything.

    Nothing that MLflow does can end a run: after a failure the events are only drained, as they are on disk already,
    with a record of where they belong. When the run is over they are told again, if the server answers then.
    `parent` and `parent_key` are of the run above, which may have a key only; `above` is its tracker, if it is of this
    process. `announce` is called once with what is waited for, if that takes long.
    """

    def __init__(
        self,
        settings: Mlflow,
        parent: str | None = None,
        parent_key: str | None = None,
        announce: Callable[[str], None] | None = None,
        above: MlflowTracker | None = None,
    ) -> None:
        self._settings, self._parent, self._parent_key = settings, parent, parent_key
        self._events: queue.Queue[events.Event | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._decided, self._leaving, self._abandoned = threading.Event(), threading.Event(), threading.Event()
        self._ended = threading.Event()
        self._children: list[MlflowTracker] = []
        self._writer: RunWriter | None = None
        self._folder: Path | None = None
        self._record: records.Record | None = None
        self._lock = contextlib.ExitStack()
        self._above = above
        self._run_id: str | None = None
        self._registered = ""
        self.failure: str | None = None
        self._patience = Patience()
        where = without_password(settings.uri)
        self._wait = UploadWait(settings.max_wait_s, where, announce)
        self._beginning = UploadWait(settings.max_wait_s, where, announce)  # of a search; MLflow loads meanwhile
        if above is not None:  # what is waited for one of them is lost to all
            self.failure, self._patience, self._wait = above.failure, above._patience, above._wait
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
        if not self._beginning.until(self._decided.wait):
            self._give_up(self._too_late())
            self._decided.wait(_LETTING_GO_S)
        key = self._record.key if self._record is not None else None
        own = replace(self._settings, run_name=name, register_as=None)  # a candidate is no result
        child = MlflowTracker(own, self.run_id, key, above=self)
        self._children.append(child)
        return child

    @property
    def failures(self) -> list[str]:
        """What went wrong with this run and with those below it."""
        return [tracker.failure for tracker in (self, *self._children) if tracker.failure is not None]

    def close(self, wait: bool = True) -> None:
        """Wait until everything is told, for `max_wait_s` in all; without `wait` for a few seconds only. An interrupt
        ends the waiting."""
        if not wait:
            self._leaving.set()
        self._events.put(None)
        try:
            if wait and not self._wait.until(self._is_done):
                self._give_up(self._too_late())
            elif not wait and not self._is_done(_LEAVING_S):
                self._give_up(_INTERRUPTED)
        except KeyboardInterrupt:
            self._give_up(_INTERRUPTED)
            raise
        finally:
            self._is_done(_LETTING_GO_S)

    def _is_done(self, timeout_s: float | None) -> bool:
        return self._ended.wait(timeout_s)  # an interrupted `join` takes the thread for ended (Python 3.11)

    def _too_late(self) -> str:
        return f"the uploads take longer than tracking.max_wait_s={self._wait.limit_s:g}, the rest is left"

    def _give_up(self, why: str) -> None:
        """Leave the rest to `sync`. The request under way is ended, so that the thread lets go of the folder."""
        self._leaving.set()
        self._abandoned.set()
        self.failure = self.failure or why
        self._patience.end()

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
        try:
            with limited(self._patience):
                self._tell_all()
        finally:
            self._lock.close()
            self._ended.set()

    def _tell_all(self) -> None:
        made = None
        if self.failure is None:
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
            if not self._abandoned.is_set():  # or it is an echo of that
                heed(error)
                self.failure = first_line(error, self._settings.uri)
