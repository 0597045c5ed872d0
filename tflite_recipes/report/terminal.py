"""The one place where plain text is printed. Control characters in it are spelled out."""

from __future__ import annotations

import sys
from typing import TextIO

from tflite_recipes.core.errors import printable


def show(text: str, stream: TextIO | None = None, end: str = "\n") -> None:
    """Print a text that may hold what files, recipes or servers say: no escape code of it reaches a terminal."""
    target = stream if stream is not None else sys.stdout
    target.write(printable(text) + end)
    target.flush()
