"""The console that tables and coloured lines go through. `core/plain_output.py` prints what is parsed or pasted."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from tflite_recipes.core.errors import printable


class _Console(RichConsole):
    """Prints names of files, recipes and servers as they are.

    It goes on in silence when its reader has gone (`| head`): what is being done is not for its eyes alone.
    """

    def on_broken_pipe(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as text to print. Tables measure their cells by it, so it has its last form here."""
        return super().render_str(printable(text), **{**options, "markup": False, "emoji": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the parts of what is printed. Styles come after this, so that an escape code here is not ours."""
        for segment in super().render(renderable, options):
            yield segment if segment.is_control else segment._replace(text=printable(segment.text))


def rich_console(stream: TextIO | None = None) -> RichConsole:
    """Plain text where nobody looks on: no colours, no wrapping of what may be parsed or pasted."""
    target = stream or sys.stdout
    if target.isatty():
        return _Console(file=target, highlight=False)
    return _Console(file=target, highlight=False, width=160, no_color=True, soft_wrap=True)
