"""How large a model file or folder is, and its SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tflite_recipes.core import regular_files
from tflite_recipes.files.models.refusals import instead_of, refusal


def saved_model_bytes(path: Path) -> int:
    """The bytes of all files in a folder. Errors: RequestError where there is no such folder."""
    return sum(file.stat().st_size for _, file in files_in(path))


def sha256_of(path: Path) -> str:
    """SHA-256, in hex, of a file's bytes; of a folder: of its files' names and digests, wherever the folder is.

    A SavedModel's `fingerprint.pb` does not count, because it differs between saves of the same model.
    Errors: RequestError where there is nothing at `path`; OSError for a file that cannot be opened, or is sparse.
    """
    if path.is_file():
        with regular_files.open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    whole = hashlib.sha256()
    for name, file_path in files_in(path):
        if name != "fingerprint.pb":
            # A NUL cannot stand in a name, so no two folders can spell the same text.
            whole.update(f"{name}\0{sha256_of(file_path)}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def files_in(folder: Path) -> list[tuple[str, Path]]:
    """The files below a folder that count, by their path in it. Links to files count as what they lead to, links to
    folders not at all. Errors: RequestError where there is no such folder."""
    if not folder.is_dir():
        raise refusal(f"there is no {folder}", instead_of(folder))
    return sorted((file.relative_to(folder).as_posix(), file) for file in folder.rglob("*") if file.is_file())
