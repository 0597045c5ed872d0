"""How long one run or command waits for its server in total, and how much it reads of an answer."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

# Seconds for all answers together that do not come, and for a single one: what is left is for a server that is back.
RUN_S, ONE_S = 10.0, 7.0
# The same for a command that does nothing but ask a server.
COMMAND_S = 10.0
# Seconds that each answer may take for free, for a command that asks dozens of times.
_PROMPT_S = 1.0
_ANSWER_BYTES = 32 << 20


class NoAnswer(Exception):
    """The server did not answer in time, or answered with more than anybody reads. The text says which."""


class _Request(Protocol):
    def abort(self) -> None: ...


@dataclass
class Patience:
    """The seconds that are left for one server. Threads that ask it for the same run share them.

    total_s: for all answers that do not come. one_s: for one of them. free_s: an answer that comes later than this
    counts as well, for as long as it took longer. until: when all waiting ends, by `time.monotonic`. answer_bytes: of
    an answer; file_bytes: of a file that is downloaded.
    """

    total_s: float = RUN_S
    one_s: float = ONE_S
    free_s: float = math.inf
    until: float = math.inf
    answer_bytes: float = _ANSWER_BYTES
    file_bytes: float = math.inf
    spent_s: float = 0.0
    _requests: set[_Request] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of_command(cls) -> Patience:
        """Return the patience of a command that only reads."""
        return cls(COMMAND_S, COMMAND_S, _PROMPT_S)

    @classmethod
    def of_sync(cls) -> Patience:
        """Return the patience of `sync`: an answer may be slow, as long as it comes."""
        return cls(COMMAND_S, COMMAND_S)

    @classmethod
    def within(cls, seconds: float | None) -> Patience:
        """Return a run's patience that ends after so many seconds, whatever the server does meanwhile."""
        return cls(until=math.inf if seconds is None else time.monotonic() + seconds)

    def limit_s(self) -> float:
        """Return for how many seconds the next answer is waited. Raises: NoAnswer if for none."""
        left_s = min(self.total_s - self.spent_s, self.until - time.monotonic())
        if left_s > 0.05:
            return min(left_s, self.one_s)
        raise NoAnswer(self.late())

    def late(self, seconds: float = 0.0, what: str = "no answer") -> str:
        """Return what to say of an answer that was waited for in vain for so many seconds."""
        if self.until <= time.monotonic():
            return "the server took too long in all"
        if seconds > 0.9 * min(self.total_s, self.one_s) or (seconds and self.spent_s < self.total_s - 0.05):
            return f"{what} from the server within {seconds:.3g} s"
        what = "the server answers too slowly" if self.free_s < math.inf else f"{what} from the server"
        return f"{what}: {self.total_s:g} s of waiting in all are over"

    def failed(self, seconds: float) -> None:
        """Count an answer that did not come."""
        with self._lock:
            self.spent_s += seconds

    def answered(self, seconds: float) -> None:
        """Count an answer."""
        self.failed(max(0.0, seconds - self.free_s))

    @contextlib.contextmanager
    def asking(self, request: _Request) -> Iterator[None]:
        """Let `end` abort a request as long as the context lasts."""
        with self._lock:
            self._requests.add(request)
        try:
            yield
        finally:
            with self._lock:
                self._requests.discard(request)

    def end(self) -> None:
        """End all waiting: requests that are under way fail, and so do those that come."""
        self.until = -math.inf
        with self._lock:
            requests = list(self._requests)
        for request in requests:
            request.abort()


_of_thread = threading.local()
_of_process: list[Patience] = []


@contextlib.contextmanager
def limited(patience: Patience, everywhere: bool = False) -> Iterator[None]:
    """Ask servers with this patience, in this thread. everywhere: also in those that MLflow starts meanwhile."""
    before = getattr(_of_thread, "patience", None)
    _of_thread.patience = patience
    if everywhere:
        _of_process.append(patience)
    try:
        yield
    finally:
        _of_thread.patience = before
        if everywhere:
            _of_process.remove(patience)


def current() -> Patience | None:
    """Return the patience of this thread, else of the process; None for requests that are none of ours."""
    return getattr(_of_thread, "patience", None) or (_of_process[-1] if _of_process else None)
