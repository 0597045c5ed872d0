"""The times of a run: each moment belongs to the startup, to a step or to a failed attempt, so that they add up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from tflite_recipes.core import events

STARTUP, FAILED_ATTEMPTS, TOTAL = "time.startup_s", "time.failed_attempts_s", "time.total_s"
# Of a search: everything after its startup.
SEARCH = "time.search_s"


class StepClock:
    """Passes events on and measures the time between them.

    A step lasts from its start to that of the next one, so the way to the next job counts as its own, and the delivery
    of the file counts for the last step. The end of a step is passed on when the next step starts.
    """

    def __init__(self, send: Callable[[events.Event], None], started: float) -> None:
        """Args: started: of the run, on `time.monotonic()`."""
        self._send, self.started = send, started
        self._since = started
        self._attempt_since: float | None = None
        self._step = ""
        self._finished: events.StepFinished | None = None
        self._failed = False
        self._done: set[str] = set()  # steps that this attempt finished
        self._stale: set[str] = set()  # steps that only failed attempts finished
        self._unfinished: dict[str, float] = {}  # times of steps of this attempt that ended without saying so
        self._startup = self._failed_attempts = 0.0

    def tell(self, event: events.Event) -> None:
        """Pass an event on; the end of a step waits until the next one starts."""
        match event:
            case events.StepStarted(step=step):
                self._close()
                self._step = step
                self._attempt_since = self._since if self._attempt_since is None else self._attempt_since
                self._send(event)
            case events.StepFinished():
                self._finished = event
            case _:
                self._send(event)

    def attempt_failed(self) -> None:
        """Count everything from the attempt's first step to the start of the next attempt's as a failed attempt."""
        self._failed, self._finished = True, None
        self._stale |= self._done
        self._done, self._unfinished = set(), {}

    def stop(self) -> dict[str, float]:
        """End the last step, and return the times that no finished step has, by tracking name."""
        self._close()
        stale = {f"time.{step}_s": 0.0 for step in sorted(self._stale)}
        own = {STARTUP: self._startup, FAILED_ATTEMPTS: self._failed_attempts, TOTAL: self._since - self.started}
        return {**stale, **self._unfinished, **own}

    def _close(self) -> None:
        now = time.monotonic()
        before, seconds, step = self._since, now - self._since, self._step
        self._since, self._step = now, ""
        if self._failed:
            self._failed_attempts += now - (before if self._attempt_since is None else self._attempt_since)
            self._failed, self._attempt_since = False, None
        elif self._finished is not None:
            self._send(replace(self._finished, seconds=seconds))
            self._done.add(step)
            self._stale.discard(step)
            self._finished = None
        elif step:
            self._unfinished[f"time.{step}_s"] = self._unfinished.get(f"time.{step}_s", 0.0) + seconds
        else:
            self._startup += seconds
