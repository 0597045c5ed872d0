"""Which recipes and options there are, the user's own and ours, and the files that they are in."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import Any

import yaml

from tflite_recipes.errors import Problem, RequestError
from tflite_recipes.resources import shipped
from tflite_recipes.schema import near

BUILTIN = "builtin"


def places(config_dir: Path | None = None) -> list[Path]:
    """Folders of config, the user's before ours."""
    here = [config_dir, Path("recipes"), Path("conf")]
    ours = [shipped("recipes"), shipped("recipes") / BUILTIN, shipped("conf")]
    return [folder.resolve() for folder in (*here, *ours) if folder is not None and folder.is_dir()]


def list_recipes() -> dict[str, Path]:
    """Recipes by name, the user's own first; a user's file shadows ours of the same name. `builtin/` is ours alone."""
    found: dict[str, Path] = {}
    own = Path("recipes").resolve()
    for path in sorted(own.rglob("*.yaml")) if own.is_dir() and own != shipped("recipes") else ():
        name = path.relative_to(own).with_suffix("").as_posix()
        if not name.startswith(f"{BUILTIN}/"):
            found[name] = path
    for path in sorted((shipped("recipes") / BUILTIN).glob("*.yaml")):
        found[f"{BUILTIN}/{path.stem}" if path.stem in found else path.stem] = path
    return found


def describe(path: Path) -> str:
    """The comment lines that open a file, without the command that runs it."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
    texts = [line.lstrip("# ").strip() for line in lines if "@package" not in line]
    return next((text for text in texts if text and not text.startswith("tflite-recipes run")), "")


def list_groups() -> dict[str, dict[str, Path]]:
    """Groups and their options, each with its file. The user's own come in, and shadow ours."""
    groups: dict[str, dict[str, Path]] = {}
    for root in reversed([folder for folder in places() if folder.name == "conf"]):
        for path in sorted(root.rglob("*.yaml")):
            group = path.relative_to(root).parent.as_posix()
            if group != ".":
                groups.setdefault(group, {})[path.stem] = path
    order = _base(shipped("conf"))["steps"]
    return dict(sorted(groups.items(), key=lambda item: (order.index(item[0]) if item[0] in order else 99, item[0])))


def base_groups() -> list[str]:
    """The groups that every recipe has, in their order."""
    defaults = _base(shipped("conf"))["defaults"]
    return [key for entry in defaults if isinstance(entry, dict) for key in entry if not key.startswith("override")]


@functools.cache
def _base(conf: Path) -> dict[str, Any]:
    """Return what every recipe starts from. It is read once: the package's files do not change while it runs."""
    content: dict[str, Any] = yaml.safe_load((conf / "base.yaml").read_text(encoding="utf-8"))
    return content


def find(name: str) -> Path:
    """The file of a recipe given by name or by path. Errors: RequestError with near matches."""
    given = Path(name)
    if given.suffix in (".yaml", ".yml") and given.is_file():
        return given.resolve()
    known = list_recipes()
    if name in known:
        return known[name]
    builtin = shipped("recipes") / f"{name if name.startswith(f'{BUILTIN}/') else f'{BUILTIN}/{name}'}.yaml"
    if builtin.is_file():
        return builtin
    kind, there = "recipe", list(known)
    if given.suffix in (".yaml", ".yml"):
        kind, there = "file", [str(path) for path in sorted(given.parent.glob("*.y*ml"))]
    similar = near(name, there)
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"there are {', '.join(there) or 'none'}"
    # No fix to paste behind the command: the name stands in its middle.
    raise RequestError(Problem(f"there is no {kind} {name!r}; {hint}", "recipe", "", tuple(similar[:1])))


def read(path: Path) -> dict[str, Any]:
    """A recipe's or an option's own content. Errors: RequestError, also where a recipe inherits itself."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise RequestError(Problem(f"cannot be read as YAML: {error}", str(path))) from error
    if not isinstance(content, dict):
        raise RequestError(Problem("holds no recipe: it is not a mapping", str(path)))
    defaults = content.get("defaults") or []
    if not isinstance(defaults, list):
        raise RequestError(Problem("its defaults are not a list", str(path)))
    inherited = [entry.strip("/") for entry in defaults if isinstance(entry, str)]
    if path.stem in inherited and path.parent != shipped("conf"):
        other = "give the file another name"
        if (shipped("recipes") / BUILTIN / path.name).is_file():
            other = f"inherit ours: write `- /{BUILTIN}/{path.stem}` under its defaults"
        raise RequestError(Problem(f"inherits {path.stem!r}, which is itself", f"{path} defaults", "", (other,)))
    return content
