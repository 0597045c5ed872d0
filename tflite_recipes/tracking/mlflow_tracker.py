"""Tells MLflow what happens, in a thread of its own: MLflow takes seconds to load, and TensorFlow need not wait."""

from __future__ import annotations

import queue
import threading
from dataclasses import replace

from tflite_recipes import events
from tflite_recipes.tracking.client import client, first_line
from tflite_recipes.tracking.settings import MlflowSettings
from tflite_recipes.tracking.writer import RunWriter


class MlflowTracker:
    """A listener that passes events on to MLflow. `close` waits for the last, and says what went wrong, if anything.

    Nothing that MLflow does can end a run: after a failure the events are only drained, as they are on disk already.
    """

    def __init__(self, settings: MlflowSettings, parent: str | None = None) -> None:
        self._settings, self._parent = settings, parent
        self._events: queue.Queue[events.Event | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._decided = threading.Event()
        self._children: list[MlflowTracker] = []
        self._writer: RunWriter | None = None
        self.failure: str | None = None
        self._thread.start()

    @property
    def run_id(self) -> str | None:
        """The run's ID, None while there is no run."""
        return self._writer.run_id if self._writer is not None else None

    @property
    def registered(self) -> str:
        """The version that the run became, as "NAME/VERSION", or why none; "" where none was asked for."""
        return self._writer.registered if self._writer is not None else ""

    def __call__(self, event: events.Event) -> None:
        if not isinstance(event, events.Progress):
            self._events.put(event)

    def child(self, name: str) -> MlflowTracker | None:
        """A tracker for a run below this one, which has begun; None where this one cannot be told to anybody."""
        self._decided.wait()
        if self.run_id is None or self.failure is not None:
            return None
        own = replace(self._settings, run_name=name, register_as=None)  # a candidate is no result
        self._children.append(MlflowTracker(own, self.run_id))
        return self._children[-1]

    @property
    def failures(self) -> list[str]:
        """What went wrong with this run and with those below it."""
        return [tracker.failure for tracker in (self, *self._children) if tracker.failure is not None]

    def close(self) -> None:
        """Wait until everything is told."""
        self._events.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            self._writer = RunWriter(client(self._settings.uri), self._settings, self._parent)
        except Exception as error:
            self.failure = first_line(error)
            self._decided.set()
        while (event := self._events.get()) is not None:
            if self._writer is not None and self.failure is None:
                try:
                    self._writer.tell(event)
                except Exception as error:
                    self.failure = first_line(error)
            if isinstance(event, events.RunStarted):
                self._decided.set()
