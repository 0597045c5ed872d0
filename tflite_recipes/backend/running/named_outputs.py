"""The model that the user named against the `.tflite`: what gates judge, and what steps before conversion changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from tflite_recipes.backend.running import float_check, model_runs
from tflite_recipes.backend.running.output_comparison import Outputs
from tflite_recipes.conversion.quality import cut_outputs, parity
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.state import State

# Outputs that differ by less, as a share of their range, have the same values.
_SAME = 1e-3
_WHAT = "evaluating the model before any step"


def against_named(state: State, arrays: Mapping[str, Any], outputs: Outputs, reporter: Reporter) -> Outputs:
    """Return the outputs of the named model and of the file, by the file's names, and measure `parity.from_source_*`.

    Functions that were cut off behind an output are put back. An output that the named model lacks, or has in another
    size, is left out on its side.

    Args:
        state: its `named.path` is set.
        arrays: samples by the named model's inputs.
        outputs: of the model as it entered conversion, and of the file.
        reporter: gets the metrics.
    """
    entered, tflite = (cut_outputs.restored(side, state.cut) for side in outputs.raw)
    assert state.named.path is not None
    given = model_runs.run(state.named.path, state.named.signature, arrays, reporter, outputs.batch, _WHAT)
    ordered = {name: given[name] for name in (state.named.outputs or given) if name in given}
    named = _bound(ordered, entered, reporter)
    changed = {name: values for name, values in entered.items() if name in named}
    if changed:
        measured = parity.measure(*float_check.numeric(named, changed))
        figures = {} if parity.tells_nothing(named, measured.max_abs_error) else measured.metrics()
        reporter.measure({name.replace("parity.", "parity.from_source_", 1): figures[name] for name in figures})
    source, file = float_check.numeric(named, {name: tflite[name] for name in named})
    return replace(outputs, source=source, tflite={**tflite, **file})


def _bound(named: Mapping[str, Any], entered: Mapping[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Return the named model's outputs by the names of another model's, in its shapes.

    They are bound by name, then by values if just one has the same, then by the order in which both models list them.
    Outputs of another size are left out.
    """
    pairs = {name: name for name in entered if name in named}
    if len(named) == len(entered):
        pairs |= _alike(_without(named, pairs.values()), _without(entered, pairs))
        left, free = (_without(named, pairs.values()), _without(entered, pairs))
        pairs |= dict(zip(free, left, strict=True))
        if len(free) > 1:
            listed = ", ".join(f"{name} with {pairs[name]}" for name in free)
            reporter.warn(f"outputs are compared by their order with those before any step: {listed}")
    fitting = {name: named[pairs[name]] for name in entered if name in pairs}
    fitting = {name: values for name, values in fitting.items() if values.size == entered[name].size}
    return {name: values.reshape(entered[name].shape) for name, values in fitting.items()}


def _without(outputs: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: values for name, values in outputs.items() if name not in names}


def _alike(named: Mapping[str, Any], entered: Mapping[str, Any]) -> dict[str, str]:
    """Return, by name of an output, the only one of the named model that has its values, if that has no other."""
    alike = {name: [one for one in named if _same(named[one], values)] for name, values in entered.items()}
    only = {name: found[0] for name, found in alike.items() if len(found) == 1}
    return {name: one for name, one in only.items() if sum(one in found for found in alike.values()) == 1}


def _same(one: Any, other: Any) -> bool:
    if one.size != other.size or one.dtype.kind != other.dtype.kind:
        return False
    if one.dtype.kind not in "fiub":
        return bool((one.ravel() == other.ravel()).all())
    return parity.relative_rmse(one.ravel(), other.ravel()) < _SAME
