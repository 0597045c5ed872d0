"""Functions that a rule left out behind an output, put back in numpy, so that outputs can be compared and scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def restored(outputs: Mapping[str, Any], cut: Mapping[str, str]) -> dict[str, Any]:
    """Return the outputs with the functions that were left out behind them.

    Args:
        outputs: real-valued arrays by name, first axis samples.
        cut: by output, the type of the TensorFlow op: Softmax, LogSoftmax (both over the last axis) or Sigmoid.
    """
    return {name: _FUNCTIONS[cut[name]](values) if name in cut else values for name, values in outputs.items()}


def _log_softmax(values: Any) -> Any:
    import numpy as np

    wide = np.asarray(values, "float64")
    shifted = wide - wide.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _softmax(values: Any) -> Any:
    import numpy as np

    return np.exp(_log_softmax(values)).astype("float32")


def _sigmoid(values: Any) -> Any:
    import numpy as np

    half = 0.5 * np.asarray(values, "float64")
    return (0.5 * (1.0 + np.tanh(half))).astype("float32")  # tanh does not overflow


_FUNCTIONS = {
    "Softmax": _softmax,
    "LogSoftmax": lambda values: _log_softmax(values).astype("float32"),
    "Sigmoid": _sigmoid,
}
