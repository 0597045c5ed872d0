"""The part of TensorFlow's converter behind its float file: calibration, and quantizing what was calibrated.

TensorFlow does both in one private method, so that a second scheme, or a search for the ops to leave float, would
calibrate anew each time, and 16x8 calibrates twice in one conversion. This stands in for that method, calls the same
functions with the same arguments, and keeps the calibrated file for the next conversion of the same float file with
the same samples. The bytes are those of the plain converter: a test holds them against it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.lite.python import lite
from tensorflow.lite.python.convert import mlir_quantize
from tensorflow.lite.python.optimize import calibrator

from tflite_recipes.backend.converting import float_calibration
from tflite_recipes.backend.converting.conversion_request import Request
from tflite_recipes.backend.converting.file_edits import without_cell_clip
from tflite_recipes.backend.converting.mask_preparation import Prepared, prepare_masks
from tflite_recipes.backend.converting.recent_results import once
from tflite_recipes.conversion import rules as quantization_rules
from tflite_recipes.conversion.op_places import places
from tflite_recipes.conversion.quality.tensor_errors import PASSING
from tflite_recipes.conversion.rules import OpPlace, Resolved
from tflite_recipes.conversion.schemes import BEFORE_EQUALIZING, RuleScheme
from tflite_recipes.core.events import Reporter
from tflite_recipes.files import tflite
from tflite_recipes.files.tflite import Subgraph

# Of the last few float files and data sets.
_calibrated: dict[str, bytes] = {}


class Between:
    """What happens to the float file on its way: it is equalized where that is asked, written to `path`, and rules are
    held against its ops, which `ops` and `resolved` tell afterwards. remedies: what was taken, in words."""

    def __init__(self, request: Request, path: Path, signature: str, reporter: Reporter) -> None:
        self.request, self.path, self.signature, self.reporter = request, path, signature, reporter
        self.ops: tuple[OpPlace, ...] = ()
        self.resolved: Resolved | None = None
        self.remedies: tuple[str, ...] = ()

    def take(self, data: bytes) -> bytes:
        """The float file as it is quantized. Errors: RequestError for a rule that matches nothing."""
        # Before calibration, so that ranges are those of a cell state without a limit.
        self.path.write_bytes(without_cell_clip(data) if self.request.unclipped_lstm else data)
        prepared = prepare(self.path, self.signature, self.request, self.reporter)
        self.request, self.remedies = prepared.request, prepared.remedies
        self.ops, self.resolved = resolved(self.path, self.signature, self.request)
        return self.path.read_bytes()


def prepare(path: Path, signature: str, request: Request, reporter: Reporter) -> Prepared:
    """Bound the masks of a float file and equalize it, in place, where that is asked.

    Returns:
        What the file is quantized by, and the remedies taken, in words.
    """
    prepared = prepare_masks(path, signature, request, reporter)
    if request.equalize:
        _equalize(path, signature, prepared.request, reporter)
    return prepared


def _equalize(path: Path, signature: str, request: Request, reporter: Reporter) -> None:
    from tflite_recipes.backend.converting import equalization

    path.with_suffix(BEFORE_EQUALIZING).write_bytes(path.read_bytes())  # whose outputs are checked against the source
    known = (
        float_calibration.sampled(path, signature, request.samples, request.batch).overall()
        if request.samples
        else None
    )
    found = equalization.equalize(path.read_bytes(), known)
    path.write_bytes(found.data)
    reporter.measure({"equalization.pairs": len(found.pairs)})
    if not found.pairs:
        reasons = "; ".join(f"{layer.name}: {layer.reason}" for layer in found.skipped[:3])
        reporter.warn(f"optimization.equalize: no two layers could be evened out{reasons and f' ({reasons})'}")
    if found.unclipped:
        named = ", ".join(found.unclipped[:5])
        reporter.warn(f"optimization.equalize: RELU6 became RELU where the samples stay well below 6: {named}")


def resolved(path: Path, signature: str, request: Request) -> tuple[tuple[OpPlace, ...], Resolved]:
    """The ops of a float file's main graph, and what the rules make of them. Errors: RequestError."""
    file = tflite.read_tflite(path)
    graph = file.subgraphs[0]
    ops = tuple(places(file, graph, signature, request.layers))
    found = quantization_rules.resolve(request.rules, ops)
    return ops, replace(found, schemes=_with_what_passes_on(graph, found.schemes))


def _with_what_passes_on(graph: Subgraph, schemes: Sequence[RuleScheme | None]) -> tuple[RuleScheme | None, ...]:
    """An op that only passes values on, between ops that rules leave float, stays float with them: quantized for
    itself it would only round."""
    maker = {output: number for number, op in enumerate(graph.operators) for output in op.outputs}
    found = list(schemes)
    for number, op in enumerate(graph.operators):
        if op.name in PASSING and found[number] is None and op.inputs:
            behind = [k for k, other in enumerate(graph.operators) if set(other.inputs) & set(op.outputs)]
            around = [maker.get(op.inputs[0]), *behind]
            if behind and all(k is not None and found[k] is RuleScheme.float for k in around):
                found[number] = RuleScheme.float
    return tuple(found)


def stand_in(converter: Any, between: Between) -> None:
    """Have this converter quantize so. It must be one of TensorFlow 2's, with post-training integer quantization."""
    converter._quantize = functools.partial(_quantize, converter, between)


def _quantize(
    converter: Any,
    between: Between,
    result: bytes,
    input_type: Any,
    output_type: Any,
    activations_type: Any,
    bias_type: Any,
    allow_float: bool,
    enable_variable_quantization: bool,
    debug_options: Any,
) -> bytes:
    asked = between.request
    float_file = between.take(result)
    if between.request is not asked:  # masks among the samples are bounded
        converter.representative_dataset = lambda: _limited(between)
    if not isinstance(converter.representative_dataset, lite.RepresentativeDataset):
        converter.representative_dataset = lite.RepresentativeDataset(converter.representative_dataset)
    samples = converter.representative_dataset.input_gen
    ready = calibrator.add_intermediate_tensors(float_file)
    per_tensor = converter._experimental_disable_per_channel
    per_tensor_dense = converter._experimental_disable_per_channel_quantization_for_dense_layers
    if activations_type == tf.int16:
        data: bytes = calibrator.Calibrator(ready, [], []).calibrate_and_quantize(
            samples,
            input_type,
            output_type,
            allow_float,
            activations_type,
            bias_type,
            disable_per_channel=per_tensor,
            disable_per_channel_quantization_for_dense_layers=per_tensor_dense,
        )
        return data
    data = mlir_quantize(
        _once_calibrated(ready, samples, between.request),
        per_tensor,
        input_data_type=input_type,
        output_data_type=output_type,
        enable_variable_quantization=enable_variable_quantization,
        disable_per_channel_for_dense_layers=per_tensor_dense,
        debug_options_str=debug_options.SerializeToString(),
        denylisted_nodes=_left_float(between) or None,
    )
    return data


def _limited(between: Between) -> Iterator[tuple[str, dict[str, Any]]]:
    request = between.request
    assert request.samples is not None
    for part, done, total in float_calibration.batches(request.samples, request.batch, request.utf8_samples):
        yield between.signature, part
        between.reporter.progress("calibration samples", done, total)


def _left_float(between: Between) -> set[str]:
    """The ops that rules leave float, as the converter knows them: by the names of their results."""
    assert between.resolved is not None
    pairs = zip(between.ops, between.resolved.schemes, strict=True)
    return {name for place, scheme in pairs if scheme is RuleScheme.float for name in place.outputs}


def _once_calibrated(ready: bytes, samples: Any, request: Request) -> bytes:
    def calibrated() -> bytes:
        made: bytes = calibrator.Calibrator(ready, [], []).calibrate(samples)
        return made

    if not request.calibration_sha256:
        return calibrated()
    key = f"{hashlib.sha256(ready).hexdigest()} {request.calibration_sha256} {request.utf8_samples}"
    return once(_calibrated, key, calibrated)
