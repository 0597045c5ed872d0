"""Points in a plane as one self-contained SVG: axes, labelled dots, the line through some, a limit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 30, 20, 60
_LETTER, _LINE = 7.5, 13  # pixels, of the labels
_AROUND = ((11, -6), (11, 14), (-11, -6), (-11, 14), (0, -13), (0, 22), (13, 4), (-13, 4))


@dataclass(frozen=True)
class Dot:
    """A point. label: stands beside it; title: shown where one points at it. ringed: the one that was chosen."""

    x: float
    y: float
    label: str
    title: str
    colour: str
    ringed: bool = False


class Axis:
    """A scale from values to pixels, with a margin of a twentieth, and round numbers to label it by."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        low, high = min(values), max(values)
        margin = (high - low) / 20 or abs(high) / 20 or 1.0
        self._low, self._high, self._start, self._end = low - margin, high + margin, start, end

    def at(self, value: float) -> float:
        """Where a value stands, in pixels."""
        return self._start + (value - self._low) / (self._high - self._low) * (self._end - self._start)

    def ticks(self) -> list[float]:
        """Round numbers within."""
        rough = (self._high - self._low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        first, last = math.ceil(self._low / step), math.floor(self._high / step)
        return [count * step for count in range(first, last + 1)]


def scatter(
    dots: Sequence[Dot],
    across: str,
    up: str,
    joined: Sequence[tuple[float, float]] = (),
    limit: tuple[str, float] | None = None,
) -> str:
    """The dots, at least one, with finite coordinates. across, up: the axes' titles. joined: what a line goes through,
    in its order. limit: a dashed line across, its text and its height."""
    horizontal = Axis([dot.x for dot in dots], _LEFT, WIDTH - _RIGHT)
    heights = [dot.y for dot in dots] + ([limit[1]] if limit is not None else [])
    vertical = Axis(heights, HEIGHT - _BOTTOM, _TOP)
    parts = [_frame(horizontal, vertical, across, up), _limit(vertical, limit)]
    steps = " ".join(f"{horizontal.at(x):.1f},{vertical.at(y):.1f}" for x, y in joined)
    if steps:
        parts.append(f"<polyline points='{steps}' fill='none' stroke='#2f7fb8' stroke-width='1.5'/>")
    places = [(horizontal.at(dot.x), vertical.at(dot.y)) for dot in dots]
    for dot, (x, y) in zip(dots, places, strict=True):
        ring = f"<circle cx='{x:.1f}' cy='{y:.1f}' r='9' fill='none' stroke='#1c2733' stroke-width='2'/>"
        title = f"<title>{escape(dot.title)}</title>"
        circle = f"<circle cx='{x:.1f}' cy='{y:.1f}' r='5' fill='{dot.colour}'>{title}</circle>"
        parts.append(f"{ring if dot.ringed else ''}{circle}")
    return svg("".join([*parts, *_labels(dots, places)]))


def svg(body: str) -> str:
    """The SVG of that size around its parts; narrower where its place is."""
    size = f"style='max-width: 100%; height: auto' width='{WIDTH}' height='{HEIGHT}' viewBox='0 0 {WIDTH} {HEIGHT}'"
    head = f"<svg xmlns='http://www.w3.org/2000/svg' role='img' {size} font-family='system-ui' font-size='13'>"
    return f"{head}<rect width='100%' height='100%' fill='#fff'/>{body}</svg>"


def together(places: Sequence[tuple[float, float]], labels: Sequence[str], near: float) -> list[tuple[int, str]]:
    """Labels of places that are less than `near` apart made one ("1, 4"), each at the first of them."""
    groups: list[list[int]] = []
    for number, place in enumerate(places):
        own = next((group for group in groups if math.dist(places[group[0]], place) < near), None)
        if own is None:
            groups.append([number])
        else:
            own.append(number)
    return [(group[0], ", ".join(labels[number] for number in group)) for group in groups]


@dataclass(frozen=True)
class Placed:
    """A label's text, the number of the dot that it belongs to, and its anchor from there in pixels, y downwards.
    side: start, middle or end of the text is at the anchor."""

    number: int
    text: str
    across: int
    down: int
    side: str


def placed(
    places: Sequence[tuple[float, float]], labels: Sequence[str], ringed: Sequence[bool], left: float, right: float
) -> list[Placed]:
    """Each label beside its dot, where it meets no other, no dot and no ring, between left and right; those of dots on
    one another are one. places: in pixels, y downwards."""
    sizes = [10 if ring else 6 for ring in ringed]
    taken = [(x - size, y - size, x + size, y + size) for (x, y), size in zip(places, sizes, strict=True)]
    found = []
    for number, text in together(places, labels, 6.0):
        x, y = places[number]
        tried = [(shift, _box(x, y, shift, text)) for shift in _AROUND]
        inside = [one for one in tried if one[1][0] > left and one[1][2] < right and one[1][1] > 0]
        free = (one for one in inside if not any(_meet(one[1], other) for other in taken))
        (across, down), box = next(free, (inside or tried)[0])
        taken.append(box)
        found.append(Placed(number, text, across, down, {1: "start", 0: "middle", -1: "end"}[_sign(across)]))
    return found


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def _labels(dots: Sequence[Dot], places: Sequence[tuple[float, float]]) -> list[str]:
    found = []
    names, ringed = [dot.label for dot in dots], [dot.ringed for dot in dots]
    for label in placed(places, names, ringed, _LEFT + 2, WIDTH - 2):
        x, y = places[label.number]
        here = f"x='{x + label.across:.1f}' y='{y + label.down:.1f}' text-anchor='{label.side}'"
        found.append(f"<text {here}>{escape(label.text)}</text>")
    return found


def _box(x: float, y: float, shift: tuple[int, int], text: str) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a label."""
    width, base = _LETTER * len(text), y + shift[1]
    left = x + shift[0] - (0 if shift[0] > 0 else width if shift[0] < 0 else width / 2)
    return left, base - _LINE + 3, left + width, base + 2


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _frame(across: Axis, up: Axis, name: str, upwards: str) -> str:
    bottom = HEIGHT - _BOTTOM
    lines = [f"M{_LEFT},{_TOP}V{bottom}H{WIDTH - _RIGHT}"]
    texts = []
    for value in across.ticks():
        lines.append(f"M{across.at(value):.1f},{bottom}v5")
        texts.append(f"<text x='{across.at(value):.1f}' y='{bottom + 20}' text-anchor='middle'>{_figure(value)}</text>")
    for value in up.ticks():
        lines.append(f"M{_LEFT},{up.at(value):.1f}h-5")
        texts.append(f"<text x='{_LEFT - 9}' y='{up.at(value) + 4:.1f}' text-anchor='end'>{_figure(value)}</text>")
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    texts.append(f"<text x='{middle}' y='{HEIGHT - 14}' text-anchor='middle'>{escape(name)}</text>")
    turned = f"transform='rotate(-90 18 {HEIGHT / 2})'"
    texts.append(f"<text x='18' y='{HEIGHT / 2}' text-anchor='middle' {turned}>{escape(upwards)}</text>")
    return f"<path d='{''.join(lines)}' fill='none' stroke='#62707d'/>{''.join(texts)}"


def _limit(up: Axis, limit: tuple[str, float] | None) -> str:
    if limit is None:
        return ""
    y, end = up.at(limit[1]), WIDTH - _RIGHT
    line = f"<line x1='{_LEFT}' x2='{end}' y1='{y:.1f}' y2='{y:.1f}' stroke='#b3261e' stroke-dasharray='6 4'/>"
    return f"{line}<text x='{end}' y='{y - 5:.1f}' text-anchor='end' fill='#b3261e'>{escape(limit[0])}</text>"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
