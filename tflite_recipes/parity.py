"""How far a file's outputs are from its source's, without labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Identical outputs have no noise; MLflow's stores take no infinity.
_MOST_DB = 200.0
# Fewer samples may well agree by chance.
_FEWEST = 4
# Stands for infinite outputs, which would make every figure NaN: the largest float32.
_INFINITY = 3.4028234663852886e38


@dataclass(frozen=True)
class Parity:
    """Over all outputs: the largest and the mean absolute error; of the worst output: cosine similarity, signal to
    quantization noise ratio in dB, and the share of samples whose largest class agrees (None where no output has
    several classes). `relative_error` is the largest error over the range of its output. `finite`: the file's outputs
    are, where the source's are. `nan_in_source`: the share of the source's outputs that are NaN; they count for nothing
    else. `collapsed`: by output, how many of its values (along the last axis), of how many, are the same for every
    sample though the source's vary. `by_output`: the figures of each."""

    max_abs_error: float
    mean_abs_error: float
    cosine: float
    sqnr_db: float
    top1_agreement: float | None
    relative_error: float
    worst_output: str
    finite: bool
    nan_in_source: float = 0.0
    collapsed: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    by_output: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def metrics(self) -> dict[str, float]:
        """By tracking name."""
        metrics = {
            "parity.max_abs_error": self.max_abs_error,
            "parity.mean_abs_error": self.mean_abs_error,
            "parity.cosine": self.cosine,
            "parity.sqnr_db": self.sqnr_db,
        }
        if self.top1_agreement is not None:
            metrics["parity.top1_agreement"] = self.top1_agreement
        return metrics


def measure(source: Mapping[str, Any], tflite: Mapping[str, Any]) -> Parity:
    """Parity of outputs by name, arrays (samples, …) of equal shapes; at least one output.

    SQNR is 10 log10(sum s² / sum (s − t)²), at most 200 dB.
    """
    largest, total, count = 0.0, 0.0, 0
    cosine, sqnr, agreement = 1.0, _MOST_DB, None
    relative, worst, finite, nans = -1.0, "", True, 0
    collapsed: dict[str, tuple[int, int]] = {}
    by_output: dict[str, dict[str, float]] = {}
    for name, values in source.items():
        s = np.asarray(values, "float64").reshape(len(values), -1)
        t = np.asarray(tflite[name], "float64").reshape(len(values), -1)
        nans += int(np.isnan(s).sum())
        finite = finite and bool(np.isfinite(t[np.isfinite(s)]).all())
        s, t = (np.nan_to_num(values, posinf=_INFINITY, neginf=-_INFINITY) for values in (s, t))
        error = np.abs(s - t)
        largest = max(largest, float(error.max(initial=0.0)))
        total, count = total + float(error.sum()), count + error.size
        by_output[name] = {
            "max_abs_error": float(error.max(initial=0.0)),
            "mean_abs_error": float(error.mean()) if error.size else 0.0,
            "cosine": _cosine(s, t),
            "sqnr_db": _sqnr(s, error),
        }
        cosine, sqnr = min(cosine, by_output[name]["cosine"]), min(sqnr, by_output[name]["sqnr_db"])
        spread = float(s.max(initial=0.0) - s.min(initial=0.0)) or float(np.abs(s).max(initial=0.0)) or 1.0
        if error.max(initial=0.0) / spread > relative:
            relative, worst = float(error.max(initial=0.0)) / spread, name
        if lost := _collapsed(np.asarray(values), np.asarray(tflite[name])):
            collapsed[name] = lost
        if s.shape[1] > 1:
            same = float((s.argmax(axis=1) == t.argmax(axis=1)).mean())
            agreement = same if agreement is None else min(agreement, same)
    mean, missing = total / max(count, 1), nans / max(count, 1)
    return Parity(
        largest, mean, cosine, sqnr, agreement, max(relative, 0.0), worst, finite, missing, collapsed, by_output
    )


def _collapsed(s: Any, t: Any) -> tuple[int, int] | None:
    """How many values along the last axis, of how many, are one constant in `t` though they vary by more than a
    hundredth of their own size in `s`. Probabilities are left out: the least of many classes may well become 0."""
    if s.ndim < 2 or s.shape != t.shape or s.dtype.kind != "f" or len(s) < _FEWEST or s.shape[-1] < 2:
        return None
    ours, theirs = (np.nan_to_num(np.asarray(side, "float64")).reshape(-1, s.shape[-1]) for side in (s, t))
    if ours.min() >= 0.0 and ours.max() <= 1.0:
        return None
    varies = np.ptp(ours, axis=0) > 1e-2 * np.maximum(np.abs(ours).max(axis=0), 1e-30)
    lost = varies & (np.ptp(theirs, axis=0) == 0.0)
    return (int(lost.sum()), s.shape[-1]) if lost.any() else None


def _cosine(s: Any, t: Any) -> float:
    norms = float(np.linalg.norm(s) * np.linalg.norm(t))
    if norms == 0.0:
        return 1.0 if not s.any() and not t.any() else 0.0
    return float(np.clip((s * t).sum() / norms, -1.0, 1.0))


def _sqnr(s: Any, error: Any) -> float:
    noise, signal = float((error**2).sum()), float((s**2).sum())
    if noise == 0.0:
        return _MOST_DB
    if signal == 0.0:
        return -_MOST_DB
    return float(np.clip(10.0 * np.log10(signal / noise), -_MOST_DB, _MOST_DB))
