"""Source against `.tflite`: parity always, accuracy where there are labels, and the gate on its drop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, unique
from pathlib import Path
from typing import Annotated, Any

from tflite_recipes import datasets, digits, sample_checks
from tflite_recipes.errors import Problem, StepError
from tflite_recipes.events import Reporter
from tflite_recipes.schema import ExistingPath, within
from tflite_recipes.state import Gate, State
from tflite_recipes.steps.calibration import digits_problems


@unique  # members of one value would be one member
class Metric(Enum):
    """How outputs are scored against labels."""

    accuracy = "share of samples whose largest output is the labelled class; higher is better"
    mean_absolute_error = "mean of |output − label|; lower is better"
    mean_squared_error = "mean of (output − label)²; lower is better"


@dataclass(frozen=True)
class ParityEvaluation:
    """Parity only, on `samples` calibration samples, or on seeded random inputs in 0…1 where there are none."""

    samples: Annotated[int, within(ge=1)]
    seed: Annotated[int, within(ge=0, lt=2**32)]

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.backend import comparison

        if not state.runnable:
            reporter.warn("parity was not measured: no runtime here can run the file")
            return state
        if state.calibration is not None:
            arrays, source = datasets.open_arrays(state.calibration), "calibration samples"
            arrays = datasets.choose(arrays, self.samples, self.seed)
        else:
            inputs = datasets.with_sizes(state.inputs, state.intent.sizes)
            arrays = datasets.random_arrays(inputs, self.samples, self.seed, 0.0, 1.0)
            source = "seeded random inputs"
        reporter.note({"parity.data": source})
        comparison.compare(state, arrays, reporter)
        return state


@dataclass(frozen=True)
class NpzEvaluation:
    """Accuracy and parity on arrays named by input, with their labels, in a `.npz` file."""

    path: ExistingPath
    labels: str
    metric: Metric
    samples: Annotated[int | None, within(ge=1)]
    seed: Annotated[int, within(ge=0, lt=2**32)]
    max_drop: Annotated[float | None, within(ge=0)]

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        inputs = steps["source"].shaped_inputs()
        yield from datasets.npz_problems(self.path, inputs, "evaluation.path", (self.labels,))

    def __call__(self, state: State, reporter: Reporter) -> State:
        arrays = datasets.load_npz(Path(self.path), state.inputs, "evaluation.path", (self.labels,))
        arrays = datasets.choose(arrays, self.samples, self.seed)
        labels = arrays.pop(self.labels) if self.labels not in {s.name for s in state.inputs} else arrays[self.labels]
        _evaluate(state, arrays, labels, self.metric, self.path, self.max_drop, reporter)
        return state


@dataclass(frozen=True)
class DigitsEvaluation:
    """Accuracy and parity on the 360 held-out images of the embedded digits."""

    max_drop: Annotated[float | None, within(ge=0)]

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        yield from digits_problems(steps, "evaluation")

    def __call__(self, state: State, reporter: Reporter) -> State:
        held_out = digits.held_out()
        arrays = datasets.check_arrays({state.inputs[0].name: held_out.images}, state.inputs, "digits", "evaluation")
        source = "scikit-learn load_digits, held-out part"
        _evaluate(state, arrays, held_out.labels, Metric.accuracy, source, self.max_drop, reporter)
        return state


def _evaluate(
    state: State,
    arrays: Mapping[str, Any],
    labels: Any,
    metric: Metric,
    source: str,
    max_drop: float | None,
    reporter: Reporter,
) -> None:
    from tflite_recipes.backend import comparison

    if not state.runnable:
        what = "accuracy cannot be measured: no runtime here can run a file with Flex or custom ops"
        raise StepError(Problem(what, "evaluation", "evaluation=none"))
    sha256 = datasets.sha256({**arrays, "labels": labels})
    reporter.used("evaluation", "evaluation", sha256, source, len(labels))
    reporter.note({"parity.data": source, "accuracy.metric": metric.name})
    sample_checks.warn_of_evaluation(state, arrays, reporter)
    outputs = comparison.compare(state, arrays, reporter)
    scored = state.outputs[0].name
    if len(state.outputs) > 1:
        names = ", ".join(spec.name for spec in state.outputs[1:])
        reporter.warn(f"labels are held against the first output, {scored}; parity covers {names} too")
    scores = comparison.score(outputs, labels, metric.name, scored, source)
    drop = scores.source - scores.tflite if metric is Metric.accuracy else scores.tflite - scores.source
    reporter.measure({"accuracy.source": scores.source, "accuracy.tflite": scores.tflite, "accuracy.drop": drop})
    if max_drop is not None:
        reporter.judge(Gate("evaluation.max_drop", drop, max_drop, drop <= max_drop + 1e-12))
