"""The keys of an optimization, which its checks and its step read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tflite_recipes.conversion.schemes import IOType, Quantizer, Scheme


@dataclass(frozen=True)
class OptimizationSettings:
    """Hold the keys of an optimization.

    `per_channel: false` gives each weight tensor one scale, `per_channel_dense: false` those of Dense layers alone;
    `block_size` gives a scale to each so many weights of a row. `equalize` evens out the ranges of channels between
    layers first. `rules` give single ops another scheme: the last that matches counts. `inline_constants` keeps the
    constants of a file below 2 GB in its flatbuffer; litert_quantizer appends them from 256 KiB on. `require_change`
    refuses a file of which the scheme changed no tensor, and reads op codes from before TensorFlow 2.4.
    `utf8_samples` gives text to TensorFlow's calibrator as bytes.
    """

    scheme: Scheme
    input_type: IOType
    output_type: IOType
    per_channel: bool
    quantizer: Quantizer = Quantizer.tflite_converter
    per_channel_dense: bool = True
    block_size: int | None = None
    equalize: bool = False
    inline_constants: bool = False
    require_change: bool = False
    utf8_samples: bool = False
    rules: list[Any] = field(default_factory=list)
