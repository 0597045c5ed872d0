"""Opens files that came from anywhere: regular files only, never more bytes than the caller can use."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

# A file is sparse if it claims at least so many bytes, and so many times as many as it has data for. A file system
# that compresses reports data for whatever was written, so that a compressed file is not taken for a sparse one.
_SPARSE_BYTES = 128 << 20
_SPARSE_RATIO = 64
# Levels of nested lists and mappings in a text of JSON. A model of models of models has about 40.
_DEEPEST = 200
# A surrogate that is not one of those that stand for the bytes of a file name.
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


class Refused(OSError):
    """A file that is not opened or not read, for the reason in `strerror`."""

    def __init__(self, reason: str, path: str | os.PathLike[str]) -> None:
        super().__init__(errno.EINVAL, reason, os.fspath(path))


def unreadable(path: str | os.PathLike[str]) -> str:
    """Return why a path that exists is not opened, "" for a regular file, a folder and a path that does not exist."""
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return ""
    if stat.S_ISDIR(about.st_mode):
        return ""
    if not stat.S_ISREG(about.st_mode):
        return _wrong_kind(about.st_mode)
    if not _seems_sparse(about):
        return ""
    try:
        with open_regular(path):
            return ""
    except OSError as error:
        return error.strerror or ""


def open_regular(path: str | os.PathLike[str], most: int | None = None, follow: bool = True) -> io.BufferedReader:
    """Open a regular file for reading.

    Args:
        path: the file.
        most: bytes that it may have; None for any number that the disk holds.
        follow: whether the path may be a symbolic link.

    Raises:
        OSError: if the file cannot be opened; `Refused` for a pipe, a device, a folder, a sparse file, or too many
            bytes.
    """
    # Without O_NONBLOCK the system would wait for somebody to write to a named pipe.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    before = os.stat(path, follow_symlinks=follow)
    if stat.S_ISLNK(before.st_mode):
        raise Refused("it is a symbolic link", path)
    if not stat.S_ISREG(before.st_mode):  # to open a device can have an effect
        raise Refused(_wrong_kind(before.st_mode), path)
    stream = open(os.open(path, flags), "rb")  # noqa: SIM115 (the caller closes it)
    try:
        about = os.fstat(stream.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise Refused(_wrong_kind(about.st_mode), path)
        if _seems_sparse(about) and _has_little_data(stream.fileno(), about.st_size):
            raise Refused(f"it is a sparse file: {size_in_words(about.st_size)}, almost all of them holes", path)
        if most is not None and about.st_size > most:
            raise Refused(f"it has {size_in_words(about.st_size)}, and at most {size_in_words(most)} are read", path)
    except BaseException:
        stream.close()
        raise
    return stream


def read_bytes(path: str | os.PathLike[str], most: int) -> bytes:
    """Return the content of a regular file of at most so many bytes. Errors: those of `open_regular`."""
    with open_regular(path, most) as stream:
        data = stream.read(most + 1)
    if len(data) > most:  # it has grown, or its size is not known beforehand, as below /proc
        raise Refused(f"it has more than {size_in_words(most)}", path)
    return data


def read_text(path: str | os.PathLike[str], most: int) -> str:
    """Return the text of a regular file in UTF-8, with line ends as `\\n`. Errors: those of `open_regular`, and
    UnicodeDecodeError."""
    return read_bytes(path, most).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")


def parse_json(text: str | bytes) -> Any:
    """Return what a text of JSON holds.

    Errors: ValueError, also if it is nested so deep that code fails on it, or holds half of a character, which no
    program writes by itself. Bytes of a file name that are not UTF-8 are kept as Python has them.
    """
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {_DEEPEST} levels") from None
    escaped = b"\\ud" if isinstance(text, bytes) else "\\ud"
    if escaped in text.lower() and _HALF.search(json.dumps(data, ensure_ascii=False)):  # type: ignore[operator]
        raise ValueError("it holds half of a character")
    level, depth = [data], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(f"it is nested deeper than {_DEEPEST} levels")
        level = [child for node in level for child in _children(node)]
    return data


def files_below(folder: Path, name: str) -> Iterator[Path]:
    """Yield the files of this name at and below a folder. Folders behind symbolic links are left out."""
    for place, _, names in os.walk(folder):
        if name in names:
            yield Path(place, name)


def _children(node: Any) -> list[Any]:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [child for child in children if isinstance(child, (dict, list))]


def _wrong_kind(mode: int) -> str:
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "a folder")
    return f"it is {kind}, not a file"


def _seems_sparse(about: os.stat_result) -> bool:
    return about.st_size >= _SPARSE_BYTES and about.st_blocks * 512 * _SPARSE_RATIO < about.st_size


def _has_little_data(descriptor: int, size: int) -> bool:
    """Return whether a file's extents of data are a small part of its size. File systems without holes report one."""
    data = at = 0
    while at < size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
            at = os.lseek(descriptor, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data behind this place
                break
            return True  # a file that the kernel makes up, such as /proc/kcore
        data += at - start
        if data * _SPARSE_RATIO >= size:
            break
    os.lseek(descriptor, 0, os.SEEK_SET)
    return data * _SPARSE_RATIO < size


def size_in_words(count: int) -> str:
    """Return a number of bytes as people read it."""
    for unit, bytes_of in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= bytes_of:
            return f"{count / bytes_of:.3g} {unit}"
    return f"{count} bytes"


@contextlib.contextmanager
def open_lines(path: str | os.PathLike[str], most: int, encoding: str = "utf-8") -> Iterator[TextIO]:
    """Open a regular file of at most so many bytes as text with its own line ends, as module csv wants it.

    Errors: those of `open_regular`.
    """
    with io.TextIOWrapper(open_regular(path, most), encoding=encoding, newline="") as stream:
        yield stream
