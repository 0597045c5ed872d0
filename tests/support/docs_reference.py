"""The generated pages of docs/reference/: config groups, command line, built-in recipes. Each is a text by its path."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml

from support.checkout import REPOSITORY
from tflite_recipes.cli import entry
from tflite_recipes.config import catalog
from tflite_recipes.config.option_text import key_entries
from tflite_recipes.config.recipe import BESIDE_STEPS
from tflite_recipes.core import schema
from tflite_recipes.core.schema import TARGET, Bounds, NamesFile
from tflite_recipes.steps import CpuTarget, EthosUTarget, MicroTarget, Optimization

CONF = REPOSITORY / "conf"
WIDTH = 100
# What each group decides, and the guide that explains it.
GROUPS: Mapping[str, tuple[str, str]] = {
    "source": ("which model is converted", "guides/own-model.md"),
    "substitution": ("which layers are replaced before the conversion", "guides/conversion-problems.md"),
    "pruning": ("which share of the weights becomes zero", "guides/pruning.md"),
    "freeze": ("how variables become constants", "explanation/recipe-to-file.md"),
    "calibration": ("which samples set the ranges of activations", "guides/calibration-data.md"),
    "optimization": ("the quantization scheme", "schemes.md"),
    "target": ("which hardware the file is for, with its limits", "guides/targets/index.md"),
    "evaluation": ("how the file is scored, and which score it needs", "guides/accuracy-and-gates.md"),
    "tracking": ("where runs are logged", "guides/tracking.md"),
}
# What options of one class are called together.
FAMILIES: Mapping[type, str] = {
    CpuTarget: "Keys of targets with LiteRT on a CPU",
    MicroTarget: "Keys of microcontrollers",
    EthosUTarget: "Keys of Arm Ethos-U targets",
    Optimization: "Keys of all schemes",
}


def pages() -> dict[str, str]:
    """Return the text of each generated page by its path below docs/reference/."""
    groups = catalog.list_groups([CONF])
    return {
        "groups/index.md": _groups_page(groups),
        **{f"groups/{group}.md": _group_page(group, options) for group, options in groups.items()},
        "groups/sections.md": _sections_page(),
        "cli.md": _cli_page(),
        "recipes.md": _recipes_page(),
    }


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# ------------------------------------------------------------------------------------------------- config groups


def _groups_page(groups: Mapping[str, Mapping[str, Path]]) -> str:
    base = _base_choices()
    rows = [
        (f"[`{group}`]({group}.md)", GROUPS[group][0], ", ".join(f"`{name}`" for name in options), base[group])
        for group, options in groups.items()
    ]
    return _joined(
        [
            "# Config groups",
            "This page lists the config groups of a recipe. Choose an option by `group=option`, and set its keys by\n"
            "`group.key=value`. Each group has a page with all keys.",
            _table(("group", "it decides", "options", "default"), rows),
            "Sections without options, such as `conversion`, are on the page [other sections](sections.md).\n"
            "`tflite-recipes ls GROUP` lists the options of a group, your own included.",
        ]
    )


def _base_choices() -> dict[str, str]:
    """The option of each group that a recipe has if it does not choose another."""
    listed = yaml.safe_load((CONF / "base.yaml").read_text(encoding="utf-8"))["defaults"]
    chosen = {group: option for item in listed if isinstance(item, dict) for group, option in item.items()}
    return {group: f"`{option}`" if option else "required" for group, option in chosen.items()}


@dataclass(frozen=True)
class _Option:
    """An option with what its files say of it."""

    name: str
    text: str
    kind: type | None
    values: Mapping[str, Any]
    comments: Mapping[str, Sequence[str]]


def _option(name: str, path: Path) -> _Option:
    values = catalog.option_values(path, [CONF])
    comments: dict[str, list[str]] = {}
    for file, _ in catalog.option_files(path, [CONF]):
        for key, found in key_entries(file.read_text(encoding="utf-8")).items():
            comments.setdefault(key, []).extend([found.comment] if found.comment else [])
    kind = schema.class_of(values.pop(TARGET))
    return _Option(name, catalog.describe(path), kind, values, comments)


def _group_page(group: str, files: Mapping[str, Path]) -> str:
    options = [_option(name, path) for name, path in files.items()]
    what, guide = GROUPS[group]
    families: dict[type, list[_Option]] = {}
    for option in options:
        if option.kind is not None:
            families.setdefault(option.kind, []).append(option)
    default = _base_choices()[group]
    chosen = "A recipe must choose one." if default == "required" else f"The default is {default}."
    return _joined(
        [
            f"# {group}",
            f"This page lists the options and keys of the group `{group}`: {what}. {chosen}\n"
            f"The [guide](../../{guide}) explains when to use which.",
            _table(("option", "what it is"), [(f"`{option.name}`", option.text) for option in options]),
            *(part for family in families.values() for part in _family(group, family)),
        ]
    )


def _family(group: str, options: Sequence[_Option]) -> Iterator[str]:
    """The keys of options that have the same class: one table, and what differs by option."""
    kind = options[0].kind
    assert kind is not None
    names = [f"`{option.name}`" for option in options]
    yield f"## {FAMILIES.get(kind, f'Keys of {names[0]}')}"
    yield f"The options {', '.join(names)} have these keys." if len(names) > 1 else ""
    shared = _shared_comments(options)
    differing = [key for key in schema.keys_of(kind) if len({repr(option.values[key]) for option in options}) > 1]
    rows = []
    for key in schema.keys_of(kind):
        values = "see below" if key in differing else _value(options[0].values[key])
        rows.append((f"`{group}.{key}`", values, _type_words(kind, key), _sentence(shared.get(key, ""))))
    yield _table(("key", "value", "type", "meaning"), rows)
    if differing:
        own = [(f"`{option.name}`", *(_value(option.values[key]) for key in differing)) for option in options]
        yield _table(("option", *(f"`{key}`" for key in differing)), own)
    yield from _own_comments(options, shared)


def _shared_comments(options: Sequence[_Option]) -> dict[str, str]:
    """The last comment of each key that the files of all options have, else the first one of any."""
    keys = {key for option in options for key, texts in option.comments.items() if texts}
    listed = {key: [option.comments.get(key, ()) for option in options] for key in keys}
    return {key: _last_shared([texts for texts in each if texts]) for key, each in listed.items()}


def _last_shared(comments: Sequence[Sequence[str]]) -> str:
    common = [text for text in reversed(comments[0]) if all(text in texts for texts in comments)]
    return common[0] if common else comments[0][0]


def _own_comments(options: Sequence[_Option], shared: Mapping[str, str]) -> Iterator[str]:
    """What an option's file says of a key beyond the comment that all options share."""
    notes: dict[tuple[str, str], list[str]] = {}
    for option in options:
        for key, texts in option.comments.items():
            if texts and texts[-1] != shared[key]:
                notes.setdefault((key, texts[-1]), []).append(option.name)
    for (key, text), names in notes.items():
        head = f"`{key}` of {', '.join(f'`{name}`' for name in names)}:"
        yield f"{head}\n\n{_quoted(text)}" if "\n#   " in text else f"{head} {_sentence(text)}"


def _lines(comment: str) -> list[str]:
    return [line.removeprefix("#").removeprefix(" ") for line in comment.splitlines()]


def _sentence(comment: str) -> str:
    """A comment as one line, whose angle brackets and braces are no markup."""
    return " ".join(line.strip() for line in _lines(comment)).replace("<", "&lt;").replace("*", "\\*")


def _quoted(comment: str) -> str:
    return "```text\n" + "\n".join(_lines(comment)) + "\n```"


def _value(value: Any) -> str:
    if value == "???":
        return "required"
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
    plain = text.strip().removesuffix("...").strip()  # YAML ends a plain scalar by a line of dots
    return f"`{plain}`"


def _type_words(kind: type, key: str) -> str:
    """What a key takes, in words."""
    words = _hint_words(schema.types_of(kind)[key])
    if key in (marks := schema.marks_of(kind, NamesFile)):
        words = words.replace("text", "existing path" if marks[key].must_exist else "path or name", 1)
    if key in (marks := schema.marks_of(kind, Bounds)):
        limits = " and ".join(f"{sign} {bound:g}" for sign, bound in marks[key].limits)
        number, null, rest = words.partition(" or null")
        words = f"{number} {limits}{null}{rest}".replace("<", "&lt;").replace(">", "&gt;")
    return words


_SIMPLE: Mapping[Any, str] = {
    int: "whole number",
    float: "number",
    bool: "`true`, `false`",
    str: "text",
    Any: "anything",
}


def _hint_words(hint: Any) -> str:
    if type(None) in get_args(hint):
        (inner,) = (option for option in get_args(hint) if option is not type(None))
        return f"{_hint_words(inner)} or null"
    if get_origin(hint) is list:
        return f"list of: {_hint_words(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return f"mapping of names to: {_hint_words(get_args(hint)[1])}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(f"`{member.name}`" for member in hint)
    return _SIMPLE[hint]


def _sections_page() -> str:
    """The sections of a recipe that are no groups, from conf/base.yaml."""
    entries = key_entries((CONF / "base.yaml").read_text(encoding="utf-8"))
    values = yaml.safe_load((CONF / "base.yaml").read_text(encoding="utf-8"))
    parts = [
        "# Other sections",
        "This page lists the keys of a recipe that are not in a [config group](index.md).",
        _table(
            ("key", "value", "meaning"),
            [(f"`{key}`", _value(values[key]), _sentence(entries[key].comment)) for key in ("name", "steps")],
        ),
    ]
    for section, kind in sorted(BESIDE_STEPS.items(), key=lambda item: list(entries).index(item[0])):
        body = textwrap.dedent(entries[section].body.partition("\n")[2])
        keys = key_entries(f"\n{body}")
        rows = [
            (
                f"`{section}.{key}`",
                _value(values[section][key]),
                _type_words(kind, key),
                _sentence(keys[key].comment) or "see above",
            )
            for key in schema.keys_of(kind)
        ]
        text = _sentence(entries[section].comment)
        parts += [f"## {section}", f"{text[:1].upper()}{text[1:]}", _table(("key", "value", "type", "meaning"), rows)]
    return _joined(parts)


# --------------------------------------------------------------------------------------------------- command line


def _cli_page() -> str:
    whole = entry.build_parser()
    (commands,) = (action for action in whole._actions if isinstance(action, argparse._SubParsersAction))
    parts = [
        "# Command line",
        "This page lists the commands of `tflite-recipes` with their arguments, as `--help` prints them.\n"
        "[Exit statuses](exit-statuses.md) has the exit status of each outcome.",
        _table(
            ("command", "what it does"),
            [(f"[`{name}`](#{name})", command.description or "") for name, command in commands.choices.items()],
        ),
        "Flags of every command:",
        _arguments(whole, lambda action: bool(action.option_strings)),
    ]
    for name, command in commands.choices.items():
        parts += [
            f"## {name}",
            _capital(command.description or ""),
            f"```text\n{_usage(command)}\n```",
            _arguments(command, lambda action: action.dest != "help"),
            f"```text\n{command.epilog}\n```" if command.epilog else "",
        ]
    return _joined(parts)


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}".removesuffix(".") + "."


def _usage(command: argparse.ArgumentParser) -> str:
    """The usage in lines of our own width: argparse breaks lines by the terminal."""
    actions = sorted(command._actions, key=lambda action: bool(action.option_strings))
    words = [command.prog, *(_usage_words(action) for action in actions if action.dest != "help")]
    text = textwrap.fill(
        " ".join(words), WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return text.replace("\N{NO-BREAK SPACE}", " ")


def _usage_words(action: argparse.Action) -> str:
    """An argument in the usage. Blanks in it do not break lines."""
    if action.option_strings:
        return f"[{_flag(action.option_strings[0], action)}]".replace(" ", "\N{NO-BREAK SPACE}")
    name = str(action.metavar or action.dest)
    return {"*": f"[{name} ...]", "?": f"[{name}]"}.get(str(action.nargs), name).replace(" ", "\N{NO-BREAK SPACE}")


def _flag(flag: str, action: argparse.Action) -> str:
    if action.nargs == 0:
        return flag
    choices = f"{{{','.join(map(str, action.choices))}}}" if action.choices else ""
    value = str(action.metavar or choices or action.dest.upper())
    return f"{flag} [{value}]" if action.nargs == "?" else f"{flag} {value}"


def _arguments(command: argparse.ArgumentParser, listed: Callable[[argparse.Action], bool]) -> str:
    rows = []
    for action in filter(listed, command._actions):
        names = [_flag(flag, action) for flag in action.option_strings] or [str(action.metavar or action.dest)]
        rows.append((", ".join(f"`{name}`" for name in names), (action.help or "").replace("<", "&lt;")))
    return _table(("argument", "meaning"), rows) if rows else ""


# ------------------------------------------------------------------------------------------------ built-in recipes


def _recipes_page() -> str:
    parts = [
        "# Built-in recipes",
        "This page lists the recipes that come with the package. `tflite-recipes cp RECIPE` copies one to `recipes/`,\n"
        "where you can change it. [Your own recipes](../guides/own-recipes.md) explains how recipes inherit.",
    ]
    for path in sorted((REPOSITORY / "recipes" / catalog.BUILTIN).glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        command = next(line for line in text.splitlines() if line.startswith("# tflite-recipes run "))
        content = "".join(text.partition("defaults:")[1:])
        parts += [
            f"## {path.stem}",
            f"{catalog.describe(path)}.",
            f"```sh\n{command.removeprefix('# ')}\n```",
            f"```yaml\n{content.rstrip()}\n```",
        ]
    return _joined(parts)
