"""The code blocks of the documentation pages, and the commands in them, each with its line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sybil.document import Document
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

from support.checkout import REPOSITORY

# Written by the code itself: test_generated_pages compares them.
GENERATED = ("cli.md", "recipes.md", "groups/")
# What may stand in a comment above a block.
STEERING = ("check", "compose", "not run: ")
# Comments above blocks that other tests look for and run.
MARKS = ("main command", "main output", "test command")
RUN_LANGUAGES = ("sh", "console", "python", "yaml")
OTHER_LANGUAGES = ("text", "json")
PROGRAM = "tflite-recipes"
DOWNLOAD = ("mlflow", "artifacts", "download")
# Programs of other projects that pages name. They are not run, but for DOWNLOAD.
OTHER_PROGRAMS = (
    ".",
    "bash",
    "curl",
    "docker",
    "eval",
    "git",
    "mlflow",
    "pip",
    "pytest",
    "python",
    "python3",
    "zensical",
)


class PageError(AssertionError):
    """What is wrong in a page, with its line."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")


@dataclass(frozen=True)
class Block:
    """A code block. line: that of its first line of code. steering: the comment right above it, "" for none."""

    line: int
    language: str
    text: str
    steering: str = ""


@dataclass(frozen=True)
class Command:
    """A command line of a block. words: without redirection. output: the file that gets standard output."""

    line: int
    program: str
    words: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()
    output: str | None = None

    def __str__(self) -> str:
        return shlex.join([self.program, *self.words])


def pages() -> list[Path]:
    """Return README.md and the pages of docs/ that people write."""
    docs = REPOSITORY / "docs"
    reference = (docs / "reference").as_posix()
    written = [
        path
        for path in sorted(docs.rglob("*.md"))
        if not path.as_posix().startswith(tuple(f"{reference}/{name}" for name in GENERATED))
    ]
    return [REPOSITORY / "README.md", *written]


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page. Errors: PageError for a language or comment that has no meaning here."""
    document = Document.parse(str(page), RawFencedCodeBlockLexer(re.compile(r"(?P<language>[^\n]*)\n")))
    found = []
    for example in document.examples():
        region = example.region
        language = str(region.lexemes["language"]).strip()
        above = re.search(r"<!--\s*(.*?)\s*-->\s*\n\Z", document.text[: region.start])
        comment = above[1] if above else ""
        steering = f"not run: {comment}" if comment in MARKS else comment
        if language not in (*RUN_LANGUAGES, *OTHER_LANGUAGES):
            raise PageError(example.line, f"a block in {language!r}; there are {', '.join(RUN_LANGUAGES)}, text, json")
        if steering and not steering.startswith(STEERING):
            raise PageError(example.line, f"{steering!r} above a block; there are {', '.join(STEERING)}REASON")
        found.append(Block(example.line + 1, language, str(region.lexemes["source"]), steering))
    return found


def commands(text: str, first_line: int) -> Iterator[Command]:
    """Yield the commands of a shell text that tests can run, in their order.

    A backslash at the end of a line continues it; && and | separate commands, of which only the first of a pipe counts.
    Errors: PageError for a program that no page should name.
    """
    number = first_line
    for whole in text.replace("\\\n", "\0").split("\n"):
        line, number = number, number + 1 + whole.count("\0")
        yield from _commands_of_line(whole.replace("\0", " "), line)


def _commands_of_line(text: str, line: int) -> Iterator[Command]:
    try:
        tokens = shlex.split(text, comments=True)
    except ValueError as error:
        raise PageError(line, f"no shell would read it: {error}") from error
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token == "&&":
            parts.append([])
        else:
            parts[-1].append(token)
    for part in filter(None, parts):
        piped = part[: part.index("|")] if "|" in part else part
        words = list(piped)
        variables = []
        while words and re.match(r"[A-Z_]+=", words[0]):
            name, _, value = words.pop(0).partition("=")
            variables.append((name, value))
        is_download = tuple(words[: len(DOWNLOAD)]) == DOWNLOAD
        if not words or (words[0] in OTHER_PROGRAMS and not is_download):
            continue
        if words[0] != PROGRAM and not is_download:
            raise PageError(line, f"there is no program {words[0]!r}; there are {PROGRAM}, {', '.join(OTHER_PROGRAMS)}")
        output = None
        if ">" in words:
            place = words.index(">")
            output, words = words[place + 1], words[:place]
        yield Command(line, words[0], tuple(words[1:]), tuple(variables), output)
