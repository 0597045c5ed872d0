"""The recipes that a recipe inherits, as Hydra finds them: which of them a past run wrote down, and what others add."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tflite_recipes.config import catalog
from tflite_recipes.config.resolved_recipe import is_whole
from tflite_recipes.core.errors import RequestError
from tflite_recipes.core.resources import shipped

_OVERRIDE = "override "


@dataclass(frozen=True)
class InheritedRecipe:
    """A recipe in the defaults of another.

    name: its path below the folder that Hydra finds it in, without a suffix.
    path: its file.
    content: what the file holds.
    """

    name: str
    path: Path
    content: Mapping[str, Any]

    @property
    def is_past(self) -> bool:
        """Whether `show` or a run wrote the recipe down."""
        return is_whole(dict(self.content))


def inherited(content: Mapping[str, Any], folders: Sequence[Path]) -> list[InheritedRecipe]:
    """Return the recipes that a recipe inherits, and those that these inherit.

    What a past recipe inherits is left out: it is the base. So are files that cannot be read, which Hydra reports.

    Args:
        content: what the recipe's file holds.
        folders: where Hydra looks for recipes, first wins.
    """
    found: dict[Path, InheritedRecipe] = {}
    _collect(content, Path(), folders, found)
    return list(found.values())


def keys_set(content: Mapping[str, Any]) -> set[str]:
    """Return the keys that a recipe's own file sets: values by their dotted keys, and groups that it chooses."""
    body = {key: value for key, value in content.items() if key != "defaults"}
    entries = [entry for entry in content.get("defaults") or () if isinstance(entry, Mapping)]
    return {*_dotted(body, ""), *(_place(str(key)).lstrip("/") for entry in entries for key in entry)}


def _collect(
    content: Mapping[str, Any], group: Path, folders: Sequence[Path], found: dict[Path, InheritedRecipe]
) -> None:
    for entry in content.get("defaults") or ():
        names = [entry] if isinstance(entry, str) else _in_folders(entry)
        for name in (_place(one) for one in names):
            place = Path(name.lstrip("/")) if name.startswith("/") else group / name
            path = next((file for folder in folders if (file := folder / f"{place}.yaml").is_file()), None)
            if path is None or path in found or path.is_relative_to(shipped("conf")):
                continue
            try:
                other = InheritedRecipe(place.as_posix(), path, catalog.read(path))
            except RequestError:
                continue
            found[path] = other
            if not other.is_past:
                _collect(other.content, place.parent, folders, found)


def _in_folders(entry: Any) -> list[str]:
    """Return the files that `FOLDER: NAME` takes, which recipes in folders may be named by too."""
    if not isinstance(entry, Mapping):
        return []
    pairs = [(str(key), value) for key, value in entry.items() if not str(key).startswith(_OVERRIDE)]
    return [f"{_place(key)}/{value}" for key, value in pairs if isinstance(value, str)]


def _place(entry: str) -> str:
    """Return an entry without the words around its path: `override`, and the package behind `@`."""
    return entry.removeprefix(_OVERRIDE).strip().partition("@")[0]


def _dotted(values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
