"""The points of a plane that no other beats."""

from __future__ import annotations

from collections.abc import Sequence


def dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether `one` is nowhere larger than `other`, and somewhere smaller."""
    return one[0] <= other[0] and one[1] <= other[1] and one != other


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The places of the points that none dominates, both coordinates to be small; by the first coordinate. Equal
    points are all in it, or none is. A point with a NaN is left out."""
    known = [place for place, (x, y) in enumerate(points) if x == x and y == y]
    kept: list[int] = []
    for place in sorted(known, key=lambda place: (*points[place], place)):
        if not kept or points[place][1] < points[kept[-1]][1] or points[place] == points[kept[-1]]:
            kept.append(place)
    return kept
