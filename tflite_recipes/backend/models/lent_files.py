"""What a step of the user's own is handed: copies of files that it may edit, but that are not the run's to change."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tflite_recipes.core.state import State
from tflite_recipes.files.models import sha256_of

# What later steps convert, and what a finished file is compared with.
_MODELS = ("saved_model", "reference", "float_file")
_PATHS = (*_MODELS, "calibration", "converted", "tflite")


@dataclass(frozen=True)
class Loan:
    """The state as a step gets it.

    before: the state itself.
    state: the same with copies, and without the paths that no step may edit.
    copies: by field, the copy in `state`.
    """

    before: State
    state: State
    copies: Mapping[str, Path]

    def returned(self, after: State) -> State:
        """Return the step's state with the run's own paths where the step changed nothing.

        Once there is a file, the models that it is compared with are those of before, whatever the step did.
        """
        before, kept = self.before, {}
        for field, copy in self.copies.items():
            original = getattr(before, field)
            is_fixed = before.tflite is not None and field in _MODELS
            if is_fixed or (getattr(after, field) == copy and sha256_of(copy) == sha256_of(original)):
                kept[field] = original
        after = replace(after, **kept)
        for copy in set(self.copies.values()):
            paths = [getattr(after, field) for field in _PATHS]
            if not any(path is not None and path.is_relative_to(copy) for path in paths):
                copy.unlink(missing_ok=True) if copy.is_file() else shutil.rmtree(copy, ignore_errors=True)
        if before.model is not None and after.model is not None and after.model.folder is None:
            # Freezing takes another one if the model is no longer what this folder holds.
            after = replace(after, model=replace(after.model, folder=before.model.folder))
        return after


def lend(state: State) -> Loan:
    """Return the state for a step of the user's own. Files of the user, and of other runs, are lent as copies.

    So are the models that a finished file is compared with.
    """
    fields = [field for field in _PATHS if _is_lent(state, field)]
    copies: dict[Path, Path] = {}
    for field in fields:
        original = getattr(state, field)
        if original not in copies:
            copies[original] = _copied(original, state.workdir)
    lent = {field: copies[getattr(state, field)] for field in fields}
    model = state.model if state.model is None else replace(state.model, folder=None)
    named = replace(state.named, path=None, text=None)
    return Loan(state, replace(state, model=model, named=named, **lent), lent)


def _is_lent(state: State, field: str) -> bool:
    path = getattr(state, field)
    if path is None:
        return False
    return not path.is_relative_to(state.workdir) or (state.tflite is not None and field in _MODELS)


def _copied(original: Path, workdir: Path) -> Path:
    folder = next(place for number in range(10**6) if not (place := workdir / f"lent_{number}").exists())
    folder.mkdir()
    copy = folder / original.name
    (shutil.copyfile if original.is_file() else shutil.copytree)(original, copy)
    return copy
