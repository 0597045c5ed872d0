"""Comparisons and diffs as JSON and CSV. The keys of the JSON are documented in the README, and stay."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from tflite_recipes.past_runs.compare.comparison import Axis, Comparison
from tflite_recipes.past_runs.compare.run_diff import Change, MetricChange, RunDiff, Side


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """uri, title, parent_run_id, keys, x and y (metric, higher_is_better; null for none), runs, front (run IDs), notes,
    left_out. Each run: number, run_id, name, status, outcome, verdict, scheme, config, metrics (all), gates, pareto."""
    runs = [
        {
            **{name: value for name, value in asdict(run).items() if name not in ("called", "figures")},
            "metrics": {name: _finite(value) for name, value in sorted(run.metrics.items())},
        }
        for run in comparison.runs
    ]
    return {
        "uri": _without_user(comparison.uri),
        "title": comparison.title,
        "parent_run_id": comparison.parent_run_id,
        "keys": list(comparison.keys),
        "x": _axis(comparison.x),
        "y": _axis(comparison.y),
        "runs": runs,
        "front": [run.run_id for run in comparison.front],
        "notes": list(comparison.notes),
        "left_out": dict(comparison.left_out),
    }


def comparison_csv(comparison: Comparison) -> str:
    """A line a run: what the table has, numbers in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ("number", "pareto", "name", "scheme", *comparison.keys, *comparison.metrics)
    writer.writerow((*head, "gates", "outcome", "verdict", "status", "run_id"))
    for run in comparison.runs:
        numbers = (f"{run.metrics[name]:.9g}" if name in run.metrics else "" for name in comparison.metrics)
        gates = "; ".join(f"{name} {answer}" for name, answer in run.gates.items())
        optimal = {True: "yes", False: "no", None: ""}[run.pareto]
        front = (run.number, optimal, run.name, run.scheme, *(run.config[key] for key in comparison.keys))
        writer.writerow((*front, *numbers, gates, run.outcome, run.verdict, run.status, run.run_id))
    return text.getvalue()


def diff_json(diff: RunDiff) -> dict[str, Any]:
    """Return the diff as plain data.

    a and b: run_id, name, recipe, status, outcome, verdict, started. differs. config, digests, environment, gates,
    warnings: lists of name, kind (added: only in b; removed: only in a; changed), a, b. ops and tensor_dtypes: by name
    a and b. tensors: changed (name, layer, op, a, b), same, only_a, only_b. metrics: all, with a, b, absolute (b − a),
    relative (÷ |a|), changed and better (null where neither is). same: how many of each part are the same. notes.
    """
    return {
        "a": _side(diff.a),
        "b": _side(diff.b),
        "differs": diff.differs,
        "config": _changes(diff.config),
        "digests": _changes(diff.digests),
        "environment": _changes(diff.environment),
        "ops": _counts(diff.ops),
        "tensor_dtypes": _counts(diff.tensor_dtypes),
        "tensors": {
            "changed": [asdict(change) for change in diff.tensors.changed],
            "same": diff.tensors.same,
            "only_a": list(diff.tensors.only_a),
            "only_b": list(diff.tensors.only_b),
        },
        "metrics": [_metric(metric) for metric in diff.metrics],
        "gates": _changes(diff.gates),
        "warnings": _changes(diff.warnings),
        "same": dict(diff.same),
        "notes": list(diff.notes),
    }


def _without_user(uri: str) -> str:
    """A URI without the user and password in it: files go where others read them."""
    return re.sub(r"//.*@", "//", uri)


def _axis(axis: Axis | None) -> dict[str, Any] | None:
    return None if axis is None else asdict(axis)


def _side(side: Side) -> dict[str, Any]:
    return asdict(side)


def _changes(found: Iterable[Change]) -> list[dict[str, Any]]:
    return [asdict(change) for change in found]


def _counts(counts: Mapping[str, tuple[int, int]]) -> dict[str, dict[str, int]]:
    return {name: {"a": a, "b": b} for name, (a, b) in counts.items()}


def _metric(metric: MetricChange) -> dict[str, Any]:
    numbers = {name: _finite(getattr(metric, name)) for name in ("a", "b", "absolute", "relative")}
    return {"name": metric.name, **numbers, "changed": metric.changed, "better": metric.better}


def _finite(value: float | None) -> float | None:
    """JSON has no infinity, and no NaN."""
    return value if value is not None and math.isfinite(value) else None
