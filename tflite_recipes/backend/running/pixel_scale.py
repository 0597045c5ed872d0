"""Whether a model was trained on pixels of 0…255, or on the same scaled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tflite_recipes.backend.running.output_comparison import run_source
from tflite_recipes.conversion.quality import metrics
from tflite_recipes.core.events import EventReporter
from tflite_recipes.core.state import State

_ROWS = 64
# What is fed 255 times what it was trained on gives one class nearly all of the probability; what is fed a 255th of it
# gives no class much. Of twelve digit classifiers (three scales, dense and convolutional, with BatchNormalization and
# without) those trained on scaled pixels gave the largest class 0.85 and more where these were scaled, those trained on
# 0…255 gave it 0.4 at most.
_CERTAIN = 0.6


def trained_on_bytes(state: State, arrays: Mapping[str, Any], name: str) -> bool:
    """Return whether the model is unsure of its classes for pixels in 0…1 and in -1…1, as one trained on 0…255 is.

    False where its outputs are no classes, which tell nothing.

    Args:
        state: the frozen model.
        arrays: samples by input name, (samples, …); `name` is the input whose values are in 0…255.
    """
    first = {key: np.asarray(array[:_ROWS]) for key, array in arrays.items()}
    pixels = first[name].astype("float64")
    return all(
        _unsure(run_source(state, {**first, name: scaled.astype(first[name].dtype)}, _UNHEARD))
        for scaled in (pixels / 255.0, pixels / 127.5 - 1.0)
    )


_UNHEARD = EventReporter(lambda event: None)


def _unsure(outputs: Mapping[str, Any]) -> bool:
    """Return whether there are classes, and none has most of the probability."""
    classes = [values for name, values in outputs.items() if metrics.is_classes(name, values)]
    shares = [values for values in classes if (values >= 0.0).all()]  # no logits
    return bool(shares) and all(float(values.max(axis=1).mean()) < _CERTAIN for values in shares)
