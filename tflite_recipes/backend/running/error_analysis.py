"""A quantized file against its float file, tensor by tensor: both run in LiteRT on the same samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tflite_recipes.backend.running.inner_tensors import InnerTensors
from tflite_recipes.backend.running.tensor_pairs import Pair, Pairs, pair_up
from tflite_recipes.backend.running.weight_errors import weight_errors
from tflite_recipes.conversion.quality import tensor_errors
from tflite_recipes.conversion.quality.decibels import MOST_DB, decibels
from tflite_recipes.conversion.quality.tensor_errors import TensorError
from tflite_recipes.core.analysis import keep_written
from tflite_recipes.core.errors import RecipeError
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.state import State
from tflite_recipes.files import tflite as tflite_file

# Sums of squares settle early; more samples cost time only.
_SAMPLES = 16


def report_errors(state: State, float_file: Path, samples: Mapping[str, Any] | None, reporter: Reporter) -> None:
    """Write the table and the plot of `state.tflite` against its float file, and measure them.

    Without samples, and in a model that draws random numbers, the weights alone are compared. What cannot be compared
    is a warning: the file itself is sound.
    """
    assert state.tflite is not None
    samples = {} if samples is None or state.random else samples
    try:
        rows = analyse(float_file, state.tflite, state.signature, samples, state.layers, reporter)
    except RecipeError as error:
        reporter.warn(f"the error of each tensor was not measured: {error.problems[0].what}")
        return
    if not rows:
        reporter.warn("the error of each tensor was not measured: the file has no quantized tensor to compare")
        return
    table = state.workdir / tensor_errors.TABLE
    keep_written(reporter, table, lambda path: tensor_errors.write_csv(path, rows), "optimization")
    reporter.measure(tensor_errors.metrics(rows))


def analyse(
    float_file: Path,
    quantized_file: Path,
    signature: str,
    samples: Mapping[str, Any],
    layers: tuple[str, ...],
    reporter: Reporter,
) -> list[TensorError]:
    """The errors of quantized activations and weights, worst first, on up to 16 samples (arrays by input name, first
    axis samples; none: weights alone). In a file whose activations all are float, its outputs stand for them.

    Tensors are matched by name, and through what only converts between types. Errors: StepError, RequestError.
    """
    files = tflite_file.read_tflite(float_file), tflite_file.read_tflite(quantized_file)
    pairs = pair_up(*files, signature, layers)
    sums = _measure(float_file, quantized_file, signature, pairs, samples, reporter) if samples else {}
    weights = weight_errors(*files, pairs)
    if pairs.unmatched:
        named = ", ".join(name.partition(";")[0] for name in pairs.unmatched[:3])
        named += " and more" if len(pairs.unmatched) > 3 else ""
        reporter.warn(f"{len(pairs.unmatched)} quantized tensors are not in the float file, and not compared: {named}")
    rows = [_row(pair, sums, pairs) for index, pair in pairs.activations.items() if index in sums and pairs.told(pair)]
    return tensor_errors.worst_first([*rows, *weights])


class _Sums:
    """Sums over all values of one activation, which need no more memory for more samples."""

    def __init__(self) -> None:
        self.signal = self.noise = self.rounding = 0.0
        self.count = self.clipped = 0
        self.least, self.most = np.inf, -np.inf

    def add(self, ours: Any, theirs: Any, pair: Pair) -> None:
        """Float values, and the quantized file's as it stores them."""
        tensor = pair.quantized
        scale = tensor.scales[0] if tensor.scales else None
        if scale is not None:
            zero, limits = tensor.zero_points[0], np.iinfo(tensor.dtype)
            theirs = scale * (theirs.astype("float64") - zero)
        real = np.isfinite(ours)
        s, t = np.asarray(ours, "float64")[real], np.asarray(theirs, "float64")[real]
        self.signal += float((s**2).sum())
        self.noise += float((np.nan_to_num(s - t) ** 2).sum())
        self.count += s.size
        if scale is not None and s.size:
            steps = s / scale + zero
            rounded = scale * (np.clip(np.rint(steps), limits.min, limits.max) - zero)
            self.rounding += float(((s - rounded) ** 2).sum())
            self.clipped += int(((steps < limits.min - 0.5) | (steps > limits.max + 0.5)).sum())
            self.least, self.most = min(self.least, float(s.min())), max(self.most, float(s.max()))

    @property
    def sqnr_db(self) -> float:
        return decibels(self.signal, self.noise)


def _measure(
    float_file: Path,
    quantized_file: Path,
    signature: str,
    pairs: Pairs,
    samples: Mapping[str, Any],
    reporter: Reporter,
) -> dict[int, _Sums]:
    """By index in the float file. State is reset before each invoke, so that both begin alike."""
    paths = (float_file, quantized_file)
    runs = [InnerTensors(path, signature, graph) for path, graph in zip(paths, pairs.graphs, strict=True)]
    sums: dict[int, _Sums] = {}
    lost: set[int] = set()
    batches = list(_batches(samples, runs[0].batch))
    for number, rows in enumerate(batches, 1):
        part = {name: np.asarray(array[rows]) for name, array in samples.items()}
        for run in runs:
            run(part)
        for index, pair in pairs.activations.items():
            ours, theirs = (run.values(i) for run, i in zip(runs, (index, pair.quantized.index), strict=True))
            if ours is None or theirs is None or ours.shape != theirs.shape or ours.dtype.kind != "f":
                lost.add(index)
                continue
            sums.setdefault(index, _Sums()).add(ours, theirs, pair)
        reporter.progress("comparing tensors", number, len(batches))
    for index in lost:
        sums.pop(index, None)
        if pairs.told(pairs.activations[index]):
            pairs.unmatched.append(pairs.activations[index].quantized.name)
    return sums


def _batches(samples: Mapping[str, Any], batch: int) -> list[Any]:
    """Rows for each invoke, spread over all samples: these may be in order of their classes."""
    total = len(next(iter(samples.values())))
    chosen = np.unique(np.linspace(0, total - 1, min(total, _SAMPLES)).astype(int))
    if batch > 1:  # the last row again, where the samples are fewer than the batch
        starts = np.unique(np.linspace(0, max(total - batch, 0), max(1, min(total, _SAMPLES) // batch)).astype(int))
        return [np.minimum(np.arange(start, start + batch), total - 1) for start in starts]
    return [np.array([row]) for row in chosen]


def _row(pair: Pair, sums: Mapping[int, _Sums], pairs: Pairs) -> TensorError:
    tensor, found = pair.quantized, sums[pair.float.index]
    scale = tensor.scales[0] if tensor.scales else None
    rmse = float(np.sqrt(found.noise / max(found.count, 1)))
    inputs = pairs.inputs_of(pair.float.index)
    span = scale * float(np.iinfo(tensor.dtype).max - np.iinfo(tensor.dtype).min) if scale else None
    return TensorError(
        tensor=pair.float.name,
        layer=pair.layer,
        op=pair.op,
        kind="activation",
        dtype=tensor.dtype,
        shape=pair.float.shape,
        scale=scale,
        zero_point=tensor.zero_points[0] if scale is not None and tensor.zero_points else None,
        sqnr_db=found.sqnr_db,
        local_sqnr_db=decibels(found.signal, found.rounding) if scale is not None else None,
        rmse=rmse,
        rmse_over_scale=rmse / scale if scale else None,
        clipped=found.clipped / max(found.count, 1) if scale is not None else None,
        covered=max(found.most - found.least, 0.0) / span if span else None,
        input_sqnr_db=_entering(inputs, sums, pairs),
        inputs=tuple(pairs.name(index) for index in inputs),
        output=pair.output,
    )


def _entering(inputs: Iterable[int], sums: Mapping[int, _Sums], pairs: Pairs) -> float:
    """The least SQNR among tensors; those that were not compared stand for what they come from."""
    least, left, seen = MOST_DB, list(inputs), set()
    while left:
        index = left.pop()
        if index in sums:
            least = min(least, sums[index].sqnr_db)
        elif index not in seen:
            seen.add(index)
            left += pairs.inputs_of(index)
    return least
