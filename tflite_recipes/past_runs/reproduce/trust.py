"""What a recipe that came from a server may not do unless the user trusts it. Pure: nothing that it names is imported,
opened or looked for."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from tflite_recipes.config import catalog
from tflite_recipes.core import public_names, schema
from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.core.resources import shipped
from tflite_recipes.core.schema import TARGET, NamesFile, NeedsTrust

# A resolved recipe has a few hundred values; YAML's anchors make millions of a few lines.
LARGEST_RECIPE = 1_000_000
_MOST_VALUES, _MOST_LEVELS = 100_000, 30
# What stands beside the groups in every recipe. `tracking` is never read.
_BESIDE = ("name", "steps", "worker", "conversion", "io_contract", "tracking", "defaults")
_RECIPE = "recipe.yaml"


def parsed(text: str) -> dict[str, Any]:
    """A fetched recipe as plain data: text, numbers, lists, mappings. Errors: RequestError where it is something else,
    is larger than any recipe, or holds what would be filled in from this machine (`${...}`)."""
    if len(text) > LARGEST_RECIPE:
        raise _refused(f"has {len(text):,} characters, which no recipe has")
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _refused(f"cannot be read as plain YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or not isinstance(content.get("steps"), list):
        raise _refused("holds no resolved recipe")
    for count, value in enumerate(_values(content, 0)):
        if count > _MOST_VALUES:
            raise _refused(f"holds more than {_MOST_VALUES:,} values, which no recipe has")
        if isinstance(value, str) and "${" in value:
            raise _refused(
                f"holds {shown(value)}, which would be filled in from this machine; a resolved recipe has none"
            )
        if value is not None and not isinstance(value, (str, int, float, list, dict)):
            raise _refused(f"holds {shown(value)}, which is neither text nor number")
    return content


def _values(value: Any, level: int) -> Iterator[Any]:
    """The value and all below it, names of mappings too."""
    if level > _MOST_LEVELS:
        raise _refused(f"is nested deeper than {_MOST_LEVELS} levels, as no recipe is")
    yield value
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _values(item, level + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _values(item, level + 1)


def _refused(what: str) -> RequestError:
    return RequestError(Problem(f"the run's recipe {what}", _RECIPE))


def shown(value: Any, most: int = 80) -> str:
    """A value that others chose, short (of `most` characters), and without anything that a terminal would obey."""
    text = ascii(value) if isinstance(value, str) else ascii(schema.to_plain(value))
    return text if len(text) <= most else f"{text[: most - 3]}..."


def problems(config: Mapping[str, Any]) -> list[Problem]:
    """Every key of a recipe that needs trust, with its value, and the flag that gives it."""
    return [
        Problem(f"{shown(value)} {why}, and a recipe from a server may not do that unasked", key, "--trust")
        for key, value, why in _untrusted(config)
    ]


def _untrusted(config: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    known = own_targets()
    for position, entry in enumerate(config["steps"]):
        if not isinstance(entry, str) or entry not in known:
            yield f"steps[{position}]", entry, "is code that is not this package's"
    for name, section in config.items():
        if name in _BESIDE:
            continue
        target = section.get(TARGET) if isinstance(section, Mapping) else None
        if name not in known:
            yield str(name), target or section, "is no group of this package"
        elif target is not None and public_names.resolved(target) not in known[name]:
            yield f"{name}.{TARGET}", target, "is code that is not this package's"
        elif (kind := schema.class_of(target)) is not None:
            yield from _keys(name, kind, section)


def _keys(name: str, kind: type, section: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """The keys of a section of one of our own classes that have code run or machines reached."""
    defaults = schema.defaults_of(kind)
    for key, mark in schema.marks_of(kind, NeedsTrust).items():
        value = section.get(key)
        if not _is_empty(value) and value not in mark.unless and value != defaults.get(key):
            yield f"{name}.{key}", value, "has code run, or a program or a device reached"
    for key, mark in schema.marks_of(kind, NamesFile).items():
        if mark.private and not _is_empty(section.get(key)):
            yield f"{name}.{key}", section[key], "is a file that is this machine's own"
    # Keras makes objects of mappings, and imports the modules that they name.
    for key, value in (section.get("arguments") or {}).items() if isinstance(section.get("arguments"), dict) else ():
        if any(isinstance(inner, dict) for inner in _values(value, 0)):
            yield f"{name}.arguments.{key}", value, "names objects to be made"


def _is_empty(value: Any) -> bool:
    return value is None or value is False or value in ("", [], {})


@functools.cache
def own_targets() -> dict[str, frozenset[str]]:
    """Of each group the public names of the classes of its options, as this package ships them. An option may take its
    class from another of the group."""
    ours = [shipped("conf")]
    found = {
        group: [public_names.resolved(catalog.option_values(path, ours)[TARGET]) for path in options.values()]
        for group, options in catalog.list_groups(ours).items()
    }
    return {group: frozenset(filter(None, targets)) for group, targets in found.items() if group != "tracking"}
