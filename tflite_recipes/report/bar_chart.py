"""Numbers as bars, in SVG, and texts in tables, for every page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

# Together with the figure behind a bar no wider than the frame that MLflow shows a page in.
_BAR_WIDTH, _LABEL_WIDTH, _FIGURE_WIDTH, _ROW = 300, 230, 130, 24
# Letters of a label that do not reach the bars; the whole name is the row's tooltip.
_LETTERS = 32


def bars(values: Mapping[str, float], unit: str) -> str:
    """A bar plot as SVG: one row a value, the longest bar for the largest."""
    if not values:
        return "<p class='muted'>nothing to show</p>"
    most = max(values.values()) or 1.0
    rows = []
    for position, (name, value) in enumerate(values.items()):
        top, width = position * _ROW, max(1.0, _BAR_WIDTH * value / most)
        label = f"{value:,.0f} {unit}" if float(value).is_integer() else f"{value:,.3f} {unit}"
        title = f"<title>{escape(name)}</title>" if len(name) > _LETTERS else ""
        rows.append(
            f"<text x='0' y='{top + 16}'>{title}{escape(short(name, _LETTERS))}</text>"
            f"<rect x='{_LABEL_WIDTH}' y='{top + 4}' width='{width:.1f}' height='{_ROW - 8}' fill='#2f7fb8'/>"
            f"<text x='{_LABEL_WIDTH + width + 6:.1f}' y='{top + 16}'>{escape(label)}</text>"
        )
    width, height = _LABEL_WIDTH + _BAR_WIDTH + _FIGURE_WIDTH, _ROW * len(values)
    return f"<svg role='img' width='{width}' height='{height}' viewBox='0 0 {width} {height}'>{''.join(rows)}</svg>"


def table(head: Iterable[str], rows: Iterable[Iterable[str]], kind: str = "long") -> str:
    """A table of plain texts, the first of each row its name; `head` may be empty. kind: the class of the other cells,
    "long" for texts, "n" for figures, "" for none."""
    aligned = " class='n'" if kind == "n" else ""
    titles = "".join(f"<th{aligned if number else ''}>{escape(title)}</th>" for number, title in enumerate(head))
    cells = (_cells(kind, *row) for row in rows)
    lines = ([f"<tr>{titles}</tr>"] if titles else []) + [f"<tr>{row}</tr>" for row in cells]
    return f"<table>{''.join(lines)}</table>"


def _cells(kind: str, first: str, *others: str) -> str:
    opened = f"<td class='{kind}'>" if kind else "<td>"
    named = "<td class='name'>" if kind == "long" else "<td>"
    return f"{named}{escape(first)}</td>" + "".join(f"{opened}{escape(cell)}</td>" for cell in others)


def columns(head: Iterable[str], rows: Iterable[Iterable[str]], kinds: Iterable[str], dense: bool = False) -> str:
    """A table of plain texts with the class of each column: "long" for names that may break anywhere, "n" for figures,
    "type" for types with shapes, "id" for digests, "word" for what breaks between words alone, "" for anything else.
    Rows may be shorter than the head. dense: for many columns."""
    classes = [f" class='{kind}'" if kind else "" for kind in kinds]
    titles = "".join(f"<th{kind}>{escape(title)}</th>" for title, kind in zip(head, classes, strict=False))
    lines = [f"<tr>{titles}</tr>"] if titles else []
    for row in rows:
        cells = (f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, classes, strict=False))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table{' class=dense' if dense else ''}>{''.join(lines)}</table>"


def short(text: str, most: int) -> str:
    """The text, its middle left out where it is longer than `most`: names of layers differ at both ends."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"
