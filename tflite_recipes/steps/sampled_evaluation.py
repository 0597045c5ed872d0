"""A score on samples from the same kinds of sources as calibration: images, waves, tables, records."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tflite_recipes.conversion.quality import metrics
from tflite_recipes.conversion.quality.metrics import Metric
from tflite_recipes.core.analysis import Analysis
from tflite_recipes.core.errors import Problem, RequestError, assignment
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.schema import near, within
from tflite_recipes.core.state import State, TensorSpec
from tflite_recipes.files.samples import Samples, read
from tflite_recipes.files.samples.csv_tables import CsvFile
from tflite_recipes.files.samples.folders import listing
from tflite_recipes.files.samples.images import ENDINGS as IMAGES
from tflite_recipes.files.samples.images import ImageFolder
from tflite_recipes.files.samples.tfrecord_files import TfrecordFiles
from tflite_recipes.files.samples.wav_files import ENDINGS as WAVES
from tflite_recipes.files.samples.wav_files import WavFolder
from tflite_recipes.steps import baseline
from tflite_recipes.steps.evaluation import evaluate, gate_problems, output_problems, score_problems
from tflite_recipes.steps.scoring import Question

_GROUP = "evaluation"


@dataclass(frozen=True, kw_only=True)
class Scored(Analysis):
    """What is scored, and how.

    classes: the names of labels in the order of the model's classes; null: labels that are numbers are these numbers,
    names are classes in the order of the alphabet, as Keras' own readers of folders have it.
    """

    classes: list[str] | None = None
    metric: Metric = Metric.auto
    samples: Annotated[int | None, within(ge=1)] = None
    seed: Annotated[int, within(ge=0, lt=2**32)] = 0
    max_drop: Annotated[float | None, within(ge=0)] = None
    relative_drop: bool = False
    output: str | None = None
    min_score: float | None = None

    def source_problems(self, inputs: tuple[TensorSpec, ...] | None, group: str) -> Iterable[Problem]:
        """What is wrong with the source itself."""
        return ()

    def labelled(self) -> bool:
        """Whether the source tells labels."""
        return False

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        found = list(self.source_problems(steps["source"].shaped_inputs(), _GROUP))
        yield from found
        yield from output_problems(self.output, steps)
        yield from gate_problems(self.max_drop, self.relative_drop)
        yield from score_problems(self.min_score, self.metric)
        if self.metric is Metric.function:
            what = "a metric of your own is for evaluation=npz"
            yield Problem(what, "evaluation.metric", "evaluation.metric=auto")
        elif not found and self.metric in metrics.NEEDS_LABELS and not self.labelled():
            yield Problem(f"{self.metric.name} needs labels, and there are none", "evaluation.metric", _WITHOUT)
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            once = list(dict.fromkeys(self.classes))
            yield Problem("a class stands twice", "evaluation.classes", assignment("evaluation.classes", once))

    def evaluate(self, state: State, reporter: Reporter, opened: Callable[[tuple[TensorSpec, ...]], Samples]) -> State:
        """Score the file on samples of the source that `opened` gives for some inputs."""
        sources: list[Samples] = []
        given: list[Any] = []

        def reader(inputs: tuple[TensorSpec, ...]) -> Mapping[str, Any]:
            source, folder = opened(inputs), f"evaluation{len(sources) or ''}"
            arrays, labels = read(source, inputs, state.workdir / folder, self.samples, self.seed)
            sources.append(source)
            given.append(labels)
            return arrays

        samples = baseline.read(state, reader, reporter)
        source, labels = sources[0], given[0]
        for note in source.notes:
            reporter.warn(note)
        if labels is not None and self.metric not in (*metrics.FIDELITY, Metric.reconstruction):
            labels, said = numbers(labels.tolist(), source.labels or (), self.classes, source.what)
            if said:
                reporter.note({"evaluation.class_order": said[:5000]})  # the key itself is a parameter
        gates: dict[str, Any] = {"max_drop": self.max_drop, "relative_drop": self.relative_drop}
        question = Question(source.what, labels, self.metric, self.output, **gates, min_score=self.min_score)
        evaluate(state, samples, question, reporter)
        return state


_WITHOUT = "evaluation.metric=auto"


def numbers(labels: Sequence[Any], every: Sequence[Any], classes: Sequence[str] | None, file: str) -> tuple[Any, str]:
    """Labels (n,) as numbers, and the order of the classes where it had to be assumed, else "". `every`: those of the
    whole source, of which `labels` are some. Errors: RequestError for a name that is none of `classes`."""
    import numpy as np

    if classes is not None:
        place = {name: number for number, name in enumerate(classes)}
        if unknown := sorted({str(label) for label in labels} - set(place)):
            what = f"{file}: there is no class {unknown[0]!r} in evaluation.classes"
            similar = near(unknown[0], list(classes))
            hint = f"; did you mean {similar[0]}?" if similar else ""
            fix = assignment("evaluation.classes", [*classes, *unknown])
            raise RequestError(Problem(f"{what}{hint}", "evaluation.classes", fix))
        return np.array([place[str(label)] for label in labels]), ""
    try:
        values = np.array([float(label) for label in labels])
    except ValueError:
        names = sorted({str(label) for label in every})
        return numbers(labels, every, names, file)[0], ", ".join(names)
    whole = bool((values == np.floor(values)).all())
    return (values.astype("int64") if whole else values), ""


@dataclass(frozen=True)
class ImagesEvaluation(ImageFolder, Scored):
    """A folder of images, whose sub-folders are their classes."""

    def labelled(self) -> bool:
        return listing(Path(self.path), IMAGES).labels is not None

    def __call__(self, state: State, reporter: Reporter) -> State:
        return self.evaluate(state, reporter, lambda inputs: self.open(inputs, _GROUP))


@dataclass(frozen=True)
class WavEvaluation(WavFolder, Scored):
    """A folder of `.wav` files, whose sub-folders are their classes."""

    def labelled(self) -> bool:
        return listing(Path(self.path), WAVES).labels is not None

    def __call__(self, state: State, reporter: Reporter) -> State:
        return self.evaluate(state, reporter, lambda inputs: self.open(inputs, _GROUP))


@dataclass(frozen=True)
class CsvEvaluation(CsvFile, Scored):
    """Columns of a CSV file with a header, one of them the label."""

    def labelled(self) -> bool:
        return self.label is not None

    def __call__(self, state: State, reporter: Reporter) -> State:
        return self.evaluate(state, reporter, lambda inputs: self.open(inputs, _GROUP))


@dataclass(frozen=True)
class TfrecordEvaluation(TfrecordFiles, Scored):
    """Features of the `tf.train.Example`s in TFRecord files."""

    def labelled(self) -> bool:
        return self.label is not None

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.backend.models import tfrecords

        examples = functools.partial(tfrecords.examples, where=f"{_GROUP}.path")
        return self.evaluate(state, reporter, lambda inputs: self.open(inputs, _GROUP, examples))
