"""Files under a folder, whose sub-folders are their labels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tflite_recipes.core.errors import Problem
from tflite_recipes.core.schema import ExistingPath
from tflite_recipes.core.state import TensorSpec

_SHOWN = 5


@dataclass(frozen=True)
class HasPath:
    """The key that most sources begin with."""

    path: ExistingPath

    def specs(self) -> Mapping[str, TensorSpec]:
        """Names, shapes and dtypes of arrays, where a source's files tell them by input. Errors: RequestError."""
        return {}


@dataclass(frozen=True)
class Listing:
    """files: in the order of their paths. labels: the first sub-folder of each, None where there are none.
    others: the files that are of another kind."""

    files: tuple[Path, ...]
    labels: tuple[str, ...] | None
    others: tuple[Path, ...]


def listing(folder: Path, endings: tuple[str, ...]) -> Listing:
    """The files with one of these endings, at any depth; hidden ones, and folders behind links, are left out.
    Files beside labelled sub-folders have the label ""."""
    files: list[Path] = []
    others: list[Path] = []
    for place, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in names:
            if not name.startswith("."):
                path = Path(place, name)
                (files if name.lower().endswith(endings) and path.is_file() else others).append(path)
    files.sort(key=lambda file: file.relative_to(folder).parts)
    parts = [file.relative_to(folder).parts for file in files]
    labels = tuple(part[0] if len(part) > 1 else "" for part in parts)
    return Listing(tuple(files), labels if any(labels) else None, tuple(sorted(others)))


def folder_problems(path: str, kind: str, endings: tuple[str, ...], where: str) -> Iterable[Problem]:
    """Whether there is a folder with such files."""
    folder = Path(path)
    if not folder.is_dir():
        fix = f"{where}={folder.parent}" if folder.name.lower().endswith(endings) else ""
        yield Problem(f"{path} is a file; a folder of {kind} is needed", where, fix or f"{where}=FOLDER")
        return
    found = listing(folder, endings)
    if not found.files:
        held = ", ".join(str(file.relative_to(folder)) for file in found.others[:_SHOWN]) or "nothing"
        more = ", …" if len(found.others) > _SHOWN else ""
        yield Problem(f"{path} has no {kind} ({' '.join(endings)}); it holds {held}{more}", where, f"{where}=FOLDER")


def left_out(found: Listing, kind: str, path: str) -> tuple[str, ...]:
    """A note where files were passed over."""
    if not found.others:
        return ()
    several = len(found.others) > 1
    names = f"{len(found.others)} files, the first" if several else "one file,"
    return (f"{path}: {names} {found.others[0].name}, {'are' if several else 'is'} left out: no {kind} by name",)


def only_input(inputs: tuple[TensorSpec, ...] | None, kind: str, group: str) -> Iterable[Problem]:
    """Sources without names for inputs suit models with one."""
    if inputs is not None and len(inputs) != 1:
        listed = "; ".join(map(str, inputs))
        what = f"{kind} are for a model with one input, this one has {len(inputs)}: {listed}"
        yield Problem(
            what, group, f"{group}=npz {group}.path=FILE", (f"{group}=generator {group}.function=FILE.py:NAME",)
        )
