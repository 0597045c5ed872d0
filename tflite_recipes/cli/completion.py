"""Bash completion: `eval "$(tflite-recipes -sc install=bash)"`.

Python does all of it: bash hands over the line as it stands and takes the replies as they come. Group options and
their keys are read from their files; Hydra, which is slower, is asked only for what the recipe itself decides.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from tflite_recipes.config import catalog
from tflite_recipes.config.resolved_recipe import AS_RESOLVED
from tflite_recipes.conversion.rule_suggestions import SCHEMES
from tflite_recipes.core import public_names, schema
from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.core.schema import TARGET

COMMANDS = (
    *("run", "ls", "show", "check", "cp", "inspect", "rules"),
    *("reproduce", "diff", "compare", "sync"),
)
_OVERRIDABLE = ("run", "show", "check")
_TOP = ("name=", "steps=", "worker.")
_RECIPES = (".yaml", ".yml")
_PATH_KEYS = ("path", "data", "function", "weights", "custom_objects")
_GLOBAL_FLAGS = ("--help", "--version", "--debug")
_RUN_FLAGS = ("-m", "--multirun", "--config-dir", "--cfg", "--info", "--debug", "--help")
# What a flag of `run` takes as its next word; None: a folder.
_VALUED: Mapping[str, tuple[str, ...] | None] = {
    "--config-dir": None,
    "-cd": None,
    "--cfg": ("job", "hydra", "all"),
    "-c": ("job", "hydra", "all"),
    "--package": (),
    "-p": (),
}

_RULES_FLAGS = ("--top", "--below", "--scheme", "--yaml", "--help", "--debug")
_RULES_VALUED: Mapping[str, tuple[str, ...] | None] = {"--top": (), "--below": (), "--scheme": SCHEMES}
_DIFF_FLAGS = ("--all", "--json", "--tracking-uri", "--help", "--debug")
_COMPARE_FLAGS = (
    *("--candidates", "--limit", "--x", "--y", "--output", "--no-log"),
    *("--json", "--tracking-uri", "--help", "--debug"),
)
_COMPARE_VALUED: Mapping[str, tuple[str, ...] | None] = {
    **dict.fromkeys(("--limit", "--x", "--y", "--tracking-uri"), ()),
    "--output": None,
}
_REPRODUCE_VALUED: Mapping[str, tuple[str, ...] | None] = {
    **dict.fromkeys(("--source", "--calibration-data", "--evaluation-data", "--output-dir")),
    **dict.fromkeys(("--input", "--tolerance", "--tracking-uri"), ()),
}
_SYNC_FLAGS = ("--dry-run", "--tracking-uri", "--help", "--debug")
_SYNC_VALUED: Mapping[str, tuple[str, ...] | None] = {"--tracking-uri": ()}
_FLAGS_OF: Mapping[str, tuple[str, ...]] = {
    "run": _RUN_FLAGS,
    "rules": _RULES_FLAGS,
    "diff": _DIFF_FLAGS,
    "compare": _COMPARE_FLAGS,
    "sync": _SYNC_FLAGS,
    "reproduce": (*_REPRODUCE_VALUED, "--use-kept", "--trust", "--help", "--debug"),
}
_VALUED_OF: Mapping[str, Mapping[str, tuple[str, ...] | None]] = {
    "run": _VALUED,
    "rules": _RULES_VALUED,
    "diff": {"--tracking-uri": ()},
    "compare": _COMPARE_VALUED,
    "sync": _SYNC_VALUED,
    "reproduce": _REPRODUCE_VALUED,
}

# Bash breaks words at = and : too, or not, as COMP_WORDBREAKS says, which is the user's: it says itself, in $2, what
# it would replace. Without arguments (called by hand) COMP_WORDS says so. Replies carry their own space at the end.
_SCRIPT = """\
_tflite_recipes_complete() {
    local command="${1:-tflite-recipes}" current="${2-}" reply
    case "$command" in "~/"*) command="$HOME/${command#"~/"}" ;; esac
    if [ $# -lt 2 ]; then
        current="${COMP_WORDS[COMP_CWORD]}"
        case "$current" in [=:]) current="" ;; esac
    fi
    COMPREPLY=()
    while IFS= read -r reply; do
        COMPREPLY+=("$reply")
    done < <(
        COMP_LINE="$COMP_LINE" COMP_POINT="${COMP_POINT:-${#COMP_LINE}}" TFLITE_RECIPES_CURRENT="$current" \\
            "$command" -sc query=bash </dev/null 2>/dev/null
    )
}
complete -o default -o nospace -F _tflite_recipes_complete tflite-recipes
"""
_UNINSTALL = """\
complete -r tflite-recipes 2>/dev/null
unset -f _tflite_recipes_complete
"""


def shell_completion(request: str) -> str:
    """What `-sc install=bash`, `uninstall=bash` or `query=bash` prints. Errors: RequestError for another shell."""
    if request == "install=bash":
        return _SCRIPT
    if request == "uninstall=bash":
        return _UNINSTALL
    if request == "query=bash":
        # Whatever is wrong is said when the command runs; a key press answers or stays silent.
        with contextlib.suppress(Exception):
            return "".join(f"{reply}\n" for reply in _replies(os.environ))
        return ""
    raise RequestError(Problem(f"{request!r} is not known; completion is for bash", "-sc", "-sc install=bash"))


def _replies(environment: Mapping[str, str]) -> list[str]:
    """The candidates in the form in which bash inserts them: as typed so far, quoted on, from its word break on."""
    line = environment.get("COMP_LINE", "")
    point = int(environment.get("COMP_POINT") or len(line))
    words, last = split(line[:point])
    # What directly follows the cursor is the end of the word that is being completed.
    after, _ = split(re.sub(r"^\S+", "", line[point:]) + " ")
    current = environment.get("TFLITE_RECIPES_CURRENT", last.typed)
    broken = len(last.typed) - len(current) if last.typed.endswith(current) else 0
    found = _candidates(words, last.text, after)
    return [reply[broken:] for candidate in found if (reply := _typed_on(last, candidate)) is not None]


def candidates(line: str) -> list[str]:
    """What may stand at the end of a command line, each with the part of it that is there already.

    A candidate after which the next word begins ends with a blank.
    """
    words, last = split(line)
    return _candidates(words, last.text, ())


@dataclass(frozen=True)
class LastWord:
    """The word at the cursor: as typed, what it stands for, and the quotation mark that is still open in it."""

    typed: str = ""
    text: str = ""
    quote: str = ""


def split(line: str) -> tuple[list[str], LastWord]:
    """The words of a shell line, without their quotes, and the one that it ends in (empty behind a blank)."""
    words: list[str] = []
    typed = text = quote = ""
    escaped = False
    for letter in line:
        if letter in " \t\n" and not quote and not escaped:
            words += [text] if typed else []
            typed = text = ""
            continue
        typed += letter
        if escaped:
            text += letter if quote != '"' or letter in '\\"$`' else f"\\{letter}"
            escaped = False
        elif letter == "\\" and quote != "'":
            escaped = True
        elif letter == quote:
            quote = ""
        elif letter in "'\"" and not quote:
            quote = letter
        else:
            text += letter
    return words, LastWord(typed, text, quote)


def _typed_on(word: LastWord, candidate: str) -> str | None:
    """The word as typed, continued to the candidate with the quoting that it has; None where that cannot be."""
    name = candidate.rstrip(" ")
    if not name.startswith(word.text):
        return None
    rest = name[len(word.text) :]
    if word.quote == "'":
        return None if "'" in rest else word.typed + rest
    if word.quote:
        return word.typed + re.sub(r'([\\"$`])', r"\\\1", rest)
    return word.typed + re.sub(r"([^\w@%+=:,./~-])", r"\\\1", rest) + (" " if name != candidate else "")


def _candidates(words: Sequence[str], word: str, after: Sequence[str]) -> list[str]:
    if not words or re.match(r"\d*[<>]", word) or re.fullmatch(r"\d*(<|>>?)", words[-1]):
        return []  # a redirection: bash knows files itself
    given = [other for other in words[1:] if other not in _GLOBAL_FLAGS]
    if not given:
        names = [f"{name} " for name in (_GLOBAL_FLAGS if word.startswith("-") else COMMANDS)]
    else:
        names = list(_arguments(given[0], given[1:], word, after))
    return [name for name in dict.fromkeys(names) if name.startswith(word)]


def _arguments(command: str, words: Sequence[str], word: str, after: Sequence[str]) -> Iterable[str]:
    """What may follow a command."""
    valued = _VALUED_OF.get(command, {})
    if words and words[-1] in valued:
        choices = valued[words[-1]]
        return (
            _files(word, None if command == "reproduce" else ())
            if choices is None
            else [f"{choice} " for choice in choices]
        )
    if word.startswith("-"):
        flags = _FLAGS_OF.get(command, ("--help", "--debug"))
        return [f"{flag} " for flag in flags]
    positional = _positional([*words, *after] if _positional(words, valued) else words, valued)
    if command in _OVERRIDABLE and not positional:
        return _recipes(word)
    if command == "cp" and not positional:
        return [*_recipes(word), *(_option_names() if word else ())]
    if command in _OVERRIDABLE:
        return _Overrides(positional[0], positional[1:], _config_dir(words)).complete(word)
    if command == "ls" and not positional:
        return [f"{group} " for group in catalog.list_groups()]
    if command == "inspect" and not positional:
        return _files(word, (".tflite",))
    if command == "rules" and not positional:
        return _files(word, (".csv",))
    if command == "sync":
        return [*_files(word, ()), *(["tracking.uri="] if word else [])]
    return ()


def _positional(words: Sequence[str], valued: Mapping[str, Any]) -> list[str]:
    """The words that are neither flags nor what a flag takes."""
    before = ["", *words]
    return [word for flag, word in zip(before, words, strict=False) if not word.startswith("-") and flag not in valued]


def _config_dir(words: Sequence[str]) -> Path | None:
    return next((Path(value) for flag, value in itertools.pairwise(words) if flag in ("--config-dir", "-cd")), None)


def _recipes(word: str) -> Iterable[str]:
    """Names of recipes; and where none fits, YAML files and the folders on the way to them."""
    known = catalog.list_recipes()
    ours = [f"{catalog.BUILTIN}/{path.stem}" for path in known.values() if path.parent.name == catalog.BUILTIN]
    names = [name for name in (*known, *(ours if word.startswith("b") else ())) if name.startswith(word)]
    return [f"{name} " for name in names] or _files(word, _RECIPES)


def _option_names() -> Iterable[str]:
    """Every option as `cp` takes it."""
    return (f"{group}/{option} " for group, options in catalog.list_groups().items() for option in options)


def _files(word: str, suffixes: tuple[str, ...] | None) -> list[str]:
    """Paths that begin with `word`: folders, and files with one of the suffixes (None: any file, (): none)."""
    head, slash, start = word.rpartition("/")
    folder = Path(f"{head}{slash}" or ".").expanduser()
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not path.name.startswith(start) or (path.name.startswith(".") and not start):
            continue
        if path.is_dir():
            found.append(f"{head}{slash}{path.name}/")
        elif suffixes is None or path.suffix in suffixes:
            found.append(f"{head}{slash}{path.name} ")
    return found


class _Overrides:
    """The overrides of a recipe: `group=option`, `group.key=value`, and either behind a `+`."""

    def __init__(self, recipe: str, given: Sequence[str], config_dir: Path | None) -> None:
        self._recipe = recipe
        self._folders = catalog.option_folders(config_dir)
        self._groups = catalog.list_groups(self._folders)
        pairs = [text.lstrip("+").partition("=") for text in given]
        # The option that each group is given on this line; of several (a sweep) the first.
        self._chosen = {group: option.split(",")[0] for group, _, option in pairs if group in self._groups}

    def complete(self, word: str) -> list[str]:
        name = word.lstrip("+")
        plus = word[: len(word) - len(name)]
        if name.startswith("hydra"):
            found = [text if text[-1] in "=./" else f"{text} " for text in self._hydra(name)]
        elif "=" in name:
            found = list(self._values(name))
        elif "." in name:
            section = name.rpartition(".")[0]
            found = [f"{section}.{key}" for key in self._keys(section)]
        else:
            # A word that is not begun yet gets the shorter list.
            groups = [f"{group}=" for group in self._groups]
            sections = [text for text in self._hydra(name) if text.endswith(".")] if name else []
            found = [*groups, *(text for text in sections if text not in ("hydra.", "steps.")), *_TOP]
        return [f"{plus}{text}" for text in found if text.startswith(name)]

    def _values(self, name: str) -> Iterable[str]:
        """`name` is key=VALUE, or key=VALUE,VALUE for a sweep: the last value is completed."""
        key, _, value = name.partition("=")
        before, comma, last = value.rpartition(",")
        if "/" in last or last.startswith(".") or key.rpartition(".")[2] in _PATH_KEYS:
            values = _files(last, None)
        else:
            values = [f"{option} " for option in self._groups.get(key) or self._known_values(key)]
        return [f"{key}={before}{comma}{text}" for text in values if text.startswith(last)]

    def _known_values(self, key: str) -> list[str]:
        """The values that a key's type takes, where these are few; else the one that it has."""
        section, _, field = key.rpartition(".")
        own = [text[len(key) + 1 :] for text in self._hydra(f"{key}=", section)]
        own = [value for value in own if re.fullmatch(r"[\w.:/+-]+", value)]
        if own and re.fullmatch(r"[\d.e+-]+", own[0]):
            return own
        return sorted({value for target in self._targets(section) for value in _values_of(target, field)}) or own

    def _keys(self, section: str) -> list[str]:
        """The keys of a section, each with the sign that follows it. Where nothing is chosen: those of all options."""
        bodies = [self._body(section, option) for option in self._options(section)]
        if bodies:
            return [_with_sign(key, value) for body in bodies for key, value in body.items() if key != TARGET]
        found = [text[len(section) + 1 :] for text in self._hydra(f"{section}.", section)]
        return [key for key in found if not key.startswith(TARGET)]

    def _options(self, section: str) -> list[str]:
        """The options that tell a group's keys; none where only the recipe itself can tell."""
        options = self._groups.get(section, {})
        if section in self._chosen:
            return [self._chosen[section]] if self._chosen[section] in options else []
        targets = self._own_targets(section) if options else []
        return [option for option in options if not targets or self._target(section, option) in targets]

    def _body(self, group: str, option: str) -> dict[str, Any]:
        """What an option gives, nothing where its files cannot be read."""
        try:
            return catalog.option_values(self._groups[group][option], self._folders)
        except (KeyError, RequestError):
            return {}

    def _targets(self, section: str) -> list[str]:
        """The classes that a section may be typed by."""
        own = self._own_targets(section) if section in self._groups and section not in self._chosen else []
        found = (self._target(section, option) for option in self._options(section)) if not own else ()
        return own or [target for target in found if target]

    def _target(self, group: str, option: str) -> str:
        """The class of an option, "" where it has none."""
        return _public(self._body(group, option).get(TARGET) or "")

    def _own_targets(self, section: str) -> list[str]:
        """The class of the section in the recipe as it stands; none where nothing is chosen."""
        found = [text.partition("=")[2] for text in self._hydra(f"{section}.{TARGET}=")]
        return [_public(target) for target in found if target not in ("", "None", "null")]

    def _hydra(self, word: str, section: str = "") -> list[str]:
        """What Hydra offers for a word, with the option that the line gives the section."""
        from tflite_recipes.config import composition

        choice = f"{section}={self._chosen[section]} " if section in self._chosen else ""
        try:
            found = composition.complete(self._recipe, f"{choice}{word}")
        except Exception:  # a recipe that does not compose: its groups and options are still there
            return []
        return [text for text in found if not text.endswith(f"={AS_RESOLVED}")]


def _with_sign(key: str, value: Any) -> str:
    """A mapping's keys follow behind a dot, any other value behind an equals sign."""
    return f"{key}." if isinstance(value, dict) and value else f"{key}="


def _public(target: str) -> str:
    """The public name of one of our classes, which a file may still call by an old one; another as it stands."""
    return public_names.resolved(target) or target


def _values_of(target: str, field: str) -> set[str]:
    """The values of an enumeration or a truth value. A user's own class is not loaded: it may import TensorFlow."""
    kind = schema.class_of(target)
    if kind is None:
        return set()
    if target == f"{public_names.STEPS}.KerasApplicationSource" and field == "name":
        from tflite_recipes.steps.source import application_names

        return set(application_names())
    hint = get_type_hints(kind).get(field)
    hints = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    values = {member.name for kind in hints if isinstance(kind, type) and issubclass(kind, Enum) for member in kind}
    values |= {"true", "false"} if bool in hints else set()
    return values | ({"null"} if values and type(None) in hints else set())
