"""Two `.tflite` files run on the same samples, to see how far their outputs are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tflite_recipes.backend.running import runtime
from tflite_recipes.backend.running.random_rows import random_rows
from tflite_recipes.core.errors import StepError
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.state import State
from tflite_recipes.files.samples import npz
from tflite_recipes.files.tflite import TFLiteFile, read_tflite

_ROWS = 64
_BITS = {"int8": 8, "uint8": 8, "int16": 16}
# What numbers of these types count or choose is another where it is off by one.
_EXACT = ("int32", "int64", "uint32", "uint64", "bool")
_SEED = 0


@dataclass(frozen=True)
class Distance:
    """How far apart outputs are: the largest difference in the outputs' own unit, and as a share of the range of the
    original's output. samples: how many, and what they were. failure: why there is none; "" where there is."""

    absolute: float = float("inf")
    relative: float = float("inf")
    worst_output: str = ""
    samples: str = ""
    failure: str = ""


def distance(original: Path, state: State, reporter: Reporter) -> Distance:
    """The file of `state` against the original, in real values, on up to 64 calibration samples, else on seeded random
    inputs. Inputs and outputs are bound by name, or by position where names differ."""
    assert state.tflite is not None
    if not state.runnable:
        return Distance(failure="no runtime here can run the file")
    before, after = read_tflite(original), read_tflite(state.tflite)
    if not before.signatures:
        return Distance(failure="the original has no signature to run it by")
    arrays, samples = _samples(state)
    try:
        theirs = _outputs(before, before.signatures[0].key, arrays, reporter, "running the original", state.stateful)
        ours = _outputs(after, state.signature, arrays, reporter, "running the new file", state.stateful)
    except (StepError, ValueError) as error:
        return Distance(failure=str(error).splitlines()[0])
    return _largest(theirs, ours, samples, _declared(before))


def _declared(file: TFLiteFile) -> dict[str, float]:
    """By output of the first signature, the range that its integers stand for; 0 where they are no quantized ones.
    Samples show a part of it only, in which one step would be a larger share."""
    signature = file.signatures[0]
    tensors = file.subgraphs[signature.subgraph].tensors
    spans = {}
    for name, index in signature.outputs:
        kind, scales = tensors[index].dtype, tensors[index].scales
        spans[name] = max(scales, default=0.0) * float(2 ** _BITS[kind] - 1) if kind in _BITS else 0.0
    return spans


def _samples(state: State) -> tuple[dict[str, Any], str]:
    if state.calibration is not None:
        arrays = {name: np.asarray(array[:_ROWS]) for name, array in npz.open_arrays(state.calibration).items()}
        return arrays, f"{len(next(iter(arrays.values())))} calibration samples"
    arrays = random_rows(state, _ROWS, _SEED)
    return arrays, f"{len(next(iter(arrays.values())))} seeded random inputs"


def _outputs(
    file: TFLiteFile, key: str, arrays: Mapping[str, Any], reporter: Reporter, what: str, stateful: bool
) -> dict[str, Any]:
    signature = next(signature for signature in file.signatures if signature.key == key)
    names = [name for name, _ in signature.inputs]
    if len(names) != len(arrays):
        raise ValueError(f"a file takes {len(names)} inputs, and there are samples for {len(arrays)}")
    fed = arrays if set(names) == set(arrays) else dict(zip(names, arrays.values(), strict=True))

    def tell(done: int, total: int) -> None:
        reporter.progress(what, done, total)

    found = runtime.run(file.path, key, fed, tell, stateful=stateful)
    return {name: found[name] for name, _ in signature.outputs}


def _largest(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], samples: str, declared: Mapping[str, float]
) -> Distance:
    if len(theirs) != len(ours):
        return Distance(samples=samples, failure=f"{len(ours)} outputs, not {len(theirs)}")
    names: Sequence[tuple[str, str]] = [(name, name) for name in theirs]
    if set(theirs) != set(ours):
        names = list(zip(theirs, ours, strict=True))
    worst = Distance(0.0, 0.0, next(iter(theirs), ""), samples)
    for before, after in names:
        one, other = np.asarray(theirs[before]), np.asarray(ours[after])
        if one.shape != other.shape:
            return Distance(samples=samples, failure=f"output {before} is {other.shape}, not {one.shape}")
        absolute, relative = apart(one, other, declared.get(before, 0.0))
        if relative >= worst.relative:
            worst = Distance(absolute, relative, before, samples)
    return worst


def apart(one: Any, other: Any, declared: float = 0.0) -> tuple[float, float]:
    """The largest difference between two arrays of one shape, and the same over the range of the first's values, or the
    `declared` one where that is wider; over their magnitude where all are one value.

    NaN and infinities equal themselves, and are infinitely far from all else; so are texts that differ, and as a share
    integers that are no quantized ones (an index, a count).
    """
    if one.dtype.kind not in "biuf":
        return (0.0, 0.0) if (one == other).all() else (float("inf"), float("inf"))
    first, second = one.astype("float64"), other.astype("float64")
    finite = np.isfinite(first) & np.isfinite(second)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    if not (finite | same).all():
        return float("inf"), float("inf")
    if not finite.any():
        return 0.0, 0.0
    absolute = float(np.abs(first[finite] - second[finite]).max())
    if not absolute:
        return 0.0, 0.0
    span = max(float(np.ptp(first[finite])), declared) or float(np.abs(first[finite]).max())
    exact = str(one.dtype) in _EXACT or not span
    return absolute, float("inf") if exact else absolute / span
