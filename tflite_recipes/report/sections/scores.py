"""How far the file's answers are from the source's: by class where there are classes, and by output."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from tflite_recipes.core.number_format import figure
from tflite_recipes.report.bar_chart import columns
from tflite_recipes.report.html_page import folded, section

CLASSES, PARITY = "per_class.csv", "parity.json"
_WORST = 10
_OUTPUT = (
    ("largest difference", "max_abs_error"),
    ("mean difference", "mean_abs_error"),
    ("RMSE / range", "relative_rmse"),
    ("cosine", "cosine"),
    ("SQNR", "sqnr_db"),
)


def by_class(folder: Path) -> str:
    """The share of each class's samples that is recognised, by the source and by the file, worst drop first."""
    path = folder / CLASSES
    if not path.exists():
        return ""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    drops = [float(row["drop"]) for row in rows]
    lost, better = sum(drop > 0 for drop in drops), sum(drop < 0 for drop in drops)
    said = f"Of {len(rows)} classes {lost} lost and {better} gained. Recall is the share of a class's samples that is "
    about = f"<p>{said}recognised; the drop is the source's less the file's.</p>"
    rest = folded(f"{len(rows) - _WORST} other classes", _classes(rows[_WORST:])) if len(rows) > _WORST else ""
    return section("Drop by class", about + _classes(rows[:_WORST]) + rest)


def _classes(rows: list[dict[str, str]]) -> str:
    names = ("class", "samples", "source_recall", "tflite_recall")
    lines = [(*(row[name] for name in names[:2]), *_shares(row)) for row in rows]
    return columns(("class", "samples", "source", ".tflite", "drop"), lines, ("", "n", "n", "n", "n"))


def _shares(row: Mapping[str, str]) -> list[str]:
    source, file, drop = (float(row[name]) for name in ("source_recall", "tflite_recall", "drop"))
    return [f"{source:.2%}", f"{file:.2%}", f"{drop:+.2%}" if drop else "0"]


def by_output(folder: Path, notes: Mapping[str, str]) -> str:
    """Parity of each output, and on which data."""
    path = folder / PARITY
    if not path.exists():
        return ""
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = [(name, "", *_numbers(entry)) for name, entry in found.items()]
    for name, entry in found.items():
        if plain := entry.get("without_delegates"):
            rows.append((name, f"without delegates, first {plain['samples']} samples", *_numbers(plain)))
    head = ("output", "", *(title for title, _ in _OUTPUT))
    kinds = ("long", "", *("n" for _ in _OUTPUT))
    data = notes.get("parity.data", "")
    about = "Source and file on the same samples, no labels involved; differences are in the output's own unit."
    return section("Parity by output", _paragraph(about, data) + columns(head, rows, kinds, dense=True))


def _numbers(entry: Mapping[str, Any]) -> list[str]:
    return [figure(key, float(entry[key])) if key in entry else "" for _, key in _OUTPUT]


def _paragraph(about: str, data: str) -> str:
    return f"<p>{escape(about)}{f' Samples: {escape(data)}.' if data else ''}</p>"
