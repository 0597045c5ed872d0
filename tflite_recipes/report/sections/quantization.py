"""What quantization did: which tensors lost most, which ranges it has, and which data these are from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tflite_recipes.conversion.quality.tensor_errors import TABLE, TensorError, worst_first
from tflite_recipes.conversion.quality.tensor_errors import read_csv as read_errors
from tflite_recipes.core.number_format import figure, tensor_kind
from tflite_recipes.files.tflite.activation_ranges import RANGES, ActivationRange, read_csv
from tflite_recipes.report.bar_chart import columns
from tflite_recipes.report.html_page import folded, section
from tflite_recipes.report.sections.tensor_error_plot import plot

MANIFEST = "calibration.json"
_WORST = 10
_RULES = f"<p>All tensors: <code>{TABLE}</code>; <code>tflite-recipes rules {TABLE}</code> makes rules of it.</p>"


def errors(folder: Path) -> str:
    """The plot of the tensors that quantization changed most, and their figures."""
    path = folder / TABLE
    if not path.exists():
        return ""
    rows = worst_first(read_errors(path))
    head = ("tensor", "layer and op", "type", "SQNR", "own SQNR", "RMSE / scale", "clipped")
    kinds = ("long", "long", "type", "n", "n", "n", "n")
    table = columns(head, map(_error, rows[:_WORST]), kinds, dense=True)
    return section("Quantization error", f"{_RULES}{plot(rows)}{table}")


def _error(row: TensorError) -> list[str]:
    kinds = [row.tensor, f"{row.layer} {row.op}".strip(), tensor_kind({"shape": row.shape, "dtype": row.dtype})]
    decibels = ["" if value is None else figure("_db", value) for value in (row.sqnr_db, row.local_sqnr_db)]
    over = "" if row.rmse_over_scale is None else f"{row.rmse_over_scale:.3g}"
    return [*kinds, *decibels, over, "" if row.clipped is None else f"{row.clipped:.2%}"]


def calibration(folder: Path) -> str:
    """The samples by input, and the ranges that activations of the file have, widest first."""
    return section("Calibration ranges", "".join((*_samples(folder / MANIFEST), *_ranges(folder / RANGES))))


def _samples(path: Path) -> Iterator[str]:
    if not path.exists():
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    seed = f", seed {found['seed']}" if found.get("seed") is not None else ""
    said = f"{found['samples']} samples of {found['source']}{seed}; {_method(found.get('ranges') or {})}."
    yield f"<p>{escape(said)}</p>"
    head = ("input", "type of a sample", "least", "greatest", "mean")
    rows = [(name, tensor_kind(entry), *_values(entry)) for name, entry in found["inputs"].items()]
    yield columns(head, rows, ("long", "", "n", "n", "n"))
    if labels := found.get("labels"):
        counts = columns(("label", "samples"), ((str(name), f"{n:,}") for name, n in labels.items()), ("long", "n"))
        yield folded("samples by label", counts)


def _method(ranges: Mapping[str, Any]) -> str:
    if not ranges:
        return "ranges from the least to the largest value"
    told = ", ".join(f"{name} {value}" for name, value in ranges.items() if name != "method")
    return f"ranges by {ranges['method']}{f' ({told})' if told else ''}"


def _values(entry: Mapping[str, Any]) -> list[str]:
    return [f"{entry[name]:.6g}" if entry.get(name) is not None else "" for name in ("min", "max", "mean")]


def _ranges(path: Path) -> Iterator[str]:
    if not path.exists():
        return
    rows = read_csv(path)
    most = f", the {_WORST} widest of {len(rows)}" if len(rows) > _WORST else ""
    yield f"<p>What the file's activations can hold{most}. All of them: <code>{RANGES}</code></p>"
    head = ("tensor", "layer and op", "type", "from", "to", "scale", "zero point")
    yield columns(head, map(_range, rows[:_WORST]), ("long", "long", "", "n", "n", "n", "n"), dense=True)


def _range(row: ActivationRange) -> Sequence[str]:
    maker = f"{row.layer} {row.op}".strip()
    ends = (f"{row.least:.4g}", f"{row.greatest:.4g}", f"{row.scale:.4g}", str(row.zero_point))
    return (row.tensor, maker, row.dtype, *ends)
