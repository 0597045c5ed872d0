"""The files that a past run read, found again and held against their digests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tflite_recipes.config.recipe_inputs import Input
from tflite_recipes.core import schema
from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.core.schema import TARGET, NamesFile
from tflite_recipes.files import models
from tflite_recipes.past_runs.reproduce.trust import shown

# The flags that say where a file is now, and the keys that each stands for, the first that the recipe has.
FLAGS: Mapping[str, tuple[str, ...]] = {
    "--source": ("source.path", "source.weights"),
    "--calibration-data": ("calibration.path",),
    "--evaluation-data": ("evaluation.path",),
}
# What stands where a path may stand, and is none.
_WORDS = {"source.weights": "imagenet", "pruning.data": "digits"}


@dataclass(frozen=True)
class Restored:
    """A key with the file that it names now. how: where that is from, in words. checked: it has the digest that the
    run recorded. served: the server gave it."""

    key: str
    path: str
    how: str
    checked: bool = True
    served: bool = False


@dataclass(frozen=True)
class Recorded:
    """What is known of the files of a past run. inputs: None where the run is older than that list. source_sha256: its
    tag, "" where there is none."""

    inputs: tuple[Input, ...] | None
    source_sha256: str = ""


Fetch = Callable[[Input], Path | None]


def named_files(config: Mapping[str, Any]) -> dict[str, str]:
    """By key, what the recipe names as a file or folder to read. Sections of other classes than ours name none."""
    return dict(_named(config))


def _named(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for group, section in config.items():
        kind = schema.class_of(section.get(TARGET)) if isinstance(section, Mapping) else None
        if group == "tracking" or kind is None:
            continue
        for name, mark in schema.marks_of(kind, NamesFile).items():
            value, key = section.get(name), f"{group}.{name}"
            if isinstance(value, str) and value and not mark.private and _WORDS.get(key) != value:
                yield key, value


def by_key(flags: Mapping[str, str], named: Mapping[str, str]) -> dict[str, str]:
    """The paths that the user gave, by the key that each is for. `flags` has flags of FLAGS, and keys.

    Errors: RequestError for one that the recipe has no use for."""
    found: dict[str, str] = {}
    problems = []
    for flag, path in flags.items():
        key = next((key for key in FLAGS.get(flag, (flag,)) if key in named), None)
        if key is None:
            what = f"the run's recipe names no such file; it names {', '.join(named) or 'none'}"
            problems.append(Problem(what, flag))
        elif not Path(path).exists() and not Path(f"{path}.index").exists():
            problems.append(Problem(f"there is no {path}", flag_of(key, named)))
        else:
            found[key] = path
    if problems:
        raise RequestError(problems)
    return found


def flag_of(key: str, named: Mapping[str, str]) -> str:
    """What says where a key's file is: `--source`, or `--input KEY=`."""
    for flag, keys in FLAGS.items():
        if next((k for k in keys if k in named), None) == key:
            return flag
    return f"--input {key}="


def restored(
    config: Mapping[str, Any], recorded: Recorded, given: Mapping[str, str], fetch: Fetch, use_kept: bool = False
) -> tuple[Restored, ...]:
    """Each file that the recipe names: where the user says, else where it was, else as the server kept it; of the
    digest that was recorded. use_kept: what the server kept stands in for a file that is another now too. Errors:
    RequestError with every file that is gone, or is another now."""
    named = named_files(config)
    known = {entry.key: entry for entry in recorded.inputs or ()}
    if recorded.inputs is None and recorded.source_sha256 and "source.path" in named:
        known["source.path"] = Input("source.path", named["source.path"], recorded.source_sha256, 0)
    found: list[Restored] = []
    problems: list[Problem] = []
    for key, path in named.items():
        entry, flag = known.get(key), flag_of(key, named)
        try:
            if entry is None:
                found.append(_unrecorded(key, path, given.get(key), flag))
            else:
                found.append(_one(path, entry, given.get(key), flag, fetch, use_kept))
        except RequestError as error:
            problems += error.problems
    if problems:
        raise RequestError(problems)
    return tuple(found)


def _one(path: str, entry: Input, given: str | None, flag: str, fetch: Fetch, use_kept: bool) -> Restored:
    key = entry.key
    if given is not None:
        if (digest := _digest(given, entry.bytes)) != entry.sha256:
            what = f"{given} has the sha256 {digest}, and the run read {entry.sha256}"
            raise RequestError(Problem(what, key, _with_file(flag)))
        return Restored(key, given, "as given")
    here = _digest(path, entry.bytes)
    if here == entry.sha256:
        return Restored(key, path, "where it was")
    kept = fetch(entry)
    if kept is not None and (digest := _digest(str(kept), entry.bytes)) == entry.sha256:
        if not here:
            return Restored(key, str(kept), "as the server kept it", served=True)
        if use_kept:
            return Restored(key, str(kept), "as the server kept it; the one here is another", served=True)
        what = f"{shown(path)} has the sha256 {here} now, and the run read sha256 {entry.sha256}, which the server kept"
        raise RequestError(Problem(what, key, "--use-kept", (_with_file(flag),)))
    if kept is not None:
        what = f"what the server kept has the sha256 {digest}"
    elif here:
        what = f"{shown(path)} has the sha256 {here} now"
    else:
        what = f"{shown(path)} is not here, and the server did not keep it"
    raise RequestError(Problem(f"{what}; the run read sha256 {entry.sha256}", key, _with_file(flag)))


def _with_file(flag: str) -> str:
    """The flag with a file to be named."""
    return f"{flag}FILE" if flag.endswith("=") else f"{flag} FILE"


def _unrecorded(key: str, path: str, given: str | None, flag: str) -> Restored:
    """A file of no known digest is only read where the user names it: a recipe from a server must not choose."""
    if given is None:
        what = f"the run recorded no digest of {shown(path)}, so that it cannot be told whether it is the same: name it"
        raise RequestError(Problem(what, key, _with_file(flag)))
    return Restored(key, given, "as given, and not checked: the run recorded no digest", checked=False)


def _digest(path: str, size: int) -> str:
    """SHA-256 of what is there; "" for nothing, and for a folder far larger than was recorded, which is not read."""
    place = Path(path)
    try:
        if place.is_file() or (place.is_dir() and _is_about(place, size)):
            return models.sha256_of(place)
    except (OSError, ValueError):  # not to be read; no path at all
        return ""
    return ""


def _is_about(folder: Path, size: int) -> bool:
    """Whether a folder holds no more than twice so many bytes, with some to spare."""
    total, limit = 0, 2 * size + (1 << 24 if size else 1 << 40)
    for file in folder.rglob("*"):
        total += file.stat().st_size if file.is_file() else 4096
        if total > limit:
            return False
    return True
