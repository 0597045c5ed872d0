"""What the Edge TPU's compiler says of a file, on its standard output and in its operation log.

The form is that of compilers 14 to 16, as users show it in issues 427, 433 and 572 of github.com/google-coral/edgetpu:
a line a figure, and with `-s` a table of operator, count and status.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAPPED = "Mapped to Edge TPU"
_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SIZE = r":\s*([\d.]+)\s*(B|KiB|MiB|GiB)\b"
_ROW = re.compile(r"^([A-Za-z][\w-]*)\s{2,}(\d+)\s{2,}(\S.*?)\s*$", re.MULTILINE)
_VERSION = re.compile(r"Edge TPU Compiler version (\S+)")
_TELLING = re.compile(r"^(ERROR: .*|Compilation failed: .*|Internal compiler error.*|Invalid model.*)$", re.MULTILINE)


@dataclass(frozen=True)
class CompilerLog:
    """version: the compiler's. statuses: operator, count and status, a row each; on_chip, off_chip, left: bytes of
    parameters that are cached, that are streamed at each invoke, and that more would fit; None where it is not said."""

    version: str
    statuses: tuple[tuple[str, int, str], ...]
    subgraphs: int | None
    on_chip: int | None
    left: int | None
    off_chip: int | None

    @property
    def mapped(self) -> int:
        """How many ops the Edge TPU runs."""
        return sum(count for _, count, status in self.statuses if status == MAPPED)

    @property
    def total(self) -> int:
        """How many ops the table has."""
        return sum(count for _, count, _ in self.statuses)


def parse(text: str) -> CompilerLog:
    """Read what the compiler printed; what it did not print is "" or None or no row."""
    version = _VERSION.search(text)
    subgraphs = re.search(r"Number of Edge TPU subgraphs:\s*(\d+)", text)
    return CompilerLog(
        version[1] if version else "",
        tuple((name, int(count), status) for name, count, status in _ROW.findall(text)),
        int(subgraphs[1]) if subgraphs else None,
        _bytes("On-chip memory used for caching model parameters", text),
        _bytes("On-chip memory remaining for caching model parameters", text),
        _bytes("Off-chip memory used for streaming uncached model parameters", text),
    )


def telling_line(text: str) -> str:
    """The line that says why it failed: its first complaint, else the last line."""
    found = _TELLING.search(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return found[1] if found else lines[-1] if lines else "it said nothing"


def _bytes(what: str, text: str) -> int | None:
    found = re.search(re.escape(what) + _SIZE, text)
    return round(float(found[1]) * _UNITS[found[2]]) if found else None
