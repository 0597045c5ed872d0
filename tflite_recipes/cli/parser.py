"""The parser that all commands are added to."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from tflite_recipes.cli import examples
from tflite_recipes.core.errors import ExitStatus, Problem, RequestError

Command = Callable[[argparse.Namespace], ExitStatus]
# add(name, function, text): a command's own parser, whose function gets the parsed arguments.
Add = Callable[[str, Command, str], argparse.ArgumentParser]
SUMMARY = "TensorFlow and Keras models to TensorFlow Lite, as recipes that can be repeated exactly."
_FORMATTER = argparse.RawDescriptionHelpFormatter


class Parser(argparse.ArgumentParser):
    """Says near matches and exits with our status for a wrong request."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(Problem(message, self.prog, "", (f"{self.prog} --help",)))


def parser(epilog: str) -> tuple[argparse.ArgumentParser, Add]:
    """The parser of `tflite-recipes`, and what adds a command to it."""
    whole = Parser("tflite-recipes", description=SUMMARY, epilog=epilog, formatter_class=_FORMATTER)
    whole.add_argument("--version", action="store_true", help="show the version")
    whole.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    def add(name: str, function: Any, text: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = commands.add_parser(
            name, help=text, description=text, epilog=examples.shown(name), formatter_class=_FORMATTER
        )
        command.set_defaults(function=function)
        return command

    return whole, add
