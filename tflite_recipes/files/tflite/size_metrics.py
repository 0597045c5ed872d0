"""What a file weighs."""

from __future__ import annotations

import gzip
from pathlib import Path


def size_metrics(path: Path, parameters: int) -> dict[str, float]:
    """File size, 4 bytes × the source's parameters, size when gzipped (level 6), and file size over float size."""
    data = path.read_bytes()
    metrics = {
        "size.tflite_bytes": float(len(data)),
        "size.gzip_bytes": float(len(gzip.compress(data, 6, mtime=0))),
        "size.float_bytes": 4.0 * parameters,
    }
    if parameters:
        metrics["size.ratio"] = len(data) / (4 * parameters)
    return metrics
