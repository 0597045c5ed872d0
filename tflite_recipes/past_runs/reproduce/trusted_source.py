"""The recipe of a past run, built by the rules of today about what a model file may do without trust.

Earlier versions loaded more without asking, so their recipes lack `source.trust`, or have it false.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tflite_recipes.config import catalog
from tflite_recipes.config import recipe as recipes
from tflite_recipes.config.recipe import Recipe
from tflite_recipes.core.errors import Problem, RequestError

_KEY, _FIX, _FLAG = "source.trust", "source.trust=true", "--trust"


def built(config: Mapping[str, Any], choices: Mapping[str, str], name: str, trust: bool) -> Recipe:
    """Return the recipe of a past run; with `trust` its source is trusted if it has to be today.

    Errors: RequestError. If trust would solve a problem, its fix is the flag of `reproduce`.
    """
    try:
        return recipes.build(config, choices, catalog.base_groups(), (), name)
    except RequestError as error:
        if not any(map(_is_about_trust, error.problems)):
            raise
        if not trust:
            raise RequestError([_by_flag(problem) for problem in error.problems]) from error
    trusted = {**config, "source": {**config["source"], "trust": True}}
    return recipes.build(trusted, choices, catalog.base_groups(), (), name)


def _is_about_trust(problem: Problem) -> bool:
    return problem.where == _KEY or _FIX in (problem.fix, *problem.alternatives)


def _by_flag(problem: Problem) -> Problem:
    return replace(problem, fix=_FLAG, alternatives=()) if _is_about_trust(problem) else problem
