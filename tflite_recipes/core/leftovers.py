"""What a process leaves behind if it is killed: written down before it is made, and removed by a later command.

Each process has a register in the state folder of its user, and holds its lock as long as it or its worker lives. So a
register whose lock is free belongs to a process that is gone, whatever has its process ID now. Every folder and file in
it has the token of its process in its name, and nobody else's has.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tflite_recipes.core import lock_files, regular_files
from tflite_recipes.core.user_folder import state_folder

_FOLDER = "processes"
_PREFIX = "tflite_recipes_"
_MOST = 64 << 20  # bytes of a register
# A folder may be shared by machines, whose files and locks this one cannot judge.
_MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]


class _Register:
    """The register of this process."""

    def __init__(self) -> None:
        self.token = uuid.uuid4().hex[:16]
        self._claims: set[str] = set()
        self._file, self._stream = self._opened()
        if self._file is not None:
            remove_abandoned()

    def _opened(self) -> tuple[Path | None, IO[str] | None]:
        folder = state_folder(_FOLDER)
        if folder is None:  # a user without a home: what a kill leaves is not found again
            return None, None
        file = folder / f"{_MACHINE}-{self.token}"
        try:
            while True:
                stream = lock_files.opened(file)
                fcntl.flock(stream, fcntl.LOCK_EX)
                if lock_files.is_current(file, stream):
                    return file, stream
                stream.close()
        except OSError:
            return None, None

    @property
    def descriptor(self) -> int | None:
        return self._stream.fileno() if self._stream is not None else None

    def add(self, path: str) -> None:
        self._claims.add(path)
        self._write(f"+{path}")

    def discard(self, path: str) -> None:
        self._claims.discard(path)
        self._write(f"-{path}")

    def _write(self, line: str) -> None:
        if self._stream is not None and "\n" not in line:
            with contextlib.suppress(OSError):  # a full disk
                os.write(self._stream.fileno(), os.fsencode(line) + b"\n")

    def close(self) -> None:
        """Remove what is left, and the register with it."""
        rest = [path for path in self._claims if not _is_gone(path, self.token)]
        if self._file is not None and self._stream is not None and not rest:
            lock_files.release(self._file, self._stream)

    def let_go(self) -> None:
        """Close the register of the parent in a process that was forked from it."""
        if self._stream is not None:
            self._stream.close()


_own: _Register | None = None
_making = threading.Lock()


def _register() -> _Register:
    global _own
    with _making:
        if _own is None:
            _own = _Register()
            atexit.register(_close)
        return _own


def _close() -> None:
    global _own
    if _own is not None:
        _own.close()
        _own = None


def _forked() -> None:
    global _own, _making
    _making = threading.Lock()
    if _own is not None:
        with contextlib.suppress(OSError):
            _own.let_go()
        _own = None


os.register_at_fork(after_in_child=_forked)


def token() -> str:
    """Return what is in the names of this process's files, and in nobody else's."""
    return _register().token


def descriptor() -> int | None:
    """Return the lock of this process, for a child that is to count as a part of it. None if there is no register."""
    return _register().descriptor


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[Path]:
    """Have a later command remove a file or folder if this process is killed inside of the context.

    The path is a lock's (see `lock_files`), or has `token()` in its name.
    """
    whole = os.path.abspath(path)
    register = _register()
    register.add(whole)
    try:
        yield path
    finally:
        if not os.path.lexists(whole):
            register.discard(whole)


@contextlib.contextmanager
def folder(path: Path) -> Iterator[Path]:
    """Make a folder, whose name has `token()` in it, and remove it with all that is in it afterwards."""
    with claimed(path):
        path.mkdir(exist_ok=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def temporary_folder() -> Iterator[str]:
    """Make a folder for temporary files, and remove it afterwards."""
    path = Path(tempfile.gettempdir(), f"{_PREFIX}{token()}_{uuid.uuid4().hex[:8]}")
    with claimed(path):
        path.mkdir(mode=0o700)
        try:
            yield str(path)
        finally:
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def temporary_files_together() -> Iterator[None]:
    """Keep the temporary files of this process, also those of libraries, in one folder that is removed afterwards."""
    before = tempfile.tempdir
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # whatever needs such files fails with the reason
            tempfile.tempdir = stack.enter_context(temporary_folder())
        try:
            yield
        finally:
            tempfile.tempdir = before


def remove_abandoned() -> None:
    """Remove what processes left that are gone: their temporary folders, half-made files and locks."""
    place = state_folder(_FOLDER)
    if place is None:
        return
    with contextlib.suppress(OSError):
        for file in place.glob(f"{_MACHINE}-*"):
            _remove_those_of(file)


def _remove_those_of(file: Path) -> None:
    """Remove what is in the register of a process that is gone. What cannot be removed stays in it."""
    with contextlib.suppress(OSError, ValueError), lock_files.opened(file, create=False) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not lock_files.is_current(file, stream):
            return
        claims: dict[str, None] = {}
        for line in os.fsdecode(regular_files.read_bytes(file, _MOST)).split("\n"):
            if line.startswith("+"):
                claims[line[1:]] = None
            else:
                claims.pop(line[1:], None)
        owner = file.name.partition("-")[2]
        gone = [_is_gone(path, owner) for path in claims]  # each is tried, whatever became of the one before
        if all(gone):
            os.unlink(file)


def _is_gone(path: str, owner: str) -> bool:
    """Remove a file or folder of a process, if it is its own, and return whether it is gone."""
    name = os.path.basename(path)
    if not os.path.isabs(path) or not os.path.lexists(path):
        return True
    if owner and owner in name:
        if os.lstat(path).st_uid != os.getuid():
            return True  # nobody else's is touched
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(path)
    elif name.startswith(".") and name.endswith(lock_files.SUFFIX):
        lock_files.remove_if_free(Path(path))
        return True  # if another process holds it, that one removes it
    else:
        return True  # no name that this package gives
    return not os.path.lexists(path)
