"""Rewrites a traced model by the rules that were asked for and by the remedies that it turns out to need, and holds
its outputs against the original's at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow as tf

from tflite_recipes.backend.models import op_inspection, traced_model
from tflite_recipes.backend.models.rewriting import rewrite
from tflite_recipes.backend.models.source_model import Model
from tflite_recipes.backend.models.traced_model import Traced
from tflite_recipes.conversion import remedies
from tflite_recipes.conversion.remedies import Finding, Rule
from tflite_recipes.core.errors import Problem, RequestError, StepError, assignment
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.state import Intent, TensorSpec
from tflite_recipes.files.samples import npz

_FLOATS = ("float16", "bfloat16", "float64")
_SAMPLES = 4
Base = Callable[[tuple[TensorSpec, ...]], Traced]


@dataclass(frozen=True)
class Substituted:
    """A model as it will be converted.

    traced: the function. rules: those that were carried out, with the number of matches. taken: the remedies among
    them that nobody asked for by hand, and `fixed_batch`. findings: what remains. skipped: why loops could not be
    unrolled. cut: by output, the function behind it that the rule `logits` left out.
    """

    traced: Traced
    rules: Mapping[str, int] = field(default_factory=dict)
    taken: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    skipped: tuple[str, ...] = ()
    cut: Mapping[str, str] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """As the function takes them."""
        return self.traced.inputs

    @property
    def redefining(self) -> frozenset[str]:
        """The rules after which the outputs are meant to be others than the original's."""
        return frozenset(name for name in self.rules if Rule[name] in remedies.NOT_COMPARED)

    @property
    def is_original(self) -> bool:
        return not self.rules and "fixed_batch" not in self.taken


def substitute(base: Base, model: Model, intent: Intent, reporter: Reporter) -> Substituted:
    """The traced model with its rules carried out, and then with the remedies that its ops call for, as far as
    `intent.fallback` lists them. `base` gives the model traced for some inputs. Errors: RequestError for a rule that
    matches nothing; StepError for outputs that are no longer the original's."""
    asked = frozenset(model.rules)
    taken = tuple(name for name in intent.taken if name in Rule.__members__ or name == "fixed_batch")
    while True:
        made = _made(base, model, asked, taken, intent.scheme)
        found = op_inspection.inspect(made.traced.graph, intent, model.layers)
        made = replace(made, findings=tuple(_with_reason(finding, made.skipped) for finding in found))
        more = _called_for(made, intent, [*taken, *asked])
        if not more:
            break
        taken = (*taken, *more)
    carried_out = {*made.rules, *(["fixed_batch"] if made.inputs != model.inputs else [])}
    made = replace(made, taken=tuple(name for name in made.taken if name in carried_out))
    _check_matches(made, asked)
    if made.rules and not made.redefining:
        _check_parity(base(model.inputs), made, made.rules, intent.sizes, reporter)
    return made


def redefined(base: Base, model: Model, made: Substituted, intent: Intent, reporter: Reporter) -> Traced | None:
    """Return the model with the rules alone that change what its outputs mean, for the other rules are held against it.

    Call this once the model that is converted is saved, because what is traced before it changes names in its file.

    Returns:
        None if there are no other rules, or if the outputs are random or not of the same meaning.

    Raises:
        StepError: The other rules changed the outputs.
    """
    others = [name for name in made.rules if name not in made.redefining]
    if others:
        alone = _made(base, model, made.redefining, (), intent.scheme)
        if alone.cut == made.cut and _repeats(alone.traced, intent.sizes):
            _check_parity(alone.traced, made, others, intent.sizes, reporter)
            return alone.traced
    listed = ", ".join(made.rules)
    reporter.warn(f"{listed} changes what the outputs are: they are not compared with the original's")
    return None


def _repeats(traced: Traced, sizes: Mapping[str, Any]) -> bool:
    """Return whether a function gives the same again on the same inputs, so that nothing in it is random."""
    arrays = _arrays(traced.inputs, sizes)
    first, second = _outputs(traced, arrays), _outputs(traced, arrays)
    return all(np.array_equal(values, second[name], equal_nan=_numeric(values)) for name, values in first.items())


def _made(base: Base, model: Model, asked: frozenset[str], taken: tuple[str, ...], scheme: str) -> Substituted:
    rules = asked | {name for name in taken if name in Rule.__members__}
    inputs = with_batch_of_one(model.inputs) if "fixed_batch" in taken else model.inputs
    traced = base(inputs)  # anew, because a graph holds sizes that were open as constants of -1
    if "float32" in rules:
        inputs = tuple(replace(spec, dtype="float32") if spec.dtype in _FLOATS else spec for spec in inputs)
    if not rules:
        return Substituted(traced, {}, taken)
    names, outputs = sorted(spec.name for spec in model.inputs), sorted(model.outputs)
    rewritten = rewrite(traced.concrete, names, outputs, rules, scheme)
    try:
        new = traced_model.trace(rewritten.call, inputs, model.outputs)
    except StepError as error:
        fix = "substitution=none 'conversion.fallback=[]'"
        problems = [replace(problem, where="substitution.rules", fix=fix) for problem in error.problems]
        raise StepError(problems) from error
    skipped = tuple(dict.fromkeys(rewritten.skipped.values()))
    return Substituted(new, dict(rewritten.matches), taken, (), skipped, rewritten.cut)


def _with_reason(finding: Finding, skipped: tuple[str, ...]) -> Finding:
    """A loop that could not be unrolled says why, and no more that it should be."""
    if not skipped or "unroll" not in finding.remedies:
        return finding
    left = tuple(name for name in finding.remedies if name != "unroll")
    return replace(finding, why=f"{finding.why}, and cannot be unrolled: {'; '.join(skipped)}", remedies=left)


def with_batch_of_one(inputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """The inputs with an open batch fixed at 1."""
    return tuple(
        replace(spec, shape=(1, *spec.shape[1:])) if spec.shape and spec.shape[0] is None else spec for spec in inputs
    )


def _called_for(made: Substituted, intent: Intent, already: list[str]) -> list[str]:
    """The remedies that what is left calls for: of each finding's, the first that may be taken and was not yet."""
    more: list[str] = []
    for finding in made.findings:
        open_to = [n for n in intent.fallback if n in finding.remedies and n not in already]
        more += [name for name in open_to[:1] if name not in more]
    return more


def _check_matches(made: Substituted, asked: frozenset[str]) -> None:
    missing = sorted(name for name in asked if not made.rules.get(name))
    if missing:
        left = sorted(asked - set(missing))
        fix = assignment("substitution.rules", left) if left else "substitution=none"
        what = f"{', '.join(missing)} matched nothing in the model"
        raise RequestError(Problem(what, "substitution.rules", fix))


def _check_parity(
    original: Traced, made: Substituted, rules: Collection[str], sizes: Mapping[str, Any], reporter: Reporter
) -> None:
    """Hold the outputs against those before some rules, on seeded random inputs. Errors: StepError."""
    arrays = _arrays(made.inputs, sizes)
    before, after = _outputs(original, arrays), _outputs(made.traced, arrays)
    limit = max(remedies.TOLERANCES.get(Rule[name], remedies.TOLERANCE) for name in rules)
    none = "substitution=none 'conversion.fallback=[]'"
    hold_against(before, after, limit, f"after {', '.join(rules)}", none, reporter)


def _arrays(inputs: tuple[TensorSpec, ...], sizes: Mapping[str, Any]) -> Mapping[str, Any]:
    return npz.random_arrays(npz.with_sizes(inputs, sizes), _rows(inputs), 0, 0.0, 1.0)


def hold_against(
    before: Mapping[str, Any], after: Mapping[str, Any], limit: float, when: str, fix: str, reporter: Reporter
) -> None:
    """Compare outputs by name, and measure the largest difference as a share of an output's range. Errors: StepError
    for one over `limit`, of another shape, or not finite where it was."""
    worst = 0.0
    for name, values in before.items():
        difference = _difference(values, after[name])
        worst = max(worst, difference)
        if not difference <= limit:
            what = f"{when} it differs by {difference:.2g} of its range; {limit:g} is allowed"
            raise StepError(Problem(what, f"output {name}", fix))
    reporter.measure({"substitution.max_relative_error": worst})


def _difference(old: Any, new: Any) -> float:
    if old.shape != new.shape:
        return float("inf")
    if not _numeric(old):
        return float((old != new).any())
    finite = np.isfinite(old)
    if not np.isfinite(new[finite]).all():
        return float("inf")
    one, other = (np.asarray(side[finite], "float64") for side in (old, new))
    spread = max(float(np.ptp(one)), float(np.abs(one).max()) * 1e-3, 1e-12) if one.size else 1.0
    return float(np.abs(one - other).max(initial=0.0)) / spread


def _numeric(values: Any) -> bool:
    return bool(values.dtype.kind in "fiub")


def _rows(inputs: tuple[TensorSpec, ...]) -> int:
    return max([spec.shape[0] for spec in inputs if spec.shape and spec.shape[0] is not None], default=_SAMPLES)


def _outputs(traced: Traced, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs by name, on arrays by input name. State in variables is left as it was."""
    kept = [(variable, variable.numpy()) for variable in getattr(traced.concrete, "variables", ())]
    given = {spec.name: tf.constant(arrays[spec.name], spec.dtype) for spec in traced.inputs}
    results = {name: as_array(value) for name, value in traced(**given).items()}
    for variable, value in kept:
        variable.assign(value)
    return results


def as_array(tensor: Any) -> Any:
    """A tensor as numpy has it; bfloat16, which it has not, as float32."""
    return (tf.cast(tensor, tf.float32) if tensor.dtype == tf.bfloat16 else tensor).numpy()
