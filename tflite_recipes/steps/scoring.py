"""What is asked of the outputs of source and file, and the answer: by a metric of ours, or by the user's function."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tflite_recipes.conversion.quality import metrics
from tflite_recipes.conversion.quality.metrics import Metric, Scores
from tflite_recipes.core import schema
from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.core.raised import misfit, raised

Outputs = Mapping[str, Any]  # arrays by output name, first axis samples
_WHERE = "evaluation.function"
_NOT_IN_A_NAME = re.compile(r"[^\w./ -]", re.ASCII)


@dataclass(frozen=True)
class Question:
    """file: what the samples came from, in words. labels: an array, arrays by name, or None. metric and output: what is
    scored, of which output (None: the first). max_drop, relative_drop: the gate on the drop. function,
    higher_is_better: the user's own metric. min_score: the gate on the file's own score."""

    file: str
    labels: Any
    metric: Metric
    output: str | None = None
    max_drop: float | None = None
    relative_drop: bool = False
    function: str | None = None
    higher_is_better: bool = True
    min_score: float | None = None

    @property
    def gated(self) -> bool:
        """Whether a gate judges the scores."""
        return self.max_drop is not None or self.min_score is not None

    @property
    def of_one_output(self) -> bool:
        """Whether the metric, which is not auto, looks at one output alone."""
        return self.metric not in (*metrics.FIDELITY, Metric.function)

    def scores(
        self, source: Outputs, tflite: Outputs, inputs: Outputs, scored: str, function: Callable[..., Any] | None
    ) -> tuple[Scores, dict[str, float]]:
        """The scores of both, and figures beside them by tracking name. The metric is not auto.

        Errors: RequestError where labels, input or outputs do not suit the metric, or the function gives no number.
        """
        if self.metric is Metric.function:
            assert function is not None
            return self._by_function(source, tflite, function)
        if not self.of_one_output:
            names = [scored] if self.output is not None else list(source)
            ours, theirs = ({name: side[name] for name in names} for side in (source, tflite))
            compare = metrics.agreement if self.metric is Metric.top1_agreement else metrics.range_fidelity
            return compare(ours, theirs), {}
        one, other = (self._of_output(side[scored], inputs, scored) for side in (source, tflite))
        further = self._top5(source[scored], tflite[scored]) if self.metric is Metric.accuracy else {}
        return Scores(one, other, metrics.higher_is_better(self.metric)), further

    def _of_output(self, values: Any, inputs: Outputs, scored: str) -> float:
        if self.metric not in (Metric.reconstruction, Metric.anomaly_auc):
            return metrics.by_labels(self.metric, values, self.labels, self.file)
        errors = metrics.reconstruction_errors(values, metrics.original_of(scored, values, inputs))
        if self.metric is Metric.anomaly_auc:
            return metrics.roc_auc(errors, self.labels, self.file)
        return float(errors.mean() ** 0.5)

    def _top5(self, source: Any, tflite: Any) -> dict[str, float]:
        """Beside the accuracy, where there are more than ten classes, of which five are less than half."""
        if source.reshape(len(source), -1).shape[1] <= 10:
            return {}
        classes = metrics.classes_of(source, self.labels, self.file)
        sides = {"source": source, "tflite": tflite}
        return {f"accuracy.top5_{side}": metrics.top_k(values, classes) for side, values in sides.items()}

    def _by_function(
        self, source: Outputs, tflite: Outputs, function: Callable[..., Any]
    ) -> tuple[Scores, dict[str, float]]:
        assert self.function is not None
        ours, theirs = (called(function, self.function, side, self.labels) for side in (source, tflite))
        if list(ours) != list(theirs):
            what = f"{self.function} gave {', '.join(ours)} for the source, and {', '.join(theirs)} for the file"
            raise RequestError(Problem(what, _WHERE))
        (_, one), *others = ours.items()
        other = next(iter(theirs.values()))
        further: dict[str, float] = {}
        for name, value in others:
            further |= {f"accuracy.{name}_source": value, f"accuracy.{name}_tflite": theirs[name]}
        return Scores(one, other, self.higher_is_better), further


def own_function(target: str) -> Callable[..., Any]:
    """The user's function. Errors: RequestError where it is not there, or cannot be called."""
    try:
        function = schema.load_target(target)
    except RequestError as error:
        raise RequestError([replace(problem, where=_WHERE) for problem in error.problems]) from error
    if not callable(function):
        raise RequestError(Problem(f"{target} is {type(function).__name__}, not a function", _WHERE))
    called_with: Callable[..., Any] = function
    return called_with


def called(function: Callable[..., Any], target: str, outputs: Outputs, labels: Any) -> dict[str, float]:
    """Figures by name, in the function's order, of `function(outputs, labels)`, which gives a number or a dict of
    them. Errors: RequestError for anything else, and for whatever it raises."""
    if wrong := misfit(function, outputs, labels):
        raise RequestError(Problem(f"{target} {wrong}, the outputs by name and the labels", _WHERE))
    try:
        result = function(dict(outputs), labels)
    except (Exception, SystemExit) as error:
        raise RequestError(Problem(f"{target} raised {raised(error)}", _WHERE)) from error
    named = result if isinstance(result, Mapping) else {"score": result}
    try:
        figures = {_NOT_IN_A_NAME.sub("_", str(name)): float(value) for name, value in named.items()}
    except (TypeError, ValueError):
        figures = {}
    if not figures:
        what = f"{target} gave {str(result)[:80]} ({type(result).__name__}), not a number or a dict of numbers"
        raise RequestError(Problem(what, _WHERE))
    return figures
