"""Whether a float file computes what its source computes, in float runs and behind quantized files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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


# A group of channels is lost if its error is more than this share of the limit on its whole output. Less may be
# rounding: sums of float32 values are exact to about 1e-6 of the largest value.
_LOST_CHANNELS = 1e-2


def check(
    state: State, arrays: Mapping[str, Any], source: Mapping[str, Any], reporter: Reporter, batch: int = 1
) -> None:
    """Run the float file behind a quantized one on the first samples, and compare it with the source's outputs.

    Args:
        state: of the quantized file.
        arrays: samples by input name.
        source: the source's outputs for them, by name.
        reporter: takes the metric, and the warning if `conversion.on_wrong_file` is `warn`.
        batch: rows that the source took at a time. The file takes as many, because rows may depend on each other.

    Raises:
        WrongFile: The file differs and `conversion.on_wrong_file` is `fail`.
    """
    path = state.converted
    if path is None or not path.exists() or state.random or state.float_file is not None:
        return
    first, expected = first_rows(state, arrays, source, batch, _SAMPLES)
    if not expected:
        return
    outputs = run_in_batches(state, path, first, batch)
    found = parity.measure(*numeric(expected, {name: outputs[name] for name in expected}))
    reporter.measure({"parity.float_relative_error": found.relative_error})
    if not _is_wrong(state, path, found):
        return
    problem = _problem(state, path, found, first, expected, outputs)
    if state.intent.on_wrong_file == "fail":
        raise WrongFile(problem)
    reporter.warn("\n".join(("conversion.on_wrong_file=warn:", *problem.lines())))


def refuse(
    state: State,
    measured: parity.Parity,
    arrays: Mapping[str, Any],
    source: Mapping[str, Any],
    outputs: Mapping[str, Any],
) -> None:
    """Refuse a float run's own file. `source`, `outputs`: by name, of the same samples. Errors: WrongFile."""
    assert state.tflite is not None
    differs = measured.relative_error > state.float_limit or _lost_group(state, measured) is not None
    if differs and not state.random:
        raise WrongFile(_problem(state, state.tflite, measured, arrays, source, outputs))


def first_rows(
    state: State, arrays: Mapping[str, Any], source: Mapping[str, Any], batch: int, most: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the first samples and the source's outputs for them: at most `most` rows, or one whole batch.

    Rows of a batch may depend on each other. Outputs whose rows are not the samples are left out, because they have
    others on fewer samples.
    """
    total = len(next(iter(arrays.values())))
    batch = max(batch, fixed_batch(state.inputs))
    rows = min(total, max(1, most // batch) * batch)
    first = {name: values[:rows] for name, values in arrays.items()}
    return first, {name: values[:rows] for name, values in source.items() if len(values) == total}


def run_in_batches(
    state: State, path: Path, arrays: Mapping[str, Any], batch: int, xnnpack: bool = True
) -> dict[str, Any]:
    """Return the outputs of a file by name, with as many rows at a time as the source took if the file allows it."""
    planned = runtime.plan(path, state.signature, len(next(iter(arrays.values()))), state.stateful)
    planned = planned if planned.fixed or batch < 2 else replace(planned, batch=batch)
    return runtime.run(
        path, state.signature, arrays, lambda *_: None, xnnpack=xnnpack, stateful=state.stateful, planned=planned
    )


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
    lost = _lost_group(state, measured) is not None
    if not measured.relative_error > state.float_limit and not lost:
        return False
    if state.scheme not in _EIGHT_BITS or _ROUNDING.isdisjoint(tflite_file.op_counts(tflite_file.read_tflite(path))):
        return True
    # TensorFlow and the file may round a value between two steps to different sides, and a step may be a large part of
    # the output's range. An 8-bit file has errors of that size anyway, so a few such values are accepted.
    return max(figures["relative_rmse"] for figures in measured.by_output.values()) > state.float_limit


def _lost_group(state: State, measured: parity.Parity) -> tuple[str, parity.ChannelGroup] | None:
    """Return an output and a group of its channels that is lost, which the range of the whole output hides."""
    for name, groups in measured.lost_groups().items():
        whole = max(group.scale for group in measured.groups[name])
        for group in groups:
            if group.relative_rmse * group.scale > _LOST_CHANNELS * state.float_limit * whole:
                return name, group
    return None


def _problem(
    state: State,
    path: Path,
    found: parity.Parity,
    arrays: Mapping[str, Any],
    sources: Mapping[str, Any],
    files: Mapping[str, Any],
) -> Problem:
    batch = fixed_batch(state.inputs)
    output, by = found.worst_output, f"{found.relative_error:.1%} of the output range"
    source, outputs = sources[output], files[output]
    lost = _lost_group(state, found)
    if not found.finite:
        by = "NaN or infinities"
    elif lost and not found.relative_error > state.float_limit:
        output, group = lost
        by = f"{group.relative_rmse:.0%} of the range of {group.listed()}"
        channels = list(group.channels)
        source, outputs = sources[output][..., channels], files[output][..., channels]
    start = _worst_row(source, outputs) // batch * batch
    place = ""
    if state.saved_model is not None:
        place = miscompiled_op.named(state, path, {name: v[start : start + batch] for name, v in arrays.items()})
    file = "a float file" if path == state.tflite else "the float file that was quantized"
    what = f"{file} must compute what its source computes, and differs by {by}{place and f', {place}'}"
    # A fix is one that was shown to help: the remedies against the faults that were found in the graph.
    return Problem(what, f"output {output}", asked_together(state.faults, state.inputs))


def _worst_row(source: Any, outputs: Any) -> int:
    if source.shape != outputs.shape or source.dtype.kind not in "fiub":
        return 0
    one, other = (np.nan_to_num(np.asarray(side, "float64")).reshape(len(source), -1) for side in (source, outputs))
    return int(np.abs(one - other).max(axis=1, initial=0.0).argmax())
