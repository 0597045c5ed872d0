"""Text as runtimes read it: UTF-8 bytes."""

from __future__ import annotations

from typing import Any

TEXT_KINDS = "OSU"


def encoded(array: Any) -> Any:
    """Return an array of text as bytes in UTF-8, in items as long as the longest; any other array as it is."""
    import numpy as np

    if array.dtype.kind not in TEXT_KINDS:
        return array
    flat = [item.encode() if isinstance(item, str) else bytes(item) for item in array.reshape(-1).tolist()]
    return np.array(flat, np.bytes_).reshape(array.shape)
