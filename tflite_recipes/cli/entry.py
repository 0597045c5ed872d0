"""The entry point: which command is meant, and what its errors end in."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from tflite_recipes.cli import check, compare, ls, reproduce, run, sync
from tflite_recipes.cli import parser as parsing
from tflite_recipes.core import leftovers, paths
from tflite_recipes.core.errors import ExitStatus, Problem, RequestError
from tflite_recipes.core.plain_output import show

_COMMANDS = (run, ls, check, reproduce, compare, sync)
_EPILOG = """\
a first run:      tflite-recipes run digits_integer_only
your own model:   tflite-recipes run convert source=keras source.path=model.keras
what there is:    tflite-recipes ls            (recipes)
                  tflite-recipes ls source     (options of a group)
completion:       eval "$(tflite-recipes -sc install=bash)"

exit status: 0 done; 1 a gate failed, or reproduce gave another file; 2 the request is wrong; 3 a step failed;
             4 done but not tracked"""
_START = f"""\
{parsing.SUMMARY}

a first run:      tflite-recipes run digits_integer_only
your own model:   tflite-recipes run convert source=keras source.path=model.keras
list recipes:     tflite-recipes ls

all commands:     tflite-recipes --help"""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of `tflite-recipes`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
        signal.signal(signal.SIGHUP, _interrupt)
    try:
        status = _dispatch(given)
    except RequestError as error:
        if debug:
            raise
        from tflite_recipes.report.console import show_problems

        show_problems(error.problems)
        status = error.status
    except KeyboardInterrupt:
        status = ExitStatus.KILLED
    except BrokenPipeError:
        # The reader of a pipe has seen enough (`| head`); python would complain while closing stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = ExitStatus.DONE
    except Exception as error:
        if debug:
            raise
        from tflite_recipes.core.raised import unexpected
        from tflite_recipes.report.console import show_problems

        problem = Problem(unexpected(error), "tflite-recipes", "", ("the same command with --debug shows where",))
        show_problems((problem,))
        status = ExitStatus.FAILED
    sys.exit(int(status))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with all commands, whose help shows their examples."""
    parser, add = parsing.parser(_EPILOG)
    for module in _COMMANDS:
        module.add_to(add)
    return parser


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _dispatch(given: list[str]) -> ExitStatus:
    if given[:1] in (["-sc"], ["--shell-completion"]):
        from tflite_recipes.cli.completion import shell_completion

        show(shell_completion(given[1] if len(given) > 1 else ""), end="")
        return ExitStatus.DONE
    for word in given:
        if reason := paths.impossible(word):
            raise RequestError(Problem(f"{paths.shortened(word)!r} cannot be used: {reason}", "tflite-recipes"))
    _known_command(given)
    if given[:1] == ["check"]:  # whose overrides argparse takes in one go, so that no flag may stand among them
        flags = [word for word in given[1:] if word in ("-m", "--multirun", "--deep")]
        given = [given[0], *flags, *(word for word in given[1:] if word not in flags)]
    options, rest = build_parser().parse_known_args(given)
    if options.version:
        from tflite_recipes.core.environment import version

        show(f"tflite-recipes {version()}")
        return ExitStatus.DONE
    if options.command is None:
        show(_START)
        return ExitStatus.DONE
    if hasattr(options, "words") and not any(word.startswith("-") for word in rest):
        options.words, rest = [*options.words, *rest], []  # argparse leaves those that stand behind a flag
    options.rest = rest
    if rest and options.command not in ("run", "reproduce"):  # which take overrides
        ways = (f"tflite-recipes {options.command} --help",)
        raise RequestError(Problem(f"{' '.join(rest)} is not known here", options.command, "", ways))
    command: parsing.Command = options.function
    leftovers.remove_abandoned()
    try:
        with leftovers.temporary_files_together():
            return command(options)
    finally:
        leftovers.remove_abandoned()  # of processes that were just ending


def _known_command(given: list[str]) -> None:
    """Say near matches, and a command that lacks what it works on, in our own words rather than argparse's."""
    from tflite_recipes.cli.completion import COMMANDS

    if not given or given[0].startswith("-"):
        return
    if given[0] not in COMMANDS:
        from tflite_recipes.core.schema import near

        similar = near(given[0], COMMANDS)
        hint = f"did you mean {' or '.join(similar)}?" if similar else f"there are {', '.join(COMMANDS)}"
        ways = tuple(f"tflite-recipes {' '.join([name, *given[1:]])}" for name in similar)
        raise RequestError(Problem(f"there is no command {given[0]!r}; {hint}", "tflite-recipes", "", ways))
    if given[1:] == [] and given[0] not in ("ls", "sync"):
        examples = {"inspect": "model.tflite", "rules": "quantization_error.csv"}
        runs = {"diff": "RUN_A RUN_B", "compare": "tflite_recipes"}
        missing = "file" if given[0] in examples else "recipe (tflite-recipes ls lists them)"
        if given[0] in runs:
            what = "no run is named" if given[0] == "diff" else "no experiment and no run is named"
            raise RequestError(Problem(what, given[0], "", (f"tflite-recipes {given[0]} {runs[given[0]]}",)))
        if given[0] == "reproduce":
            ways = ("tflite-recipes reproduce RUN_ID, which a run prints last, and MLflow's page shows",)
            raise RequestError(Problem("no run ID is named", given[0], "", ways))
        raise RequestError(Problem(f"no {missing} is named", given[0], examples.get(given[0], "digits_integer_only")))
