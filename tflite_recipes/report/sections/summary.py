"""What comes first: what was run, the outcome, the gates, the figures, and what is to be known of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from tflite_recipes.config.recipe import Recipe
from tflite_recipes.core.errors import Problem
from tflite_recipes.core.outcome import RunOutcome, of_tags, verdict_of_tags
from tflite_recipes.core.state import Gate
from tflite_recipes.report.bar_chart import columns
from tflite_recipes.report.html_page import section
from tflite_recipes.report.key_metrics import headline

REPRODUCES, DIFFERENCES = (f"tflite_recipes.{name}" for name in ("reproduces", "differences"))
_GOOD = (RunOutcome.passed, RunOutcome.done)
# Of a run that repeats another. Any other verdict is bad news.
_SAME = ("", "identical bytes", "same weights and graph", "numerically equal")


def head(recipe: Recipe, tags: Mapping[str, str], problems: Sequence[Problem]) -> str:
    """Return name, digest, options and outcome; of a run that repeats another also which one, and the verdict."""
    options = ", ".join(f"{group}={option}" for group, option in recipe.choices.items())
    parts = [f"<h1>{escape(recipe.name)}</h1><p class='muted'>recipe digest {recipe.digest}<br>{escape(options)}</p>"]
    outcome, verdict = of_tags(tags), verdict_of_tags(tags)
    kind = "passed" if outcome in _GOOD and verdict in _SAME else "failed"
    said = [f"<b>{escape(outcome)}</b>"] if outcome else []
    if repeated := tags.get(REPRODUCES):
        came_to = f": <b>{escape(verdict)}</b>" if verdict else ""
        said.append(f"<p>Repeats the run <code>{escape(repeated)}</code>{came_to}</p>")
    if (differences := tags.get(DIFFERENCES, "none")) != "none":
        said.append(f"<p>What differs: {_lines(differences)}</p>")
    said += [f"<p>{_lines(chr(10).join(problem.lines()))}</p>" for problem in problems]
    if said:
        parts.append(f"<div class='verdict {kind}'>{''.join(said)}</div>")
    return "".join(parts)


def results(
    gates: Sequence[Gate], metrics: Mapping[str, float], notes: Mapping[str, str], tags: Mapping[str, str]
) -> str:
    """The gates, each with its answer, and the figures that a run is judged by."""
    rows = [(row.what, row.source, row.tflite, row.note) for row in headline(metrics, notes, tags)]
    table = columns(("", "source", ".tflite", ""), rows, ("", "n", "n", "word")) if rows else ""
    return section("Gates", _gates(gates) if gates or rows else "") + section("Results", table)


def warnings(told: Sequence[str]) -> str:
    """What was not asked for, or should be known."""
    return section("Warnings", listed(told))


def listed(items: Iterable[str]) -> str:
    """A list of plain texts, which may have several lines; "" of none."""
    entries = "".join(f"<li>{_lines(item)}</li>" for item in items)
    return f"<ul>{entries}</ul>" if entries else ""


def _lines(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def _gates(gates: Sequence[Gate]) -> str:
    if not gates:
        return "<p class='muted'>no gate was set</p>"
    numbers = "".join(f"<th class='n'>{name}</th>" for name in ("measured", "limit", "left"))
    head = f"<tr><th>gate</th><th></th>{numbers}<th></th></tr>"
    about = "<p class='muted'>≈ is an estimate</p>" if any(gate.estimated for gate in gates) else ""
    return f"<table>{head}{''.join(map(_gate, gates))}</table>{about}"


def _gate(gate: Gate) -> str:
    """A row: the answer, measured, limit, what is left, their unit; below it the overrides that would fit."""
    kind = "passed" if gate.passed else "failed"
    numbers = (
        f"{'≈ ' if gate.estimated else ''}{gate.measured:.6g}",
        f"{'≥ ' if gate.at_least else ''}{gate.limit:g}",
        f"{gate.margin:.4g}",
    )
    cells = "".join(f"<td class='n'>{number}</td>" for number in numbers)
    row = f"<td class='long'>{escape(gate.name)}</td><td class='{kind}'><b>{kind}</b></td>{cells}"
    ways = [gate.fix, *gate.alternatives] if gate.fix else gate.alternatives
    fix = "".join(f"<tr><td colspan='6' class='long'>would fit: <code>{escape(way)}</code></td></tr>" for way in ways)
    return f"<tr>{row}<td class='word'>{escape(gate.unit)}</td></tr>{fix}"
