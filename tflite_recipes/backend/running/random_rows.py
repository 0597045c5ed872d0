"""Random samples, for files that have none."""

from __future__ import annotations

from typing import Any

from tflite_recipes.core.state import State
from tflite_recipes.files.samples import npz
from tflite_recipes.files.tflite import read_tflite
from tflite_recipes.files.tflite.index_limits import index_limits


def random_rows(state: State, rows: int, seed: int) -> dict[str, Any]:
    """Return seeded samples by input for the state's file, about so many, in whole batches.

    Indices lie within the tables that the file looks them up in: others end an invoke. All else lies in 0…1.
    """
    assert state.tflite is not None
    limits = index_limits(read_tflite(state.tflite), state.signature)
    return npz.random_batches(state.inputs, state.intent.sizes, rows, seed, limits)
