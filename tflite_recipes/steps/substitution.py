"""Swaps what the target cannot run for equivalents that it can, in the model and in its graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from tflite_recipes.conversion.remedies import ON_LAYERS, Rule
from tflite_recipes.core import user_code
from tflite_recipes.core.errors import Problem, assignment
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.schema import NeedsTrust
from tflite_recipes.core.state import State
from tflite_recipes.steps.source import code_problems


@dataclass(frozen=True)
class Substitution:
    """`rules` by name, and `layers`: the user's own replacement, module:name or file.py:name, by layer name or pattern.

    A replacement is a function called with the Keras layer, which gives the layer to put in its place. A rule or a
    layer that matches nothing is an error. Outputs before and after are compared at once, on seeded random inputs.
    """

    rules: list[Rule] = field(default_factory=list)
    layers: Annotated[dict[str, str], NeedsTrust()] = field(default_factory=dict)

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        for name, target in self.layers.items():
            yield from code_problems(target, f"substitution.layers.{name}")
        doubled = [rule.name for rule in self.rules if self.rules.count(rule) > 1]
        if doubled:
            once = list(dict.fromkeys(rule.name for rule in self.rules))
            yield Problem(f"{doubled[0]} stands twice", "substitution.rules", assignment("substitution.rules", once))
        on_layers = [rule.name for rule in self.rules if rule in ON_LAYERS] + list(self.layers)
        if on_layers and type(steps.get("source")).__name__ == "SavedModelSource":
            kept = [rule.name for rule in self.rules if rule not in ON_LAYERS]
            what = f"{', '.join(on_layers)} works on the layers of a Keras model, and the source is a SavedModel"
            fix = f"{assignment('substitution.rules', kept)} {assignment('~substitution.layers', ...)}"
            yield Problem(what, "substitution", fix if kept else "substitution=none")

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.backend.models import layer_swaps, named_model, source_model

        before = state.model
        if self.layers:
            state = named_model.kept(state, "substitution.layers", reporter)
            state = replace(state, model=layer_swaps.replaced(state.model, self.layers, reporter))
            user_code.record("substitution", list(self.layers.values()), state, reporter)
        for rule in self.rules:
            if rule is Rule.token_ids:
                state = layer_swaps.token_ids(state, reporter)
            elif rule in ON_LAYERS:
                state = named_model.kept(state, rule.name, reporter)
                model = replace(state.model, unfused=self._unfused())
                state = replace(state, model=layer_swaps.RULES[rule.name](model, reporter))
        on_graph = tuple(rule.name for rule in self.rules if rule not in ON_LAYERS)
        model = replace(state.model, rules=on_graph, unfused=self._unfused())
        changed = replace(state, model=model, inputs=model.inputs)
        return source_model.changed(changed) if state.model is not before else changed

    def _unfused(self) -> str:
        """Return the override that takes the rule `fused_lstm` out of the recipe."""
        left = [rule.name for rule in self.rules if rule is not Rule.fused_lstm]
        return assignment("substitution.rules", left)
