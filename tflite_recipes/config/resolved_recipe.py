"""A resolved recipe unfolded into a tree of options, so that `group=option` still replaces a whole section."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from tflite_recipes.core.schema import TARGET

# The option under which a resolved recipe's own sections are offered.
AS_RESOLVED = "as_resolved"
# What every resolved recipe has, since the first version; nobody writes all of it by hand.
_ALWAYS = ("name", "steps", "worker", "source")


def is_resolved(content: Mapping[str, Any]) -> bool:
    """Whether a recipe's sections carry their classes, as `show` and the run's `recipe.yaml` write them."""
    carries = any(isinstance(value, dict) and TARGET in value for value in content.values())
    return carries and "defaults" in content


def is_whole(content: Mapping[str, Any]) -> bool:
    """Return whether a recipe was written down by `show` or a run, so that what it lacks it did not have.

    A recipe written by hand may carry classes too, and takes what it lacks from the base.
    """
    return is_resolved(content) and "/base" in content["defaults"] and all(key in content for key in _ALWAYS)


def unfold(
    path: Path, content: Mapping[str, Any], folder: Path, base_groups: Collection[str] = (), name: str = ""
) -> dict[str, str]:
    """Write the tree; returns the option that each group had when the recipe was resolved.

    Args:
        path: the recipe's file.
        content: what the file holds.
        folder: where the tree is written.
        base_groups: groups of every recipe. Those that a whole recipe does not mention came later, and nothing is
            chosen in them.
        name: the recipe's path in the tree, without a suffix; by default the file's name.
    """
    body = {key: value for key, value in content.items() if key != "defaults"}
    recorded: dict[str, str] = {}
    defaults: list[Any] = []
    mentioned = set()
    for entry in content["defaults"]:
        if not isinstance(entry, dict):
            defaults.append(entry)
            continue
        for key, option in entry.items():
            group = str(key).removeprefix("override ").strip().lstrip("/")
            mentioned.add(group)
            section = body.get(group)
            if isinstance(section, dict) and TARGET in section:
                recorded[group] = str(option)
                (folder / group).mkdir(parents=True, exist_ok=True)
                (folder / group / f"{AS_RESOLVED}.yaml").write_text(
                    yaml.safe_dump(body.pop(group), sort_keys=False), encoding="utf-8"
                )
                option = AS_RESOLVED
            defaults.append({key: option})
    later = [group for group in base_groups if group not in mentioned] if is_whole(content) else []
    place = defaults.index("_self_") if "_self_" in defaults else len(defaults)
    defaults[place:place] = [{f"override /{group}": None} for group in later]
    text = yaml.safe_dump({"defaults": defaults, **body}, sort_keys=False)
    written = folder / f"{name or path.stem}.yaml"
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(_header(path) + text, encoding="utf-8")
    return recorded


def _header(path: Path) -> str:
    """Return the comments that open a file: `# @package` there decides where Hydra puts the recipe."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    return "".join(itertools.takewhile(lambda line: line.startswith("#"), lines))
