"""The index of a TensorFlow checkpoint (`variables.index`): which tensors it holds, and how large they are.

It is a LevelDB table, never compressed, whose values are BundleEntryProto messages.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from tflite_recipes.core import regular_files

_FOOTER = 48
# Bytes of an index and of a name in it: LevelDB spells names by what differs from the one before.
_MOST, _LONGEST_NAME = 256 << 20, 1 << 14
_MAGIC = 0xDB4775248B80FB57
_SIZE_FIELD = 5  # of BundleEntryProto: bytes of the tensor
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def sizes(index: Path) -> dict[str, int]:
    """Bytes of each tensor by its name. Errors: ValueError, IndexError or struct.error where the file is damaged."""
    data = regular_files.read_bytes(index, _MOST)
    footer = data[-_FOOTER:]
    if len(footer) < _FOOTER or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError(f"{index} is no checkpoint index")
    _, at = _handle(footer, 0)  # of the meta index, which is empty
    (start, length), _ = _handle(footer, at)
    found: dict[str, int] = {}
    for _, pointer in _entries(data[start : start + length]):
        (start, length), _ = _handle(pointer, 0)
        for key, value in _entries(data[start : start + length]):
            if key:  # the empty key has the header
                found[key.decode("utf-8", "replace")] = _entry_size(value)
    return found


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    start, at = _varint(data, at)
    length, at = _varint(data, at)
    return (start, length), at


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block: each key says how much of the one before it begins with."""
    (restarts,) = struct.unpack("<I", block[-4:])
    at, end, key = 0, len(block) - 4 - 4 * restarts, b""
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared + own > _LONGEST_NAME:
            raise ValueError("a name in the checkpoint index is too long")
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + length]
        at += own + length


def _entry_size(entry: bytes) -> int:
    at, size = 0, 0
    while at < len(entry):
        tag, at = _varint(entry, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(entry, at)
            size = value if tag >> 3 == _SIZE_FIELD else size
        elif kind == _BYTES:
            length, at = _varint(entry, at)
            at += length
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError("an entry of the checkpoint index is damaged")
    return size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] & 0x80:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if shift > 63:
            raise ValueError("a number in the checkpoint index is damaged")
    return value | data[at] << shift, at + 1
