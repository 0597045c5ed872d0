"""Plot the tensors of a quantized file that lost most."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from tflite_recipes.conversion.quality.tensor_errors import TensorError, worst_first

PLOT = "quantization_error.svg"
_PLOTTED = 20
_LABEL, _BAR, _LINE, _HEAD, _VALUE = 330, 400, 22, 30, 60


def plot(rows: Iterable[TensorError], count: int = _PLOTTED) -> str:
    """The worst tensors as a self-contained SVG: a bar for `sqnr_db`, a mark for `local_sqnr_db`; short is bad."""
    shown = worst_first(rows)[:count]
    values = [value for row in shown for value in (row.sqnr_db, row.local_sqnr_db) if value is not None]
    low, high = min([0.0, *values]), max([1.0, *values])
    width, height = _LABEL + _BAR + 90, _HEAD + _LINE * len(shown) + 6
    title = "SQNR in dB, weights brown; the mark is rounding alone"
    bars = "".join(_bar(row, _HEAD + position * _LINE, low, high) for position, row in enumerate(shown))
    head = f"<svg xmlns='http://www.w3.org/2000/svg' role='img' width='{width}' height='{height}'"
    style = "style='font: 13px system-ui, sans-serif; background: #fff' fill='#1c2733'"
    text = f"<text x='{_LABEL}' y='16' fill='#62707d'>{title}</text>"
    return f"{head} viewBox='0 0 {width} {height}' {style}>{text}{bars}</svg>"


def _bar(row: TensorError, top: int, low: float, high: float) -> str:
    def at(value: float) -> float:
        return _LABEL + _BAR * (value - low) / (high - low)

    left, right = sorted((at(0.0), at(row.sqnr_db)))
    fill, edge, mark = "#c9662b" if row.kind == "weight" else "#2f7fb8", right, ""
    if row.kind == "activation" and row.local_sqnr_db is not None:
        x = at(row.local_sqnr_db)
        edge = x + 2 if right - 4 < x < right + _VALUE else right
        mark = f"<rect x='{x:.1f}' y='{top}' width='2' height='{_LINE - 1}'/>"
    return (
        f"<g><title>{escape(row.tensor)}</title><text x='0' y='{top + 14}'>{escape(_label(row))}</text>"
        f"<rect x='{left:.1f}' y='{top + 3}' width='{max(right - left, 1.0):.1f}' height='{_LINE - 7}' fill='{fill}'/>"
        f"{mark}<text x='{edge + 6:.1f}' y='{top + 14}'>{row.sqnr_db:.1f} dB</text></g>"
    )


def _label(row: TensorError) -> str:
    name = row.layer or row.tensor
    name = name if len(name) <= 26 else f"…{name[-25:]}"
    op = row.op if len(row.op) <= 24 else f"…{row.op[-23:]}"  # the name of a custom op
    return f"{name}  {op}{' weight' if row.kind == 'weight' else ''}"
