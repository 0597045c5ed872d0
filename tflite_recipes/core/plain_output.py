"""Prints text that files, recipes or servers had a part in. No other code of the commands calls `print`."""

from __future__ import annotations

import sys
from typing import TextIO

from tflite_recipes.core.errors import printable


def show(text: str, stream: TextIO | None = None, end: str = "\n") -> None:
    """Print a text as it is, however long. Control characters in it are spelled out."""
    target = stream if stream is not None else sys.stdout
    target.write(printable(text) + end)
    target.flush()
