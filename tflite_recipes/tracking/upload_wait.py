"""How long a run is held up by its uploads, and what is printed meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Seconds of waiting after which the wait is announced, once.
_SILENT_S = 3.0


class UploadWait:
    """The seconds that a run and those below it may still be held up by uploads.

    limit_s: for all of them together, None for no limit. announce: called once with what is waited for.
    """

    def __init__(self, limit_s: float | None, where: str, announce: Callable[[str], None] | None = None) -> None:
        self.limit_s, self._left_s = limit_s, limit_s
        limit = "" if limit_s is None else f", for {limit_s:g} s at most"
        self._text = f"waiting for {where} to take what is left of the run{limit}"
        self._announce = announce

    def until(self, done: Callable[[float | None], bool]) -> bool:
        """Wait, and return whether it is done. done: waits itself for so many seconds, None for ever."""
        since = time.monotonic()
        left_s = self._left_s
        try:
            if done(_SILENT_S if left_s is None else min(left_s, _SILENT_S)):
                return True
            if left_s is not None and left_s <= _SILENT_S:
                return False
            if self._announce is not None:
                self._announce(self._text)
                self._announce = None
            return done(None if left_s is None else left_s - _SILENT_S)
        finally:
            if self._left_s is not None:
                self._left_s = max(0.0, self._left_s - (time.monotonic() - since))


@contextmanager
def announced(where: str, announce: Callable[[str], None]) -> Iterator[None]:
    """Announce what is waited for, if what is inside takes long."""
    timer = threading.Timer(_SILENT_S, announce, [f"waiting for {where}"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
