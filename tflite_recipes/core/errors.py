"""What goes wrong, said in one form everywhere: what, where, and the override that fixes it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

from tflite_recipes.core.library_messages import telling_line

# Words of our own that stand for what only the user knows.
_PLACEHOLDER = re.compile(r"(?<=[=.:,\[{])(?:FILE|FOLDER|OTHER|NAME|VALUE|OPTION|COLUMN)\b(?!/)")


def typeable(fix: str, alternatives: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return a fix and the other ways; a fix with a word that the user has to replace becomes the first of those."""
    if not fix.startswith("--") and _PLACEHOLDER.search(fix):
        return "", (fix, *alternatives)
    return fix, alternatives


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
    """One problem of a request or a run.

    A fix with a word that the user has to replace (`source.path=FILE`) cannot be pasted. It becomes the first
    alternative.

    Attributes:
        what: the problem in words.
        where: config key, layer, op or file.
        fix: overrides to paste behind the failed command; "" if there are none.
        alternatives: other ways, as overrides or advice.
        remedies: remedies that a run may take by itself if `conversion.fallback` lists them.
    """

    what: str
    where: str = ""
    fix: str = ""
    alternatives: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        fix, others = typeable(self.fix, self.alternatives)
        object.__setattr__(self, "fix", fix)
        object.__setattr__(self, "alternatives", others)

    def lines(self) -> list[str]:
        """The problem as it is printed, the `fix: ` and `or: ` lines on lines of their own."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        fixes = [f"fix: {self.fix}"] if self.fix else []
        return [printable(line) for line in (head, *fixes, *(f"or: {other}" for other in self.alternatives))]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Problem:
        """What `to_json` gave, also after it has been JSON text."""
        several = (tuple(data.get(name, ())) for name in ("alternatives", "remedies"))
        return cls(data["what"], data["where"], data["fix"], *several)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# C0 without tab and line end, DEL and C1, what turns the direction of writing, and halves of letters.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with every control character but line ends and tabs spelled out: names that come from a server, a model
    or a file say what they say, and command no terminal."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def gist(error: BaseException) -> str:
    """The line of an exception's message that tells most (see `library_messages`).

    Errors of the system, of text that cannot be decoded and of keys that are missing are put in words, because Python
    shows their parts.
    """
    if (words := _in_words(error)) is not None:
        return words
    lines = [line.strip() for line in _ANSI.sub("", str(error)).splitlines() if line.strip()]
    return telling_line(lines) if lines else type(error).__name__


def _in_words(error: BaseException) -> str | None:
    match error:
        case OSError(strerror=str(reason)) if reason:
            return f"{reason}: {error.filename}" if error.filename else reason
        case UnicodeDecodeError(encoding=encoding, start=start):
            return f"it is not text in {encoding.upper()} (byte {start})"
        case UnicodeEncodeError(object=text):
            return f"{text!r} is not text that {error.encoding.upper()} can hold"
        case KeyError(args=(key,)) if not (isinstance(key, str) and " " in key):
            return f"the key {key!r} is missing"
        case KeyError(args=(str(text),)):
            return text.strip().partition("\n")[0]  # whose own text is the text in quotes
        case MemoryError():
            return "memory ran out"
    return None


def assignment(key: str, value: Any) -> str:
    """`key=value` ready to paste: quoted for Hydra, then for the shell. A `key` alone (`~key`) where value is ...."""
    return shlex.quote(key if value is ... else f"{key}={_hydra(value)}")


# What Hydra takes for text without quotes, and what looks like text but is read as something else.
_BARE = re.compile(r"[A-Za-z_./][\w./:-]*", re.ASCII)
_READ_OTHERWISE = ("null", "true", "false", "nan", "inf")


def _hydra(value: Any) -> str:
    """A plain value in the grammar of Hydra's overrides, which has no quotes for the keys of a mapping."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_hydra(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_hydra, value)) + "]"
    text = str(value)
    if not isinstance(value, str) or (_BARE.fullmatch(text) and text.lower() not in _READ_OTHERWISE):
        return text
    # A backslash stands for itself, but before a quotation mark, of which the closing one is the last.
    escaped = re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + ('\\"' if found[2] else ""), text)
    return f'"{escaped}"'


class RecipeError(Exception):
    """Base of the two kinds below. Carries every problem that was found, not only the first."""

    status = ExitStatus.FAILED

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(line for problem in self.problems for line in problem.lines()))


class RequestError(RecipeError):
    """The request is wrong: config, missing file or bad data. The user can fix it."""

    status = ExitStatus.REQUEST


class StepError(RecipeError):
    """A step failed although the request was valid."""

    status = ExitStatus.FAILED


class WrongFile(StepError):
    """The file was run and is wrong, so that it is not delivered. Any other failure of an analysis keeps the file."""
