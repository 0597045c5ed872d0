"""Which recipes and options there are, the user's own and ours, and the files that they are in."""

from __future__ import annotations

import copy
import functools
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tflite_recipes.config import yaml_text
from tflite_recipes.core import paths, regular_files
from tflite_recipes.core.errors import Problem, RequestError, gist
from tflite_recipes.core.resources import shipped
from tflite_recipes.core.schema import near
from tflite_recipes.files.models.model_kinds import source_overrides

BUILTIN = "builtin"
MOST = 1 << 20  # bytes of a recipe or an option
# Begins the name of a file, or of a folder of files, that options share and that is no option itself.
_FRAGMENT = "_"
_REQUIRED = "???"


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
    try:
        text = regular_files.read_text(path, MOST)
    except (OSError, UnicodeDecodeError) as error:
        return f"cannot be read: {gist(error)}"
    lines = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    texts = [line.lstrip("# ").strip() for line in lines if "@package" not in line]
    return next((text for text in texts if text and not text.startswith("tflite-recipes run")), "")


def is_fragment(name: str) -> bool:
    """Return whether a file or folder of this name holds what options share (`_ethos_u`), and is no option."""
    return name.startswith(_FRAGMENT)


def option_folders(config_dir: Path | None = None) -> list[Path]:
    """Folders of config groups, the user's before ours."""
    here = [config_dir, Path("conf")]
    return [folder.resolve() for folder in (*here, shipped("conf")) if folder is not None and folder.is_dir()]


def list_groups(folders: Sequence[Path] | None = None) -> dict[str, dict[str, Path]]:
    """Groups and their options in `folders` (`option_folders()` if not given), each with its file. The user's own come
    in, and shadow ours; fragments are left out."""
    groups: dict[str, dict[str, Path]] = {}
    for root in reversed(option_folders() if folders is None else folders):
        for path in sorted(root.rglob("*.yaml")):
            *parts, name = path.relative_to(root).with_suffix("").parts
            if parts and not any(map(is_fragment, (*parts, name))):
                groups.setdefault("/".join(parts), {})[name] = path
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


def option_files(path: Path, folders: Sequence[Path] | None = None) -> list[tuple[Path, dict[str, Any]]]:
    """Return the files that an option consists of, each with its content, in the order in which later ones win.

    Args:
        path: the option's own file.
        folders: where the files that it inherits are looked for, first wins; by default `option_folders()`.

    Raises:
        RequestError: if one of the files cannot be read.
    """
    return list(_inherited(path.absolute(), option_folders() if folders is None else folders, ()))


def option_values(path: Path, folders: Sequence[Path] | None = None) -> dict[str, Any]:
    """Return the keys of an option with their values, those that it inherits too. Arguments and errors are those of
    `option_files`."""
    values: dict[str, Any] = {}
    for _, content in option_files(path, folders):
        values = _merged(values, {key: value for key, value in content.items() if key != "defaults"})
    return values


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two sections as one, as Hydra merges them: key by key, and `???` never replaces a value."""
    found = dict(below)
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(found.get(key), dict):
            found[key] = _merged(found[key], value)
        elif value != _REQUIRED or key not in found:
            found[key] = value
    return found


def _inherited(path: Path, folders: Sequence[Path], below: tuple[Path, ...]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Files that are not there, or inherit each other in a circle, are left to Hydra, which names them."""
    content = read(path)
    entries = [entry for entry in content.get("defaults") or () if isinstance(entry, str)]
    for entry in entries if "_self_" in entries else [*entries, "_self_"]:
        if entry == "_self_":
            yield path, content
        elif (other := _entry_file(entry, path, folders)) is not None and other not in (path, *below):
            yield from _inherited(other, folders, (path, *below))


def _entry_file(entry: str, path: Path, folders: Sequence[Path]) -> Path | None:
    """The file of an entry of an option's defaults whose keys become keys of the option: `NAME` in its own group, or
    `/GROUP/NAME@_here_`."""
    place, _, package = entry.partition("@")
    if package != "_here_" and (package or "/" in place):
        return None  # a section of its own
    root = next((folder for folder in folders if path.is_relative_to(folder)), path.parent)
    group = Path() if place.startswith("/") else path.relative_to(root).parent
    files = (folder / group / f"{place.lstrip('/')}.yaml" for folder in folders)
    return next((file for file in files if file.is_file()), None)


def circles(folders: Sequence[Path]) -> list[Problem]:
    """Return the problems of options in `folders` that inherit themselves, directly or through others."""
    problems: list[Problem] = []
    ours = shipped("conf").resolve()
    for path in (file for options in list_groups(folders).values() for file in options.values()):
        if path.resolve().is_relative_to(ours):
            continue
        try:
            through = _circle(path.absolute(), folders, ())
        except RequestError as error:  # that of a file which names itself
            problems += [problem for problem in error.problems if problem not in problems]
            continue
        if through:
            names = " → ".join(str(file) for file in (*through, through[0]))
            problems.append(Problem(f"inherits itself: {names}", f"{path} defaults"))
    return problems


def _circle(path: Path, folders: Sequence[Path], below: tuple[Path, ...]) -> tuple[Path, ...]:
    """The files from `path` back to itself; () if it inherits no file that inherits it."""
    if path in below:
        return below if path == below[0] else ()
    for entry in read(path).get("defaults") or ():
        other = _entry_file(entry, path, folders) if isinstance(entry, str) and entry != "_self_" else None
        if other is not None and (found := _circle(other, folders, (*below, path))):
            return found
    return ()


def find(name: str) -> Path:
    """The file of a recipe given by name or by path. Errors: RequestError with near matches."""
    given = Path(name)
    if reason := paths.unusable(name):
        raise RequestError(Problem(f"there is no recipe {paths.shortened(name)!r}: {reason}", "recipe"))
    if given.suffix in (".yaml", ".yml") and (reason := regular_files.unreadable(given)):
        raise RequestError(Problem(f"{paths.shortened(name)} cannot be read: {reason}", "recipe"))
    if given.suffix in (".yaml", ".yml") and os.path.isfile(given):
        return given.resolve()
    known = list_recipes()
    if name in known:
        return known[name]
    builtin = shipped("recipes") / f"{name if name.startswith(f'{BUILTIN}/') else f'{BUILTIN}/{name}'}.yaml"
    if os.path.isfile(builtin):
        return builtin
    if overrides := source_overrides(given):
        raise RequestError(Problem(f"{name} is a model, not a recipe", "recipe", "", (f"convert {overrides}",)))
    kind, there = "recipe", list(known)
    if given.suffix in (".yaml", ".yml"):
        kind, there = (
            "file",
            [str(given.parent / other) for other in paths.names_in(given.parent) if other.endswith((".yaml", ".yml"))],
        )
    similar = near(name, there)
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"there are {', '.join(there) or 'none'}"
    # No fix to paste behind the command: the name stands in its middle.
    raise RequestError(Problem(f"there is no {kind} {name!r}; {hint}", "recipe", "", tuple(similar[:1])))


def find_option(name: str) -> Path | None:
    """Return the file of an option given as GROUP/OPTION, None if there is no such group. Errors: RequestError with
    near matches."""
    group, _, option = name.rpartition("/")
    options = list_groups().get(group)
    if options is None:
        return None
    if option in options:
        return options[option]
    similar = [] if is_fragment(option) else near(option, list(options))
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"there are {', '.join(options)}"
    ways = tuple(f"{group}/{other}" for other in similar[:1])
    raise RequestError(Problem(f"{group} has no option {option!r}; {hint}", "GROUP/OPTION", "", ways))


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> Any:
    """Return what a text of YAML holds. Options are read again and again, and a text always holds the same."""
    return yaml_text.load(text)


def yaml_problem(error: Exception, path: Path) -> Problem:
    """Return the problem of a file that cannot be read as YAML, for an error of reading it."""
    if isinstance(error, yaml_text.Unfit):
        return Problem(str(error), f"{path} {error.key}".rstrip())
    if isinstance(error, (UnicodeDecodeError, OSError)):
        return Problem(f"cannot be read as YAML: {gist(error)}", str(path))
    return Problem(f"cannot be read as YAML: {error}", str(path))


def read(path: Path) -> dict[str, Any]:
    """A recipe's or an option's own content. Errors: RequestError, also where a recipe inherits itself."""
    try:
        content = copy.deepcopy(_parsed(regular_files.read_text(path, MOST)))
    except (yaml.YAMLError, ValueError, OSError) as error:  # ValueError: a date that no calendar has
        raise RequestError(yaml_problem(error, path)) from error
    if not isinstance(content, dict):
        raise RequestError(Problem("holds no recipe: it is not a mapping", str(path)))
    defaults = content.get("defaults") or []
    if not isinstance(defaults, list):
        raise RequestError(Problem("its defaults are not a list", str(path)))
    inherited = [entry.strip("/") for entry in defaults if isinstance(entry, str)]
    if path.stem in inherited and path.parent != shipped("conf"):
        other = "give the file another name"
        is_option = any(path.is_relative_to(folder) for folder in option_folders())
        if not is_option and (shipped("recipes") / BUILTIN / path.name).is_file():
            other = f"inherit ours: write `- /{BUILTIN}/{path.stem}` under its defaults"
        raise RequestError(Problem(f"inherits {path.stem!r}, which is itself", f"{path} defaults", "", (other,)))
    return content
