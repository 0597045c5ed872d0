"""What two runs are held against each other by: a past run with what its artifacts say."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tflite_recipes.config import recipe as recipes
from tflite_recipes.config import recipe_inputs, yaml_text
from tflite_recipes.conversion.former_names import in_todays_names
from tflite_recipes.core import environment, leftovers
from tflite_recipes.core.errors import Problem, RequestError, gist
from tflite_recipes.engine.search.delivery import SEARCH_RECIPE
from tflite_recipes.tracking.run_reader import PastRun, PastRuns

if TYPE_CHECKING:
    from collections.abc import Iterator

_MODEL = "model/model.tflite"
_ERRORS = "quantization_error.csv"


@dataclass(frozen=True)
class Facts:
    """A run. config: the resolved recipe by key, choices included, None where its `recipe.yaml` is missing.
    environment: as `environment.parsed`. inputs: SHA-256 by key. ops: as `ops.json`, {} without a file. layers: by
    tensor, those that are known. missing: what could not be had, in words. recipe_digest: as this version makes it, so
    that runs of different versions can be compared; the run's own if that is not known."""

    run: PastRun
    config: Mapping[str, Any] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    ops: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    recipe_digest: str = ""


def read(runs: PastRuns, run: PastRun) -> Facts:
    """The facts of a run, from its artifacts. Errors: RequestError where the server cannot be read."""
    recipe, machine, given, errors = (
        runs.text(run, name) for name in ("recipe.yaml", environment.ENVIRONMENT, recipe_inputs.INPUTS, _ERRORS)
    )
    ops = runs.json(run, "ops.json") or ops_of_model(runs, run)
    missing = [
        text
        for lacks, text in (
            (recipe is None, "no recipe.yaml: its config is that of the params"),
            (machine is None, f"no {environment.ENVIRONMENT}"),
            (not ops, f"no model ({run.outcome})"),
        )
        if lacks
    ]
    return Facts(
        run,
        None if recipe is None else config_of(recipe),
        {} if machine is None else environment.parsed(machine),
        {} if given is None else {one.key: one.sha256 for one in recipe_inputs.from_text(given)},
        ops,
        {} if errors is None else {row["tensor"]: row["layer"] for row in csv.DictReader(io.StringIO(errors))},
        tuple(missing),
        _recipe_digest(runs, run, recipe),
    )


def config_of(text: str) -> dict[str, Any]:
    """A resolved recipe's YAML by key (`calibration.samples`), and the option of each group (`calibration`). Keys that
    came later are at their defaults, and choices have their names of today. The classes behind the options and the
    recipe's name are left out."""
    content = recipes.completed(_content(text))
    found = {}
    for entry in content.pop("defaults", ()):
        for group, option in entry.items() if isinstance(entry, dict) else ():
            found[str(group).removeprefix("override ").strip().lstrip("/")] = option
    content.pop("name", None)
    return in_todays_names({**found, **dict(_flat(content, ""))})


def _content(text: str) -> dict[str, Any]:
    import yaml

    try:
        content = yaml_text.load(text) or {}
    except (yaml.YAMLError, ValueError) as error:
        raise RequestError(Problem(f"cannot be read as YAML: {gist(error)}", "recipe.yaml of a run")) from error
    if not isinstance(content, dict):
        raise RequestError(Problem("is not a mapping", "recipe.yaml of a run"))
    return content


def _recipe_digest(runs: PastRuns, run: PastRun, recipe: str | None) -> str:
    """Return the digest of the recipe that the run was started with: of a search, not that of the recipe it found."""
    tagged = run.tag("recipe_digest")
    started = runs.text(run, SEARCH_RECIPE) if run.tag("chosen_digest") else recipe
    if not tagged or started is None:
        return tagged
    config = {key: value for key, value in _content(started).items() if key != "defaults"}
    return recipes.digest_of(config) if recipes.has_digest(config, tagged) else tagged


def _flat(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if key == "_target_":
            continue
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif not (value is None and not prefix):  # a group that is absent: its choice says so
            yield f"{prefix}{key}", value


def ops_of_model(runs: PastRuns, run: PastRun) -> Mapping[str, Any]:
    """The ops as the file itself has them; {} where there is no file."""
    from tflite_recipes.files import tflite

    with leftovers.temporary_folder() as folder:
        path = runs.download(run, _MODEL, Path(folder))
        return {} if path is None else tflite.to_json(tflite.read_tflite(path))
