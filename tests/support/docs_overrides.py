"""The overrides that pages name in commands and inline code, held against the groups, options and keys that exist."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, get_args

from support.checkout import REPOSITORY
from support.docs_reference import CONF
from tflite_recipes.config import catalog
from tflite_recipes.config.recipe import BESIDE_STEPS
from tflite_recipes.core import schema
from tflite_recipes.core.schema import TARGET

_BLOCK = re.compile(r"^ *```(\w*)\n.*?^ *```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
# An override, or a key alone. Quotation marks around it are not part of it.
_OVERRIDE = re.compile(r"(?<![\w./=:{\[-])(?P<key>[a-z_]+(?:\.[a-z_]+)*)(?:=(?P<value>[^\s`'\"]*))?(?![\w(/])")
# What a key alone is not: the name of a file.
_FILES = ("csv", "h5", "html", "json", "keras", "log", "md", "npz", "png", "py", "svg", "tflite", "toml", "txt", "yaml")
_OPTION_FILE = re.compile(r"conf/(\w+)/(\w+)\.yaml")


@dataclass(frozen=True)
class _Names:
    """What a recipe can name. keys: of each group and section, with the types that a key has in its classes."""

    options: Mapping[str, frozenset[str]]
    keys: Mapping[str, Mapping[str, tuple[Any, ...]]]


@cache
def _names() -> _Names:
    groups = catalog.list_groups([CONF])
    kinds: dict[str, set[type]] = {section: {kind} for section, kind in BESIDE_STEPS.items()}
    for group, options in groups.items():
        targets = {catalog.option_values(path, [CONF])[TARGET] for path in options.values()}
        kinds[group] = {kind for target in targets if (kind := schema.class_of(target)) is not None}
    keys = {
        section: {key: tuple(schema.types_of(kind)[key] for kind in of if key in schema.keys_of(kind)) for key in all_}
        for section, of in kinds.items()
        for all_ in [sorted({key for kind in of for key in schema.keys_of(kind)})]
    }
    return _Names({group: frozenset(options) for group, options in groups.items()}, keys)


@cache
def _sources() -> str:
    """The code of the package, in which the names of metrics are."""
    return "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "tflite_recipes").rglob("*.py"))


@cache
def _tracking_names() -> str:
    """The page of metrics, for names that the code puts together."""
    return (REPOSITORY / "docs" / "reference" / "tracking-names.md").read_text(encoding="utf-8")


def wrong_names(text: str) -> list[tuple[int, str]]:
    """Return the overrides and keys in a page that do not exist, each with its line and the reason.

    Looked at are blocks of shell and inline code. A key of a group may stand without its group (`scale=0.5`).
    """
    own = {(group, name) for group, name in _OPTION_FILE.findall(text)}
    found = []
    for start, code in _codes(text):
        for match in _OVERRIDE.finditer(code):
            if reason := _wrong(match["key"], match["value"], own):
                line = text.count("\n", 0, start + match.start()) + 1
                found.append((line, f"{match[0]}: {reason}"))
    return found


def _codes(text: str) -> Iterator[tuple[int, str]]:
    """The shell blocks and pieces of inline code with where they begin."""
    for block in _BLOCK.finditer(text):
        if block[1] == "sh":
            yield block.start(), block[0]
    blank = _BLOCK.sub(lambda block: re.sub(r"[^\n]", " ", block[0]), text)
    for inline in _INLINE.finditer(blank):
        yield inline.start(1), inline[1]


def _wrong(name: str, value: str | None, own: set[tuple[str, str]]) -> str:
    names = _names()
    section, *rest = name.split(".")
    if section == "hydra" or (section not in names.keys and (value is None or not rest)):
        return _wrong_word(name, value) if value is not None and section != "hydra" else ""
    if section not in names.keys:
        return f"there is no group {section!r}"
    if not rest:
        return _wrong_option(section, value, own) if value is not None else ""
    if value is None and rest[-1] in _FILES:
        return ""
    if rest[0] not in names.keys[section] and rest[0] != TARGET:
        if value is None and (f'"{name}' in _sources() or f"`{name}`" in _tracking_names()):
            return ""  # a metric
        return f"{section} has no key {rest[0]!r}"
    return _wrong_choice(names.keys[section].get(rest[0], ()), value)


def _wrong_word(name: str, value: str) -> str:
    """A word with a value that is no group: a key without its group, or a name of its own."""
    names = _names()
    known = {*names.keys, *(key for section in names.keys.values() for key in section), "name", "steps"}
    similar = difflib.get_close_matches(name, known, cutoff=0.8)
    return f"there is no group or key {name!r}, but {similar[0]}" if similar and name not in known else ""


def _wrong_option(group: str, value: str, own: set[tuple[str, str]]) -> str:
    listed = [option for option in re.split(r",", value.rstrip(".,;:)")) if re.fullmatch(r"\w+", option)]
    options = _names().options.get(group, frozenset())
    wrong = [option for option in listed if option not in options and (group, option) not in own and option.islower()]
    return f"{group} has no option {', '.join(wrong)}" if wrong else ""


def _wrong_choice(hints: tuple[Any, ...], value: str | None) -> str:
    """A value that no class with this key takes, of keys that have choices."""
    kinds = [kind for hint in hints for kind in (hint, *get_args(hint))]
    choices = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Enum)]
    if not choices or value is None or not all(kind is type(None) or kind in choices for kind in map(_plain, hints)):
        return ""
    known = {name for kind in choices for name in kind.__members__} | {"null"}
    listed = [item for item in re.split(r"[\[\],]+", value.rstrip(".;:)")) if re.fullmatch(r"[a-z]\w*", item)]
    wrong = [item for item in listed if item not in known]
    return f"there is no {', '.join(wrong)}; there are {', '.join(sorted(known))}" if wrong else ""


def _plain(hint: Any) -> Any:
    """The type itself, or that of what may be null or of the items of a list."""
    return next((kind for kind in get_args(hint) if kind is not type(None)), hint)
