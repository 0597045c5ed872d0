"""What goes wrong, said in one form everywhere: what, where, and the override that fixes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any


class ExitStatus(IntEnum):
    """What a command answers to the shell."""

    DONE = 0
    GATE = 1
    REQUEST = 2
    FAILED = 3
    UNTRACKED = 4
    KILLED = 130


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    `where` is a config key, a layer, an op or a file; `fix` is the best remedy, ready to paste behind the command
    that failed; `alternatives` are the other ways.
    """

    what: str
    where: str = ""
    fix: str = ""
    alternatives: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The problem as it is printed, the `fix: ` and `or: ` lines on lines of their own."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        fixes = [f"fix: {self.fix}"] if self.fix else []
        return [head, *fixes, *(f"or: {other}" for other in self.alternatives)]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Problem:
        return cls(data["what"], data["where"], data["fix"], tuple(data["alternatives"]))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class RecipeError(Exception):
    """Base of the two kinds below. Carries every problem that was found, not only the first."""

    status = ExitStatus.FAILED

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(line for problem in self.problems for line in problem.lines()))


class RequestError(RecipeError):
    """The request is wrong: config, missing file, bad data. The user can mend it."""

    status = ExitStatus.REQUEST


class StepError(RecipeError):
    """A step failed on a request that looked right."""

    status = ExitStatus.FAILED
