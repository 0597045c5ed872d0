"""Reads YAML that anybody may have written: its nesting, aliases and keys are looked at before it is built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

# Levels of nested lists and mappings. Hydra and OmegaConf need about 15 of Python's 1000 frames for each.
DEEPEST = 30
# Values of a recipe when each alias is replaced by what it stands for. Ours have at most 300.
MOST_VALUES = 20_000


class Unfit(ValueError):
    """A text of YAML that is not read. `key` is the dotted key that it fails at, "" for the whole."""

    def __init__(self, what: str, key: str = "") -> None:
        super().__init__(what)
        self.key = key


@dataclass
class _Node:
    """A list or mapping that is being read. key: the last key of a mapping, None while a key comes next."""

    is_mapping: bool
    anchor: str | None
    key: str | None = None
    keys: set[str] = field(default_factory=set)
    values: int = 1


def check(text: str) -> None:
    """Raise `Unfit` for a text that is nested too deep, expands too far or has a key twice, and yaml.YAMLError for one
    that is not YAML. Nothing is built for that."""
    stack: list[_Node] = []
    sizes: dict[str, int] = {}
    for event in _events(text):
        match event:
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                if len(stack) >= DEEPEST:
                    raise Unfit(f"is nested deeper than {DEEPEST} levels", _place(stack))
                is_mapping = isinstance(event, yaml.MappingStartEvent)
                stack.append(_Node(is_mapping, event.anchor))
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                node = stack.pop()
                _take(stack, sizes, node.anchor, node.values, None)
            case yaml.ScalarEvent(value=value):
                _take(stack, sizes, event.anchor, 1 + len(value) // 1000, value)
            case yaml.AliasEvent(anchor=anchor):
                if anchor not in sizes:
                    raise Unfit(
                        f"the alias *{anchor} stands inside of what it stands for, or for nothing", _place(stack)
                    )
                _take(stack, sizes, None, sizes[anchor], None)


def load(text: str) -> Any:
    """Return what a text holds. Errors: those of `check`."""
    check(text)
    return yaml.safe_load(text)


def _events(text: str) -> Iterator[Any]:
    # libyaml reads ten times as fast
    yield from yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _take(stack: list[_Node], sizes: dict[str, int], anchor: str | None, values: int, scalar: str | None) -> None:
    """Add a value, or a key, to the node that it stands in."""
    if anchor is not None:
        sizes[anchor] = values
    if not stack:
        return
    parent = stack[-1]
    parent.values += values
    if parent.values > MOST_VALUES:
        raise Unfit(f"has more than {MOST_VALUES} values when its aliases are expanded", _place(stack))
    if not parent.is_mapping:
        return
    if parent.key is not None:
        parent.key = None
        return
    parent.key = scalar if scalar is not None else "?"
    if scalar is not None and scalar != "<<":  # several of which merge several mappings
        if scalar in parent.keys:
            raise Unfit("stands there twice: remove one of the two", _place(stack))
        parent.keys.add(scalar)


def _place(stack: list[_Node]) -> str:
    return ".".join(node.key for node in stack if node.key is not None)
