"""Which runs are compared: those that an experiment, a parent run or several IDs name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.past_runs.compare import LIMIT
from tflite_recipes.tracking.run_reader import PastRun, PastRuns


@dataclass(frozen=True)
class Chosen:
    """title: what they are the runs of. runs: oldest first. parent: the run that all of them are below, None where
    there is none. whole: whether these are all that are below it. left_out: how many runs are not among them, and
    why."""

    title: str
    runs: tuple[PastRun, ...]
    parent: PastRun | None = None
    whole: bool = False
    left_out: Mapping[str, int] = field(default_factory=dict)


def choose(runs: PastRuns, words: Sequence[str], candidates: bool = False, limit: int = LIMIT) -> Chosen:
    """The runs that the words name: one experiment, one run with others below it, or several runs, by their IDs or the
    beginnings of these. Errors: RequestError where there is no such thing, or nothing to compare."""
    if limit < 1:
        raise RequestError(Problem(f"{limit} runs are none to compare", "--limit", f"--limit {LIMIT}"))
    if len(words) > 1:
        found = {run.run_id: run for run in map(runs.beginning, words)}
        if len(found) < 2:
            (only,) = found
            what = f"run {only} is named {len(words)} times: name two runs at least"
            ways = (f"tflite-recipes compare {only} OTHER_RUN_ID",)
            raise RequestError(Problem(what, "RUN_ID", "", ways))
        return _of_runs(runs, "runs", tuple(found.values()), {})
    (word,) = words
    if not word.strip():
        raise RequestError(Problem("no experiment and no run is named", "EXPERIMENT|RUN_ID"))
    listed = runs.of_experiment(word)
    if listed is not None:
        kept, left_out = sift(listed, candidates)
        if not kept:
            raise RequestError(Problem(f"experiment {word!r} has no run to compare{_why(left_out)}", "EXPERIMENT"))
        return _newest(runs, f"experiment {word}", kept, left_out, limit)
    parent = _named(runs, word)
    below = runs.children(parent.run_id)
    if not below:
        what = f"run {parent.run_id} ({parent.name}) has no runs below it: name two runs at least"
        ways = (f"tflite-recipes compare {parent.run_id} OTHER_RUN_ID",)
        raise RequestError(Problem(what, "RUN_ID", "", ways))
    return _newest(runs, parent.name, below, {}, limit)


def sift(listed: Sequence[PastRun], candidates: bool = False) -> tuple[list[PastRun], dict[str, int]]:
    """An experiment's runs without those that made no file themselves, sweeps' parents and runs of other tools, and
    without the candidates of searches unless they are asked for; and how many of each are left out."""
    by_id = {run.run_id: run for run in listed}
    kept: list[PastRun] = []
    left_out: dict[str, int] = {}
    for run in listed:
        above = by_id.get(run.parent or "")
        if not run.tag("recipe"):
            why = "runs of other tools"
        elif not run.tag("recipe_digest"):
            why = "parents of sweeps"
        elif above is not None and above.tag("recipe_digest") and not candidates:
            why = "candidates of searches, which --candidates shows"
        else:
            kept.append(run)
            continue
        left_out[why] = left_out.get(why, 0) + 1
    return kept, left_out


def _newest(runs: PastRuns, title: str, kept: Sequence[PastRun], left_out: dict[str, int], limit: int) -> Chosen:
    if len(kept) > limit:
        left_out = {**left_out, f"older ones, which --limit {len(kept)} shows": len(kept) - limit}
    return _of_runs(runs, title, tuple(kept[-limit:]), left_out)


def _of_runs(runs: PastRuns, title: str, found: tuple[PastRun, ...], left_out: dict[str, int]) -> Chosen:
    (above, *others) = {run.parent for run in found}
    if others or above is None:
        return Chosen(title, found, left_out=left_out)
    parent = runs.run(above)
    whole = {run.run_id for run in found} == {run.run_id for run in runs.children(above)}
    return Chosen(title, found, parent, whole, left_out)


def _named(runs: PastRuns, word: str) -> PastRun:
    try:
        return runs.beginning(word)
    except RequestError as error:
        if error.problems[0].where != "RUN_ID" or not error.problems[0].what.startswith("there is no run"):
            raise
        what = f"there is neither an experiment nor a run {word!r}"
        raise RequestError(Problem(what, "EXPERIMENT|RUN_ID", "", error.problems[0].alternatives)) from error


def _why(left_out: Mapping[str, int]) -> str:
    return f": {', '.join(f'{why} ({count})' for why, count in left_out.items())}" if left_out else ""
