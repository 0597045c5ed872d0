"""Commands that hold past runs against each other: diff, compare."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tflite_recipes.cli import tracking_options
from tflite_recipes.cli.parser import Add
from tflite_recipes.core.errors import ExitStatus, Problem, RequestError, gist
from tflite_recipes.core.plain_output import show
from tflite_recipes.past_runs.compare import LIMIT

if TYPE_CHECKING:
    from tflite_recipes.past_runs.compare.comparison import Comparison


def add_to(add: Add) -> None:
    """The commands' own lines in the parser."""
    diff = add("diff", _diff, "show what differs between two runs: config, ops, tensor types, size, metrics")
    diff.add_argument("words", nargs="*", metavar="RUN_ID", help="two runs, each by its ID or the start of it")
    diff.add_argument("--all", action="store_true", help="also tracking.* and worker.*, all tensors, all times")
    compare = add(
        "compare",
        _compare,
        "compare runs in a table and a plot, and mark those that no other run beats in size and quality",
    )
    text = "an experiment, the run of a sweep or search, or several runs"
    compare.add_argument("words", nargs="*", metavar="EXPERIMENT|RUN_ID", help=text)
    compare.add_argument(
        "--candidates", action="store_true", help="with an experiment: also the candidates of searches"
    )
    compare.add_argument(
        "--limit", type=int, default=LIMIT, metavar="N", help=f"at most the N newest runs (default {LIMIT})"
    )
    compare.add_argument("--x", metavar="METRIC", help="horizontal axis (default size.tflite_bytes)")
    compare.add_argument("--y", metavar="METRIC", help="vertical axis (default accuracy.drop, otherwise parity)")
    text = "write compare.html, pareto.png, compare.json and compare.csv to DIR"
    compare.add_argument("--output", type=Path, metavar="DIR", help=text)
    text = "do not log these files to the parent run that the runs share"
    compare.add_argument("--no-log", action="store_true", help=text)
    for command in (diff, compare):
        command.add_argument("--json", action="store_true", help="print only JSON to standard output")
        tracking_options.add_uri(command)


def _diff(options: argparse.Namespace) -> ExitStatus:
    from tflite_recipes.past_runs.compare import api
    from tflite_recipes.past_runs.compare.serialization import diff_json
    from tflite_recipes.past_runs.compare.terminal_tables import show_diff

    uri, words = tracking_options.split(options, options.words)
    if len(words) != 2:
        named = "1 run is" if len(words) == 1 else f"{len(words)} runs are"
        what = f"{named} named; it takes two"
        raise RequestError(Problem(what, "diff", "", ("tflite-recipes diff RUN_A RUN_B",)))
    found = api.diff(*words, tracking_uri=uri, everything=options.all)
    if options.json:
        show(json.dumps(diff_json(found), indent=2))
    else:
        show_diff(found, options.all)
    return ExitStatus.DONE


def _compare(options: argparse.Namespace) -> ExitStatus:
    from tflite_recipes.past_runs.compare import api, output_files
    from tflite_recipes.past_runs.compare.serialization import comparison_json
    from tflite_recipes.past_runs.compare.terminal_tables import show_comparison

    uri, words = tracking_options.split(options, options.words)
    if not words:
        ways = ("tflite-recipes compare tflite_recipes",)
        raise RequestError(Problem("no experiment and no run is named", "compare", "", ways))
    chosen = {name: getattr(options, name) for name in ("candidates", "limit", "x", "y")}
    found = api.compare(*words, tracking_uri=uri, **chosen)
    if options.json:
        show(json.dumps(comparison_json(found), indent=2))
    else:
        show_comparison(found)
    say = sys.stderr if options.json else sys.stdout
    if options.output is not None:
        written = output_files.write(found, options.output)
        show(f"written: {', '.join(str(path) for path in written)}", say)
    return _keep(found, options, say)


def keep_of_sweep(uri: str, parent_run_id: str) -> None:
    """Log what a sweep's runs came to beside each other to its parent run. What goes wrong is a line on standard
    error: the sweep itself is done."""
    from tflite_recipes.past_runs.compare import api

    try:
        failure = api.log(api.compare(parent_run_id, tracking_uri=uri, limit=sys.maxsize))
    except Exception as error:
        failure = gist(error)
    if failure is not None:
        show(f"the runs' comparison is not logged: {failure}", sys.stderr)


def _keep(found: Comparison, options: argparse.Namespace, say: TextIO) -> ExitStatus:
    """Log the files to the parent run; where that fails, what was asked for is done but not tracked."""
    from tflite_recipes.past_runs.compare import api

    if options.no_log:
        return ExitStatus.DONE
    if found.parent_run_id is None:
        rest = "" if options.output is not None else "; --output DIR writes page and plot here"
        show(f"the runs share no parent run, so nothing is logged{rest}", say)
        return ExitStatus.DONE
    failure = api.log(found)
    if failure is not None:
        show(f"not logged to the parent run {found.parent_run_id}: {failure}", sys.stderr)
        return ExitStatus.UNTRACKED
    place = "compare" if found.whole else "compare/selection"
    show(f"logged to the parent run {found.parent_run_id}: artifacts {place}/", say)
    return ExitStatus.DONE
