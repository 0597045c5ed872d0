"""Comparisons and diffs on a terminal. Tables that are too wide go on below, so that nothing is cut."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from tflite_recipes.core.errors import printable
from tflite_recipes.core.number_format import figure
from tflite_recipes.past_runs.compare.comparison import ComparedRun, Comparison
from tflite_recipes.past_runs.compare.run_diff import CHANGED, SAME, TIMES, Change, MetricChange, RunDiff, Side
from tflite_recipes.past_runs.compare.tensor_types import TensorsDiff
from tflite_recipes.report.bar_chart import short
from tflite_recipes.report.terminal import rich_console

_TENSORS = 20
_GAP = 1
Row = Sequence[str]


def show_comparison(comparison: Comparison) -> None:
    """The table, the Pareto-optimal runs marked with *, and what one has to know."""
    out = rich_console()
    named = "" if "name" in comparison.named else f" of {comparison.runs[0].called}"
    left_out = "".join(f"; not in it: {why} ({count})" for why, count in comparison.left_out.items())
    _line(out, f"{comparison.title}: {comparison.count}{named}{left_out}")
    columns = _columns(comparison)
    for block in blocks(columns, out.width):
        out.print()
        _grid(
            out,
            [title for title, _, _ in block],
            list(zip(*(cells for _, cells, _ in block), strict=True)),
            [right for _, _, right in block],
        )
    out.print()
    if comparison.x and comparison.y and comparison.plotted:
        axes = f"{comparison.x.title} against {comparison.y.title}"
        _line(out, f"* no other run beats it in both: {axes}")
    for note in comparison.notes:
        _line(out, f"note: {note}", "yellow")


Column = tuple[str, Sequence[str], bool]


def blocks(columns: Sequence[Column], width: int) -> list[list[Column]]:
    """Columns (title, cells, whether they are figures) in tables that are no wider than `width`, each beginning with
    the first column."""
    first, *rest = columns
    found = [[first]]
    used = _width(first)
    for column in rest:
        if used + _GAP + _width(column) > width and len(found[-1]) > 1:
            found.append([first])
            used = _width(first)
        found[-1].append(column)
        used += _GAP + _width(column)
    return found


def _width(column: Column) -> int:
    title, cells, _ = column
    return max(cell_len(printable(text)) for text in (title, *cells))


def _columns(comparison: Comparison) -> list[Column]:
    runs = comparison.runs

    def column(title: str, read: Any, right: bool = False) -> Column:
        return title, [read(run) for run in runs], right

    def number(run: ComparedRun) -> str:
        return f"{run.number}{'*' if run.pareto else ''}"

    found = [column("#", number)]
    found += [column(name, lambda run, name=name: run.told(name)) for name in comparison.named]
    found += [column(key, lambda run, key=key: short(run.config[key], 40)) for key in comparison.keys]
    found += [column(name, lambda run, name=name: run.figures.get(name, ""), True) for name in comparison.metrics]
    if any(run.gates for run in runs):
        found.append(column("gates", lambda run: run.gates_in_short))
    found.append(column("outcome", lambda run: run.outcome))
    if any(run.verdict for run in runs):
        found.append(column("verdict", lambda run: run.verdict))
    return [*found, column("run ID", lambda run: run.run_id)]


# The diff


def show_diff(diff: RunDiff, everything: bool = False) -> None:
    """What differs, part by part, a beside b; what is the same in a line."""
    out = rich_console()
    for letter, side in (("a", diff.a), ("b", diff.b)):
        _line(out, f"{letter}  {side.run_id}\n   {_side(side)}")
    for note in diff.notes:
        _line(out, f"note: {note}", "yellow")
    if not diff.differs:
        but = ", but for how long it took" if any(metric.changed for metric in diff.metrics) else ""
        _line(out, f"\nnothing differs{but}: {_same(diff)}")
        if everything:
            _show_metrics(out, diff.metrics, everything)
        return
    _section(out, "config", _changed(diff.config))
    _section(out, "digests", _digests(diff.digests))
    _section(out, "environment", _changed(diff.environment))
    _section(out, "ops", _counted(diff.ops))
    _section(out, "tensor types", _counted(diff.tensor_dtypes))
    _show_tensors(out, diff.tensors, everything)
    _show_metrics(out, diff.metrics, everything)
    _section(out, "gates", _changed(diff.gates))
    for change in diff.warnings:
        where = "a" if change.kind == "removed" else "b"
        _line(out, f"\nwarning only in {where}: {change.name}", "yellow")
    _line(out, f"\nthe same in both: {_same(diff)}")


def _side(side: Side) -> str:
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(side.started))
    verdict = f" ({side.verdict})" if side.verdict else ""
    return f"{side.name}: {side.outcome}{verdict}, {started}"


_NAMED = {
    "config": ("key", "keys"),
    "digests": ("digest", "digests"),
    "environment": ("package or fact of the machine", "packages and facts of the machine"),
    "ops": ("op", "ops"),
    "types": ("tensor's type", "tensors' types"),
    "metrics": ("metric", "metrics"),
    "gates": ("gate", "gates"),
    "warnings": ("warning", "warnings"),
}


def _same(diff: RunDiff) -> str:
    """What is the same, counted; the digests are listed where any differs."""
    ops = sum(a for a, _ in diff.ops.values()) if _alike(diff.ops) else 0
    counts = {**diff.same, "ops": ops, "types": diff.tensors.same}
    left_out = ("digests",) if diff.differs else ()
    listed = [
        f"{counts[part]} {several if counts[part] > 1 else one}"
        for part, (one, several) in _NAMED.items()
        if counts.get(part) and part not in left_out
    ]
    return ", ".join(listed) or "nothing"


def _alike(counts: Mapping[str, tuple[int, int]]) -> bool:
    return all(a == b for a, b in counts.values())


def _changed(changes: Iterable[Change], letters: int = 0) -> list[Row]:
    """Rows of what differs; "-" where one side has no such thing."""
    return [
        (
            change.name,
            "-" if change.kind == "added" else _text(change.a, letters),
            "-" if change.kind == "removed" else _text(change.b, letters),
        )
        for change in changes
    ]


def _text(value: Any, letters: int) -> str:
    text = (
        {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    )
    return text[:letters] if letters else text


def _digests(digests: Sequence[Change]) -> list[Row]:
    told = {SAME: "the same", CHANGED: "differs"}
    return [(*row, told.get(one.kind, "")) for row, one in zip(_changed(digests, 12), digests, strict=True)]


def _counted(counts: Mapping[str, tuple[int, int]]) -> list[Row]:
    """Nothing where all are the same in both."""
    if _alike(counts):
        return []
    return [(name, str(a or "-"), str(b or "-")) for name, (a, b) in counts.items()]


def _section(out: Console, title: str, rows: list[Row]) -> None:
    if rows:
        out.print()
        _grid(out, (title, "a", "b", "")[: len(rows[0])], rows, (False,) * len(rows[0]))


def _show_tensors(out: Console, tensors: TensorsDiff, everything: bool) -> None:
    found = tensors.changed
    if not found and not tensors.only_a and not tensors.only_b:
        return
    pairs = sorted((one.a, one.b) for one in found)
    counted = ((len(list(group)), f"{a} -> {b}") for (a, b), group in groupby(pairs))
    summary = [f"{what} ({count})" for count, what in sorted(counted, key=lambda one: (-one[0], one[1]))]
    summary += [
        f"only in {side} ({len(names)})" for side, names in (("a", tensors.only_a), ("b", tensors.only_b)) if names
    ]
    _line(out, f"\ntensors by name: {', '.join(summary)}; the same ({tensors.same})")
    shown = found if everything else found[:_TENSORS]
    width = max(16, out.width - 62)
    rows = [
        (short(one.name.partition(";")[0], width), short(one.layer, 20), f"{one.op} {one.role}", one.a, one.b)
        for one in shown
    ]
    if rows:
        _grid(out, ("tensor", "layer", "op", "a", "b"), rows, (False,) * 5)
    if len(shown) < len(found):
        _line(out, f"and {len(found) - len(shown)} more (--all lists them, --json too)")


def _show_metrics(out: Console, metrics: Sequence[MetricChange], everything: bool) -> None:
    """Those that differ. How long steps took differs always, so only the whole is shown."""
    shown = [
        metric
        for metric in metrics
        if metric.changed and (everything or not metric.name.startswith(TIMES) or metric.name == "time.total_s")
    ]
    if shown:
        out.print()
        rows = [_metric(metric) for metric in shown]
        _grid(out, ("metric", "a", "b", "b - a", ""), rows, (False, True, True, True, False))


def _metric(metric: MetricChange) -> Row:
    a, b = ("-" if value is None else figure(metric.name, value) for value in (metric.a, metric.b))
    absolute, relative = metric.absolute, metric.relative
    change = "" if absolute is None else f"{'+' if absolute > 0 else ''}{figure(metric.name, absolute)}"
    logarithmic = metric.name.endswith("_db")  # a share of which says nothing
    share = f" ({_share(relative, (metric.a or 0) < 0)})" if relative and not logarithmic else ""
    return metric.name, a, b, f"{change}{share}", {True: "better", False: "worse", None: ""}[metric.better]


def _share(relative: float, negative: bool) -> str:
    """In percent; of what is more than ten times as much, the factor. negative: that it is counted from less than
    nothing, where there is no factor."""
    return f"{relative * 100:+.3g}%" if relative < 9 or negative else f"×{relative + 1:,.0f}"


def _grid(out: Console, head: Sequence[str], rows: Sequence[Row], right: Sequence[bool]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for title, figures in zip(head, right, strict=True):
        table.add_column(title, justify="right" if figures else "left", overflow="fold", no_wrap=figures)
    for row in rows:
        table.add_row(*row)
    out.print(table)


def _line(out: Console, text: str, style: str | None = None) -> None:
    out.print(text, style=style, markup=False, highlight=False, soft_wrap=not out.is_terminal)
