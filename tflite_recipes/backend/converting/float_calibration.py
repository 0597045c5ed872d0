"""Runs a float `.tflite` on the calibration samples and reads every activation on the way."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tflite_recipes.conversion import ranges
from tflite_recipes.conversion.ranges import RangeChoice, Ranges
from tflite_recipes.files import tflite
from tflite_recipes.files.samples import text

Tell = Callable[[int, int], None]
# Masks are filled with the most negative number that a type has; they are no part of a range.
_LARGEST = 3e38


def key(model: Path, calibration_sha256: str) -> str:
    """Names what is measured on a float file with these samples."""
    return f"{hashlib.sha256(model.read_bytes()).hexdigest()} {calibration_sha256}"


def batches(samples: Mapping[str, Any], batch: int, utf8: bool = True) -> Iterator[tuple[dict[str, Any], int, int]]:
    """Samples by input name, `batch` rows at a time, the last of them those that end the data, and how many are done
    of how many. utf8: text as bytes."""
    total = len(next(iter(samples.values())))
    for start in range(0, total, batch):
        first = min(start, total - batch)
        rows = slice(first, first + batch)
        taken = {name: np.asarray(array[rows]) for name, array in samples.items()}
        part = {name: text.encoded(array) for name, array in taken.items()} if utf8 else taken
        yield part, rows.stop, total


def measure(model: Path, signature: str, samples: Mapping[str, Any], batch: int, tell: Tell) -> Ranges:
    """Least and greatest value of each float activation in each batch of `batch` samples."""
    least: dict[str, list[float]] = {}
    greatest: dict[str, list[float]] = {}
    for values in activations(model, signature, samples, batch, tell):
        for name, array in values.items():
            finite = array if np.abs(array).max(initial=0.0) < _LARGEST else array[np.abs(array) < _LARGEST]
            if finite.size:
                least.setdefault(name, []).append(float(finite.min()))
                greatest.setdefault(name, []).append(float(finite.max()))
    return Ranges(*({name: np.array(values) for name, values in side.items()} for side in (least, greatest)))


# TensorFlow's converter keeps the ranges that it measures to itself; how stable they are shows on as many samples.
_SAMPLED = 64


def sampled(model: Path, signature: str, samples: Mapping[str, Any], batch: int) -> Ranges:
    """What `measure` gives, on 64 samples at most, taken at equal distances."""
    total = len(next(iter(samples.values())))
    rows = np.unique(np.linspace(0, total - 1, min(total, max(_SAMPLED, batch))).astype(int))
    return measure(model, signature, {name: array[rows] for name, array in samples.items()}, batch, lambda *_: None)


def chosen(
    model: Path,
    signature: str,
    samples: Mapping[str, Any],
    batch: int,
    measured: Ranges,
    choice: RangeChoice,
    bits: int,
    tell: Tell,
) -> dict[str, tuple[float, float]]:
    """Each activation's range as `choice` says; `bits` wide, 16 bits symmetric. Percentiles and least errors take
    another round through the samples, for the histograms."""
    if choice.method == "moving_average":
        return measured.moving_average(choice.smoothing)
    limits = measured.overall()
    if choice.method == "min_max":
        return limits
    counts = {name: np.zeros(ranges.BINS, np.int64) for name in limits}
    for values in activations(model, signature, samples, batch, tell):
        for name, array in values.items():
            if name in counts and limits[name][0] < limits[name][1]:
                counts[name] += np.histogram(array, ranges.BINS, limits[name])[0]
    found = {}
    for name, (low, high) in limits.items():
        if choice.method == "percentile":
            found[name] = ranges.with_percentile(counts[name], low, high, choice.percentile)
        else:
            found[name] = ranges.with_least_error(counts[name], low, high, bits, symmetric=bits == 16)
    return found


def activations(
    model: Path, signature: str, samples: Mapping[str, Any], batch: int, tell: Tell
) -> Iterator[dict[str, Any]]:
    """The float tensors of the signature's graph that are given or computed, by name, after each batch."""
    file = tflite.read_tflite(model)
    number = next(port.subgraph for port in file.signatures if port.key == signature)
    graph = file.subgraphs[number]
    computed = dict.fromkeys([*graph.inputs, *(index for op in graph.operators for index in op.outputs)])
    wanted = [graph.tensors[index] for index in computed if graph.tensors[index].dtype == "float32"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that keeping all tensors takes memory
        made = Interpreter(model_path=str(model), num_threads=2, experimental_preserve_all_tensors=True)
    runner = made.get_signature_runner(signature)
    for position, (part, done, total) in enumerate(batches(samples, batch)):
        if position:  # before the first invoke there is no state, and LiteRT has no room for it yet
            made.reset_all_variables()
        runner(**part)
        yield {tensor.name: made.get_tensor(tensor.index, number) for tensor in wanted}
        tell(done, total)
