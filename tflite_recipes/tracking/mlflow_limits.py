"""What MLflow takes: names, lengths, how much in one request. Whatever is cut says so."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

NAME_LENGTH = 250  # a parameter's, a tag's, a metric's name; a run's
VALUE_LENGTH = 6000  # a parameter's value
TAG_LENGTH = 5000  # a tag's, also on servers before MLflow 2.13
EXPERIMENT_LENGTH = 500  # an experiment's name
AT_ONCE = 100  # parameters, or tags, in one request
_BYTES_AT_ONCE = 400_000  # of the 10^6 that a server takes
RECIPE_HAS_IT, SPOOL_HAS_IT = "all in recipe.yaml", "all in events.jsonl"


def allowed(name: str) -> str:
    """A name as MLflow takes it for a metric, a parameter or a tag; one that it takes already stays as it is."""
    kept = "".join(c if c.isalnum() or c in "_-./ " else "_" for c in _writable(name)).strip()
    # MLflow takes no name that, as a path, would be spelled otherwise.
    parts = [part if part.strip(".") else "_" * max(1, len(part)) for part in kept.split("/")]
    kept = "/".join(parts)
    kept = f"__{kept[2:]}" if kept.startswith("..") else kept
    if len(kept) > NAME_LENGTH:
        digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
        kept = f"{kept[: NAME_LENGTH - 9].rstrip('/. ')}_{digest[:8]}"
    assert posixpath.normpath(kept) == kept
    return kept


def named(values: Mapping[str, T]) -> dict[str, T]:
    """The same under names that MLflow takes, no two of which differ in nothing but capitals (some databases would take
    them for one): the later of such gets a number."""
    found: dict[str, T] = {}
    taken: set[str] = set()
    for name, value in values.items():
        free, number = allowed(name), 2
        while free.casefold() in taken:
            free, number = f"{allowed(name)[: NAME_LENGTH - 6]}_{number}", number + 1
        taken.add(free.casefold())
        found[free] = value
    return found


def cut(value: Any, limit: int, where: str = "", *, end: bool = False) -> str:
    """The value as text that a database takes, of at most `limit` characters: the first of them (`end`: the last), and
    how many there are, and `where`."""
    text = _writable(str(value))
    if len(text) <= limit:
        return text
    said = f"({len(text)} characters{'; ' if where else ''}{where})"
    if end:
        return f"{said} …{text[len(said) + 2 - limit :]}"
    return f"{text[: limit - len(said) - 2]}… {said}"


def batches(**kinds: Mapping[str, Any]) -> Iterator[dict[str, dict[str, Any]]]:
    """Metrics, parameters and tags (by kind, each by name) in as many requests as they need. Nothing for nothing."""
    batch: dict[str, dict[str, Any]] = {}
    count = size = 0
    for kind, values in kinds.items():
        for name, value in values.items():
            weight = len(json.dumps([name, str(value)])) + 64  # non-ASCII letters go as six bytes each
            if batch and (count >= AT_ONCE or size + weight > _BYTES_AT_ONCE):
                yield batch
                batch, count, size = {}, 0, 0
            batch.setdefault(kind, {})[name] = value
            count, size = count + 1, size + weight
    if batch:
        yield batch


def _writable(text: str) -> str:
    """Without what no database or no request takes: NUL, and halves of surrogate pairs (from odd file names)."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "�")
