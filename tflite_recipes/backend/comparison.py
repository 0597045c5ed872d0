"""The source against the `.tflite`, output by output, bound by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tflite_recipes import parity
from tflite_recipes.backend import runtime
from tflite_recipes.backend.substituting import as_array
from tflite_recipes.errors import Problem, StepError
from tflite_recipes.events import Reporter
from tflite_recipes.labels import class_numbers, targets
from tflite_recipes.state import State, TensorSpec

_BATCH = 32
# Below this cosine similarity hardly any use of a file is left.
_POOR = 0.95


@dataclass(frozen=True)
class Outputs:
    """Real-valued outputs by name of source and file, first axis samples."""

    source: Mapping[str, Any]
    tflite: Mapping[str, Any]


@dataclass(frozen=True)
class Scores:
    """The metric of source and file."""

    source: float
    tflite: float


def compare(state: State, arrays: Mapping[str, Any], reporter: Reporter) -> Outputs:
    """Run both on the same samples and measure parity. Errors: StepError where a float file differs from its source."""
    assert state.tflite is not None
    source = run_source(state, arrays, reporter)
    tflite = runtime.run(
        state.tflite,
        state.signature,
        arrays,
        lambda done, total: reporter.progress("evaluating the .tflite", done, total),
        stateful=state.stateful,
    )
    measured = parity.measure(*_numeric(source, tflite))
    if measured.nan_in_source == 1.0:
        raise StepError(Problem("every output of the source is NaN: there is nothing to compare", "source"))
    if measured.nan_in_source:
        reporter.warn(f"{measured.nan_in_source:.1%} of the source's outputs are NaN, and are not compared")
    reporter.measure(measured.metrics())
    path = state.workdir / "parity.json"
    path.write_text(json.dumps(measured.by_output, indent=2))
    reporter.keep(str(path))
    if not measured.finite:
        raise StepError(Problem("the file's outputs hold NaN or infinities where the source's do not", "evaluation"))
    _check_collapse(measured, reporter)
    if measured.cosine < _POOR:
        what = f"the outputs of the file are far from the source's: cosine similarity {measured.cosine:.2f}"
        reporter.warn(f"{what}, output {measured.worst_output}")
    if state.random:
        return Outputs(source, tflite)
    if state.scheme == "none" and measured.relative_error > 1e-2:
        by = f"{measured.relative_error:.1%} of the output range"
        what = f"a float file must compute what its source computes, and differs by {by}"
        raise StepError(Problem(what, f"output {measured.worst_output}", "freeze.variables=keep"))
    return Outputs(source, tflite)


# Above this share of an output's values the file is of no use for them; below it is worth a word.
_LOST = 0.25


def _check_collapse(measured: parity.Parity, reporter: Reporter) -> None:
    """Values of an output that quantization made one constant. Errors: StepError where these are many."""
    for name, (lost, total) in measured.collapsed.items():
        what = f"{lost} of {total} values are the same for every sample, though the source's vary"
        if lost >= _LOST * total:
            why = f"{what}: values of very different size share one scale"
            ors = ("give them outputs of their own, which have scales of their own",)
            raise StepError(Problem(why, f"output {name}", "optimization=dynamic_range", ors))
        reporter.warn(f"output {name}: {what}")


def _numeric(source: Mapping[str, Any], tflite: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Text outputs as 0 where both agree and 1 in the file's where they do not; all others as they are."""
    ours, theirs = dict(source), dict(tflite)
    for name, values in source.items():
        if values.dtype.kind not in "fiub":
            ours[name] = np.zeros(values.shape)
            theirs[name] = (values != tflite[name]).astype("float64")
    return ours, theirs


def run_source(state: State, arrays: Mapping[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Outputs by name of the frozen SavedModel, which is the source's own graph, or of the float file."""
    if state.float_file is not None:

        def tell(done: int, total: int) -> None:
            reporter.progress("evaluating the source", done, total)

        return runtime.run(state.float_file, state.signature, arrays, tell)
    folder = state.reference or state.saved_model
    function = tf.saved_model.load(str(folder)).signatures[state.signature]
    # A rewritten model may take another float type than its source.
    specs = {
        name: TensorSpec(name, tuple(s.shape), s.dtype.name)
        for name, s in function.structured_input_signature[1].items()
    }
    fixed = [spec.shape[0] for spec in state.inputs if spec.shape and spec.shape[0] is not None]
    batch = max(fixed, default=_BATCH)
    total = len(next(iter(arrays.values())))
    rows: dict[str, list[Any]] = {}
    for start in range(0, total, batch):
        part = {name: np.asarray(arrays[name][start : start + batch]) for name in specs}
        count = len(next(iter(part.values())))
        if fixed and count < batch:
            part = {name: runtime.padded(values, batch) for name, values in part.items()}
        results = function(**{name: tf.constant(values, specs[name].dtype) for name, values in part.items()})
        for name, values in results.items():
            rows.setdefault(name, []).append(as_array(values)[:count])
        reporter.progress("evaluating the source", min(start + batch, total), total)
    return {spec.name: np.concatenate(rows[spec.name]) for spec in state.outputs}


def score(outputs: Outputs, labels: Any, metric: str, name: str, file: str) -> Scores:
    """The metric of both, on the output `name`. Errors: RequestError where the labels do not suit it."""
    source, tflite = (np.asarray(side[name], "float64") for side in (outputs.source, outputs.tflite))
    if metric == "accuracy":
        wide = source.reshape(len(source), -1).shape[1]
        wanted = class_numbers(labels, wide, len(source), file, "evaluation.labels")
        return Scores(_accuracy(source, wanted), _accuracy(tflite, wanted))
    wanted = targets(labels, source.shape, file, "evaluation.labels")
    power = 1 if metric == "mean_absolute_error" else 2
    return Scores(*(float((np.abs(values - wanted) ** power).mean()) for values in (source, tflite)))


def _accuracy(values: Any, classes: Any) -> float:
    flat = values.reshape(len(values), -1)
    chosen = flat.argmax(axis=1) if flat.shape[1] > 1 else (flat[:, 0] > 0.5)
    return float((chosen == classes).mean())
