"""Runs the code blocks of a documentation page as a reader would, in one folder and in this process.

RUN_ID, RUN_A, RUN_B and RUN_FOLDER in a command stand for the last runs of the page.
"""

from __future__ import annotations

import difflib
import os
import re
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from support.checkout import Answer, write
from support.docs_blocks import PROGRAM, RUN_LANGUAGES, Block, Command, PageError, commands

MODEL = ("source=keras", "source.path=model.keras")
_STORE = "mlflow.db"
_NEEDS_STORE = re.compile(r"RUN_ID|RUN_A|\bcompare\b|\bdiff\b|\bsync\b|\breproduce\b|mlflow|tracking\.")
_FILE = re.compile(r"# (?P<path>[\w/.-]+\.(?:py|yaml))\b")


class PageRunner:
    """The state of a page while its blocks run: the folder, its files, the Python namespace, the last runs."""

    def __init__(self, folder: Path, cli: Callable[..., Answer], blocks: Sequence[Block]) -> None:
        self._folder, self._cli = folder, cli
        self._namespace: dict[str, Any] = {"__name__": "__main__"}
        self._untracked = not any(_NEEDS_STORE.search(block.text) for block in blocks if _is_run(block))

    def problems(self, blocks: Sequence[Block]) -> list[str]:
        """Run blocks in their order and return the problems, each with its line."""
        found = []
        for block in blocks:
            try:
                self.run(block)
            except PageError as error:
                found.append(str(error))
        return found

    def run(self, block: Block) -> None:
        """Run a block as its language and its steering want it. Errors: PageError."""
        if not _is_run(block):
            return
        {"sh": self._shell, "console": self._console, "python": self._python, "yaml": self._yaml}[block.language](block)

    def _shell(self, block: Block) -> None:
        for command in commands(block.text, block.line):
            filled = self._filled(command, block.steering)
            answer = self._answer(filled)
            if answer.status != 0:
                said = (answer.err or answer.out)[-1500:]
                raise PageError(command.line, f"{filled} ends with status {answer.status}:\n{said}")
            if command.output is not None:
                write(self._folder / command.output, answer.out)

    def _answer(self, command: Command) -> Answer:
        if command.program != PROGRAM:
            return _download(command)
        before = {name: os.environ.get(name) for name, _ in command.variables}
        os.environ.update(command.variables)
        try:
            return self._cli(*command.words)
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value

    def _filled(self, command: Command, steering: str) -> Command:
        """The command with runs in the place of their names, as a check if the block is only checked."""
        words = [self._filled_word(word, command.line) for word in command.words]
        if words[:1] == ["sync"] and not (self._folder / "outputs").exists():
            self._run(-1, command.line)
        if words[:1] == ["run"] and steering:
            words = ["check", *words[1:]]
        elif words[:1] == ["run"] and self._untracked and not any(word.startswith("tracking") for word in words):
            words = [*words, "tracking=none"]
        return replace(command, words=tuple(words))

    def _filled_word(self, word: str, line: int) -> str:
        for name, place in (("RUN_ID", -1), ("RUN_B", -1), ("RUN_A", -2)):
            if re.search(rf"\b{name}\b", word):
                word = re.sub(rf"\b{name}\b", self._run(place, line), word)
        return re.sub(r"\bRUN_FOLDER\b", lambda _: self._run_folder(line), word)

    def _run(self, place: int, line: int) -> str:
        """The ID of a past run of this page. A page that runs nothing before gets runs."""
        while len(found := self._runs()) < -place:
            number = len(found)
            answer = self._cli("run", "convert", *MODEL, f"optimization={('none', 'dynamic_range')[number % 2]}")
            if answer.status:
                raise PageError(line, f"there is no run to take, and none can be made: {answer.err}")
        return found[place]

    def _runs(self) -> list[str]:
        """The IDs of the page's runs, the newest last, without the parents of sweeps and searches."""
        if not (self._folder / _STORE).exists():
            return []
        with sqlite3.connect(self._folder / _STORE) as store:
            rows = store.execute("SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active' ORDER BY start_time")
            parents = store.execute("SELECT value FROM tags WHERE key = 'mlflow.parentRunId'").fetchall()
            return [run_id for (run_id,) in rows if (run_id,) not in parents]

    def _run_folder(self, line: int) -> str:
        """The newest output folder with errors by op."""
        files = sorted(self._folder.glob("outputs/**/quantization_error.csv"), key=lambda file: file.stat().st_mtime)
        if not files:
            raise PageError(line, "no run of this page has a quantization_error.csv")
        return str(files[-1].parent)

    def _console(self, block: Block) -> None:
        for shown in re.split(r"^(?=\$ )", block.text, flags=re.MULTILINE):
            line = block.line + block.text[: block.text.index(shown)].count("\n") if shown else block.line
            first, _, expected = shown.replace("\\\n", " ").partition("\n")
            for command in commands(first.removeprefix("$ "), line):
                answer = self._answer(self._filled(command, block.steering))
                if different := differences(expected, answer.out + answer.err):
                    raise PageError(line, f"{first} prints something else:\n{different}")

    def _python(self, block: Block) -> None:
        if (named := _FILE.match(block.text)) is not None:
            write(self._folder / named["path"], block.text)
            return
        try:
            code = compile("\n" * (block.line - 1) + block.text, "page", "exec")
            exec(code, self._namespace)
        except PageError:
            raise
        except BaseException as error:
            raise PageError(_line_of(error, block), f"{type(error).__name__}: {error}") from error

    def _yaml(self, block: Block) -> None:
        try:
            yaml.safe_load(block.text)
        except yaml.YAMLError as error:
            raise PageError(block.line, f"no YAML: {error}") from error
        if (named := _FILE.match(block.text)) is not None:
            write(self._folder / named["path"], block.text)


def _is_run(block: Block) -> bool:
    return block.language in RUN_LANGUAGES and not block.steering.startswith("not run: ")


def _download(command: Command) -> Answer:
    """Download artifacts as `mlflow artifacts download` does, in this process."""
    from click.testing import CliRunner
    from mlflow.store.artifact.cli import commands as artifacts

    result = CliRunner().invoke(artifacts, list(command.words[1:]))
    return Answer(result.exit_code, result.output, "" if result.exception is None else repr(result.exception))


def _line_of(error: BaseException, block: Block) -> int:
    """The line of the page that raised an error."""
    line, traceback = block.line, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == "page":
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return error.lineno or line if isinstance(error, SyntaxError) else line


def outline(text: str) -> list[str]:
    """The lines of an output without what differs from run to run and from machine to machine."""
    text = re.sub(r"\d{4}-\d\d-\d\d_[\d.-]+|[0-9a-f]{32}", "…", text)
    text = re.sub(r"-?\d[\d,]*(\.\d+)?(e-\d+)?", "0", text)
    return [" ".join(line.split()) for line in text.splitlines()]


def differences(expected: str, printed: str) -> str:
    """Return what differs between an output as shown and as printed, "" if nothing does.

    A line of … stands for any lines.
    """
    shown, found = outline(expected.strip()), outline(printed.strip())
    pattern = "\n".join(r"(?:.*\n)*?.*" if line in ("…", "...") else re.escape(line) for line in shown)
    if re.fullmatch(pattern, "\n".join(found)):
        return ""
    return "\n".join(difflib.unified_diff(shown, found, "shown", "printed", lineterm="")) or "blank lines"
