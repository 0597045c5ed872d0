"""Bounds what the interpolations of a recipe (`${key}`) expand to: OmegaConf expands them without end."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from omegaconf import Container
from omegaconf.errors import InterpolationResolutionError

# Values, or hundreds of characters, that all interpolations of a recipe expand to. Ours and Hydra's expand to about 50;
# OmegaConf takes 20 to 100 µs for each.
MOST = 1_000
_CHARACTERS = 100


@dataclass
class _Budget:
    left: int = MOST


class TooLong(InterpolationResolutionError):
    """The interpolations of a recipe expand to more than `MOST` values."""


_budget: contextvars.ContextVar[_Budget | None] = contextvars.ContextVar("interpolations", default=None)
_resolve = Container.resolve_parse_tree


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Let all interpolations inside share one budget. Errors: TooLong, an error of OmegaConf."""
    if _budget.get() is not None:
        yield
        return
    token = _budget.set(_Budget())
    try:
        yield
    finally:
        _budget.reset(token)


def _resolved(self: Container, *positional: Any, **named: Any) -> Any:
    with bounded():
        budget = _budget.get()
        assert budget is not None
        _spend(budget, 1)
        found = _resolve(self, *positional, **named)
        _spend(budget, _size(found, budget.left))
        return found


def _spend(budget: _Budget, size: int) -> None:
    budget.left -= size
    if budget.left < 0:
        raise TooLong(f"the interpolations of the recipe expand to more than {MOST} values")


def _size(found: Any, most: int) -> int:
    """Return how many values an interpolation gives, counted up to `most`. Its own interpolations are counted when they
    are resolved."""
    content = found._content if isinstance(found, Container) else found
    level, size = [content], 0
    while level and size <= most:
        node = level.pop()
        node = node._content if isinstance(node, Container) else node
        value = getattr(node, "_val", node)
        size += 1 + (len(value) // _CHARACTERS if isinstance(value, (str, bytes)) else 0)
        level += node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return size


# OmegaConf has no hook for this. Each interpolation of a container passes here.
Container.resolve_parse_tree = _resolved  # type: ignore[method-assign]
