"""The model that the user named, kept before a step changes it, so that gates can compare with it later."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tflite_recipes.backend.models import frozen_model, graph_fingerprint, lent_files, traced_model
from tflite_recipes.backend.models.graph_substitution import with_batch_of_one
from tflite_recipes.backend.models.source_model import Model
from tflite_recipes.core.errors import Problem, RecipeError, RequestError
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.raised import named
from tflite_recipes.core.state import Intent, NamedModel, State
from tflite_recipes.files.models import sha256_of

_FOLDER = "named_model"


def kept(state: State, step: str, reporter: Reporter) -> State:
    """Return the state with a copy of the model as it is now, unless an earlier step has kept one.

    Call this before a step that may change the model. A model that cannot be traced is reported; gates then refuse.
    """
    if state.named.kept or state.tflite is not None:
        return state
    if state.model is not None:
        return _of_memory(state, step, reporter)
    original = state.float_file or state.reference or state.saved_model
    if original is None:
        return state  # the source comes later
    path = original
    if original.is_relative_to(state.workdir):  # a step is lent a copy of any other, which stays as it is
        path = state.workdir / (f"{_FOLDER}.tflite" if original.is_file() else _FOLDER)
        (shutil.copyfile if original.is_file() else shutil.copytree)(original, path)
    inputs = state.named.inputs or state.inputs
    outputs = tuple(spec.name for spec in state.outputs)
    named = replace(state.named, path=path, signature=state.signature, inputs=inputs, outputs=outputs)
    return replace(state, named=named)


def around_own_step(step: Callable[[State, Reporter], State], state: State, name: str, reporter: Reporter) -> State:
    """Run a user's own step, and return its state with the baseline that the step is not to change."""
    before = kept(state, name, reporter)
    on_disk = before.model is None and before.tflite is None
    digest = _digest(before) if on_disk else ""
    loan = lent_files.lend(before)
    after = step(loan.state, reporter)
    if after.model is not None and not isinstance(after.model, Model):
        what = f"the step gave a state whose model is {named(after.model)}, not one that describes a model"
        way = "dataclasses.replace(state, model=dataclasses.replace(state.model, …)), or change state.model.owner"
        raise RequestError(Problem(what, name, "", (way,)))
    after = replace(loan.returned(after), named=before.named, cut=before.cut)
    if not digest:
        return after
    if _digest(after) == digest and after.signature == before.signature:
        copy = before.named.path
        if copy is not None and copy != state.named.path and copy.is_relative_to(state.workdir):
            copy.unlink() if copy.is_file() else shutil.rmtree(copy)
        return replace(after, named=state.named)
    # What later steps convert is no longer what `reference` stands for.
    return replace(after, reference=None) if after.reference == before.reference else after


def unchanged(state: State, print_of_now: str) -> bool:
    """Return whether the model that is frozen now is the one that was kept."""
    return bool(print_of_now) and state.named.fingerprint == print_of_now


def _of_memory(state: State, step: str, reporter: Reporter) -> State:
    model: Model = state.model
    if not state.intent.dynamic_batch:  # as `freeze` has it, so that both can be compared
        fixed = with_batch_of_one(model.inputs)
        model = model if fixed == model.inputs else replace(model, inputs=fixed, folder=None)
    inputs = state.named.inputs or state.model.inputs
    try:
        path, fingerprint = _saved(model, state.workdir / _FOLDER, state.intent)
    except RecipeError as error:
        reason = error.problems[0].what
        reporter.warn(f"the model before {step} cannot be kept, so no gate can compare with it: {reason}")
        return replace(state, named=replace(state.named, missing=reason, inputs=inputs))
    named = replace(state.named, path=path, signature=model.signature, inputs=inputs, fingerprint=fingerprint)
    named = replace(named, outputs=model.outputs)
    return replace(state, named=named)


def _saved(model: Model, folder: Path, intent: Intent) -> tuple[Path, str]:
    traced = traced_model.trace(model.call, model.inputs, model.outputs, intent.sizes)
    fingerprint = graph_fingerprint.of(traced)
    if model.folder is not None:  # a SavedModel that lies on the disk needs no copy
        return model.folder, fingerprint
    if not frozen_model.keep_because(traced) and not frozen_model.too_large(traced, model, intent.constants_mb):
        traced = traced_model.frozen(traced)
    return frozen_model.save(traced, model, folder), fingerprint


def saved_text(model: Model, folder: Path) -> Path:
    """Save a model that turns text into token ids, and return its folder. Errors: StepError."""
    return _saved(model, folder, Intent())[0]


def settled(state: State, print_of_now: str, named: Path | None) -> NamedModel:
    """Return the baseline once the model is frozen.

    Args:
        state: the state before freezing.
        print_of_now: the fingerprint of the model, before rules changed its graph.
        named: that model's folder, if rules changed what its outputs mean.
    """
    kept_model = state.named
    if unchanged(state, print_of_now) or not kept_model.kept:
        kept_model = replace(kept_model, path=named, signature=state.model.signature if named else "")
    return replace(kept_model, fingerprint="")


def _digest(state: State) -> str:
    """Return the digest of what later steps convert, on disk; "" if it is in memory."""
    original = state.float_file or state.saved_model
    return sha256_of(original) if original is not None else ""
