"""Locks between processes, each in a file beside what it locks. A lock goes with the process that holds it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tflite_recipes.core import regular_files

SUFFIX = ".lock"


def beside(file: Path) -> Path:
    """Return where the lock of a file is: `.NAME.lock` in the folder of the file that the path really leads to."""
    real = Path(os.path.realpath(file))
    return real.with_name(f".{real.name}{SUFFIX}")


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock, waiting for whoever has it, and remove its file afterwards. Errors: OSError."""
    while True:
        stream = opened(file)
        fcntl.flock(stream, fcntl.LOCK_EX)
        if is_current(file, stream):
            break
        stream.close()  # the one before removed the file with its lock
    try:
        yield
    finally:
        release(file, stream)


def release(file: Path, stream: IO[str]) -> None:
    """Remove the file of a lock that is held, and let go of it."""
    with contextlib.suppress(OSError):
        os.unlink(file)
    stream.close()


def remove_if_free(file: Path) -> bool:
    """Remove the file of a lock that nobody holds. Return whether the file is gone."""
    try:
        stream = opened(file, create=False)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        return False
    if is_current(file, stream):
        release(file, stream)
        return True
    stream.close()
    return False


def is_held(file: Path) -> bool:
    """Return whether some process of this machine holds the lock."""
    try:
        with opened(file, create=False) as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def opened(file: Path, create: bool = True) -> IO[str]:
    """Open a lock's file, made if it is missing. Errors: OSError, also for anything but a regular file: a link that
    somebody left there leads to a file that is none of ours, and opening a pipe never ends."""
    flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    stream = open(os.open(file, flags, 0o666), "a+", encoding="utf-8")  # noqa: SIM115 (the caller closes it)
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise regular_files.Refused("it is not a regular file", file)
    return stream


def is_current(file: Path, stream: IO[str]) -> bool:
    """Return whether an open lock is still the one under its name."""
    try:
        return os.fstat(stream.fileno()).st_ino == os.stat(file).st_ino
    except FileNotFoundError:
        return False
