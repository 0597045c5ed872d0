"""The checkout that is tested, and small things that most tests use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = REPOSITORY.parent / "shared"


@dataclass(frozen=True)
class Answer:
    """What a command came to."""

    status: int
    out: str
    err: str

    @property
    def fixes(self) -> list[str]:
        """What stands on the `fix: ` lines."""
        return [line.removeprefix("fix: ") for line in self.err.splitlines() if line.startswith("fix: ")]


def first_way(problem: Any) -> str:
    """The fix of a problem, or the first of the other ways if the user has to fill something in."""
    return problem.fix or next(iter(problem.alternatives), "")


def write(path: Path, text: str) -> Path:
    """A small file, with the folders that it stands in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
