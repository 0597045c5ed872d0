"""The candidates in a plane: what is to be small against the drop in quality, as one self-contained SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tflite_recipes.engine.search.candidate_outcome import DROP_GATE, Outcome, front
from tflite_recipes.report.scatter_plot import Dot, scatter, svg

_COLOURS = {"passed": "#11734b", "missed": "#b3261e"}
_AXES = {"size": "size.tflite_bytes (B)", "latency": "latency.p50_ms (ms)"}


def pareto(outcomes: Sequence[Outcome], chosen: Outcome | None, objective: str) -> str:
    """Every candidate that has a file and a drop as a dot; those that no other beats in both are joined, the limit of
    the gate is dashed, the chosen one is ringed. A line of text where there is nothing to plot."""
    plotted = [one for one in outcomes if one.has_file and one.drop is not None and math.isfinite(one.value(objective))]
    if not plotted:
        return svg("<text x='20' y='40'>no candidate has a file and a measured drop</text>")
    limit = next((gate.limit for one in plotted for gate in one.gates if gate.name == DROP_GATE), None)
    joined = [(one.value(objective), one.drop or 0.0) for one in front(plotted, objective)]
    return scatter(
        [_dot(one, objective, one == chosen) for one in plotted],
        _AXES[objective],
        "drop in quality",
        joined,
        None if limit is None else (f"{DROP_GATE} {limit:g}", limit),
    )


def _dot(one: Outcome, objective: str, chosen: bool) -> Dot:
    what = f"{one.number} {one.candidate}: {one.outcome}"
    return Dot(one.value(objective), one.drop or 0.0, str(one.number), what, _COLOURS[one.outcome], chosen)
