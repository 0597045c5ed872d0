"""What was made last, kept in this process for whoever asks for the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Made = TypeVar("Made")
# A search goes back and forth between two models or data sets at most.
_MOST = 3


def once(
    kept: dict[str, Made], key: str, make: Callable[[], Made], keeps: Callable[[Made], bool] = lambda _: True
) -> Made:
    """What `kept` has of this key, else what `make` gives, which stays there until three others came after it.

    keeps: whether a result may stay there.
    """
    if key not in kept:
        made = make()
        if not keeps(made):
            return made
        while len(kept) >= _MOST:
            del kept[next(iter(kept))]
        kept[key] = made
    return kept[key]
