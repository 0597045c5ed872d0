"""`pareto.png`: the plot of a comparison, with what its numbers stand for below it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tflite_recipes.core.errors import printable
from tflite_recipes.past_runs.compare.colours import LEGEND, NAMES, colour
from tflite_recipes.past_runs.compare.comparison import ComparedRun, Comparison
from tflite_recipes.report.bar_chart import short
from tflite_recipes.report.scatter_plot import placed

_DPI = 110
_WIDTH, _PLOT, _LINE = 8.0, 5.0, 0.19  # inches; a line of the list
_ALIGNED = {"start": "left", "middle": "center", "end": "right"}
_LISTED, _LETTERS = 30, 80


def write(comparison: Comparison, path: Path) -> bool:
    """Draw it as PNG. False, and no file, where no run has both axes."""
    x, y = comparison.x, comparison.y
    if x is None or y is None or not comparison.plotted:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # a letter that the font lacks is a box in the picture; the page and the table have it
    warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
    listed = _list(comparison.plotted)
    height = _PLOT + _LINE * (len(listed) + 1)
    figure: Any = Figure(figsize=(_WIDTH, height), dpi=_DPI)
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.12, 1 - 4.4 / height, 0.84, 4.0 / height))
    points = [(run.metrics[x.metric], run.metrics[y.metric]) for run in comparison.plotted]
    best = [(run.metrics[x.metric], run.metrics[y.metric]) for run in comparison.front]
    axes.plot(*zip(*best, strict=True), color="#2f7fb8", linewidth=1.2, zorder=1)
    axes.scatter(*zip(*best, strict=True), s=150, facecolors="none", edgecolors="#1c2733", linewidths=1.4, zorder=2)
    axes.scatter(*zip(*points, strict=True), s=34, c=[colour(run) for run in comparison.plotted], zorder=3)
    axes.set(xlabel=x.title, ylabel=y.title)
    axes.set_title(f"{_told(comparison.title, 40)}: {comparison.count}", fontsize=11, parse_math=False)
    axes.margins(0.1)
    axes.ticklabel_format(style="plain", useOffset=False)
    axes.xaxis.set_major_formatter("{x:,.10g}")
    axes.grid(color="#e3e8ec", linewidth=0.6)
    canvas.draw()  # the places in pixels are known from here on
    _number(axes, points, comparison.plotted, figure.bbox.height)
    for place, (text, tint, weight) in enumerate(listed):
        style = {"fontsize": 8.5, "color": tint, "weight": weight, "parse_math": False}
        figure.text(0.12, 1 - (_PLOT + 0.1 + place * _LINE) / height, text, **style)
    figure.savefig(path, format="png")
    return True


def _told(text: str, most: int) -> str:
    """Text on one line; names are nobody's formulas."""
    return short(" ".join(printable(text).split()), most)


def _number(axes: Any, points: Sequence[tuple[float, float]], runs: Sequence[ComparedRun], height: float) -> None:
    """The runs' numbers beside their dots."""
    pixels = [(float(x), height - float(y)) for x, y in axes.transData.transform(points)]
    names, ringed = [str(run.number) for run in runs], [bool(run.pareto) for run in runs]
    for label in placed(pixels, names, ringed, axes.bbox.x0 + 2, axes.bbox.x1 - 2):
        side = {"ha": _ALIGNED[label.side], "va": "baseline"}
        shift = (label.across, -label.down)
        axes.annotate(label.text, points[label.number], shift, textcoords="offset pixels", fontsize=8.5, **side)


def _list(runs: Sequence[ComparedRun]) -> list[tuple[str, str, str]]:
    """What each number is, a text with its colour and weight a line: the Pareto-optimal runs in bold, and before
    others where there are many."""
    listed = sorted(sorted(runs, key=lambda run: not run.pareto)[:_LISTED], key=lambda run: run.number)
    lines = [
        (f"{run.number:>2}  {_told(run.label, _LETTERS)}", colour(run), "bold" if run.pareto else "normal")
        for run in listed
    ]
    used = {colour(run) for run in runs}
    told = [f"and {len(runs) - len(listed)} more"] if len(listed) < len(runs) else []
    told += [f"{NAMES[code]}: {text}" for code, text in LEGEND if code in used]
    told.append("bold, ringed and joined: no other run beats it in both")
    return [*lines, ("; ".join(told), "#62707d", "normal")]
