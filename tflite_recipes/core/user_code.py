"""The user's own code that a recipe names: where it lies, and which version of it a run had."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from tflite_recipes.core import schema
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.state import State

# Files that a recipe names are kept as such; what TensorFlow writes of a function while tracing it is nobody's module.
_NOT_IMPORTED = (schema.OF_FILE, "__autograph_generated_file")
# Modules that are known to be installed or ours. There are thousands, and few are new from one step to the next.
_NOT_OWN: dict[str, ModuleType] = {}
_IN_FILE = re.compile(r"(?P<file>.+\.py):(?P<name>[^\W\d]\w*)")


def found_beside(config: Any, folder: Path) -> Any:
    """The plain config, in which each `file.py:name` that does not lie in the working folder, but in `folder` (the
    recipe's), is spelled by its path from the working folder."""
    if isinstance(config, dict):
        return {key: found_beside(value, folder) for key, value in config.items()}
    if isinstance(config, list):
        return [found_beside(value, folder) for value in config]
    match = _IN_FILE.fullmatch(config) if isinstance(config, str) else None
    if match is None or os.path.isfile(match["file"]) or not os.path.isfile(folder / match["file"]):
        return config
    return f"{os.path.relpath(folder / match['file'])}:{match['name']}"


def record(key: str, targets: Sequence[str], state: State, reporter: Reporter) -> None:
    """Tag the run with the version of loaded code (`layers.py:Scale sha256:…`), and keep files of the user's own."""
    if not targets:
        return
    said = []
    for target in targets:
        place, _, name = target.rpartition(":") if ":" in target else target.rpartition(".")
        file, installed = _origin(place)
        version = installed
        if file is not None and not installed:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            version = f"sha256:{digest[:12]}"
            reporter.ran(Path(place).name if place.endswith(".py") else place, digest)
            _keep(file, digest, state.workdir, reporter)
        said.append(f"{Path(place).name if place.endswith('.py') else place}:{name} {version}".strip())
    reporter.tag({f"tflite_recipes.{key}": ", ".join(said)})


def record_imports(state: State, reporter: Reporter) -> None:
    """Keep the modules that the user's own code imported, as `code/PACKAGE/NAME.py`: those from the working folder or
    from beside the files that the recipe names. Each has a tag `code.MODULE` with its digest; others that are not
    installed (from PYTHONPATH, say), and compiled ones, have one that they are not kept."""
    modules = own_modules()
    roots = [Path.cwd(), *(file.parent for name, file in modules.items() if name.startswith(schema.OF_FILE))]
    said = {}
    for name, file in sorted(modules.items()):
        if name.startswith(_NOT_IMPORTED):
            continue
        said[name] = "not kept"
        if not file.is_file():  # a module in an archive, or one that is gone since
            continue
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        reporter.ran(name, digest)
        if file.suffix == ".py" and any(file.is_relative_to(root) for root in roots):
            said[name] = f"sha256:{digest[:12]}"
            inside = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
            _keep(file, digest, state.workdir, reporter, "/".join(["code", *inside]))
    if said:
        reporter.tag({f"tflite_recipes.code.{name}": text for name, text in said.items()})


def own_modules() -> dict[str, Path]:
    """The modules that are loaded and are neither installed nor ours, with their files."""
    installed = tuple({sys.prefix, sys.base_prefix, sys.exec_prefix})
    found: dict[str, Path] = {}
    for name, module in list(sys.modules.items()):
        if _NOT_OWN.get(name) is module:
            continue
        file = getattr(module, "__file__", None) or ""
        ours = name.partition(".")[0] in ("tflite_recipes", "__main__", "__mp_main__")
        if file and not ours and not file.startswith(installed) and "site-packages" not in file:
            found[name] = Path(file)
        elif module is not None:
            _NOT_OWN[name] = module
    return found


def forget_own_modules() -> None:
    """Let the user's modules be imported as they are now.

    Python takes a module's compiled form for current if the file has the same size and was changed within the same
    second, and a run may take less than that. So it goes too.
    """
    for name, file in own_modules().items():
        del sys.modules[name]
        if file.suffix == ".py":
            with contextlib.suppress(OSError, ValueError):
                os.unlink(importlib.util.cache_from_source(str(file)))
    importlib.invalidate_caches()


def _origin(place: str) -> tuple[Path | None, str]:
    """The file of a module that is loaded, and for an installed one its distribution with its version."""
    if place.endswith(".py"):
        return Path(place), ""
    file = getattr(sys.modules.get(place), "__file__", None)
    path = Path(file) if file else None
    if path is not None and path.is_relative_to(Path.cwd()) and "site-packages" not in path.parts:
        return path, ""
    names = metadata.packages_distributions().get(place.partition(".")[0], [])
    return path, f"{names[0]} {metadata.version(names[0])}" if names else ""


def _keep(file: Path, digest: str, workdir: Path, reporter: Reporter, folder: str = "code") -> None:
    """A copy, because what is kept is moved. What was kept already stays known by an empty file with its digest."""
    copies = workdir / folder
    marks = workdir / "code" / "kept" / folder.replace("/", ".")
    for made in (copies, marks):
        made.mkdir(parents=True, exist_ok=True)
    if (marks / f"{digest}.{file.name}").exists():
        return
    taken = any(mark.name.partition(".")[2] == file.name for mark in marks.iterdir())
    (marks / f"{digest}.{file.name}").touch()
    name = f"{file.stem}_{digest[:8]}{file.suffix}" if taken else file.name
    shutil.copyfile(file, copies / name)
    reporter.keep(str(copies / name), folder)
