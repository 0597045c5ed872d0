"""The model in memory → a frozen SavedModel with a named signature: the one form that all later steps start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, unique
from typing import Annotated

from tflite_recipes.conversion.remedies import AGAINST_FAULTS, Finding, Remedy, Rule, float_limit, override_of
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.schema import within
from tflite_recipes.core.state import State, TensorSpec


@unique
class Variables(Enum):
    """What becomes of the model's variables."""

    auto = "constants, but for large models and those that own resources or composite functions which freezing breaks"
    freeze = "constants, always"
    keep = "kept as variables in the SavedModel"


@unique
class Lstm(Enum):
    """What becomes of the LSTM layers of tf_keras, which the converter can fuse into one op."""

    exact = "computed as in the source; the rule fused_lstm fuses them where the op computes the same but for its state"
    fused = "fused into an op that keeps its state between invokes and clips it, as in recipes without this key"


@dataclass(frozen=True)
class Freeze:
    """Traces the model once and saves it with its own input and output names."""

    variables: Variables
    lstm: Lstm = Lstm.fused
    constants_mb: Annotated[float | None, within(ge=0)] = None

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.backend.models import frozen_model, named_model

        reporter.tag({"tflite_recipes.source_sha256": state.source_sha256})
        if state.float_file is not None:
            return state  # a file holds no variables, and is what later steps start from
        exact = self.lstm is Lstm.exact
        how = frozen_model.How(self.variables.name, exact)
        frozen = frozen_model.freeze(state, how, reporter)
        if frozen.kept_because:
            said = f"variables are kept in the SavedModel: {frozen.kept_because}"
            if frozen.large:
                reporter.progress(said, 1, 1)
            else:
                reporter.warn(said)
        reporter.tag({"tflite_recipes.frozen": str(not frozen.kept_because).lower()})
        made = frozen.substituted
        remedies = _tell(made.rules, made.taken, frozen.inputs, reporter)
        if made.skipped:
            reporter.warn(f"a loop stays a loop: {'; '.join(made.skipped)}")
        findings = _foretold(made.findings, frozen.inputs)
        for line in findings:
            reporter.warn(f"before converting: {line}")
        if frozen.idle:
            named = ", ".join(frozen.idle)
            reporter.warn(f"{named} was called with training=True: inference does not do that, nor does the file")
        if frozen.random:
            named = ", ".join(frozen.random)
            reporter.warn(f"{named} draws random numbers: outputs differ from run to run, and so will parity")
        if Rule.no_dropout.name in made.rules:
            reporter.warn("scores compare with the source as it is, whose outputs its dropout makes random")
        return replace(
            state,
            model=None,
            saved_model=frozen.path,
            reference=frozen.reference,
            signature=frozen.signature,
            stateful=frozen.stateful,
            fused=state.model.fused if exact else (),
            inputs=frozen.inputs,
            outputs=frozen.outputs,
            remedies=(*state.remedies, *remedies),
            taken=made.taken,
            offered=frozen.offered,
            layers=frozen.layers,
            findings=tuple(findings),
            random=bool(frozen.random),
            parameters=frozen.parameters,
            named=named_model.settled(state, frozen.fingerprint, frozen.redefined),
            cut=frozen.cut,
            float_limit=float_limit(made.rules),
            faults=tuple(dict.fromkeys(n for f in made.findings for n in f.remedies[:1] if n in AGAINST_FAULTS)),
        )


def _foretold(findings: tuple[Finding, ...], inputs: tuple[TensorSpec, ...]) -> list[str]:
    """What is left of the findings, a line for each layer, reason and remedy."""
    together: dict[tuple[str, str, str], list[str]] = {}
    for finding in findings:
        helps = override_of(finding.remedies[0], inputs) if finding.remedies else ""
        together.setdefault((finding.layer, finding.why, helps), []).append(finding.op)
    return [
        f"{', '.join(dict.fromkeys(ops))}{layer and f' in {layer}'}: {why}{helps and f' (by hand: {helps})'}"
        for (layer, why, helps), ops in together.items()
    ]


def _tell(
    rules: Mapping[str, int], taken: tuple[str, ...], inputs: tuple[TensorSpec, ...], reporter: Reporter
) -> tuple[str, ...]:
    """Say what was substituted, and what of it nobody asked for; give it in words for the contract."""
    said = []
    for name, count in rules.items():
        what = f"{name}: {count} {'match' if count == 1 else 'matches'} ({Rule[name].value})"
        reporter.measure({f"substitution.{name}": count})
        said.append(what)
        if name in taken:
            reporter.warn(f"remedy taken, {what}\n  by hand: {override_of(name, inputs)}")
        else:
            reporter.progress(f"substituted {what}", 1, 1)
    if "fixed_batch" in taken:
        said.append(f"fixed_batch: {Remedy.fixed_batch.value}")
        reporter.warn(f"remedy taken, {said[-1]}\n  by hand: {override_of('fixed_batch', inputs)}")
    if taken:
        reporter.tag({"tflite_recipes.remedies": ", ".join(taken)})
    return tuple(said)
