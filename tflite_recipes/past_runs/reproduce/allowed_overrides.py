"""What may be said of a reproduction: where it is tracked, and what its process may use. All else would make it another
run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.core.schema import TARGET, section_of
from tflite_recipes.tracking.settings import LogSource, Mlflow


def split(words: Sequence[str]) -> dict[str, dict[str, Any] | None]:
    """`tracking.KEY=VALUE` and `worker.KEY=VALUE` by section; `tracking=none` as None.

    Errors: RequestError for anything else, and for values that are no plain ones."""
    found: dict[str, dict[str, Any] | None] = {"tracking": {}, "worker": {}}
    problems = []
    for word in words:
        key, sign, text = word.partition("=")
        section, _, name = key.lstrip("+").partition(".")
        values = found.get(section)
        if word == "tracking=none":
            found["tracking"] = None
        elif not sign or section not in found or not name:
            what = "a reproduction takes tracking.… and worker.… only, because with any other it would be another run"
            problems.append(Problem(what, word, "", (f"tflite-recipes run recipe.yaml {word}",)))
        elif values is not None:
            values.update(_placed(name, _value(text)))
    if problems:
        raise RequestError(problems)
    return found


def _value(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _placed(name: str, value: Any) -> dict[str, Any]:
    """`tags.team` as a mapping of one."""
    group, _, key = name.partition(".")
    return {group: {key: value}} if key else {group: value}


def tracking_section(said: Mapping[str, Any] | None, uri: str, experiment: str, run_name: str) -> dict[str, Any]:
    """The section of a reproduction's recipe: the run goes beside the old one, and keeps no inputs, because the server
    has them or was not meant to; {} where it is not to be tracked. Of what the old recipe says here nothing is read."""
    if said is None:
        return {}
    ours = Mlflow(uri, experiment, run_name, {}, LogSource.false)
    return {**section_of(ours), **said, TARGET: section_of(ours)[TARGET]}
