"""TensorFlow's converter, from a SavedModel, in one scheme."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tflite_recipes.diagnosis import Case, diagnose
from tflite_recipes.errors import StepError
from tflite_recipes.events import Reporter
from tflite_recipes.state import CALIBRATED, TensorSpec

_OPS = {
    "integer_only": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8],
    "int16x8": [tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8],
}


@dataclass(frozen=True)
class Request:
    """What the file is to be.

    samples: arrays by input name, first axis samples; None where nothing is calibrated. inputs: the
    signature's. batch: rows at a time. select_tf_ops, allow_custom_ops: which ops besides LiteRT's own may be in it.
    select_user_tf_ops, unfold_batchmatmul, exclude_conversion_metadata: as in the recipe's section `conversion`.
    layers: names of the model's layers; sizes: shapes of the samples by input: both for what goes wrong.
    """

    scheme: str
    input_type: str
    output_type: str
    per_channel: bool
    samples: Mapping[str, Any] | None
    inputs: tuple[TensorSpec, ...] = ()
    batch: int = 1
    select_tf_ops: bool = False
    allow_custom_ops: bool = False
    select_user_tf_ops: tuple[str, ...] = ()
    unfold_batchmatmul: bool = False
    exclude_conversion_metadata: bool = False
    layers: tuple[str, ...] = ()
    sizes: Mapping[str, Any] = field(default_factory=dict)


def convert(saved_model: Path, signature: str, request: Request, reporter: Reporter) -> bytes:
    """The `.tflite` file's bytes. Errors: StepError with the converter's own reason."""
    reporter.progress("converting", 0, 1)
    try:
        data: bytes = _converter(saved_model, signature, request, reporter).convert()
    except Exception as error:
        if request.select_tf_ops and "tensor list ops" in str(error):
            data = _with_tensor_lists(saved_model, signature, request, reporter)
        else:
            raise _refusal(error, request) from error
    reporter.progress("converting", 1, 1)
    return data


def _with_tensor_lists(saved_model: Path, signature: str, request: Request, reporter: Reporter) -> bytes:
    """Lists whose items have an open size cannot be lowered; with TensorFlow's own kernels they need not be."""
    converter = _converter(saved_model, signature, request, reporter)
    converter._experimental_lower_tensor_list_ops = False
    try:
        data: bytes = converter.convert()
    except Exception as error:
        raise _refusal(error, request) from error
    return data


def _refusal(error: Exception, request: Request) -> StepError:
    return StepError(diagnose(str(error), Case(request.scheme, request.inputs, request.layers, request.sizes)))


def _converter(saved_model: Path, signature: str, request: Request, reporter: Reporter) -> Any:
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
    if request.scheme in CALIBRATED:
        converter.inference_input_type = tf.as_dtype(request.input_type)
        converter.inference_output_type = tf.as_dtype(request.output_type)
        converter._experimental_disable_per_channel = not request.per_channel
    return converter


def _samples(signature: str, request: Request, reporter: Reporter) -> Iterator[tuple[str, dict[str, Any]]]:
    """One sample at a time, by signature and input name: a list of arrays would be bound by position.

    A model whose batch is fixed above 1 gets that many rows at a time, the last of them those that end the data.
    """
    assert request.samples is not None
    total = len(next(iter(request.samples.values())))
    for start in range(0, total, request.batch):
        start = min(start, total - request.batch)
        rows = slice(start, start + request.batch)
        yield signature, {name: np.asarray(array[rows]) for name, array in request.samples.items()}
        reporter.progress("calibration samples", start + request.batch, total)
