"""How far a file's outputs are from its source's, without labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tflite_recipes.conversion.quality import metrics
from tflite_recipes.conversion.quality.decibels import MOST_DB, decibels

# Fewer samples may well agree by chance.
_FEWEST = 4
# Of values that belong together the largest range is not ten times the next one below it.
_DECADE = 10.0
# Below this share of its range a group of channels is of no use.
_LOST = 0.9
# Relative rounding error of sums in float32.
_ROUNDING = 1e-6
# Stands for infinite outputs, which would make every figure NaN: the largest float32.
_INFINITY = 3.4028234663852886e38


@dataclass(frozen=True)
class ChannelGroup:
    """Channels, by number along the last axis, of ranges of one order. `scale` is the largest of these ranges,
    `relative_rmse` the root of the group's mean squared error over it, `fidelity` 1 − that."""

    channels: tuple[int, ...]
    scale: float
    cosine: float
    sqnr_db: float
    relative_rmse: float
    fidelity: float

    def listed(self) -> str:
        """Return the channels in words, the first eight by their numbers."""
        return f"channels {', '.join(map(str, self.channels[:8]))}{', …' if len(self.channels) > 8 else ''}"


@dataclass(frozen=True)
class Parity:
    """Over all outputs: the largest and the mean absolute error; of the worst output: cosine similarity, signal to
    quantization noise ratio in dB, and the share of samples whose largest class agrees (None where no output is
    classes). `relative_error` is the largest error over the range of its output. `finite`: the file's outputs
    are, where the source's are. `nan_in_source`: the share of the source's outputs that are NaN; they count for nothing
    else. `collapsed`: by output, how many of its values (along the last axis), of how many, are the same for every
    sample though the source's vary. `by_output`: the figures of each. `groups`: by output, of those that mix scales,
    the figures of each group of channels, the smallest first."""

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
    groups: Mapping[str, tuple[ChannelGroup, ...]] = field(default_factory=dict)

    def lost_groups(self) -> dict[str, tuple[ChannelGroup, ...]]:
        """By output the groups of channels that are of no use, whatever the output looks like as a whole."""
        lost = {name: tuple(g for g in groups if g.fidelity < _LOST) for name, groups in self.groups.items()}
        return {name: groups for name, groups in lost.items() if groups}

    def to_json(self) -> dict[str, dict[str, Any]]:
        """By output its figures, and under `channel_groups` those of its groups of channels."""
        found: dict[str, dict[str, Any]] = {name: dict(figures) for name, figures in self.by_output.items()}
        for name, groups in self.groups.items():
            found[name]["channel_groups"] = [asdict(group) for group in groups]
        return found

    def metrics(self) -> dict[str, float]:
        """By tracking name."""
        named = {
            "parity.max_abs_error": self.max_abs_error,
            "parity.mean_abs_error": self.mean_abs_error,
            "parity.cosine": self.cosine,
            "parity.sqnr_db": self.sqnr_db,
        }
        if self.top1_agreement is not None:
            named["parity.top1_agreement"] = self.top1_agreement
        return named


def tells_nothing(source: Mapping[str, Any], max_abs_error: float) -> bool:
    """Return whether several samples had equal outputs in the source and in the file, all of them: of that no error
    can be seen."""
    several = all(len(values) > 1 for values in source.values())
    return several and max_abs_error == 0.0 and all((values == values[:1]).all() for values in source.values())


def is_constant(outputs: Mapping[str, Any]) -> bool:
    """Return whether several samples have equal outputs, all of them, but for rounding."""
    return all(len(values) > 1 and _varies_little(_finite(values)) for values in outputs.values())


def _varies_little(values: Any) -> bool:
    return bool(np.ptp(values, axis=0).max(initial=0.0) <= _ROUNDING * np.abs(values).max(initial=0.0))


def measure(source: Mapping[str, Any], tflite: Mapping[str, Any], logits: Collection[str] = ()) -> Parity:
    """Parity of outputs by name, arrays (samples, …) of equal shapes; at least one output.

    SQNR is 10 log10(sum s² / sum (s − t)²), at most 200 dB. logits: outputs that are classes though they do not look
    like them.
    """
    largest, total, count = 0.0, 0.0, 0
    cosine, sqnr, agreement = 1.0, MOST_DB, None
    relative, worst, finite, nans = -1.0, "", True, 0
    collapsed: dict[str, tuple[int, int]] = {}
    by_output: dict[str, dict[str, float]] = {}
    groups: dict[str, tuple[ChannelGroup, ...]] = {}
    for name, values in source.items():
        s = np.asarray(values, "float64").reshape(len(values), -1)
        t = np.asarray(tflite[name], "float64").reshape(len(values), -1)
        nans += int(np.isnan(s).sum())
        finite = finite and bool(np.isfinite(t[np.isfinite(s)]).all())
        s, t = _finite(s), _finite(t)
        error = np.abs(s - t)
        largest = max(largest, float(error.max(initial=0.0)))
        total, count = total + float(error.sum()), count + error.size
        by_output[name] = {
            "max_abs_error": float(error.max(initial=0.0)),
            "mean_abs_error": float(error.mean()) if error.size else 0.0,
            "cosine": _cosine(s, t),
            "sqnr_db": _sqnr(s, error),
            "relative_rmse": relative_rmse(s, t),
        }
        cosine, sqnr = min(cosine, by_output[name]["cosine"]), min(sqnr, by_output[name]["sqnr_db"])
        spread = float(s.max(initial=0.0) - s.min(initial=0.0)) or float(np.abs(s).max(initial=0.0)) or 1.0
        if error.max(initial=0.0) / spread > relative:
            relative, worst = float(error.max(initial=0.0)) / spread, name
        if lost := _collapsed(np.asarray(values), np.asarray(tflite[name])):
            collapsed[name] = lost
        if mixed := channel_groups(values, tflite[name]):
            groups[name] = mixed
        if s.shape[1] > 1 and (name in logits or metrics.is_classes(name, np.asarray(values))):
            same = float((s.argmax(axis=1) == t.argmax(axis=1)).mean())
            agreement = same if agreement is None else min(agreement, same)
    mean, missing = total / max(count, 1), nans / max(count, 1)
    relative = max(relative, 0.0)
    return Parity(
        largest, mean, cosine, sqnr, agreement, relative, worst, finite, missing, collapsed, by_output, groups
    )


def relative_rmse(source: Any, tflite: Any) -> float:
    """Root of the mean squared error of an output over its range: the source's largest value less its smallest over
    all samples; its size where it is one constant, 1 where that is 0."""
    s, t = (_finite(values) for values in (source, tflite))
    if not s.size:
        return 0.0
    return _rmse(s, t) / (float(np.ptp(s)) or float(np.abs(s).max()) or 1.0)


def fidelity(source: Any, tflite: Any) -> float:
    """Return 1 − RMSE / RMS of the source's deviation from its mean, at least 0, of an output (samples, …).

    Of an output that mixes scales it is that of its worst group of channels. A file's output that is the same for all
    samples has 0. If the source is one constant, its size stands for the deviation.
    """
    s, t = _finite(source), _finite(tflite)
    groups = channel_groups(source, tflite)
    parts = [(s[..., group.channels], t[..., group.channels]) for group in groups] or [(s, t)]
    return min(_explained(*part) for part in parts)


def _explained(s: Any, t: Any) -> float:
    error = _rmse(s, t) if s.size else 0.0
    if not error:
        return 1.0
    if (t == t[:1]).all() and not (s == s[:1]).all():
        return 0.0
    size = float(np.sqrt((s**2).mean()))
    deviation = float(s.std())
    # What float32 rounding makes of one constant is no deviation.
    scale = deviation if deviation > _ROUNDING * size else size
    return max(0.0, 1.0 - error / scale) if scale else 0.0


def channel_groups(source: Any, tflite: Any) -> tuple[ChannelGroup, ...]:
    """Groups of channels (of the last axis) of an output (samples, …, channels), where these differ in scale; else ().

    A channel's scale is its range over samples and places, but not less than a hundredth of its size. Ordered by
    scale, a new group begins where the next is more than ten times as large. Channels that are always 0 are in none.
    Probabilities are left out: rare classes have small ones. So are fewer than four samples, which tell no range.
    """
    s, t = np.asarray(source), np.asarray(tflite)
    if s.ndim < 2 or s.shape != t.shape or s.dtype.kind != "f" or len(s) < _FEWEST or s.shape[-1] < 2 or not s.size:
        return ()
    s, t = (_finite(side).reshape(-1, s.shape[-1]) for side in (s, t))
    if s.min() >= 0.0 and s.max() <= 1.0:
        return ()
    scales = np.maximum(np.ptp(s, axis=0), 1e-2 * np.abs(s).max(axis=0))
    order = np.argsort(scales, kind="stable")
    order = order[scales[order] > 0]
    gaps = np.flatnonzero(scales[order][1:] > _DECADE * scales[order][:-1]) + 1
    if not len(gaps):
        return ()
    return tuple(_group(np.sort(part), s, t, float(scales[part].max())) for part in np.split(order, gaps))


def _group(channels: Any, s: Any, t: Any, scale: float) -> ChannelGroup:
    s, t = s[:, channels], t[:, channels]
    rmse = _rmse(s, t) / scale
    numbers = tuple(int(channel) for channel in channels)
    return ChannelGroup(numbers, scale, _cosine(s, t), _sqnr(s, np.abs(s - t)), rmse, 1.0 - rmse)


def _finite(values: Any) -> Any:
    return np.nan_to_num(np.asarray(values, "float64"), posinf=_INFINITY, neginf=-_INFINITY)


def _rmse(s: Any, t: Any) -> float:
    return float(np.sqrt(((s - t) ** 2).mean()))


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
    return decibels(float((s**2).sum()), float((error**2).sum()))
