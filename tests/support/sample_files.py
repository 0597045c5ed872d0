"""Sample data for the tests in each of the forms that are read, written without TensorFlow."""

from __future__ import annotations

import gzip
import struct
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tflite_recipes.files.samples.tfrecord_files import masked_crc32c


def image(path: Path, pixels: Any) -> Path:
    """uint8 (height, width[, 3]), written by Pillow in the form that the name says."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, "uint8")).save(path)
    return path


def images(folder: Path, count: int, size: tuple[int, ...], labels: Sequence[str] = ("",), seed: int = 0) -> Path:
    """PNGs of noise, spread over sub-folders."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        image(folder / labels[i % len(labels)] / f"{i:04}.png", rng.integers(0, 256, size))
    return folder


def wav(path: Path, values: Any, rate: int = 16000, width: int = 2) -> Path:
    """Whole numbers (frames[, channels]) in the range of `width` bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(values, "int64")
    array = array if array.ndim == 2 else array[:, None]
    data = (array + 128).astype("u1") if width == 1 else array.astype("<i4").view("u1").reshape(*array.shape, 4)
    data = data if width == 1 else data[..., :width]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(array.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(np.ascontiguousarray(data).tobytes())
    return path


def tfrecord(path: Path, examples: Sequence[Mapping[str, Any]]) -> Path:
    """Examples whose features are bytes, or lists of floats or of integers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wb") if path.suffix == ".gz" else path.open("wb") as file:
        for example in examples:
            data = example_bytes(example)
            length = struct.pack("<Q", len(data))
            file.write(length + struct.pack("<I", masked_crc32c(length)))
            file.write(data + struct.pack("<I", masked_crc32c(data)))
    return path


def example_bytes(example: Mapping[str, Any]) -> bytes:
    """A tf.train.Example in protobuf's wire format."""
    return _field(1, b"".join(_field(1, _field(1, k.encode()) + _field(2, _feature(v))) for k, v in example.items()))


def _feature(value: Any) -> bytes:
    if isinstance(value, bytes):
        return _field(1, _field(1, value))
    if all(isinstance(item, int) for item in value):
        return _field(3, _field(1, b"".join(_varint(item % 2**64) for item in value)))
    return _field(2, _field(1, struct.pack(f"<{len(value)}f", *value)))


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])
