"""An option as one file that stands alone: the keys that it inherits are written out, each with its comment."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tflite_recipes.config import catalog
from tflite_recipes.core import regular_files
from tflite_recipes.core.schema import TARGET


@dataclass(frozen=True)
class KeyEntry:
    """A key as a file has it. comment: the lines above it, "" without any. body: its own lines."""

    comment: str
    body: str


def option_text(path: Path, folders: Sequence[Path] | None = None) -> str:
    """Return the text of an option that inherits nothing and gives the same.

    The comments that open the file stay. A key whose last file says nothing about it has the comment of a file before.
    Arguments and errors are those of `catalog.option_files`.
    """
    values = catalog.option_values(path, folders)
    entries: dict[str, KeyEntry] = {}
    for file, _ in catalog.option_files(path, folders):
        for key, entry in key_entries(regular_files.read_text(file, catalog.MOST)).items():
            comment = entry.comment or (entries[key].comment if key in entries else "")
            entries[key] = KeyEntry(comment, entry.body)
    keys = sorted(values, key=lambda key: key != TARGET)
    return _head(regular_files.read_text(path, catalog.MOST)) + "".join(
        entries[key].comment + _body(key, values[key], entries[key]) if key in entries else _dumped(key, values[key])
        for key in keys
    )


def _head(text: str) -> str:
    """The comments that open a file, up to an empty line or the first key."""
    lines = text.splitlines(keepends=True)
    return "".join(itertools.takewhile(lambda line: line.startswith("#"), lines))


def key_entries(text: str) -> dict[str, KeyEntry]:
    """Return the keys of a file in block style; none of one in flow style, whose keys share lines."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        return {}
    lines = text.splitlines(keepends=True)
    names = [str(key.value) for key, _ in node.value]
    starts = [key.start_mark.line for key, _ in node.value]
    above = "".join(lines[: starts[0]]).removeprefix(_head(text))
    entries = {}
    for name, start, end in zip(names, starts, [*starts[1:], len(lines)], strict=True):
        rest = list(itertools.takewhile(_is_remark, reversed(lines[start:end])))[::-1]
        entries[name] = KeyEntry(_comment(above), "".join(lines[start : end - len(rest)]))
        above = "".join(rest)
    return entries


def _is_remark(line: str) -> bool:
    return not line.strip() or line.startswith("#")


def _comment(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))


def _body(key: str, value: Any, entry: KeyEntry) -> str:
    """The key as its last file has it; written anew if its value comes from several files, or from an alias."""
    try:
        whole = yaml.safe_load(entry.body) == {key: value}
    except yaml.YAMLError:
        whole = False
    return f"{entry.body.rstrip()}\n" if whole else _dumped(key, value)


def _dumped(key: str, value: Any) -> str:
    return yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True)
