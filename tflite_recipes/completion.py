"""Bash completion: `eval "$(tflite-recipes -sc install=bash)"`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tflite_recipes import catalog
from tflite_recipes.errors import RequestError

COMMANDS = ("run", "ls", "show", "check", "cp", "inspect")
_OVERRIDABLE = ("run", "show", "check")
_FLAGS = {
    "run": ("-m", "--multirun", "--config-dir", "--cfg", "--info", "--debug", "--help"),
    "": ("--help", "--version"),
}

# `=` must not break words, or group=option could not be completed as one; so the line is split here, on blanks.
_SCRIPT = """\
_tflite_recipes_complete() {
    local line="${COMP_LINE:0:$COMP_POINT}" word candidates
    word="${line##* }"
    candidates="$(COMP_LINE="$line" tflite-recipes -sc query=bash 2>/dev/null)"
    COMPREPLY=( $(compgen -W "$candidates" -- "$word") )
    # What bash takes for the current word may begin behind a separator: strip what stands before it.
    local current="${COMP_WORDS[COMP_CWORD]}" prefix=""
    [ "$current" = "=" ] && current=""
    prefix="${word%"$current"}"
    local i
    for i in "${!COMPREPLY[@]}"; do COMPREPLY[$i]="${COMPREPLY[$i]#"$prefix"}"; done
}
complete -o default -o nospace -F _tflite_recipes_complete tflite-recipes
"""
_UNINSTALL = "complete -r tflite-recipes; unset -f _tflite_recipes_complete\n"


def shell_completion(request: str) -> str:
    """What `-sc install=bash`, `uninstall=bash` or `query=bash` prints. Errors: RequestError for another shell."""
    from tflite_recipes.errors import Problem

    if request == "install=bash":
        return _SCRIPT
    if request == "uninstall=bash":
        return _UNINSTALL
    if request == "query=bash":
        line = os.environ.get("COMP_LINE", "")
        return "".join(f"{candidate}\n" for candidate in candidates(line))
    raise RequestError(Problem(f"{request!r} is not known; completion is for bash", "-sc", "-sc install=bash"))


def candidates(line: str) -> list[str]:
    """What may stand at the end of a command line, each with the part of it that is there already."""
    words = line.split()[1:]
    word = "" if line.endswith(" ") or not words else words.pop()
    if not words:
        return _starting(word, [f"{name} " for name in COMMANDS] + list(_FLAGS[""]))
    command, given = words[0], [other for other in words[1:] if not other.startswith("-")]
    if word.startswith("-"):
        return _starting(word, _FLAGS.get(command, ("--help",)))
    if command == "ls":
        return _starting(word, list(catalog.list_groups()))
    if command in (*_OVERRIDABLE, "cp") and not given:
        return _starting(word, [f"{name} " for name in catalog.list_recipes()])
    if command in _OVERRIDABLE:
        return _overrides(given[0], given[1:], word)
    return []


def _overrides(recipe: str, overrides: Sequence[str], word: str) -> list[str]:
    from tflite_recipes import composition

    line = " ".join([*overrides, word])
    found = composition.complete(recipe, line)
    return [name for name in found if not name.startswith("hydra") or word.startswith("hydra")]


def _starting(word: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if name.startswith(word)]
