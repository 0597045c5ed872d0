"""Reads the config out of an HDF5 file, guarded against damage that hangs or crashes the HDF5 library."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tflite_recipes.files.archives import MOST_TEXT
from tflite_recipes.files.models.refusals import damaged, listed, refusal, weights_only

# Objects of all string heaps of a file, which takes about two seconds. A model has a few dozen. Heaps that overlap
# would take hours.
_MOST_HEAP_OBJECTS = 2_000_000


def read_hdf5(path: Path) -> tuple[str, str]:
    """The config's text and the Keras version."""
    import h5py  # type: ignore[import-untyped, unused-ignore]

    try:
        _check_heaps(path)
        with h5py.File(path, "r") as file:
            config, version = _attribute(file.attrs, "model_config"), _attribute(file.attrs, "keras_version")
            names = [str(name) for name in file]  # bytes where a name is not Unicode
            weights = "layer_names" in file.attrs or bool({"layers", "vars", "model_weights"} & set(names))
    except Exception as error:  # what damage makes HDF5 raise is open-ended
        raise damaged(path, error) from error
    if not config:
        if weights:
            raise weights_only(path)
        raise refusal(f"{path} is an HDF5 file that holds no Keras model, but {listed(names)}")
    return config, version


def _check_heaps(path: Path) -> None:
    """Follows every string heap in an HDF5 file to its end. Errors: ValueError.

    The HDF5 library itself never returns from a heap that was overwritten with zeros, as a broken download leaves it.
    """
    magic = b"GCOL\x01"
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:

        def number(at: int, size: int) -> int:
            return int.from_bytes(data[at : at + size], "little")

        objects = 0
        for start in _found(data, magic):
            at, end = start + 16, start + number(start + 8, 8)
            while at + 16 <= end:
                objects += 1
                if objects > _MOST_HEAP_OBJECTS:
                    raise ValueError(f"its string heaps have more than {_MOST_HEAP_OBJECTS:,} objects")
                used, size = number(at, 2), number(at + 8, 8)
                step = 16 + (size + 7) // 8 * 8 if used else size  # objects have a header of 16; free space includes it
                if step < 16 or at + step > end:
                    raise ValueError("a string heap in it is overwritten")
                at += step


def _found(data: mmap.mmap, magic: bytes) -> Iterator[int]:
    """Where `magic` stands. Searched a piece at a time, because a mapping's own search takes seconds for gigabytes."""
    piece = 2**24
    for begin in range(0, len(data), piece):
        part = data[begin : begin + piece + len(magic) - 1]
        at = part.find(magic)
        while at >= 0:
            yield begin + at
            at = part.find(magic, at + 1)


def _attribute(attributes: Any, name: str) -> str:
    import h5py

    if name not in attributes:
        return ""
    stored = attributes.get_id(name)
    # By its HDF5 class, before it is read: a damaged type can send the library anywhere in memory.
    if stored.shape != () or stored.get_type().get_class() != h5py.h5t.STRING:
        raise ValueError(f"{name} is not a text")
    value = attributes[name]
    text = value.decode() if isinstance(value, bytes) else str(value)
    if len(text) > MOST_TEXT:
        raise ValueError(f"{name} has {len(text)} characters, and at most {MOST_TEXT} are read")
    return text
