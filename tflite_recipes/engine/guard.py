"""The parent's end of a small process that ends all that this one started, if this one is killed.

Linux kills a worker with its parent, but not the programs that the worker started, nor the processes of a launcher.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil

# In the environment of what this package starts: the names of the processes that it must not outlive.
FAMILY = "TFLITE_RECIPES_FAMILY"


class _Guard:
    """The process, and the pipe whose end it waits for."""

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None
        read, self._pipe = os.pipe()
        script = Path(__file__).with_name("guard_main.py")
        packages = str(Path(psutil.__file__).resolve().parents[1])
        environment = {name: value for name, value in os.environ.items() if name != FAMILY}
        try:
            # -I -S: it starts in a hundredth of a second, and reads nothing of the user's.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(script), self.name, packages],
                stdin=read,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=environment,
                start_new_session=True,
            )
        except OSError:  # no memory for it; the worker has its own ways
            pass
        finally:
            os.close(read)

    def dismiss(self) -> None:
        """Have the guard end, and nothing else."""
        with contextlib.suppress(OSError):
            os.write(self._pipe, b".")
        self.let_go()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=2)

    def let_go(self) -> None:
        """Close this process's end of the pipe."""
        with contextlib.suppress(OSError):
            os.close(self._pipe)


_own: _Guard | None = None
_making = threading.Lock()


def family() -> str:
    """Return the value of `FAMILY` for what this process starts. The guard starts with the first call."""
    global _own
    with _making:
        if _own is None:
            _own = _Guard()
            atexit.register(_close)
        return ":".join(filter(None, [os.environ.get(FAMILY, ""), _own.name]))


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Have the guard end also what others start from this process, such as a launcher of a sweep."""
    before = os.environ.get(FAMILY)
    os.environ[FAMILY] = family()
    try:
        yield
    finally:
        del os.environ[FAMILY]
        if before is not None:
            os.environ[FAMILY] = before


def _close() -> None:
    global _own
    if _own is not None:
        _own.dismiss()
        _own = None


def _forked() -> None:
    global _own, _making
    _making = threading.Lock()
    if _own is not None:
        _own.let_go()
        _own = None


os.register_at_fork(after_in_child=_forked)
