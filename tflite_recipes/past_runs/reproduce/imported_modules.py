"""The modules that a run's own code imported, laid out so that they are imported again: those that the server kept."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from tflite_recipes.core.errors import Problem, RequestError

_TAG = "tflite_recipes.code."
_DIGEST = re.compile(r"sha256:(?P<digest>[0-9a-f]{12})")


def laid_out(tags: Mapping[str, str], kept: Mapping[str, Path], folder: Path) -> tuple[str, ...]:
    """Copy every module that the run tagged (`code.PACKAGE.NAME`) into `folder`, at the place where it is imported
    from, and say where each is from.

    tags: of the run, by their whole names. kept: the run's code by path below `code/`. A module that the server did not
    keep is taken from the working folder if it has the same content; one whose content was never recorded is left to
    whatever is imported here. Errors: RequestError for modules that are neither kept nor the same here.
    """
    notes, problems = [], []
    for tag in sorted(name for name in tags if name.startswith(_TAG)):
        name, said = tag.removeprefix(_TAG), _DIGEST.fullmatch(tags[tag])
        if not all(part.isidentifier() for part in name.split(".")):
            continue
        if said is None:
            notes.append(f"module {name}: as it is imported here, not checked: the run kept no copy of it")
            continue
        digest = said["digest"]
        found = _kept(name, digest, kept) or _here(name, digest)
        if found is None:
            what = f"module {name} (sha256:{digest}) was imported by the run's code; the server did not keep it"
            problems.append(Problem(f"{what}, and it is not here with that content", name))
            continue
        place = folder / found[0]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found[1], place)
        where = "here, the same that the run had" if found[1] not in kept.values() else "as the run had it"
        notes.append(f"module {name}: {where} (sha256:{digest})")
    if problems:
        raise RequestError(problems)
    return tuple(notes)


def names(folder: Path) -> frozenset[str]:
    """The modules that are laid out in a folder, by their dotted names."""
    found = (file.relative_to(folder).with_suffix("").parts for file in folder.rglob("*.py"))
    return frozenset(".".join(parts[:-1] if parts[-1] == "__init__" else parts) for parts in found)


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[bool]:
    """Have this process, and those that it starts meanwhile, import from the folder before all that is here. Whether
    there is anything in it."""
    if not folder.is_dir():
        yield False
        return
    place, before = str(folder.resolve()), os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([place, *([before] if before else [])])
    sys.path.insert(0, place)
    importlib.invalidate_caches()
    try:
        yield True
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(place)
        if before is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = before


def _places(name: str) -> tuple[PurePosixPath, PurePosixPath]:
    """Where a module of this name may stand: as a file, or as a package."""
    path = PurePosixPath(*name.split("."))
    return path.with_suffix(".py"), path / "__init__.py"


def _kept(name: str, digest: str, kept: Mapping[str, Path]) -> tuple[PurePosixPath, Path] | None:
    for place in _places(name):
        # Beside another of the same name a file is kept with a part of its digest in its own.
        for stem in (place.stem, f"{place.stem}_{digest[:8]}"):
            file = kept.get(str(place.with_name(f"{stem}.py")))
            if file is not None and _begins(file, digest):
                return place, file
    return None


def _here(name: str, digest: str) -> tuple[PurePosixPath, Path] | None:
    return next(((p, Path(p)) for p in _places(name) if Path(p).is_file() and _begins(Path(p), digest)), None)


def _begins(file: Path, digest: str) -> bool:
    return hashlib.sha256(file.read_bytes()).hexdigest().startswith(digest)
