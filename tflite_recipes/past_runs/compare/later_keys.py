"""Keys that came after a past run: they are compared at the values that the run had without them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import yaml

from tflite_recipes.config import recipe as recipes
from tflite_recipes.conversion.former_names import in_todays_names
from tflite_recipes.tracking.params import flat
from tflite_recipes.tracking.run_reader import PastRun, PastRuns


def with_later_keys(runs: PastRuns, chosen: Sequence[PastRun]) -> tuple[PastRun, ...]:
    """Return the runs, each with params for the keys that came after it.

    The classes behind a run's options are in its `recipe.yaml`. That is read only for runs that lack a key which
    another run with the same option has.

    Raises:
        RequestError: the server cannot be read.
    """
    return tuple(_completed(runs, run) if _lacks_keys(run, chosen) else run for run in chosen)


def _lacks_keys(run: PastRun, others: Sequence[PastRun]) -> bool:
    own = dict(_sections(run))
    return any(not keys <= own[section] for other in others for section, keys in _sections(other) if section in own)


def _sections(run: PastRun) -> Iterator[tuple[tuple[str, str], set[str]]]:
    """Yield the keys of each section, by its name and its option."""
    found: dict[str, set[str]] = {}
    for key in run.params:
        section, dot, _ = key.partition(".")
        if dot:
            found.setdefault(section, set()).add(key)
    yield from (((section, run.params.get(section, "")), keys) for section, keys in found.items())


def _completed(runs: PastRuns, run: PastRun) -> PastRun:
    text = runs.text(run, "recipe.yaml")
    content = None if text is None else yaml.safe_load(text)
    if not isinstance(content, Mapping):
        return run
    sections = {key: section for key, section in content.items() if isinstance(section, Mapping)}
    params = in_todays_names(flat(recipes.completed(sections)))
    return replace(run, params={**params, **run.params})
