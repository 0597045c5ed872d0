"""What a file weighs."""

from __future__ import annotations

import zlib
from pathlib import Path

_CHUNK = 1 << 18
_LEVEL = 6
# Tells zlib to write gzip's header and trailer.
_GZIP = zlib.MAX_WBITS | 16


def size_metrics(path: Path, parameters: int) -> dict[str, float]:
    """File size, 4 bytes × the source's parameters, size when gzipped (level 6), and file size over float size."""
    size = path.stat().st_size
    metrics = {
        "size.tflite_bytes": float(size),
        "size.gzip_bytes": float(_gzip_bytes(path)),
        "size.float_bytes": 4.0 * parameters,
    }
    if parameters:
        metrics["size.ratio"] = size / (4 * parameters)
    return metrics


def _gzip_bytes(path: Path) -> int:
    """Return the size of the gzipped file, of which memory holds a part at a time."""
    packed, size = zlib.compressobj(_LEVEL, wbits=_GZIP), 0
    with path.open("rb") as stream:
        while part := stream.read(_CHUNK):
            size += len(packed.compress(part))
    return size + len(packed.flush())
