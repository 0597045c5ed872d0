"""What a search tries: a scheme, a quantizer, what is set besides; and the recipe that it stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tflite_recipes.config import catalog
from tflite_recipes.config import recipe as recipes
from tflite_recipes.config.recipe import Recipe
from tflite_recipes.core.errors import assignment
from tflite_recipes.core.resources import shipped
from tflite_recipes.steps.auto_optimization import AutoOptimization

_OWN_GROUP = re.compile(r"[+~]*optimization(?=[.=@]|$)")


@dataclass(frozen=True)
class Rule:
    """An entry of `optimization.rules`: ops of type `op` whose output's name the regex `name` finds, in `scheme`."""

    name: str
    op: str
    scheme: str

    @classmethod
    def of_tensor(cls, tensor: str, scheme: str) -> Rule:
        """The rule for the op that gives this very tensor."""
        return cls(f"^{re.escape(tensor)}$", "*", scheme)

    @property
    def tensor(self) -> str:
        """The name of that tensor, without those of what is folded into its op."""
        return re.sub(r"\\(.)", r"\1", self.name.removeprefix("^").removesuffix("$")).partition(";")[0]


@dataclass(frozen=True)
class Candidate:
    """`values`: further keys of the option with their values (`equalize`, `block_size`). Hashable, for what was tried
    already is not tried again."""

    scheme: str
    quantizer: str
    values: tuple[tuple[str, Any], ...] = ()
    rules: tuple[Rule, ...] = ()

    @property
    def plain(self) -> bool:
        """Nothing but a scheme and a quantizer."""
        return not self.values and not self.rules

    def __str__(self) -> str:
        parts = [self.scheme] if self.quantizer == "tflite_converter" else [self.scheme, self.quantizer]
        parts += [key if value is True else f"{key} {value}" for key, value in self.values]
        schemes = list(dict.fromkeys(rule.scheme for rule in self.rules))
        counted = [(sum(rule.scheme == scheme for rule in self.rules), scheme) for scheme in schemes]
        parts += [f"{count} op{'' if count == 1 else 's'} {scheme}" for count, scheme in counted]
        return ", ".join(parts)


def folder_name(number: int, candidate: Candidate) -> str:
    """The candidate's folder below `candidates/`."""
    return f"{number:02d}_{re.sub('[^a-z0-9_]+', '_', str(candidate).lower())}"


def option(scheme: str) -> dict[str, Any]:
    """Return the section that `optimization=SCHEME` gives, class and all."""
    ours = shipped("conf")
    return catalog.option_values(ours / "optimization" / f"{scheme}.yaml", [ours])


def recipe_of(recipe: Recipe, auto: AutoOptimization, candidate: Candidate) -> Recipe:
    """The recipe of a search with the candidate in the place of `optimization=auto`: the same that is composed where
    the candidate is asked for by hand. Errors: RequestError where it cannot be had."""
    section = option(candidate.scheme)
    asked = {**auto.types(), **dict(candidate.values)}
    # float32 has no quantizer, and is not said to have one
    asked |= {"quantizer": candidate.quantizer} if candidate.scheme != "none" else {}
    if candidate.rules:
        asked["rules"] = [{"name": rule.name, "op": rule.op, "scheme": rule.scheme} for rule in candidate.rules]
    changed = {key: value for key, value in asked.items() if section.get(key, ...) != value}
    config = {**recipe.config, "optimization": {**section, **asked}}
    choices = {**recipe.choices, "optimization": candidate.scheme}
    overrides = [*others(recipe.overrides), f"optimization={candidate.scheme}"]
    overrides += [f"optimization.{key}={_hydra(key, value)}" for key, value in changed.items()]
    return recipes.build(config, choices, recipe.base_groups, overrides, recipe.name)


def others(overrides: Iterable[str]) -> list[str]:
    """The overrides without those of the optimization."""
    return [text for text in overrides if not _OWN_GROUP.match(text)]


def _hydra(key: str, value: Any) -> str:
    """A value in Hydra's grammar, as `overrides.txt` holds it, without the quotes of a shell."""
    import shlex

    return shlex.split(assignment(key, value))[0].partition("=")[2]
