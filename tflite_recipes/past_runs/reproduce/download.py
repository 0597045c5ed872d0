"""What a past run left with its server, brought into a folder. Every name and size is the server's word, so each is
looked at before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tflite_recipes.config.recipe_inputs import INPUTS, Input, from_text
from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.past_runs.reproduce.trust import LARGEST_RECIPE, shown
from tflite_recipes.tracking.run_reader import PastRun, PastRuns

RECIPE, ENVIRONMENT, MODEL = "recipe.yaml", "environment.txt", "model/model.tflite"
CODE, KEPT = "code", "inputs"
_ABOVE = 5  # a reproduction of one of a candidate, its search, the sweep that this is part of
_LARGEST_TEXT, _LARGEST_CODE = 5_000_000, 10_000_000
_LARGEST_MODEL = 1 << 33


@dataclass(frozen=True)
class Fetched:
    """A past run with what decides a reproduction.

    recipe: the text of its recipe. environment, inputs: None where the run is older than these. model: its `.tflite`.
    files: its artifacts, by path, with their sizes. folder: where they are brought.
    """

    run: PastRun
    recipe: str
    environment: str | None
    inputs: tuple[Input, ...] | None
    model: Path
    files: Mapping[str, int]
    folder: Path


def fetched(past: PastRuns, run: PastRun, folder: Path) -> Fetched:
    """The run's recipe, machine, inputs' digests and file, in `folder`. Errors: RequestError, also for a run that has
    no recipe, or that made no file."""
    files = past.files(run)
    if RECIPE not in files:
        raise RequestError(_no_recipe(past, run))
    if MODEL not in files:
        made = run.tag("tflite_sha256")
        why = f"the run's {MODEL} is gone (its sha256 was {shown(made)[1:-1]})" if made else "the run made no .tflite"
        what = f"{why}; its status is {run.status}, and there is nothing to hold a new file against"
        way = f"mlflow artifacts download -r {run.run_id} -a recipe.yaml -d . && tflite-recipes run recipe.yaml"
        raise RequestError(Problem(what, run.run_id, "", (way,)))
    text = {
        name: _text(past, run, files, name, folder) if name in files else None for name in (RECIPE, ENVIRONMENT, INPUTS)
    }
    model = download(past, run, files, MODEL, folder, _LARGEST_MODEL)
    return Fetched(run, text[RECIPE] or "", text[ENVIRONMENT], _inputs(text[INPUTS]), model, files, folder)


def _no_recipe(past: PastRuns, run: PastRun) -> Problem:
    below = [child.run_id for child in past.children(run.run_id)]
    if below:
        what = f"has no recipe.yaml of its own: it is the parent of {len(below)} runs, each of which can be reproduced"
        return Problem(what, run.run_id, "", tuple(f"tflite-recipes reproduce {child}" for child in below))
    return Problem("has no recipe.yaml: it is no run of tflite-recipes, or ended before it began", run.run_id)


def _text(past: PastRuns, run: PastRun, files: Mapping[str, int], name: str, folder: Path) -> str:
    path = download(past, run, files, name, folder, LARGEST_RECIPE if name == RECIPE else _LARGEST_TEXT)
    return path.read_text(encoding="utf-8", errors="replace")


def _inputs(text: str | None) -> tuple[Input, ...] | None:
    if text is None:
        return None
    try:
        return from_text(text)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise RequestError(Problem("the run's list of inputs is damaged", INPUTS)) from error


def code(past: PastRuns, found: Fetched) -> dict[str, Path]:
    """The `.py` files that the run loaded, by their paths below `code/`."""
    names = [path for path in found.files if path.startswith(f"{CODE}/") and path.endswith(".py")]
    return {
        name.removeprefix(f"{CODE}/"): download(past, found.run, found.files, name, found.folder, _LARGEST_CODE)
        for name in names
    }


def kept_input(past: PastRuns, found: Fetched, entry: Input) -> Path | None:
    """A file or folder that the run kept of its inputs, or another that has the same (a search keeps those of its
    candidates, a run that was reproduced those of the reproduction); None where none did. Its digest is not looked at
    here."""
    root = f"{KEPT}/{entry.key}/"
    for run, files in _with_those_above(past, found):
        names = [path for path in files if path.startswith(root)]
        tops = {path.removeprefix(root).partition("/")[0] for path in names}
        if len(tops) == 1:
            for name in names:
                download(past, run, files, name, found.folder, max(entry.bytes, 1))
            return found.folder / KEPT / entry.key / tops.pop()
    return None


def _with_those_above(past: PastRuns, found: Fetched) -> Iterator[tuple[PastRun, Mapping[str, int]]]:
    """The run, and those that may have its inputs: the one above it, the one that it reproduces. With their files."""
    run = found.run
    yield run, found.files
    for _ in range(_ABOVE):
        other = run.tag("reproduces") or run.parent
        if not other:
            return
        try:
            run = past.run(other)
            files = past.files(run)
        except RequestError:  # deleted, or not to be read
            return
        yield run, files


def download(past: PastRuns, run: PastRun, files: Mapping[str, int], name: str, folder: Path, limit: int) -> Path:
    """An artifact in `folder`, at its own path. Errors: RequestError for a name that leads out of the folder, and for a
    file of more than `limit` bytes."""
    parts = name.split("/")
    odd = any(part in ("", ".", "..") for part in parts) or not name.isprintable()
    if odd or any(sign in name for sign in ("\\", "${", ":")):
        raise RequestError(Problem(f"the run has an artifact {shown(name)}, a name that is not taken", run.run_id))
    if files[name] > limit:
        what = f"the run's {shown(name)} has {files[name]:,} bytes, more than the {limit:,} that it may have"
        raise RequestError(Problem(what, run.run_id))
    place = folder.resolve() / name
    found = past.download(run, name, place.parent)
    if found is None or found.is_symlink() or found.resolve() != place or not place.is_file():
        raise RequestError(Problem(f"the run's {shown(name)} cannot be had from {past.uri}", run.run_id))
    if place.stat().st_size > limit:
        place.unlink()
        raise RequestError(Problem(f"the run's {shown(name)} is larger than the server said", run.run_id))
    return folder / name
