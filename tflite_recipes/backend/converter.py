"""TensorFlow's converter, from a SavedModel, in one scheme."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tflite_recipes.diagnosis import diagnose
from tflite_recipes.errors import StepError
from tflite_recipes.events import Reporter
from tflite_recipes.state import TensorSpec

_OPS = {
    "integer_only": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8],
    "int16x8": [tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8],
}
_CALIBRATED = ("full_integer", "integer_only", "int16x8")


@dataclass(frozen=True)
class Request:
    """What the file is to be.

    samples: arrays by input name, first axis samples; None where nothing is calibrated. inputs: the
    signature's. batch: rows at a time.
    """

    scheme: str
    input_type: str
    output_type: str
    per_channel: bool
    samples: Mapping[str, Any] | None
    inputs: tuple[TensorSpec, ...] = ()
    batch: int = 1


def convert(saved_model: Path, signature: str, request: Request, reporter: Reporter) -> bytes:
    """The `.tflite` file's bytes. Errors: StepError with the converter's own reason."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=[signature])
    if request.scheme != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if request.scheme == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if request.scheme in _OPS:
        converter.target_spec.supported_ops = _OPS[request.scheme]
    if request.scheme in _CALIBRATED:
        assert request.samples is not None
        converter.representative_dataset = lambda: _samples(signature, request, reporter)
        converter.inference_input_type = tf.as_dtype(request.input_type)
        converter.inference_output_type = tf.as_dtype(request.output_type)
        converter._experimental_disable_per_channel = not request.per_channel
    reporter.progress("converting", 0, 1)
    try:
        data: bytes = converter.convert()
    except Exception as error:
        raise StepError(diagnose(str(error), request.scheme, request.inputs)) from error
    reporter.progress("converting", 1, 1)
    return data


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
