"""No escape code of a file, a recipe or a server reaches a terminal."""

import ast
import io
import re

import pytest
from rich.table import Table
from support.checkout import REPOSITORY

from tflite_recipes.core import events
from tflite_recipes.core.plain_output import show
from tflite_recipes.report.console import Console
from tflite_recipes.report.terminal import rich_console

# Colour, a title, a link, a device control, the C1 form of it, a bell, and letters that turn the direction of writing.
CODES = "\x1b[31m", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x1bP1$q\x1b\\", "\x9b31m", "\x07", "\u202e", "\r"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def codes_in(text: str) -> set[str]:
    """The escape codes in what a terminal gets, besides the colours and cursor moves of rich's own."""
    text = re.sub(r"\x1b\[\??[\d;]*[a-zA-Z]|\r(?=\x1b)", "", text)
    return set(re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text))


@pytest.mark.parametrize("code", [*CODES, "[red]", "[/x]", "[link=http://x]", ":smile:"], ids=ascii)
@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_text_with_codes_or_markup_is_printed_as_it_is(code, kind, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    stream, name = kind(), f"a{code}b"
    out = rich_console(stream)
    table = Table("title", name, box=None)
    table.add_row(name, name)
    out.print(name, style="red", markup=False)
    out.print(name)
    out.print(table)
    console = Console(stream)
    for event in (
        events.StepStarted(name, name),
        events.Progress(name, 1, 3, name),
        events.Warned(name),
        events.Progress(name, 3, 3, name),
        events.StepFinished(name, 1.0),
    ):
        console(event)
    show(name, stream)
    said = stream.getvalue()
    assert codes_in(said) == set()
    assert "\x1b[31mb" not in said
    spelled = f"a{code}b" if code.isprintable() else f"a{ascii(code)[1:-1]}b".replace("\\\\", "\\")
    assert said.count(spelled) >= 8


@pytest.mark.slow
def test_commands_print_through_one_place():
    calls = []
    for room in ("cli", "past_runs", "tracking", "report", "config", "steps", "core"):
        for file in sorted((REPOSITORY / "tflite_recipes" / room).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                is_print = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
                is_write = isinstance(node, ast.Attribute) and ast.unparse(node) in (
                    "sys.stdout.write",
                    "sys.stderr.write",
                )
                if is_print or is_write:
                    calls.append(f"{file.name}:{node.lineno}")
    assert calls == []


@pytest.mark.slow
def test_commands_show_a_recipe_with_codes_in_its_name_plainly(here, cli):
    text = 'defaults: [digits_float, _self_]\nname: "a\\e[31mred\\u202e"\nx: 1\n'
    (here / "own.yaml").write_text(text)
    for command in (["check", "own.yaml"], ["show", "own.yaml"], ["check", "own.yaml", "source.path=\x1b[31m"]):
        answer = cli(*command)
        assert codes_in(answer.out + answer.err) == set()
    (here / "recipes").mkdir()
    (here / "recipes" / "b.yaml").write_text("# \x1b]0;title\x07 [/red] words\n" + text)
    answer = cli("ls")
    assert answer.status == 0
    assert codes_in(answer.out) == set()
    assert "[/red] words" in answer.out
