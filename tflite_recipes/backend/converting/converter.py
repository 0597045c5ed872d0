"""TensorFlow's converter, from a SavedModel, in one scheme."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from tflite_recipes.backend.converting import text_samples
from tflite_recipes.backend.converting.conversion_request import Request, plain
from tflite_recipes.backend.converting.file_edits import without_cell_clip
from tflite_recipes.backend.converting.float_calibration import batches
from tflite_recipes.backend.converting.integer_conversion import Between, stand_in
from tflite_recipes.backend.converting.recent_results import once
from tflite_recipes.conversion.diagnosis import Case, diagnose
from tflite_recipes.conversion.remedies import override_of
from tflite_recipes.conversion.rules import Resolved
from tflite_recipes.core.errors import RecipeError, StepError
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.state import CALIBRATED
from tflite_recipes.files.tflite import flex_options

_INT16X8 = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
_OPS = {
    "integer_only": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8],
    "int16x8": [_INT16X8],
    "int16x8_fallback": [_INT16X8, tf.lite.OpsSet.TFLITE_BUILTINS],
}


@dataclass(frozen=True)
class Converted:
    """The file's bytes. Where it was quantized behind a float file, which then lies at the path that was given: what
    the rules made of its ops, and the remedies that were taken, in words."""

    data: bytes
    resolved: Resolved | None = None
    remedies: tuple[str, ...] = ()


def convert(saved_model: Path, signature: str, request: Request, reporter: Reporter, float_path: Path) -> Converted:
    """Convert in one scheme. Errors: StepError with the converter's own reason, RequestError for rules that match
    nothing."""
    if request.scheme in CALIBRATED and request.samples is not None:
        _check_text(request.samples, request, reporter)
    reporter.progress("converting", 0, 1)
    between = Between(request, float_path, signature, reporter)
    try:
        data: bytes = _converter(saved_model, signature, request, reporter, between).convert()
    except RecipeError:
        raise
    except Exception as error:
        if request.select_tf_ops and "tensor list ops" in str(error):
            data = _with_tensor_lists(saved_model, signature, request, reporter, between)
        else:
            raise _explained(_refusal(error, request), saved_model, signature, request, reporter) from error
    reporter.progress("converting", 1, 1)
    data = flex_options.ordered(data)
    data = without_cell_clip(data) if request.unclipped_lstm else data
    return Converted(data, between.resolved, between.remedies)


def _check_text(samples: Mapping[str, Any], request: Request, reporter: Reporter) -> None:
    """Refuse text that the calibrator cannot take, or warn that it is misread. Errors: StepError."""
    if request.utf8_samples:
        text_samples.refuse_several(samples, request.batch)
    elif listed := ", ".join(text_samples.names(samples)):
        reporter.warn(f"optimization.utf8_samples=false: TensorFlow's calibrator misreads the text of {listed}")


# The last few float files by what they were made from; a search converts one model into many schemes.
_converted: dict[str, bytes] = {}
# Bytes of a file that memory may hold for the next run.
_MOST_KEPT = 64 << 20


def float_file(saved_model: Path, signature: str, request: Request, reporter: Reporter, path: Path) -> Path:
    """The float file that litert_quantizer starts from, written to `path`. Errors: StepError."""
    made_from = (saved_model / "saved_model.pb").stat()
    asked = plain(request)
    key = repr((str(saved_model), made_from.st_mtime_ns, made_from.st_ino, signature, asked))
    data = once(
        _converted,
        key,
        lambda: convert(saved_model, signature, asked, reporter, path).data,
        lambda made: len(made) <= _MOST_KEPT,
    )
    path.write_bytes(data)
    return path


def _with_tensor_lists(
    saved_model: Path, signature: str, request: Request, reporter: Reporter, between: Between
) -> bytes:
    """Lists whose items have an open size cannot be lowered; with TensorFlow's own kernels they need not be."""
    converter = _converter(saved_model, signature, request, reporter, between)
    converter._experimental_lower_tensor_list_ops = False
    try:
        data: bytes = converter.convert()
    except Exception as error:
        raise _refusal(error, request) from error
    return data


def _refusal(error: Exception, request: Request) -> StepError:
    return StepError(diagnose(str(error), Case(request.scheme, request.inputs, request.layers, request.sizes)))


def _explained(error: StepError, saved_model: Path, signature: str, request: Request, reporter: Reporter) -> StepError:
    """Return the reason of the float conversion instead, if that fails too: then no other scheme helps."""
    if not any(problem.fix.startswith(override_of("full_integer")) for problem in error.problems):
        return error
    try:
        convert(saved_model, signature, plain(request), reporter, Path())
    except StepError as of_float:
        return of_float
    return error


def _converter(saved_model: Path, signature: str, request: Request, reporter: Reporter, between: Between) -> Any:
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=[signature])
    converter.allow_custom_ops = request.allow_custom_ops
    converter.target_spec.experimental_select_user_tf_ops = list(request.select_user_tf_ops)
    converter.unfold_batchmatmul = request.unfold_batchmatmul
    converter.exclude_conversion_metadata = request.exclude_conversion_metadata
    if request.scheme != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if request.scheme == "float16":
        converter.target_spec.supported_types = [tf.float16]
    flex = [tf.lite.OpsSet.SELECT_TF_OPS] if request.select_tf_ops else []
    converter.target_spec.supported_ops = [*_OPS.get(request.scheme, [tf.lite.OpsSet.TFLITE_BUILTINS]), *flex]
    if request.scheme in CALIBRATED and request.samples is not None:
        converter.representative_dataset = lambda: _samples(signature, request, reporter)
        stand_in(converter, between)
    if request.scheme in CALIBRATED:
        converter.inference_input_type = tf.as_dtype(request.input_type)
        converter.inference_output_type = tf.as_dtype(request.output_type)
        converter._experimental_disable_per_channel = not request.per_channel
        converter._experimental_disable_per_channel_quantization_for_dense_layers = not request.per_channel_dense
    return converter


def _samples(signature: str, request: Request, reporter: Reporter) -> Iterator[tuple[str, dict[str, Any]]]:
    """One sample at a time, by signature and input name: a list of arrays would be bound by position.

    A model whose batch is fixed above 1 gets that many rows at a time, the last of them those that end the data.
    """
    assert request.samples is not None
    for part, done, total in batches(request.samples, request.batch, request.utf8_samples):
        yield signature, part
        reporter.progress("calibration samples", done, total)
