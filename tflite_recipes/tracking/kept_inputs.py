"""The files that a recipe reads, as artifacts `inputs/KEY/NAME`, so that a run can be rebuilt from the server alone."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tflite_recipes.core import regular_files
from tflite_recipes.core.errors import RequestError
from tflite_recipes.core.events import InputRead
from tflite_recipes.core.outcome import RunOutcome
from tflite_recipes.files.models import WeightsKind, files_in, saved_model_bytes, sha256_of, weights_kind
from tflite_recipes.tracking.client import PREFIX, first_line
from tflite_recipes.tracking.mlflow_limits import SPOOL_HAS_IT, TAG_LENGTH, cut
from tflite_recipes.tracking.settings import LogSource, Mlflow

FOLDER = "inputs"
KEPT, NOT_KEPT = f"{PREFIX}.inputs_kept", f"{PREFIX}.inputs_not_kept"
# An artifact's name is part of a web address, in which these mean something else.
_ODD = re.compile(r"[#%?\\\x00-\x1f\x7f\ud800-\udfff]")
# Each file is a request: a folder of more than these would hold up the end of a run for minutes.
_MOST_FILES = 1000
# Files and folders that are counted in a folder that an event names, which may be the root of a disk.
_MOST_COUNTED = 100_000
_JUDGES = "evaluation."  # what only judges the file, and does not make it


@dataclass(frozen=True)
class Plan:
    """Which inputs are to be kept, and of the others why not."""

    kept: tuple[InputRead, ...]
    left: dict[str, str]


def keep(
    mlflow_client: Any, run_id: str, read: Sequence[InputRead], settings: Mlflow, outcome: RunOutcome
) -> dict[str, str]:
    """Upload what is to be kept, and give the tags that say what was. `outcome`: the run's.

    A file that is not what the run read any more is not uploaded, and nothing is that lies elsewhere than it says. What
    was uploaded before is uploaded again, to the same place. Errors: whatever MLflow raises but for a refusal.
    """
    plan = planned(read, settings, outcome)
    left, kept = dict(plan.left), []
    for given in plan.kept:
        why = _upload(mlflow_client, run_id, given)
        if why:
            left[given.key] = why
        else:
            kept.append(given.key)
    return tags(read, kept, left)


def tags(read: Sequence[InputRead], kept: Sequence[str], left: dict[str, str]) -> dict[str, str]:
    """`inputs_kept`: `all`, `none`, `none named` (by the recipe), `parent` (the run above has them) or keys;
    `inputs_not_kept`: the others, with reasons."""
    if not read:
        return {KEPT: "none named"}
    if all(given.shared for given in read):
        return {KEPT: "parent"}
    said = "all" if not left else ", ".join(kept) or "none"
    if not left:
        return {KEPT: said}
    by_reason: dict[str, list[str]] = {}
    for key, why in left.items():
        by_reason.setdefault(why, []).append(key)
    reasons = "; ".join(f"{', '.join(keys)}: {why}" for why, keys in by_reason.items())
    return {KEPT: said, NOT_KEPT: cut(reasons, TAG_LENGTH, SPOOL_HAS_IT)}


def planned(read: Sequence[InputRead], settings: Mlflow, outcome: RunOutcome) -> Plan:
    """Of the inputs those that are to be kept. `auto` keeps those of a run that gave a file, all of them where together
    they are within the limit, else all that make the file (without the evaluation's) where these are."""
    own = [given for given in read if not given.shared]
    if settings.log_source is LogSource.true and outcome is not RunOutcome.killed:
        return Plan(tuple(own), {})
    if settings.log_source is LogSource.false:
        return Plan((), {given.key: "tracking.log_source=false" for given in own})
    if not outcome.has_file:
        return Plan((), {given.key: f"the run was {outcome}" for given in own})
    limit = settings.log_source_limit_mb
    why = _too_much(own, limit)
    if not why:
        return Plan(tuple(own), {})
    making = [given for given in own if not given.key.startswith(_JUDGES)]
    kept = () if _too_much(making, limit) else tuple(making)
    return Plan(kept, {given.key: why for given in own if given not in kept})


def _too_much(chosen: Sequence[InputRead], limit: float) -> str:
    """Why these are more than is kept by itself, "" where they are not."""
    size = sum(given.bytes for given in chosen) / 1e6
    if size > limit:
        return f"{size:.1f} MB of inputs, and tracking.log_source_limit_mb is {limit:g}"
    files = sum(_count(Path(given.path), _MOST_COUNTED) for given in chosen)
    if files > _MOST_FILES:
        number = f"{files} files" if files < _MOST_COUNTED else f"at least {_MOST_COUNTED} files and folders"
        return f"{number}, and no more than {_MOST_FILES} are kept without tracking.log_source=true"
    return ""


def _count(place: Path, most: int) -> int:
    """Return the number of files at a path; `most` if there are that many files and folders or more."""
    if not place.is_dir():
        return 1
    files = seen = 0
    for _, folders, names in os.walk(place):
        files, seen = files + len(names), seen + len(folders) + len(names)
        if seen >= most:
            return most
    return files


def _upload(mlflow_client: Any, run_id: str, given: InputRead) -> str:
    """Upload one input; why it is not kept, "" where it is."""
    place = Path(given.path)
    try:
        if place.is_file() and place.suffix == ".index" and weights_kind(place) is WeightsKind.CHECKPOINT:
            return "a part of a checkpoint, which is several files"
        if why := regular_files.unreadable(place):
            return why
        if place.is_file() and place.stat().st_size != given.bytes:
            return "changed since the run read it"
        if _count(place, _MOST_COUNTED) == _MOST_COUNTED:
            return f"a folder of at least {_MOST_COUNTED} files and folders"
        if place.is_dir() and saved_model_bytes(place) != given.bytes:  # or all of it would be read for its digest
            return "changed since the run read it"
        files = _files(place)
        if odd := next((name for name, _ in files if _ODD.search(name)), None):
            return f"the name {odd!r} cannot be an artifact's"
        if outside := next((name for name, file in files if _leads_out(place, file)), None):
            return f"{outside} is a link out of the folder"
        before = _marks(files)
        if sha256_of(place) != given.sha256:
            return "changed since the run read it"
        for name, file in files:
            mlflow_client.log_artifact(run_id, str(file), f"{FOLDER}/{given.key}/{name}".rpartition("/")[0])
        return "changed while it was uploaded" if _marks(_files(place)) != before else ""
    except (RequestError, FileNotFoundError):
        return "gone since the run read it"
    except regular_files.Refused as error:
        return error.strerror or "it cannot be read"
    except Exception as error:
        if refused(error):
            return f"refused: {first_line(error)}"
        raise


def _files(place: Path) -> list[tuple[str, Path]]:
    """Every file to upload, by its path below the key's folder: the input's own name, and for a folder what follows."""
    name = os.path.basename(os.path.abspath(place))
    if not place.is_dir():
        return [(name, place)]
    return [(f"{name}/{below}", file) for below, file in files_in(place)] + _linked_folders(name, place)


def _linked_folders(name: str, place: Path) -> list[tuple[str, Path]]:
    """Folders that are links: their content has no part in the digest, so it cannot be told whether it is the same."""
    found = (Path(root) / folder for root, folders, _ in os.walk(place) for folder in folders)
    return [(f"{name}/{folder.relative_to(place).as_posix()}", folder) for folder in found if folder.is_symlink()]


def _leads_out(place: Path, file: Path) -> bool:
    """Whether a file of a folder lies somewhere else, where perhaps nobody meant to publish from. (What the recipe
    names itself may be a link.)"""
    return file != place and (file.is_dir() or not file.resolve().is_relative_to(place.resolve()))


def _marks(files: Sequence[tuple[str, Path]]) -> list[tuple[str, int, int, int]]:
    """What changes when a file is written to."""
    stats = ((name, file.stat()) for name, file in files)
    return [(name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in stats]


def refused(error: Exception) -> bool:
    """Whether trying again would not help: too large for the server, or a name that it does not take."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status in (400, 413) or getattr(error, "error_code", "") == "INVALID_PARAMETER_VALUE"
