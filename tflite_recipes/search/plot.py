"""The candidates in a plane: what is to be small against the drop in quality, as one self-contained SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from tflite_recipes.search.outcome import DROP_GATE, Outcome, front

_WIDTH, _HEIGHT = 760, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 30, 20, 60
_COLOURS = {"passed": "#11734b", "missed": "#b3261e"}
_AXES = {"size": ("size.tflite_bytes", "B"), "latency": ("latency.p50_ms", "ms")}


class _Axis:
    """A scale from values to pixels, with a margin of a twentieth, and round numbers to label it by."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        low, high = min(values), max(values)
        margin = (high - low) / 20 or abs(high) / 20 or 1.0
        self._low, self._high, self._start, self._end = low - margin, high + margin, start, end

    def at(self, value: float) -> float:
        return self._start + (value - self._low) / (self._high - self._low) * (self._end - self._start)

    def ticks(self) -> list[float]:
        rough = (self._high - self._low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        first, last = math.ceil(self._low / step), math.floor(self._high / step)
        return [count * step for count in range(first, last + 1)]


def pareto(outcomes: Sequence[Outcome], chosen: Outcome | None, objective: str) -> str:
    """Every candidate that has a file and a drop as a dot; those that no other beats in both are joined, the limit of
    the gate is dashed, the chosen one is ringed. A line of text where there is nothing to plot."""
    plotted = [one for one in outcomes if one.has_file and one.drop is not None and math.isfinite(one.value(objective))]
    if not plotted:
        return _svg("<text x='20' y='40'>no candidate has a file and a measured drop</text>")
    limit = next((gate.limit for one in plotted for gate in one.gates if gate.name == DROP_GATE), None)
    across = _Axis([one.value(objective) for one in plotted], _LEFT, _WIDTH - _RIGHT)
    drops = [one.drop for one in plotted if one.drop is not None]
    up = _Axis([*drops, *([limit] if limit is not None else [])], _HEIGHT - _BOTTOM, _TOP)
    parts = [_frame(across, up, objective), _gate(up, limit)]
    places = [(across.at(one.value(objective)), up.at(one.drop or 0.0)) for one in front(plotted, objective)]
    steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts.append(f"<polyline points='{steps}' fill='none' stroke='#2f7fb8' stroke-width='1.5'/>")
    for one in plotted:
        parts.append(_dot(one, across.at(one.value(objective)), up.at(one.drop or 0.0), one == chosen))
    return _svg("".join(parts))


def _dot(one: Outcome, x: float, y: float, chosen: bool) -> str:
    place = f"cx='{x:.1f}' cy='{y:.1f}'"
    ring = f"<circle {place} r='9' fill='none' stroke='#1c2733' stroke-width='2'/>" if chosen else ""
    what = escape(f"{one.number} {one.candidate}: {one.outcome}")
    dot = f"<circle {place} r='5' fill='{_COLOURS[one.outcome]}'><title>{what}</title></circle>"
    return f"{ring}{dot}<text x='{x + 10:.1f}' y='{y - 6:.1f}'>{one.number}</text>"


def _frame(across: _Axis, up: _Axis, objective: str) -> str:
    name, unit = _AXES[objective]
    bottom = _HEIGHT - _BOTTOM
    lines = [f"M{_LEFT},{_TOP}V{bottom}H{_WIDTH - _RIGHT}"]
    texts = []
    for value in across.ticks():
        lines.append(f"M{across.at(value):.1f},{bottom}v5")
        texts.append(f"<text x='{across.at(value):.1f}' y='{bottom + 20}' text-anchor='middle'>{_label(value)}</text>")
    for value in up.ticks():
        lines.append(f"M{_LEFT},{up.at(value):.1f}h-5")
        texts.append(f"<text x='{_LEFT - 9}' y='{up.at(value) + 4:.1f}' text-anchor='end'>{_label(value)}</text>")
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    texts.append(f"<text x='{middle}' y='{_HEIGHT - 14}' text-anchor='middle'>{name} ({unit})</text>")
    turned = f"transform='rotate(-90 18 {_HEIGHT / 2})'"
    texts.append(f"<text x='18' y='{_HEIGHT / 2}' text-anchor='middle' {turned}>drop in quality</text>")
    return f"<path d='{''.join(lines)}' fill='none' stroke='#62707d'/>{''.join(texts)}"


def _gate(up: _Axis, limit: float | None) -> str:
    if limit is None:
        return ""
    y, end = up.at(limit), _WIDTH - _RIGHT
    line = f"<line x1='{_LEFT}' x2='{end}' y1='{y:.1f}' y2='{y:.1f}' stroke='#b3261e' stroke-dasharray='6 4'/>"
    return f"{line}<text x='{end}' y='{y - 5:.1f}' text-anchor='end' fill='#b3261e'>{DROP_GATE} {limit:g}</text>"


def _label(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _svg(body: str) -> str:
    size = f"width='{_WIDTH}' height='{_HEIGHT}' viewBox='0 0 {_WIDTH} {_HEIGHT}'"
    head = f"<svg xmlns='http://www.w3.org/2000/svg' role='img' {size} font-family='system-ui' font-size='13'>"
    return f"{head}<rect width='100%' height='100%' fill='#fff'/>{body}</svg>"
