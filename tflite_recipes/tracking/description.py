"""The Markdown at the top of a run's page."""

from __future__ import annotations

from collections.abc import Mapping

from tflite_recipes.events import RunFinished
from tflite_recipes.figures import figure

_TELLING = ("accuracy.source", "accuracy.tflite", "parity.cosine", "size.tflite_bytes", "size.ratio", "latency.p50_ms")


def description(recipe: str, event: RunFinished, metrics: Mapping[str, float]) -> str:
    """A few lines: what the run came to, and how to repeat it."""
    rows = [f"| {name} | {figure(name, metrics[name])} |" for name in _TELLING if name in metrics]
    problems = [f"- {line}" for problem in event.problems for line in problem.lines()]
    table = ["", "| | |", "|---|---|", *rows] if rows else []
    again = "`tflite-recipes run recipe.yaml` with the artifact `recipe.yaml` repeats it; `report.html` shows it."
    return "\n".join([f"**{recipe}**: {event.outcome}", *problems, *table, "", again])
