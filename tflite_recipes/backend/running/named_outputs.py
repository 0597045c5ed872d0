"""The model that the user named against the `.tflite`: what gates judge, and what steps before conversion changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tflite_recipes.backend.running import float_check, model_runs
from tflite_recipes.backend.running.output_comparison import Outputs
from tflite_recipes.conversion.quality import cut_outputs, parity
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.state import State

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
    named = _bound(given, entered)
    changed = {name: values for name, values in entered.items() if name in named}
    if changed:
        measured = parity.measure(*float_check.numeric(named, changed))
        figures = {} if parity.tells_nothing(named, measured.max_abs_error) else measured.metrics()
        reporter.measure({name.replace("parity.", "parity.from_source_", 1): figures[name] for name in figures})
    source, file = float_check.numeric(named, {name: tflite[name] for name in named})
    return replace(outputs, source=source, tflite={**tflite, **file})


def _bound(named: Mapping[str, Any], entered: Mapping[str, Any]) -> dict[str, Any]:
    """Return the named model's outputs by the names of another model's: by name, else by position; in its shapes."""
    names = list(entered)
    if set(named) == set(names):
        pairs = [(name, named[name]) for name in names]
    elif len(named) == len(names):
        pairs = list(zip(names, named.values(), strict=True))
    else:
        pairs = [(name, named[name]) for name in names if name in named]
    fitting = [(name, values) for name, values in pairs if values.size == entered[name].size]
    return {name: values.reshape(entered[name].shape) for name, values in fitting}
