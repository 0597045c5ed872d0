"""Source against `.tflite`: parity always, and a score if one is asked for, with gates against the named model."""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from tflite_recipes.conversion.quality import metrics
from tflite_recipes.conversion.quality.metrics import Metric, Scores
from tflite_recipes.core import user_code
from tflite_recipes.core.analysis import Analysis, keep_written
from tflite_recipes.core.errors import Problem, RequestError, StepError, assignment
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.schema import ExistingPath, NeedsTrust, near, within
from tflite_recipes.core.state import Gate, State, TensorSpec
from tflite_recipes.files.samples import digits, npz, sample_checks
from tflite_recipes.files.samples.input_example import keep_of_evaluation
from tflite_recipes.steps import baseline
from tflite_recipes.steps.baseline import Samples
from tflite_recipes.steps.calibration import digits_problems
from tflite_recipes.steps.scoring import Question, own_function
from tflite_recipes.steps.source import Source, code_problems

# A class loses far more than the whole: so many samples must say so, and this share of them at least.
_FEWEST_OF_CLASS = 10
_FAR_MORE = 0.1
_TIMES_THE_LIMIT = 3.0
_RULE_OF_THREE = 3.0
# Within so many standard errors of chance a score may be a guess.
_ERRORS_OF_CHANCE = 2.0


@dataclass(frozen=True)
class ParityEvaluation(Analysis):
    """Parity only, on `samples` calibration samples, or on seeded random inputs in 0…1 where there are none.

    With `max_drop`, `min_score` or a `metric` other than auto, also a score that needs no labels.
    """

    samples: Annotated[int, within(ge=1)]
    seed: Annotated[int, within(ge=0, lt=2**32)]
    metric: Metric = Metric.auto
    output: str | None = None
    max_drop: Annotated[float | None, within(ge=0)] = None
    min_score: float | None = None

    @property
    def scored(self) -> bool:
        """Whether a score is asked for."""
        return self.max_drop is not None or self.min_score is not None or self.metric is not Metric.auto

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        yield from output_problems(self.output, steps)
        yield from score_problems(self.min_score, self.metric)
        if self.output is not None and not self.scored:
            what = "parity covers every output; one is chosen for a score, and none is asked for"
            yield Problem(what, "evaluation.output", "evaluation.output=null", ("evaluation.max_drop=0.01",))
        if self.metric not in metrics.LABEL_FREE:
            what = f"{self.metric.name} needs more than the outputs of both: samples with labels"
            ors = (f"evaluation=npz evaluation.path=FILE.npz evaluation.metric={self.metric.name}",)
            yield Problem(what, "evaluation.metric", "evaluation.metric=auto", ors)

    def __call__(self, state: State, reporter: Reporter) -> State:
        if not state.runnable and self.scored:
            raise StepError(_not_runnable("evaluation.max_drop=null evaluation.min_score=null evaluation.metric=auto"))
        if not state.runnable:
            reporter.warn("parity was not measured: no runtime here can run the file")
            return state
        arrays, source = self._drawn(state)
        reporter.note({"parity.data": source})
        question = Question(source, None, self.metric, self.output, self.max_drop, min_score=self.min_score)
        samples = baseline.of_file(state, arrays)
        if self.scored:
            score_outputs(state, samples, question, reporter)
        else:
            baseline.judged(state, samples, compare_outputs(state, arrays, question, reporter), reporter, fix="")
        return state

    def _drawn(self, state: State) -> tuple[Mapping[str, Any], str]:
        """The samples and where they are from. Indices into a table are drawn from all of it, also where those of the
        calibration are but 0 and 1, as those of random data are: they would show two rows of the table."""
        from tflite_recipes.files.tflite import read_tflite
        from tflite_recipes.files.tflite.index_limits import index_limits

        assert state.tflite is not None
        limits = index_limits(read_tflite(state.tflite), state.signature)
        inputs = npz.with_sizes(state.inputs, state.intent.sizes)
        if state.calibration is None:
            return npz.random_arrays(inputs, self.samples, self.seed, 0.0, 1.0, limits), "seeded random inputs"
        arrays = npz.choose(npz.open_arrays(state.calibration), self.samples, self.seed)
        wide = {name: ends for name, ends in limits.items() if ends[1] > 1}
        narrow = {name: ends for name, ends in wide.items() if float(arrays[name].max(initial=0)) <= 1}
        if not narrow:
            return arrays, "calibration samples"
        own = [replace(spec, shape=(None, *arrays[spec.name].shape[1:])) for spec in inputs if spec.name in narrow]
        count = len(next(iter(arrays.values())))
        redrawn = npz.random_arrays(tuple(own), count, self.seed, 0.0, 1.0, narrow)
        return {**arrays, **redrawn}, f"calibration samples, {', '.join(narrow)} drawn at random"


@dataclass(frozen=True)
class NpzEvaluation(Analysis):
    """A score and parity on arrays named by input, with their labels, in a `.npz` file.

    `labels: null`: metrics that need none; a `function` gets every array of the file that is no input, by name.
    `output`: the one that is scored.
    """

    path: ExistingPath
    labels: str | None
    metric: Metric
    samples: Annotated[int | None, within(ge=1)]
    seed: Annotated[int, within(ge=0, lt=2**32)]
    max_drop: Annotated[float | None, within(ge=0)]
    relative_drop: bool = False
    output: str | None = None
    function: Annotated[str | None, NeedsTrust()] = None
    higher_is_better: bool = True
    min_score: float | None = None

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        inputs = steps["source"].shaped_inputs()
        for problem in npz.npz_problems(self.path, inputs, "evaluation.path", self._label_names()):
            missing = self.labels is not None and problem.what.startswith(f"{self.path} has no array {self.labels!r}")
            ors = ("evaluation.labels=null",) if missing and self.metric in (Metric.auto, Metric.function) else ()
            yield replace(problem, alternatives=(*problem.alternatives, *ors))
        yield from output_problems(self.output, steps)
        yield from gate_problems(self.max_drop, self.relative_drop)
        yield from score_problems(self.min_score, self.metric)
        yield from self._function_problems()
        yield from self._label_problems()

    def _label_names(self) -> tuple[str, ...]:
        """The arrays beside the inputs that the metric cannot do without."""
        unread = self.metric in metrics.LABEL_FREE and self.metric is not Metric.auto
        return () if self.labels is None or unread else (self.labels,)

    def _function_problems(self) -> Iterable[Problem]:
        if self.metric is Metric.function and self.function is None:
            what = "metric=function, and no function is named"
            yield Problem(what, "evaluation.function", "", ("evaluation.function=my_metric.py:score",))
        elif self.metric is Metric.function and self.output is not None:
            what = "a function gets every output, by name"
            yield Problem(what, "evaluation.output", "evaluation.output=null")
        elif self.metric is not Metric.function and self.function is not None:
            what = f"{self.function} is not called by metric={self.metric.name}"
            yield Problem(what, "evaluation.function", "evaluation.metric=function", ("evaluation.function=null",))
        if self.function is not None:
            yield from code_problems(self.function, "evaluation.function")
        if not self.higher_is_better and self.metric is not Metric.function:
            what = f"this is for a function; which way {self.metric.name} is better is known"
            yield Problem(what, "evaluation.higher_is_better", "evaluation.higher_is_better=true")

    def _label_problems(self) -> Iterable[Problem]:
        """What the header of the labels tells."""
        try:
            found = npz.headers(Path(self.path), "evaluation.path")
        except RequestError:
            return  # said above
        if self.labels is None and self.metric in metrics.NEEDS_LABELS:
            others = tuple(f"evaluation.labels={name}" for name in found)
            yield Problem(f"{self.metric.name} needs labels", "evaluation.labels", "evaluation.metric=auto", others)
        if not self._label_names() or self.metric is Metric.function or self.labels not in found:
            return
        spec = found[self.labels]
        if spec.dtype.startswith(("str", "bytes", "object", "complex", "datetime", "timedelta")):
            others = tuple(name for name, array in found.items() if array.dtype.startswith(("int", "uint")))
            fix = f"evaluation.labels={others[0]}" if others else "evaluation.path=OTHER.npz"
            yield Problem(f"{self.path}: labels are numbers, and these are {spec}", "evaluation.labels", fix)
        elif self.metric in (*metrics.CLASSES, Metric.auto) and len(spec.shape) > 2:
            what = f"{self.path}: {spec} is neither a class number nor a one-hot row for each sample"
            yield Problem(what, "evaluation.labels", "evaluation.metric=mean_absolute_error")

    def __call__(self, state: State, reporter: Reporter) -> State:
        path, inputs = Path(self.path), {spec.name for spec in (*state.inputs, *state.named.inputs)}
        names = self._label_names()
        if self.metric is Metric.function and self.labels is None:
            names = tuple(name for name in npz.headers(path, "evaluation.path") if name not in inputs)
        given: Any = {}

        def reader(specs: tuple[TensorSpec, ...]) -> Mapping[str, Any]:
            arrays = npz.choose(npz.load_npz(path, specs, "evaluation.path", names), self.samples, self.seed)
            given.update({name: arrays[name] for name in names})
            return {spec.name: arrays[spec.name] for spec in specs}

        samples = baseline.read(state, reader, reporter)
        labels = given.get(self.labels, given or None)
        question = Question(
            self.path,
            labels,
            self.metric,
            self.output,
            self.max_drop,
            self.relative_drop,
            self.function,
            self.higher_is_better,
            self.min_score,
        )
        evaluate(state, samples, question, reporter)
        return state


@dataclass(frozen=True)
class DigitsEvaluation(Analysis):
    """A score and parity on the 360 held-out images of the embedded digits."""

    max_drop: Annotated[float | None, within(ge=0)]
    metric: Metric = Metric.accuracy
    relative_drop: bool = False
    min_score: float | None = None

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        yield from digits_problems(steps, "evaluation")
        yield from gate_problems(self.max_drop, self.relative_drop)
        yield from score_problems(self.min_score, self.metric)
        if self.metric not in (*metrics.CLASSES, Metric.auto, *metrics.FIDELITY):
            what = f"{self.metric.name} does not suit ten classes of digits"
            yield Problem(what, "evaluation.metric", "evaluation.metric=accuracy")

    def __call__(self, state: State, reporter: Reporter) -> State:
        held_out = digits.held_out()

        def reader(specs: tuple[TensorSpec, ...]) -> Mapping[str, Any]:
            return npz.check_arrays({specs[0].name: held_out.images}, specs, "digits", "evaluation")

        source = "scikit-learn load_digits, held-out part"
        gates: dict[str, Any] = {"max_drop": self.max_drop, "relative_drop": self.relative_drop}
        question = Question(source, held_out.labels, self.metric, **gates, min_score=self.min_score)
        evaluate(state, baseline.read(state, reader, reporter), question, reporter)
        return state


def _not_runnable(fix: str) -> Problem:
    what = "accuracy cannot be measured: no runtime here can run a file with Flex or custom ops"
    return Problem(what, "evaluation", fix)


def gate_problems(max_drop: float | None, relative: bool) -> Iterable[Problem]:
    """A share of nothing."""
    if relative and max_drop is None:
        what = "there is no max_drop that could be relative"
        ors = ("evaluation.relative_drop=false",)
        yield Problem(what, "evaluation.relative_drop", "evaluation.max_drop=0.01", ors)


# Metrics that are at most 1; `auto` is one of them.
_AT_MOST_1 = (Metric.auto, *metrics.CLASSES, *metrics.FIDELITY, Metric.anomaly_auc, Metric.r2)


def score_problems(min_score: float | None, metric: Metric) -> Iterable[Problem]:
    """Yield what is wrong with `min_score`: a limit that no file reaches."""
    if min_score is None:
        return
    if metric in _AT_MOST_1 and not min_score <= 1.0:
        what = f"{metric.name} is at most 1, and the limit is {min_score:g}"
        fix = f"evaluation.min_score={min_score / 100:g}" if 1.0 < min_score <= 100.0 else "evaluation.min_score=null"
        yield Problem(what, "evaluation.min_score", fix)
    elif metric is not Metric.function and not metrics.higher_is_better(metric) and not min_score >= 0.0:
        what = f"{metric.name} is at least 0, and the limit that it may not exceed is {min_score:g}"
        yield Problem(what, "evaluation.min_score", "evaluation.min_score=null")


def output_problems(output: str | None, steps: Mapping[str, Any]) -> Iterable[Problem]:
    """An output that the source has not, where it says which ones it has."""
    source = steps.get("source")
    try:
        known = [spec.name for spec in (source.outputs() if isinstance(source, Source) else None) or ()]
    except RequestError:
        return  # said by the source
    if known and output is not None and output not in known:
        yield _no_output(output, known)


def _no_output(output: str, known: list[str]) -> Problem:
    best = (near(output, known) or known)[0]
    others = tuple(assignment("evaluation.output", name) for name in known if name != best)
    what = f"the model has no output {output!r}; it has {', '.join(known)}"
    return Problem(what, "evaluation.output", assignment("evaluation.output", best), others)


def evaluate(state: State, samples: Samples, question: Question, reporter: Reporter) -> None:
    """A score on samples that the user named. Here both the calibration's folder and the samples are at hand."""
    if not state.runnable:
        raise StepError(_not_runnable("evaluation=none"))
    labels, arrays = question.labels, samples.file
    named = labels if isinstance(labels, Mapping) else {} if labels is None else {"labels": labels}
    used, count = {**arrays, **named}, len(next(iter(arrays.values())))
    described = npz.described(used, named)
    reporter.used("evaluation", "evaluation", npz.sha256(used), question.file, count, described)
    reporter.note({"parity.data": question.file})
    sample_checks.warn_of_evaluation(state, arrays, reporter)
    keep_of_evaluation(state, arrays)
    score_outputs(state, samples, question, reporter)


def compare_outputs(state: State, arrays: Mapping[str, Any], question: Question, reporter: Reporter) -> Any:
    """Run the file and the model as it entered conversion on the same arrays, and return the outputs of both."""
    from tflite_recipes.backend.running import output_comparison

    by_label = question.labels is not None and question.metric in (Metric.auto, *metrics.CLASSES)
    classes = (question.output or state.outputs[0].name,) if by_label else ()
    return output_comparison.compare(state, arrays, reporter, question.gated, classes)


def score_outputs(
    state: State,
    samples: Samples,
    question: Question,
    reporter: Reporter,
    compare: Callable[[State, Mapping[str, Any], Question, Reporter], Any] = compare_outputs,
) -> None:
    """Run the file and the model that the user named, score both, and answer for the drop.

    Args:
        state: with the file and its source.
        samples: what the file and the named model are run on.
        question: what is scored, and the limits.
        reporter: gets scores, gates and warnings.
        compare: runs the file and its source.
    """
    known = [spec.name for spec in state.outputs]
    if question.output is not None and question.output not in known:
        raise RequestError(_no_output(question.output, known))
    function = own_function(question.function) if question.function is not None else None
    if question.function is not None:
        user_code.record("metric", [question.function], state, reporter)
    outputs = compare(state, samples.file, question, reporter)
    outputs = baseline.judged(state, samples, outputs, reporter, "evaluation=none")
    metric = metrics.resolve(question.metric, outputs.source, question.labels is not None)
    question = replace(question, metric=metric)
    reporter.note({"accuracy.metric": question.function or metric.name})
    scored = question.output or known[0]
    only = scored if question.of_one_output or question.output else None
    baseline.check_common(outputs.source, outputs.tflite, only, reporter)
    if metric is Metric.top1_agreement and question.output is None:
        _tell_unscored(outputs.source, reporter)
    if len(known) > 1 and question.output is None and question.of_one_output:
        names, held = ", ".join(known[1:]), "labels are" if metric in metrics.NEEDS_LABELS else "the input is"
        reporter.warn(f"{held} held against the first output, {scored}; parity covers {names} too")
    scores, further = question.scores(outputs.source, outputs.tflite, samples.file, scored, function)
    if metric in metrics.FIDELITY:
        judged = outputs.source if question.output is None else {scored: outputs.source[scored]}
        _check_shown(metrics.of_classes(judged) if metric is Metric.top1_agreement else judged, scores, question)
    reporter.measure({"accuracy.source": scores.source, "accuracy.tflite": scores.tflite, "accuracy.drop": scores.drop})
    reporter.measure(further)
    if metric in metrics.CLASSES:
        _tell_classes(state, outputs.source[scored], outputs.tflite[scored], question, reporter)
    _judge(scores, question, reporter)
    _tell_chance(outputs.source[scored] if only else None, scores, question, reporter)
    _tell_few(len(outputs.source[scored]), scores, question, reporter)


def _tell_unscored(source: Mapping[str, Any], reporter: Reporter) -> None:
    """Outputs that look like no classes, beside some that do."""
    classes = [name for name, values in source.items() if metrics.is_classes(name, values)]
    others = [name for name in source if name not in classes]
    if classes and others:
        scored, left = ", ".join(classes), ", ".join(others)
        reporter.warn(
            f"top1_agreement is that of {scored}; {left} is in parity alone, or evaluation.metric=range_fidelity"
        )


def _check_shown(source: Mapping[str, Any], scores: Scores, question: Question) -> None:
    """Refuse to let gates pass on outputs that are the same for every sample: they show no error. Errors: StepError."""
    from tflite_recipes.conversion.quality import parity

    gates = _gates(scores, question)
    if not gates or not all(gate.passed for gate in gates) or not parity.is_constant(source):
        return
    what = (
        f"{question.metric.name} cannot judge the file: "
        f"the source gives the same {', '.join(source)} for each of {question.file}"
    )
    ways = (
        "evaluation=npz evaluation.path=FILE.npz with samples for which the outputs differ",
        "samples with labels, if the model is meant to give one output for every sample",
    )
    raise StepError(Problem(what, "evaluation", "", ways))


def _judge(scores: Scores, question: Question, reporter: Reporter) -> None:
    if question.relative_drop and math.isfinite(scores.relative_drop):
        reporter.measure({"accuracy.relative_drop": scores.relative_drop})
    for gate in _gates(scores, question):
        reporter.judge(gate)


def _gates(scores: Scores, question: Question) -> list[Gate]:
    """Return the gates that were asked for, with their answers."""
    gates = []
    drop = scores.relative_drop if question.relative_drop else scores.drop
    if question.max_drop is not None:
        passed = metrics.within_limit(drop, question.max_drop)
        gates.append(Gate("evaluation.max_drop", drop, question.max_drop, passed))
    if question.min_score is not None:
        passed = metrics.reaches(scores.tflite, question.min_score, scores.higher_is_better)
        told = (scores.tflite, question.min_score, passed)
        gates.append(Gate("evaluation.min_score", *told, at_least=scores.higher_is_better))
    return gates


def _tell_chance(source: Any, scores: Scores, question: Question, reporter: Reporter) -> None:
    """Warn of a source that does no better than guessing: then its drop says nothing, and the data is likely wrong."""
    known = None if source is None else metrics.chance(question.metric, source, question.labels)
    if known is None or scores.source > known[0] + _ERRORS_OF_CHANCE * known[1]:
        return
    what = f"the source scores {scores.source:.3g} on {len(source)} samples, and guessing scores {known[0]:.3g}"
    causes = (
        "the preprocessing of the evaluation data (its scale), the order of its classes, or its labels may be wrong"
    )
    reporter.warn(f"{what}: {causes}")


def _tell_few(samples: int, scores: Scores, question: Question, reporter: Reporter) -> None:
    """Samples that are too few for the gate to have passed for certain. Where none of n is lost, a share of 3/n still
    may be among others, with 95 % confidence (the rule of three: Hanley and Lippman-Hand, JAMA 249, 1983)."""
    if question.metric not in (*metrics.CLASSES, Metric.top1_agreement) or not question.max_drop:
        return
    limit = question.max_drop * (abs(scores.source) if question.relative_drop else 1.0)
    drop = scores.relative_drop if question.relative_drop else scores.drop
    if limit > 0.0 and samples * limit < _RULE_OF_THREE and metrics.within_limit(drop, question.max_drop):
        what = f"{samples} samples are few for a drop of {limit:.3g}: though none of them were lost"
        enough = math.ceil(_RULE_OF_THREE / limit)
        reporter.warn(f"{what}, {min(1.0, _RULE_OF_THREE / samples):.0%} of others might be; {enough} would tell")


def _write_classes(found: Sequence[metrics.ClassRecall], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["class", "samples", "source_recall", "tflite_recall", "drop"])
        for recall in found:
            shares = (f"{share:.6f}" for share in (recall.source, recall.tflite, recall.drop))
            rows.writerow([recall.number, recall.samples, *shares])


def _tell_classes(state: State, source: Any, tflite: Any, question: Question, reporter: Reporter) -> None:
    """`per_class.csv`, worst first; a word where a class loses far more than the whole."""
    classes = metrics.classes_of(source, question.labels, question.file)
    found = sorted(metrics.per_class(source, tflite, classes), key=lambda recall: (-recall.drop, recall.number))
    write = functools.partial(_write_classes, found)
    keep_written(reporter, state.workdir / "per_class.csv", write, "evaluation")
    reporter.measure({"accuracy.worst_class_drop": found[0].drop})
    absolute = question.max_drop if question.max_drop is not None and not question.relative_drop else 0.0
    limit = max(_FAR_MORE, _TIMES_THE_LIMIT * absolute)
    far = [recall for recall in found if recall.samples >= _FEWEST_OF_CLASS and recall.drop > limit]
    for recall in far[:3]:
        what = f"of {recall.samples} samples {recall.tflite:.1%} are recognised, by the source {recall.source:.1%}"
        reporter.warn(f"class {recall.number}: {what}; per_class.csv has all classes")
