"""The source against the `.tflite`, output by output, bound by name."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflite_recipes.backend.running import float_check, model_runs, runtime
from tflite_recipes.conversion.quality import metrics, parity
from tflite_recipes.conversion.quality.tensor_errors import TABLE, read_csv
from tflite_recipes.conversion.schemes import plainer
from tflite_recipes.conversion.sensitivity import sensitivity
from tflite_recipes.core.analysis import keep_written
from tflite_recipes.core.errors import Problem, WrongFile
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.state import Gate, State

_BATCH = model_runs.BATCH
# A single value that is off by more, as a share of its output's range, is worth a word. Cosine hides it. Eight bits
# have 256 steps, so that 0.08 is 20 of them; 16x8 rounds weights alone to eight bits.
_FAR, _FAR_16X8 = 0.08, 0.03
# The reference kernels are slow, and differ in rounding alone: so many samples tell.
_WITHOUT_DELEGATES = 64


@dataclass(frozen=True)
class Outputs:
    """Real-valued outputs by name of source and file, first axis samples; text as 0 and 1 (see `compare`).

    raw: both as they came, where text is text. batch: the rows that the source took at a time.
    """

    source: Mapping[str, Any]
    tflite: Mapping[str, Any]
    raw: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
    batch: int = _BATCH


def compare(
    state: State, arrays: Mapping[str, Any], reporter: Reporter, gated: bool = False, classes: Collection[str] = ()
) -> Outputs:
    """Run both on the same samples and measure parity. Text counts as 0 where both agree, and as 1 in the file's
    outputs where they do not. classes: outputs that are classes, whether they look like it or not.

    Errors: WrongFile where a float file, also the one behind a quantized file, differs from its source; where many
    values of an output are lost, unless the run is `gated`, and has a gate that says so.
    """
    assert state.tflite is not None
    total = len(next(iter(arrays.values())))
    planned = runtime.plan(state.tflite, state.signature, total, state.stateful)
    batch = _BATCH if planned.fixed else planned.batch
    as_given = run_source(state, arrays, reporter, batch)
    tflite = runtime.run(
        state.tflite,
        state.signature,
        arrays,
        lambda done, total: reporter.progress("evaluating the .tflite", done, total),
        stateful=state.stateful,
        planned=planned,
    )
    as_run = (as_given, tflite)
    source, tflite = float_check.numeric(as_given, tflite)
    logits = [name for name, op in state.cut.items() if op != "Sigmoid"]
    measured = parity.measure(source, tflite, {*classes, *logits})
    if measured.nan_in_source == 1.0:
        raise WrongFile(Problem("every output of the source is NaN: there is nothing to compare", "source"))
    if measured.nan_in_source:
        reporter.warn(f"{measured.nan_in_source:.1%} of the source's outputs are NaN, and are not compared")
    if parity.tells_nothing(as_given, measured.max_abs_error):
        what = "the source gives the same for every sample, so that no error would be seen"
        reporter.warn(f"parity was not measured: {what}; give samples of your own, in calibration or evaluation")
        return Outputs(source, tflite, as_run, batch)
    reporter.measure(measured.metrics())
    plain = _without_delegates(state, arrays, as_given, reporter, batch) if measured.finite else {}
    _keep(state, measured, plain, reporter)
    if state.scheme != "none":
        float_check.check(state, arrays, as_given, reporter, batch)
    if not measured.finite:
        raise WrongFile(Problem("the file's outputs hold NaN or infinities where the source's do not", "evaluation"))
    _check_collapse(measured, state.scheme, gated, reporter)
    if measured.cosine < metrics.POOR_COSINE:
        what = f"the outputs of the file are far from the source's: cosine similarity {measured.cosine:.2f}"
        reporter.warn(f"{what}, output {measured.worst_output}{_where_lost(state)}")
    else:
        _check_groups(measured, reporter)
        # Probabilities are judged by their class.
        far = _FAR_16X8 if state.scheme.startswith("int16x8") else _FAR
        if state.scheme != "none" and measured.relative_error > far and measured.top1_agreement is None:
            by = f"{measured.relative_error:.0%} of its range{_where_lost(state)}"
            reporter.warn(f"output {measured.worst_output}: values of the file are off by up to {by}")
    if state.scheme == "none":
        float_check.refuse(state, measured, arrays, source, tflite)
    return Outputs(source, tflite, as_run, batch)


def _where_lost(state: State) -> str:
    """The op that adds most noise to a quantized file, in words; "" if its tensors were not compared."""
    table = state.workdir / TABLE
    ranked = sensitivity(read_csv(table)) if table.exists() else []
    if not ranked:
        return ""
    worst = ranked[0]
    place = f" in {worst.layer}" if worst.layer else ""
    return f". {worst.op}{place} loses most, tensor {worst.tensor.partition(';')[0]}"


def check_float_file(state: State, samples: Mapping[str, Any], reporter: Reporter) -> None:
    """Compare the float file of a run whose quantized file was refused with its source, on a few samples.

    Errors: WrongFile where it differs and `conversion.on_wrong_file` is `fail`.
    """
    arrays = {spec.name: np.asarray(samples[spec.name][:_WITHOUT_DELEGATES]) for spec in state.inputs}
    float_check.check(state, arrays, run_source(state, arrays, reporter), reporter, _BATCH)


def _without_delegates(
    state: State, arrays: Mapping[str, Any], source: Mapping[str, Any], reporter: Reporter, batch: int
) -> dict[str, Any]:
    """Parity of the same file with the reference kernels on the first samples, by output, for `parity.json`."""
    assert state.tflite is not None
    first, expected = float_check.first_rows(state, arrays, source, batch, _WITHOUT_DELEGATES)
    if not expected:
        return {}
    count = len(next(iter(first.values())))
    outputs = float_check.run_in_batches(state, state.tflite, first, batch, xnnpack=False)
    plain = parity.measure(*float_check.numeric(expected, {name: outputs[name] for name in expected}))
    if not plain.finite:
        reporter.warn("without delegates the file's outputs hold NaN or infinities where the source's do not")
    figures = {"max_abs_error": plain.max_abs_error, "cosine": plain.cosine}
    reporter.measure({f"parity.without_delegates_{name}": value for name, value in figures.items()})
    return {name: {"samples": count, **found} for name, found in plain.to_json().items()}


def _keep(state: State, measured: parity.Parity, plain: Mapping[str, Any], reporter: Reporter) -> None:
    figures = measured.to_json()
    for name, found in plain.items():
        figures[name]["without_delegates"] = found
    path = state.workdir / "parity.json"
    keep_written(reporter, path, lambda path: path.write_text(json.dumps(figures, indent=2)), "evaluation")


# Above this share of an output's values the file is of no use for them; below it is worth a word.
_LOST = 0.25


def _check_collapse(measured: parity.Parity, scheme: str, gated: bool, reporter: Reporter) -> None:
    """Values of an output that quantization made one constant. Errors: WrongFile where these are many and no gate
    answers for them."""
    worst = 0.0
    for name, (lost, total) in measured.collapsed.items():
        what = f"{lost} of {total} values are the same for every sample, though the source's vary"
        worst = max(worst, lost / total)
        if lost >= _LOST * total and not gated:
            fix = plainer(scheme)
            why = f"{what}: values of very different size share one scale" if fix else what
            ors = ("give them outputs of their own, which have scales of their own",) if fix else ()
            raise WrongFile(Problem(why, f"output {name}", fix, ors))
        reporter.warn(f"output {name}: {what}")
    if worst >= _LOST:
        reporter.judge(Gate("evaluation.collapsed", worst, _LOST, False))


def _check_groups(measured: parity.Parity, reporter: Reporter) -> None:
    """Channels that are lost among larger ones, which the figures of a whole output do not show."""
    for name, groups in measured.lost_groups().items():
        for group in groups:
            what = f"of range {group.scale:.3g} are off by {group.relative_rmse:.0%} of it"
            reporter.warn(f"output {name}: {group.listed()} {what}, among others of a larger scale")


def run_source(state: State, arrays: Mapping[str, Any], reporter: Reporter, batch: int = _BATCH) -> dict[str, Any]:
    """Outputs by name of the frozen SavedModel, which is the source's own graph, or of the float file.

    `batch`: rows at a time where the source leaves that open, best the file's own, in case rows depend on each other.
    """
    if state.float_file is not None:
        return model_runs.run(state.float_file, state.signature, arrays, reporter, batch)
    folder = state.reference or state.saved_model
    assert folder is not None
    fixed = [spec.shape[0] for spec in state.inputs if spec.shape and spec.shape[0] is not None]
    batch = max(fixed, default=batch)
    results = model_runs.run(folder, state.signature, arrays, reporter, batch)
    return {spec.name: results[spec.name] for spec in state.outputs}
