"""The command reproduce: a past run made again, and a verdict."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from tflite_recipes.cli import tracking_options
from tflite_recipes.cli.parser import Add
from tflite_recipes.core.errors import ExitStatus, Problem, RequestError

_TEXT = "rebuild a past run from its run ID and compare the files"


def add_to(add: Add) -> None:
    """The command's own lines in the parser."""
    command = add("reproduce", _reproduce, _TEXT)
    command.add_argument("run_id", metavar="RUN_ID", help="ID of an MLflow run; `run` prints it last")
    tracking_options.add_uri(command)
    for name, what in (
        ("source", "the source model"),
        ("calibration-data", "calibration"),
        ("evaluation-data", "evaluation"),
    ):
        text = f"where the file of the {what} data is now" if name != "source" else "where the source model is now"
        command.add_argument(f"--{name}", metavar="FILE", help=text)
    command.add_argument("--input", action="append", default=[], metavar="KEY=FILE", help="the same for any other key")
    command.add_argument(
        "--tolerance",
        type=float,
        metavar="X",
        help="accept outputs that differ by at most this share of their range, with exit status 0 "
        "(without it, a difference of at most 0.005, one step of an int8 output, is reported with exit status 1)",
    )
    text = "if a file here has changed since the run, use the one that the run uploaded"
    command.add_argument("--use-kept", action="store_true", help=text)
    command.add_argument(
        "--trust", action="store_true", help="run the code and programs that the downloaded recipe names"
    )
    command.add_argument("--output-dir", type=Path, metavar="DIR", help="default: a new folder below outputs/")
    command.add_argument("words", nargs="*", metavar="key=value", help="overrides of tracking.… and worker.…")


def _reproduce(options: argparse.Namespace) -> ExitStatus:
    from tflite_recipes.past_runs import reproduce as reproducing
    from tflite_recipes.report.console import show_problems, show_reproduction, show_result

    if unknown := [text for text in options.rest if text.startswith("-")]:
        what = f"{' '.join(unknown)} is not known here"
        raise RequestError(Problem(what, "reproduce", "", ("tflite-recipes reproduce --help",)))
    uri, words = tracking_options.split(options, [*options.words, *options.rest])
    done = reproducing.reproduce(
        options.run_id,
        uri,
        source=options.source,
        calibration_data=options.calibration_data,
        evaluation_data=options.evaluation_data,
        inputs=_by_key(options.input),
        tolerance=options.tolerance,
        trust=options.trust,
        use_kept=options.use_kept,
        overrides=words,
        output_dir=options.output_dir,
    )
    with contextlib.suppress(BrokenPipeError):  # nobody reads on; the run is done all the same
        sys.stdout.flush()
        show_problems(done.run.problems)
        show_result(done.run)
        verdict = done.verdict.value if done.verdict is not None else None
        show_reproduction(done.original, verdict, done.sha256, done.differences, done.notes)
        if verdict == "numerically equal" and options.tolerance is None:
            tolerance = done.record["tolerance"] if done.record else 0
            what = "numerically equal is no success unless a tolerance is named"
            show_problems([Problem(what, "--tolerance", f"--tolerance {tolerance:g}")])
    return done.status


def _by_key(listed: list[str]) -> dict[str, str]:
    found = {}
    for text in listed:
        key, sign, path = text.partition("=")
        if not sign or not key or not path:
            raise RequestError(Problem(f"{text!r} is not KEY=FILE", "--input", "--input pruning.data=FILE"))
        found[key] = path
    return found
