"""Opens zip archives from anywhere: what a member unpacks to is held against what its format needs."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tflite_recipes.core import regular_files

# Texts in an archive: a Keras config has about 1 kB for each layer. Parsed, JSON takes up to 30 times its bytes.
MOST_TEXT = 16 << 20
# A member of more bytes than this may unpack to so many times its packed size. Deflate packs zeros 1000 to 1, weights
# and samples at most 50 to 1.
_LARGE, _RATIO = 64 << 20, 200
_MOST_MEMBERS = 100_000


class Hollow(ValueError):
    """A part of a file promises much more than the file holds."""


@contextlib.contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive that holds no member which unpacks to much more than it is.

    Raises:
        OSError: if the file cannot be opened.
        Hollow: if a member promises too much.
        zipfile.BadZipFile: if the file is damaged.
    """
    with regular_files.open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        if len(members) > _MOST_MEMBERS:
            raise Hollow(f"it has {len(members)} members, and at most {_MOST_MEMBERS} are read")
        for member in members:
            if member.file_size > _LARGE and member.file_size > _RATIO * member.compress_size:
                size, packed = (regular_files.size_in_words(n) for n in (member.file_size, member.compress_size))
                raise Hollow(f"{member.filename!r} in it has {packed} and unpacks to {size}")
        yield archive


def read_member(archive: zipfile.ZipFile, name: str, most: int = MOST_TEXT) -> bytes:
    """Return a member of at most so many bytes. Errors: Hollow for a larger one."""
    size = archive.getinfo(name).file_size
    if size > most:
        words = (regular_files.size_in_words(n) for n in (size, most))
        raise Hollow("{!r} in it unpacks to {}, and at most {} are read".format(name, *words))
    return archive.read(name)
