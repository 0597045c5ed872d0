"""A SavedModel or a float `.tflite` run by signature and input name over many samples, whatever its batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tflite_recipes.backend.models.graph_substitution import as_array
from tflite_recipes.backend.running import runtime
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.state import TensorSpec

BATCH = 32


def run(
    path: Path,
    signature: str,
    arrays: Mapping[str, Any],
    reporter: Reporter,
    batch: int = BATCH,
    what: str = "evaluating the source",
) -> dict[str, Any]:
    """Return outputs by name, first axis samples.

    Args:
        path: the folder of the SavedModel, or the file.
        signature: the key of its signature.
        arrays: samples by input name; arrays of other names are not read.
        reporter: hears of the progress.
        batch: rows at a time where the model leaves that open.
        what: what the progress is called.
    """

    def tell(done: int, total: int) -> None:
        reporter.progress(what, done, total)

    if path.is_dir():
        return _of_saved_model(path, signature, arrays, tell, batch)
    planned = runtime.plan(path, signature, len(next(iter(arrays.values()))))
    planned = planned if planned.fixed else replace(planned, batch=batch)
    return runtime.run(path, signature, arrays, tell, planned=planned)


def _of_saved_model(
    folder: Path, signature: str, arrays: Mapping[str, Any], tell: Callable[[int, int], None], batch: int
) -> dict[str, Any]:
    function = tf.saved_model.load(str(folder)).signatures[signature]
    # A rewritten model may take another float type than its source.
    specs = _inputs(function)
    fixed = [spec.shape[0] for spec in specs.values() if spec.shape and spec.shape[0] is not None]
    batch = max(fixed, default=batch)
    total = len(next(iter(arrays.values())))
    rows: dict[str, list[Any]] = {}
    for start in range(0, total, batch):
        part = {name: np.asarray(arrays[name][start : start + batch]) for name in specs}
        count = len(next(iter(part.values())))
        if fixed and count < batch:
            part = {name: runtime.padded(values, batch) for name, values in part.items()}
        results = function(**{name: tf.constant(values, specs[name].dtype) for name, values in part.items()})
        for name, values in results.items():
            rows.setdefault(name, []).append(as_array(values)[:count])
        tell(min(start + batch, total), total)
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def _inputs(function: Any) -> dict[str, TensorSpec]:
    given = function.structured_input_signature[1]
    return {name: TensorSpec(name, tuple(spec.shape), spec.dtype.name) for name, spec in given.items()}
