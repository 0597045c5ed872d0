"""`compare.html`: a comparison as one self-contained page. No scripts, nothing loaded."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from tflite_recipes.past_runs.compare.colours import LEGEND, colour
from tflite_recipes.past_runs.compare.comparison import ComparedRun, Comparison
from tflite_recipes.report.run_page import document
from tflite_recipes.report.scatter_plot import Dot, scatter

# As wide as the table is and the window allows, whatever the page's own width.
_WIDE = (
    "overflow-x: auto; width: max-content; min-width: 100%; max-width: calc(100vw - 3rem); "
    "margin-left: 50%; transform: translateX(-50%)"
)


def render(comparison: Comparison) -> str:
    """The page."""
    count = comparison.count
    left_out = "".join(f"; not in it: {escape(why)} ({number})" for why, number in comparison.left_out.items())
    parts = [
        f"<h1>{escape(comparison.title)}</h1><p class='muted'>{count}{left_out}</p>",
        _notes(comparison.notes),
        f"<h2>Pareto plot</h2>{_plot(comparison)}",
        f"<h2>Runs</h2><div style='{_WIDE}'>{_table(comparison)}</div>",
    ]
    return document(f"{comparison.title}: {count} compared", parts)


def _notes(notes: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<ul>{items}</ul>" if items else ""


def _plot(comparison: Comparison) -> str:
    x, y, shown = comparison.x, comparison.y, comparison.plotted
    if x is None or y is None or not shown:
        return "<p class='muted'>no run has a size and a measure of quality</p>"
    dots = [
        Dot(
            run.metrics[x.metric],
            run.metrics[y.metric],
            str(run.number),
            f"{run.number} {run.label}: {x.metric} {run.figures[x.metric]}, {y.metric} {run.figures[y.metric]}",
            colour(run),
            bool(run.pareto),
        )
        for run in shown
    ]
    joined = [(run.metrics[x.metric], run.metrics[y.metric]) for run in comparison.front]
    used = {dot.colour for dot in dots}
    told = (f"<span style='color:{code}'>●</span> {text}" for code, text in LEGEND if code in used)
    legend = "; ".join((*told, "ringed and joined: no other run beats it in both"))
    return f"{scatter(dots, x.title, y.title, joined)}<p class='muted'>{legend}</p>"


def _table(comparison: Comparison) -> str:
    head = ("", "", *comparison.named, *comparison.keys, *comparison.metrics, "gates", "outcome", "run ID")
    titles = "".join(f"<th>{_in_two(title)}</th>" for title in head)
    return f"<table><tr>{titles}</tr>{''.join(_row(run, comparison) for run in comparison.runs)}</table>"


def _row(run: ComparedRun, comparison: Comparison) -> str:
    kind = {"passed": "passed", "gate_failed": "failed", "failed": "failed", "not_evaluated": "failed"}.get(
        run.outcome, ""
    )
    mark = "<b title='Pareto-optimal'>◎</b>" if run.pareto else ""
    cells = [f"<td class='n'>{run.number}</td><td>{mark}</td>"]
    cells += [_named(run, name) for name in comparison.named]
    cells += [f"<td>{escape(run.config[key])}</td>" for key in comparison.keys]
    cells += [f"<td class='n'>{escape(run.figures.get(name, ''))}</td>" for name in comparison.metrics]
    cells.append(f"<td style='white-space: nowrap'>{escape(run.gates_in_short)}</td>")
    cells.append(f"<td class='{kind}'>{escape(run.outcome)}{f'<br/>{escape(run.verdict)}' if run.verdict else ''}</td>")
    cells.append(f"<td class='muted' style='white-space: nowrap'><code>{_halves(run.run_id)}</code></td>")
    return f"<tr>{''.join(cells)}</tr>"


def _halves(run_id: str) -> str:
    """An ID on two lines, which a table's narrow column would break anywhere."""
    return f"{escape(run_id[:16])}<br/>{escape(run_id[16:])}"


def _named(run: ComparedRun, column: str) -> str:
    """A cell with a name, which breaks anywhere, or a scheme, which breaks between its words."""
    text = escape(run.told(column))
    return f"<td class='word'>{text.replace('_', '_<wbr/>')}</td>" if column == "scheme" else f"<td>{text}</td>"


def _in_two(title: str) -> str:
    """A name on two lines, the group or kind on the first: names are longer than what stands below them."""
    return escape(title).replace(".", ".<br/>", 1)
