"""One sample that the model was run on, for whoever wants to see what it is fed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tflite_recipes.core.errors import RequestError
from tflite_recipes.core.state import State
from tflite_recipes.files.samples import npz

EXAMPLE = "input_example.json"
# The parameter of a run that says what the example is.
FEEDING = "input_example.data"
# More numbers would be megabytes of text, in every run of a sweep.
MOST_VALUES = 1 << 18
_NUMBERS = "fiub"


def to_text(arrays: Mapping[str, Any]) -> str | None:
    """The first sample of each array, (n, …) by input name, as JSON: nested lists of shape (1, …), text as text.

    None where it would be too long, or is of a type that JSON has not.
    """
    import numpy as np

    firsts = {name: np.asarray(array[:1]) for name, array in arrays.items() if np.ndim(array)}
    if not firsts or len(firsts) < len(arrays) or sum(first.size for first in firsts.values()) > MOST_VALUES:
        return None
    listed = {}
    for name, first in firsts.items():
        if first.dtype.kind in "SUO":
            texts = [
                one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in first.reshape(-1)
            ]
            first = np.array(texts).reshape(first.shape)
        elif first.dtype.kind == "f" and first.dtype.itemsize < 8:
            first = first.astype("float32").astype("U").astype("float64")  # the shortest digits that tell it apart
        elif first.dtype.kind not in _NUMBERS:
            return None
        listed[name] = first.tolist()
    return json.dumps(listed) + "\n"


def keep_of_evaluation(state: State, arrays: Mapping[str, Any]) -> None:
    """Leave the first of these samples in the scratch folder, where there are no calibration samples to take one of."""
    if state.calibration is None and (text := to_text(arrays)) is not None:
        (state.workdir / EXAMPLE).write_text(text, encoding="utf-8")


def _limits(state: State) -> dict[str, tuple[int, int]]:
    """Return between which numbers inputs lie that are indices; {} for a file that our reader does not understand."""
    from tflite_recipes.files.tflite import read_tflite
    from tflite_recipes.files.tflite.index_limits import index_limits

    try:
        return index_limits(read_tflite(state.tflite), state.signature) if state.tflite is not None else {}
    except RequestError:
        return {}


def write_example(state: State) -> tuple[Path, str] | None:
    """The example's file in the scratch folder, and what it is: the first calibration sample, else the first
    evaluation sample, else random numbers. None where there can be none."""
    path = state.workdir / EXAMPLE
    if path.exists():
        return path, "first evaluation sample"
    if state.calibration is not None:
        arrays, what = npz.open_arrays(state.calibration), "first calibration sample"
    else:
        inputs = npz.with_sizes(state.inputs, state.intent.sizes)
        try:
            drawn = npz.random_arrays(inputs, 1, 0, 0.0, 1.0, _limits(state))
        except TypeError:  # numpy's, of a type that it does not know
            return None
        # Digits that say nothing.
        arrays = {name: array.round(3) if array.dtype.kind == "f" else array for name, array in drawn.items()}
        what = "random numbers, seed 0, in 0…1"
    text = to_text(arrays)
    if text is None:
        return None
    path.write_text(text, encoding="utf-8")
    return path, what
