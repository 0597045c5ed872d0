"""Comparing past runs from Python. The commands are a thin layer over this.

comparison = tflite_recipes.compare("my experiment")
[run.label for run in comparison.front], comparison.runs[0].metrics["size.tflite_bytes"]
difference = tflite_recipes.diff("4580c994", "5466ebcd")
difference.config, difference.tensors.changed, difference.metrics
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tflite_recipes.core import leftovers
from tflite_recipes.past_runs.compare import LIMIT, output_files, run_facts, selection
from tflite_recipes.past_runs.compare.comparison import Comparison, compare_runs
from tflite_recipes.past_runs.compare.later_keys import with_later_keys
from tflite_recipes.past_runs.compare.run_diff import RunDiff, diff_facts
from tflite_recipes.tracking import comparison_upload
from tflite_recipes.tracking.run_reader import PastRuns
from tflite_recipes.tracking.uris import default_uri


def diff(run_a: str, run_b: str, *, tracking_uri: str | None = None, everything: bool = False) -> RunDiff:
    """Return what differs between two past runs.

    Args:
        run_a: ID of a run, or the start of it.
        run_b: ID of the other run, or the start of it.
        tracking_uri: by default MLFLOW_TRACKING_URI, otherwise `sqlite:///mlflow.db`.
        everything: whether `tracking.*` and `worker.*` are compared too.

    Raises:
        RequestError: A run does not exist, or the server cannot be read.
    """
    runs = PastRuns(tracking_uri or default_uri())
    a, b = runs.beginning(run_a), runs.beginning(run_b)
    return diff_facts(run_facts.read(runs, a), run_facts.read(runs, b), everything)


def compare(
    *what: str,
    tracking_uri: str | None = None,
    candidates: bool = False,
    limit: int = LIMIT,
    x: str | None = None,
    y: str | None = None,
) -> Comparison:
    """Return a comparison of past runs. Nothing is written.

    Args:
        what: an experiment, the run of a sweep or search, or several runs by ID.
        tracking_uri: by default MLFLOW_TRACKING_URI, otherwise `sqlite:///mlflow.db`.
        candidates: whether the candidates of searches count in an experiment.
        limit: largest number of runs, the newest ones.
        x: metric of the horizontal axis of the Pareto front.
        y: metric of the vertical axis.

    Raises:
        RequestError: There is nothing to compare, a metric does not exist, or the server cannot be read.
    """
    runs = PastRuns(tracking_uri or default_uri())
    chosen = selection.choose(runs, what, candidates, limit)
    found = compare_runs(with_later_keys(runs, chosen.runs), runs.uri, chosen.title, x, y)
    parent = None if chosen.parent is None else chosen.parent.run_id
    return replace(found, left_out=chosen.left_out, parent_run_id=parent, whole=chosen.whole)


def log(comparison: Comparison) -> str | None:
    """Keep the comparison's files with the parent run that its runs share, under `compare/`; those of a part of its
    runs under `compare/selection/`. Gives what went wrong, None if nothing."""
    if comparison.parent_run_id is None:
        return "the runs share no parent run"
    with leftovers.temporary_folder() as folder:
        output_files.write(comparison, Path(folder))
        part = "" if comparison.whole else "selection"
        return comparison_upload.log_comparison(comparison.uri, comparison.parent_run_id, Path(folder), part)
