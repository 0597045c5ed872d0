"""A file is invoked again and again by one interpreter: the same inputs must give the same outputs each time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tflite_recipes.backend.running import runtime
from tflite_recipes.backend.running.paired_outputs import apart
from tflite_recipes.backend.running.random_rows import random_rows
from tflite_recipes.conversion.quality.parity import tells_nothing
from tflite_recipes.core.errors import Problem, StepError
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.state import State

_ROWS = 8
# One interpreter rounds alike at each invoke. A share of the output's range below one step of eight bits.
_TOLERANCE = 1e-3


def check(state: State, samples: Mapping[str, Any] | None, reporter: Reporter) -> None:
    """Run a few rows twice, without a reset unless the file is known to need one, and compare the outputs.

    A source that keeps state or draws random numbers is left out: its outputs differ by intent.
    Errors: StepError if the outputs differ.
    """
    if state.stateful or state.random:
        return
    assert state.tflite is not None
    arrays = samples or random_rows(state, _ROWS, 0)
    given = min(len(values) for values in arrays.values())
    planned = replace(runtime.plan(state.tflite, state.signature, min(given, _ROWS)), interpreters=1)
    rows = planned.batch * max(1, min(given, _ROWS) // planned.batch)
    part = {spec.name: _filled(np.asarray(arrays[spec.name][:rows]), rows) for spec in state.inputs}
    twice = {name: np.concatenate([values, values]) for name, values in part.items()}
    outputs = runtime.run(
        state.tflite, state.signature, twice, lambda *_: None, stateful=not state.resets, planned=planned
    )
    halves = ((name, np.split(values, 2)) for name, values in outputs.items() if len(values) % 2 == 0)
    worst, name = max(((apart(first, second)[1], name) for name, (first, second) in halves), default=(0.0, ""))
    if not tells_nothing(outputs, worst):
        reporter.measure({"parity.second_invoke_difference": worst})
    if worst > _TOLERANCE:
        what = f"the same inputs give other outputs at a second invoke, by {worst:.2g} of the range"
        raise StepError(Problem(f"{what}: the file keeps state, and its source does not", f"output {name}"))


def _filled(values: Any, rows: int) -> Any:
    return runtime.padded(values, rows) if len(values) < rows else values
