"""Scores of outputs: against labels, against the input, and of a file's outputs against its source's. numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, unique
from typing import Any

from tflite_recipes.conversion.quality import labels as label_checks
from tflite_recipes.core.errors import Problem, RequestError

_TOP = 5
# Below this cosine similarity hardly any use of a file is left.
POOR_COSINE = 0.95
# How far from 1 the scores of a sample may sum up, and still be shares of 1.
_SUM = 1e-2


@unique  # members of one value would be one member
class Metric(Enum):
    """How outputs are scored."""

    auto = "accuracy where there are labels, else top1_agreement where outputs are classes, else range_fidelity"
    accuracy = "share of samples whose largest output is the labelled class; higher is better"
    top5_accuracy = "share of samples whose labelled class is among the five largest outputs; higher is better"
    mean_absolute_error = "mean of |output − label|; lower is better"
    mean_squared_error = "mean of (output − label)²; lower is better"
    root_mean_squared_error = "root of the mean of (output − label)²; lower is better"
    r2 = "1 − sum of (output − label)² / sum of (label − mean label)²; higher is better"
    reconstruction = "root of the mean of (output − input)²; lower is better; no labels"
    anomaly_auc = (
        "area under the ROC curve of each sample's mean (output − input)², labels 1 anomalous; higher is better"
    )
    top1_agreement = "share of samples of which file and source choose the same class; higher is better; no labels"
    range_fidelity = (
        "1 − RMSE / RMS of the source's deviation from its mean, of the worst output, at least 0; no labels"
    )
    function = "a function of yours"


CLASSES = (Metric.accuracy, Metric.top5_accuracy)
FIDELITY = (Metric.top1_agreement, Metric.range_fidelity)
LABEL_FREE = (Metric.auto, *FIDELITY, Metric.reconstruction)
NEEDS_LABELS = tuple(metric for metric in Metric if metric not in LABEL_FREE and metric is not Metric.function)
_LOWER = (Metric.mean_absolute_error, Metric.mean_squared_error, Metric.root_mean_squared_error, Metric.reconstruction)


def higher_is_better(metric: Metric) -> bool:
    """Of a metric of our own; of a function only its author knows."""
    return metric not in _LOWER


@dataclass(frozen=True)
class Scores:
    """A metric of source and file."""

    source: float
    tflite: float
    higher_is_better: bool = True

    @property
    def drop(self) -> float:
        """How much worse the file is, in the metric's own unit; negative where it is better."""
        return self.source - self.tflite if self.higher_is_better else self.tflite - self.source

    @property
    def relative_drop(self) -> float:
        """The drop as a share of the source's score; infinite where that is 0 and the file is worse."""
        if self.source:
            return self.drop / abs(self.source)
        return 0.0 if self.drop <= 0.0 else self.drop * float("inf")


def within_limit(drop: float, limit: float) -> bool:
    """Whether a drop passes. What is no number does not; a rounding error of float64 is no drop."""
    return drop <= limit + 1e-12 * max(1.0, abs(limit))


def reaches(score: float, limit: float, higher: bool) -> bool:
    """Return whether a score is at least the limit; at most, for a metric of which less is better. NaN is not."""
    return within_limit(-score, -limit) if higher else within_limit(score, limit)


def chance(metric: Metric, values: Any, labels: Any) -> tuple[float, float] | None:
    """Return the score that guessing has on these samples, and its standard error.

    None if the metric has no such score, or if the samples are so few that a perfect score may be a guess.

    Args:
        metric: accuracy and top5_accuracy have 1 and 5 of the classes, anomaly_auc has 0.5.
        values: an output, (samples, …).
        labels: of its samples.
    """
    samples, classes = len(values), max(2, values.reshape(len(values), -1).shape[1])
    if metric in CLASSES:
        share = (1 if metric is Metric.accuracy else _TOP) / classes
        error = (share * (1.0 - share) / samples) ** 0.5
    elif metric is Metric.anomaly_auc:
        ones = [float(label) for label in labels].count(1.0)
        # Of the rank sum under no association: Mann and Whitney, Ann. Math. Statist. 18, 1947.
        share, error = 0.5, ((samples + 1) / (12.0 * ones * (samples - ones))) ** 0.5
    else:
        return None
    return (share, error) if share + 2.0 * error < 1.0 else None


def is_classes(name: str, values: Any) -> bool:
    """Whether an output, (samples, classes), looks like scores of classes: of each sample they are shares of 1, or the
    output is named `logits`."""
    if values.ndim != 2 or values.shape[1] < 2 or values.dtype.kind != "f" or not len(values):
        return False
    if "logits" in name.lower():
        return True
    sums = values.sum(axis=1, dtype="float64")
    return bool(values.min() >= -1e-6 and (abs(sums - 1.0) <= _SUM).all())


def resolve(metric: Metric, source: Mapping[str, Any], labelled: bool) -> Metric:
    """The metric that `auto` stands for, by the source's outputs by name."""
    if metric is not Metric.auto:
        return metric
    if labelled:
        return Metric.accuracy
    classes = any(is_classes(name, values) for name, values in source.items())
    return Metric.top1_agreement if classes else Metric.range_fidelity


def of_classes(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outputs that look like classes, those with several values if none does: what `agreement` compares."""
    wide = {name: values for name, values in source.items() if values.ndim > 1 and values.shape[-1] > 1}
    return {name: values for name, values in wide.items() if is_classes(name, values)} or wide


def agreement(source: Mapping[str, Any], tflite: Mapping[str, Any]) -> Scores:
    """Share of places (samples, for outputs of two dimensions) with the same largest value along the last axis, of the
    worst output that looks like classes; of the worst with several values where none does.

    Errors: RequestError where every output is a single number.
    """
    classes = of_classes(source)
    if not classes:
        what = "no output has several values a sample, of which the largest could be chosen"
        raise RequestError(Problem(what, "evaluation.metric", "evaluation.metric=range_fidelity"))
    same = [(values.argmax(axis=-1) == tflite[name].argmax(axis=-1)).mean() for name, values in classes.items()]
    return Scores(1.0, float(min(same)))


def range_fidelity(source: Mapping[str, Any], tflite: Mapping[str, Any]) -> Scores:
    """Return the scores of both: of the worst output, by `parity.fidelity`."""
    from tflite_recipes.conversion.quality.parity import fidelity  # brings numpy in, which takes 0.1 s

    return Scores(1.0, min(fidelity(values, tflite[name]) for name, values in source.items()))


def by_labels(metric: Metric, values: Any, labels: Any, file: str) -> float:
    """A metric of one output, (samples, …), against labels. Errors: RequestError where the labels do not suit it."""
    if metric in CLASSES:
        wanted = classes_of(values, labels, file)
        return accuracy(values, wanted) if metric is Metric.accuracy else top_k(values, wanted, file)
    try:
        wanted = label_checks.targets(labels, values.shape, file, "evaluation.labels")
    except RequestError as error:
        raise _suited(error, labels, len(values), "evaluation.metric=accuracy") from error
    return _regression(metric, values.astype("float64"), wanted, file)


def classes_of(values: Any, labels: Any, file: str) -> Any:
    """Class numbers (samples,) of labels for an output. Errors: RequestError."""
    wide = values.reshape(len(values), -1).shape[1]
    try:
        return label_checks.class_numbers(labels, wide, len(values), file, "evaluation.labels")
    except RequestError as error:
        raise _suited(error, labels, values.size, "evaluation.metric=mean_absolute_error") from error


def _suited(error: RequestError, labels: Any, size: int, fix: str) -> RequestError:
    """The same refusal with the metric that labels of this size may be meant for."""
    import numpy as np

    given = np.asarray(labels)
    fits = given.size == size and given.dtype.kind in "iufb" and bool(np.isfinite(given).all())
    return RequestError([replace(problem, fix=fix) for problem in error.problems]) if fits else error


def chosen(values: Any) -> Any:
    """The class (samples,) that each sample is taken for; of a single number, whether it is above 0.5."""
    flat = values.reshape(len(values), -1)
    return flat.argmax(axis=1) if flat.shape[1] > 1 else (flat[:, 0] > 0.5).astype("int64")


def accuracy(values: Any, classes: Any) -> float:
    """Share of samples whose chosen class is the one wanted."""
    return float((chosen(values) == classes).mean())


def top_k(values: Any, classes: Any, file: str = "", k: int = _TOP) -> float:
    """Share of samples with fewer than `k` classes above the wanted one. Of equal scores the lower class number comes
    first, as it does for the largest. Errors: RequestError where there are no more than `k` classes."""
    import numpy as np

    flat = values.reshape(len(values), -1)
    if flat.shape[1] <= k:
        what = f"{file}: of {max(flat.shape[1], 2)} classes all are among the first {k}"
        raise RequestError(Problem(what, "evaluation.metric", "evaluation.metric=accuracy"))
    own = np.take_along_axis(flat, classes[:, None], axis=1)
    before = (flat > own) | ((flat == own) & (np.arange(flat.shape[1]) < classes[:, None]))
    return float((before.sum(axis=1) < k).mean())


def _regression(metric: Metric, values: Any, wanted: Any, file: str) -> float:
    error = values - wanted
    if metric is Metric.mean_absolute_error:
        return float(abs(error).mean())
    square = float((error**2).mean())
    if metric is Metric.mean_squared_error:
        return square
    if metric is Metric.root_mean_squared_error:
        return float(square**0.5)
    # Averaged over the values of a sample, each against its own mean, as scikit-learn's r2_score does by default.
    flat, target = error.reshape(len(error), -1), wanted.reshape(len(wanted), -1)
    total = ((target - target.mean(axis=0)) ** 2).sum(axis=0)
    if not (total > 0).all():
        what = f"{file}: the labels are the same for every sample: r2 has nothing to explain"
        raise RequestError(Problem(what, "evaluation.metric", "evaluation.metric=root_mean_squared_error"))
    return float((1.0 - (flat**2).sum(axis=0) / total).mean())


def reconstruction_errors(values: Any, original: Any) -> Any:
    """Mean squared difference (samples,) float64 between an output and the input that it is to give again."""
    error = values.reshape(len(values), -1).astype("float64") - original.reshape(len(original), -1)
    return (error**2).mean(axis=1)


def original_of(output: str, values: Any, inputs: Mapping[str, Any]) -> Any:
    """The input that an output gives again: the first of as many numbers a sample. Errors: RequestError."""
    for array in inputs.values():
        if array.dtype.kind in "fiu" and array.size == values.size:
            return array
    listed = ", ".join(f"{name} {array.shape[1:]}" for name, array in inputs.items())
    what = f"output {output} {values.shape[1:]} cannot be an input given again: the inputs are {listed}"
    raise RequestError(Problem(what, "evaluation.metric", "evaluation.metric=auto"))


def roc_auc(scores: Any, labels: Any, file: str) -> float:
    """Chance that a sample of label 1 has a higher score than one of label 0, ties counting half.

    Errors: RequestError where the labels are not both 0 and 1.
    """
    import numpy as np

    wanted = label_checks.class_numbers(labels, 1, len(scores), file, "evaluation.labels")
    ones = int(wanted.sum())
    if ones in (0, len(wanted)):
        what = f"{file}: every label is {wanted[0]}; anomaly_auc takes samples of label 0 (normal) and 1 (anomalous)"
        raise RequestError(Problem(what, "evaluation.labels", "evaluation.metric=reconstruction"))
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[place]  # of equal scores the mean of their ranks, the first being 1
    return float((ranks[wanted == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(wanted) - ones)))


@dataclass(frozen=True)
class ClassRecall:
    """A class, its number of samples, and the share of them that source and file recognise."""

    number: int
    samples: int
    source: float
    tflite: float

    @property
    def drop(self) -> float:
        return self.source - self.tflite


def per_class(source: Any, tflite: Any, classes: Any) -> list[ClassRecall]:
    """Recall of each class that occurs among `classes` (samples,), by class number."""
    import numpy as np

    ours, theirs = chosen(source) == classes, chosen(tflite) == classes
    found = []
    for number in np.unique(classes):
        own = classes == number
        found.append(ClassRecall(int(number), int(own.sum()), float(ours[own].mean()), float(theirs[own].mean())))
    return found
