"""Whether a float file computes what its source computes, in float runs and behind quantized files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tflite_recipes.backend.running import miscompiled_op, runtime
from tflite_recipes.conversion.quality import parity
from tflite_recipes.conversion.remedies import asked_together
from tflite_recipes.core.errors import Problem, WrongFile
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.shapes import fixed_batch
from tflite_recipes.core.state import State
from tflite_recipes.files import tflite as tflite_file

# A wrong kernel shows on a few samples; each costs one float invoke.
_SAMPLES = 32
# Schemes in which activations have the steps that quantization-aware training gave them.
_EIGHT_BITS = ("full_integer", "integer_only")
# What the converter makes of the fake-quantization of quantization-aware training.
_ROUNDING = frozenset({"QUANTIZE", "FAKE_QUANT"})


def check(state: State, arrays: Mapping[str, Any], source: Mapping[str, Any], reporter: Reporter) -> None:
    """Run the float file behind a quantized one on the first samples, and compare it with the source's outputs.

    Errors: WrongFile where it differs and `conversion.on_wrong_file` is `fail`; else the difference is a warning.
    """
    path = state.converted
    if path is None or not path.exists() or state.random or state.float_file is not None:
        return
    rows = _rows(state, arrays)
    first = {name: values[:rows] for name, values in arrays.items()}
    # An output whose rows are not the samples has other rows on fewer samples.
    expected = {
        name: values[:rows] for name, values in source.items() if len(values) == len(next(iter(arrays.values())))
    }
    if not expected:
        return
    outputs = runtime.run(path, state.signature, first, lambda *_: None, stateful=state.stateful)
    found = parity.measure(*numeric(expected, {name: outputs[name] for name in expected}))
    reporter.measure({"parity.float_relative_error": found.relative_error})
    if not _is_wrong(state, path, found):
        return
    problem = _problem(state, path, found, first, expected[found.worst_output], outputs[found.worst_output])
    if state.intent.on_wrong_file == "fail":
        raise WrongFile(problem)
    reporter.warn("\n".join(("conversion.on_wrong_file=warn:", *problem.lines())))


def refuse(state: State, measured: parity.Parity, arrays: Mapping[str, Any], source: Any, outputs: Any) -> None:
    """Refuse a float run's own file. `source`, `outputs`: the values of the worst output. Errors: WrongFile."""
    assert state.tflite is not None
    if measured.relative_error > state.float_limit and not state.random:
        raise WrongFile(_problem(state, state.tflite, measured, arrays, source, outputs))


def numeric(source: Mapping[str, Any], tflite: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Text outputs as 0 where both agree and 1 in the file's where they do not; all others as they are."""
    ours, theirs = dict(source), dict(tflite)
    for name, values in source.items():
        if values.dtype.kind not in "fiub":
            ours[name] = np.zeros(values.shape)
            theirs[name] = (values != tflite[name]).astype("float64")
    return ours, theirs


def _is_wrong(state: State, path: Path, measured: parity.Parity) -> bool:
    """Return whether the float file at `path` differs from its source by more than the state's limit."""
    if not measured.finite:
        return True
    if not measured.relative_error > state.float_limit:
        return False
    if state.scheme not in _EIGHT_BITS or _ROUNDING.isdisjoint(tflite_file.op_counts(tflite_file.read_tflite(path))):
        return True
    # TensorFlow and the file may round a value between two steps to different sides, and a step may be a large part of
    # the output's range. An 8-bit file has errors of that size anyway, so a few such values are accepted.
    return max(figures["relative_rmse"] for figures in measured.by_output.values()) > state.float_limit


def _rows(state: State, arrays: Mapping[str, Any]) -> int:
    """Whole batches, because rows of a batch may depend on each other."""
    batch = fixed_batch(state.inputs)
    return min(len(next(iter(arrays.values()))), max(1, _SAMPLES // batch) * batch)


def _problem(
    state: State, path: Path, found: parity.Parity, arrays: Mapping[str, Any], source: Any, outputs: Any
) -> Problem:
    batch = fixed_batch(state.inputs)
    start = _worst_row(source, outputs) // batch * batch
    place = ""
    if state.saved_model is not None:
        place = miscompiled_op.named(state, path, {name: v[start : start + batch] for name, v in arrays.items()})
    by = f"{found.relative_error:.1%} of the output range" if found.finite else "NaN or infinities"
    file = "a float file" if path == state.tflite else "the float file that was quantized"
    what = f"{file} must compute what its source computes, and differs by {by}{place and f', {place}'}"
    # A fix is one that was shown to help: the remedies against the faults that were found in the graph.
    return Problem(what, f"output {found.worst_output}", asked_together(state.faults, state.inputs))


def _worst_row(source: Any, outputs: Any) -> int:
    if source.shape != outputs.shape or source.dtype.kind not in "fiub":
        return 0
    one, other = (np.nan_to_num(np.asarray(side, "float64")).reshape(len(source), -1) for side in (source, outputs))
    return int(np.abs(one - other).max(axis=1, initial=0.0).argmax())
