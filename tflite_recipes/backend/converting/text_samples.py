"""Text as the calibrators read it: UTF-8 bytes, in an array whose items are as long as the text.

TensorFlow 2.21's calibrator takes the bytes of a unicode or object array for the text, and the padding of a byte array
for part of it, so that a table finds no word. From several texts in a sample it ends its process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tflite_recipes.core.errors import Problem, StepError
from tflite_recipes.files.samples.text import TEXT_KINDS


def names(samples: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the inputs that take text."""
    return tuple(name for name, array in samples.items() if array.dtype.kind in TEXT_KINDS)


def refuse_several(samples: Mapping[str, Any], batch: int) -> None:
    """Refuse samples with several texts, which TensorFlow's calibrator cannot take.

    Raises:
        StepError: A sample of an input holds more than one text.
    """
    for name in names(samples):
        count = batch * int(np.prod(samples[name].shape[1:]))
        if count > 1:
            what = f"TensorFlow's calibrator takes one text at a time, and input {name!r} has {count}"
            raise StepError(Problem(what, "optimization.quantizer", "optimization=dynamic_range"))
