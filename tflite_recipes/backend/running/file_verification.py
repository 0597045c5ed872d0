"""A file that converts but cannot run is not done: one invoke with XNNPACK and one without, and what they differ by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tflite_recipes.backend.running import runtime
from tflite_recipes.backend.running.random_rows import random_rows
from tflite_recipes.conversion.diagnosis import is_about_types, open_sizes, sizes_given
from tflite_recipes.conversion.quality.parity import tells_nothing
from tflite_recipes.conversion.remedies import override_of
from tflite_recipes.core.errors import StepError
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.shapes import fixed_batch
from tflite_recipes.core.state import State, TensorSpec
from tflite_recipes.files.samples import npz

# Kernels round differently; a larger share of the output's range is another result.
_TOLERANCE = 0.1
_ROWS = 8


def verify(state: State, samples: Mapping[str, Any] | None, reporter: Reporter) -> None:
    """Run the file on a few rows, of calibration samples where there are some, with delegates and without.

    Errors: StepError where either cannot load or run it. Two results that differ much are a warning.
    """
    assert state.tflite is not None
    fixed = fixed_batch(state.inputs)
    rows = fixed * max(1, _ROWS // fixed)
    arrays = samples or random_rows(state, _ROWS, 0)
    batch = {spec.name: np.asarray(arrays[spec.name][:rows]) for spec in state.inputs}
    results = []
    for xnnpack in (True, False):
        try:
            results.append(runtime.run(state.tflite, state.signature, batch, lambda *_: None, xnnpack))
        except StepError as error:
            how = "with XNNPACK" if xnnpack else "without delegates"
            if dynamic := open_sizes(state.inputs):
                how += f", at the sizes {', '.join(map(str, _sized(state)))}"
                fix, ors = sizes_given(dynamic, state.intent.sizes)
                problems = [replace(p, what=f"{p.what} ({how})", fix=fix, alternatives=ors) for p in error.problems]
                raise StepError(problems) from error
            raise StepError(
                [replace(p, what=f"{p.what} ({how})", remedies=_remedies(p.what)) for p in error.problems]
            ) from error
    _at_own_batch(state, batch, reporter)
    difference = max((_relative(results[0][name], results[1][name]) for name in results[0]), default=0.0)
    if not tells_nothing(results[1], difference):
        reporter.measure({"parity.xnnpack_relative_difference": difference})
    if difference > _TOLERANCE:
        reporter.warn(f"with and without XNNPACK the outputs differ by {difference:.0%} of their range")


def _remedies(message: str) -> tuple[str, ...]:
    """What may help a file that LiteRT cannot run. Another batch leaves the types as they are."""
    return (*(() if is_about_types(message) else ("fixed_batch",)), "unroll", "fourier", "full_integer")


def _at_own_batch(state: State, batch: Mapping[str, Any], reporter: Reporter) -> None:
    """Run one row where the batch is open: a file stores an open batch as 1, and who does not resize it runs that.

    Errors: StepError where this alone fails, and `conversion.on_wrong_file` is `fail`; else it is a warning.
    """
    assert state.tflite is not None
    if not any(spec.shape and spec.shape[0] is None for spec in state.inputs):
        return
    one = {name: values[:1] for name, values in batch.items()}
    for xnnpack in (True, False):
        try:
            runtime.run(
                state.tflite, state.signature, one, lambda *_: None, xnnpack, planned=runtime.Plan(1, False, 1, 1)
            )
        except StepError as error:
            count = len(next(iter(batch.values())))
            what = f"{error.problems[0].what} (at a batch of 1, which the file stores; a batch of {count} runs)"
            problem = replace(
                error.problems[0], what=what, fix=override_of("fixed_batch", state.inputs), remedies=("fixed_batch",)
            )
            if state.intent.on_wrong_file == "fail":
                raise StepError(problem) from error
            reporter.warn("\n".join(problem.lines()))
            return


def _sized(state: State) -> tuple[TensorSpec, ...]:
    return npz.with_sizes(state.inputs, state.intent.sizes)


def _relative(one: Any, other: Any) -> float:
    if one.dtype.kind not in "fiu":
        return float((one != other).any())
    a, b = (np.nan_to_num(np.asarray(side, "float64")) for side in (one, other))
    spread = max(float(np.ptp(b)), float(np.abs(b).max(initial=0.0))) if b.size else 0.0
    return float(np.abs(a - b).max(initial=0.0)) / spread if spread else float(np.abs(a).max(initial=0.0) > 0)
