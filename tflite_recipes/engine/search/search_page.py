"""`report.html` of a search: all candidates, the plot, and the recipe that was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from tflite_recipes.config.recipe import Recipe
from tflite_recipes.core.number_format import figure
from tflite_recipes.engine.search.candidate_outcome import Outcome
from tflite_recipes.report.html_page import document
from tflite_recipes.report.sections import origins

_AGAIN = "<p>Save as <code>recipe.yaml</code>, then <code>tflite-recipes run recipe.yaml</code> gives this file.</p>"


def render(
    recipe: Recipe,
    outcomes: Sequence[Outcome],
    each: Sequence[Outcome],
    chosen: Outcome | None,
    plot: str,
    found: str,
    metrics: Mapping[str, float],
    warnings: Sequence[str],
    folder: Path | None = None,
    file: str = "search.yaml",
) -> str:
    """The page. `each`: the best of each scheme. `found`: the chosen candidate's resolved recipe, "" where nothing was
    chosen. `folder`: the search's output, which says what it started from. `file`: its own recipe in there."""
    parts = [
        f"<h1>{escape(recipe.name)}</h1><p class='muted'>search, recipe digest {recipe.digest}</p>{_outcome(chosen)}",
        f"<h2>The best of each scheme</h2>{_table(each, chosen)}" if outcomes else "",
        f"<h2>Candidates</h2>{_table(outcomes, chosen)}",
        f"<h2>Pareto plot</h2>{plot}",
        f"<h2>Warnings</h2><ul>{''.join(f'<li>{escape(text)}</li>' for text in warnings)}</ul>" if warnings else "",
        f"<h2>Results</h2>{_results(metrics)}" if metrics else "",
        f"<h2>The recipe that was found</h2>{_AGAIN}<pre>{escape(found)}</pre>" if found else "",
        *(() if folder is None else (origins.started_from(folder, {}), origins.ran_on(folder))),
        origins.again(recipe, file),
        f"<h2>The search's own recipe</h2><pre>{escape(recipe.to_yaml())}</pre>",
    ]
    return document(recipe.name, parts)


def _outcome(chosen: Outcome | None) -> str:
    if chosen is None:
        return "<div class='verdict failed'><b>failed</b>: no candidate gave a file</div>"
    what = escape(f"{chosen.number} {chosen.candidate}")
    if chosen.passed:
        return f"<div class='verdict passed'><b>{chosen.outcome}</b>: {what}</div>"
    return f"<div class='verdict failed'><b>gate_failed</b>: no candidate passes; nearest is {what}</div>"


def _table(outcomes: Sequence[Outcome], chosen: Outcome | None) -> str:
    timed = any(one.latency is not None for one in outcomes)
    figures = ("size", *(("latency",) if timed else ()), "source", ".tflite", "drop")
    head = "<th></th><th>candidate, run ID</th>" + "".join(f"<th class='n'>{name}</th>" for name in figures)
    rows = [f"<tr>{head}<th>outcome</th></tr>"]
    for one in outcomes:
        numbers = (
            "" if one.size is None else figure("size.tflite_bytes", one.size),
            *(() if not timed else ("" if one.latency is None else figure("latency.p50_ms", one.latency),)),
            *("" if value is None else f"{value:.4g}" for value in (one.source_score, one.score, one.drop)),
        )
        mark = "<b>chosen</b> " if chosen is not None and one.number == chosen.number else ""
        kind = "passed" if one.passed else "failed"
        run_id = f"<br><span class='muted'>{escape(one.run_id)}</span>" if one.run_id else ""
        cells = [f"<td class='n'>{one.number or ''}</td><td class='long'>{mark}{_named(one)}{run_id}</td>"]
        cells += [f"<td class='n'>{text}</td>" for text in numbers]
        why = f"<br>{escape(one.reason)}" if one.reason else ""
        cells += [f"<td><span class='{kind}'>{one.outcome}</span>{why}</td>"]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table class='dense'>{''.join(rows)}</table>"


def _named(one: Outcome) -> str:
    """The candidate, with a link to its own page, which lies below this one."""
    text = escape(str(one.candidate))
    if one.folder is None or not one.has_file:
        return text
    return f"<a href='candidates/{escape(one.folder.name)}/report.html'>{text}</a>"


def _results(metrics: Mapping[str, float]) -> str:
    rows = (
        f"<tr><td>{escape(name)}</td><td class='n'>{escape(figure(name, value))}</td></tr>"
        for name, value in sorted(metrics.items())
    )
    return f"<table>{''.join(rows)}</table>"
