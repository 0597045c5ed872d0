"""The bytes of a `.tflite` file without a copy of them: the system reads the pages that are looked at."""

from __future__ import annotations

import mmap
from pathlib import Path

from tflite_recipes.core import regular_files


def mapped(path: Path, write: bool = False) -> mmap.mmap:
    """Return the bytes of a file that is not empty. Errors: OSError, and ValueError for an empty file.

    They are closed when nothing refers to them, because arrays may. write: changes go into the file.
    """
    with path.open("r+b") if write else regular_files.open_regular(path) as stream:
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_WRITE if write else mmap.ACCESS_READ)
