"""Data of HDF5 files that lies in other files: links and storage outside, which HDF5 would read without a word."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tflite_recipes.core.errors import Problem
from tflite_recipes.files import archives
from tflite_recipes.files.models.refusals import HDF5, ZIP, damaged, first_bytes


def foreign_data(path: Path, where: str = "source.path") -> Problem | None:
    """Return the problem that a file of weights or a model takes data from other files; None if it holds all of it.

    An archive is looked through at any member that is HDF5. What cannot be opened is left to whoever loads the file.
    """
    head = first_bytes(path)
    try:
        # HDF5 may begin behind a block of the user's, so what the file begins with does not matter.
        names = list(_outside(path))
        if head.startswith(ZIP):
            names += _in_archive(path)
    except Exception as error:  # what damage makes h5py and zipfile raise is open-ended
        return replace(damaged(path, error).problems[0], where=where)
    if not names:
        return None
    what = f"{path} takes data from other files: {', '.join(names[:3])}"
    return Problem(what, where, "", ("save the model again, with its weights in one file",))


def _in_archive(path: Path) -> Iterator[str]:
    if not zipfile.is_zipfile(path):
        return  # the reader says that it is damaged
    with archives.open_zip(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as packed:
                # The name counts too, for HDF5 behind a block of the user's.
                if packed.read(len(HDF5)) != HDF5 and not member.filename.endswith((".h5", ".hdf5")):
                    continue
            with archive.open(member) as packed, tempfile.TemporaryFile() as unpacked:
                shutil.copyfileobj(packed, unpacked)
                yield from _outside(unpacked)


def _outside(file: Any) -> Iterator[str]:
    """The names of links and datasets whose data lies elsewhere. No link that leads out of the file is followed."""
    import h5py  # type: ignore[import-untyped, unused-ignore]

    try:
        h5py.File(file, "r").close()
    except OSError:
        return  # not HDF5, or damaged so that Keras cannot open it either
    stored = (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED)
    with h5py.File(file, "r") as opened:
        groups, seen = [(opened["/"], "")], set()
        while groups:
            group, whole = groups.pop()
            address = h5py.h5o.get_info(group.id).addr
            if address in seen:  # hard links may lead round in circles
                continue
            seen.add(address)
            for name in group:  # bytes where a name is not Unicode
                place = f"{whole}/{name}"
                kind = group.id.links.get_info(name if isinstance(name, bytes) else name.encode()).type
                if kind == h5py.h5l.TYPE_SOFT:
                    continue  # inside of the file, where the thing itself is seen
                if kind != h5py.h5l.TYPE_HARD:
                    yield place
                    continue
                node = group[name]
                if isinstance(node, h5py.Group):
                    groups.append((node, place))
                elif isinstance(node, h5py.Dataset):
                    settings = node.id.get_create_plist()
                    if settings.get_layout() not in stored or settings.get_external_count():
                        yield place
