"""The model registry: a run whose gates passed becomes a version of a registered model."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from tflite_recipes.core.errors import Problem, assignment
from tflite_recipes.core.outcome import RunOutcome, of_tags
from tflite_recipes.tracking.client import PREFIX, hurried

_LONGEST_ALIAS = 255
_TRIES, _PAUSE_S = 3, 1.0  # numbers are given by the server: of several that register at once, one may have to wait
_UNFIT = {
    RunOutcome.failed: "the run failed",
    RunOutcome.killed: "the run was ended",
    RunOutcome.not_evaluated: "the file was not evaluated",
}
_COPIED = ("recipe", "recipe_digest", "tflite_sha256", "version", "outcome")


def name_problems(name: str | None, alias: str | None) -> Iterable[Problem]:
    """What MLflow would not take as the name of a registered model, or as an alias of a version."""
    if name is not None:
        plain = re.sub(r"[/:\\]+", "-", name).strip("-. ") or "model"
        as_path = name.strip() in ("", ".", "..") or name != name.strip()
        if as_path or any(character in name for character in "/:"):
            what = f"{name!r} is no name of a registered model: it may not be empty, nor have / or : in it"
            yield Problem(what, "tracking.register_as", assignment("tracking.register_as", plain))
    if alias is not None and (said := _alias_problem(alias)):
        yield Problem(said, "tracking.alias", "tracking.alias=candidate", ("tracking.alias=null",))


def _alias_problem(alias: str) -> str:
    if not re.fullmatch(r"[\w\-]+", alias) or len(alias) > _LONGEST_ALIAS:
        return f"{alias!r} is no alias: letters, digits, - and _ make one"
    if alias.lower() == "latest" or re.fullmatch(r"[vV]\d+", alias):
        return f"{alias!r} is no alias: MLflow keeps latest and v1, v2, … for itself"
    return ""


def why_not(outcome: RunOutcome, gates: Mapping[str, bool], is_model: bool) -> str:
    """Why a run that ended so does not become a version; "" where it does. gates: by name, whether they
    passed."""
    failed = ", ".join(name for name, passed in gates.items() if not passed)
    if outcome is RunOutcome.gate_failed or (failed and outcome is not RunOutcome.not_evaluated):
        return f"a gate failed: {failed}"
    if outcome in _UNFIT:
        return _UNFIT[outcome]
    return "" if is_model else "the run's file could not be logged as a model"


def register(mlflow_client: Any, run_id: str, name: str, alias: str | None, tags: Mapping[str, str]) -> str:
    """Make the run's model a version of the registered model `name`, once, and give its number.

    The alias moves to it, but never back from a newer version, which told-again events would do. Errors: whatever
    MLflow raises.
    """
    from mlflow.exceptions import MlflowException

    try:
        mlflow_client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):
            raise
    copied = {f"{PREFIX}.{key}": tags[f"{PREFIX}.{key}"] for key in _COPIED if f"{PREFIX}.{key}" in tags}
    version = _version_once(mlflow_client, run_id, name, copied)
    if alias is not None:
        at = mlflow_client.get_registered_model(name).aliases.get(alias)
        if at is None or int(at) < version:
            mlflow_client.set_registered_model_alias(name, alias, str(version))
    return str(version)


def _version_once(mlflow_client: Any, run_id: str, name: str, tags: Mapping[str, str]) -> int:
    """The run's version of the model, which is made where there is none. A request that fails may have made it all the
    same, so it is looked for before it is sent again."""
    for attempt in range(_TRIES):
        known = mlflow_client.search_model_versions(f"run_id='{run_id}'")
        if found := [int(one.version) for one in known if one.name == name]:
            return min(found)
        try:
            with hurried():
                made = mlflow_client.create_model_version(
                    name,
                    f"runs:/{run_id}/model",
                    run_id,
                    dict(tags),
                    description=_description(tags),
                    await_creation_for=0,
                )
            return int(made.version)
        except Exception:
            if attempt == _TRIES - 1:
                raise
            time.sleep(_PAUSE_S)
    raise AssertionError("unreachable")


_JUDGED: dict[str, str] = {RunOutcome.passed: "gates passed", RunOutcome.done: "no gate was set"}


def _description(tags: Mapping[str, str]) -> str:
    recipe, digest = tags.get(f"{PREFIX}.recipe", ""), tags.get(f"{PREFIX}.recipe_digest", "")[:12]
    sha256, judged = tags.get(f"{PREFIX}.tflite_sha256", "")[:12], _JUDGED.get(of_tags(tags), "not judged")
    return f"Recipe {recipe} (digest {digest}), {judged}; model.tflite has SHA-256 {sha256}…"
