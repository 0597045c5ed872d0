"""What a file is to be, for both quantizers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tflite_recipes.conversion.ranges import RangeChoice
from tflite_recipes.conversion.rules import QuantizationRule
from tflite_recipes.core.state import TensorSpec


@dataclass(frozen=True)
class Request:
    """What the file is to be.

    samples: arrays by input name, first axis samples; None where nothing is calibrated. inputs: the
    signature's. batch: rows at a time. select_tf_ops, allow_custom_ops: which ops besides LiteRT's own may be in it.
    select_user_tf_ops, unfold_batchmatmul, exclude_conversion_metadata: as in the recipe's section `conversion`.
    per_channel_dense: whether Dense layers have a scale for each of their units. block_size: weights along a row that
    share a scale, None for the whole row. equalize: even out the ranges of channels first. fallback:
    remedies that may be taken. rules: what becomes of
    single ops. ranges: how the range of an activation follows from the samples (`ranges.Method`).
    calibration_sha256: of the samples. utf8_samples: whether TensorFlow's calibrator
    gets text as bytes. layers: names of the model's layers; sizes: shapes of the samples by input.
    unclipped_lstm: whether fused LSTMs have no limit on their cell state, as in Keras.
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
    per_channel_dense: bool = True
    block_size: int | None = None
    equalize: bool = False
    fallback: tuple[str, ...] = ()
    rules: tuple[QuantizationRule, ...] = ()
    ranges: RangeChoice = field(default_factory=RangeChoice)
    calibration_sha256: str = ""
    utf8_samples: bool = True
    layers: tuple[str, ...] = ()
    sizes: Mapping[str, Any] = field(default_factory=dict)
    unclipped_lstm: bool = False


def plain(request: Request) -> Request:
    """The same as a float conversion, which litert_quantizer starts from."""
    return replace(
        request,
        scheme="none",
        input_type="float32",
        output_type="float32",
        per_channel=True,
        per_channel_dense=True,
        block_size=None,
        equalize=False,
        fallback=(),
        rules=(),
        samples=None,
        ranges=RangeChoice(),
        calibration_sha256="",
        utf8_samples=True,
    )
