"""A representative dataset, checked, with a manifest of what it was."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tflite_recipes.core import schema, user_code
from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.schema import NeedsTrust, within
from tflite_recipes.core.shapes import shape_fits
from tflite_recipes.core.state import State, TensorSpec
from tflite_recipes.files.samples import digits, npz
from tflite_recipes.files.samples.arrays import NpyFiles, NpzFile
from tflite_recipes.files.samples.csv_tables import CsvFile
from tflite_recipes.files.samples.folders import listing
from tflite_recipes.files.samples.generators import generated
from tflite_recipes.files.samples.images import ENDINGS as IMAGES
from tflite_recipes.files.samples.images import ImageFolder
from tflite_recipes.files.samples.tfrecord_files import TfrecordFiles
from tflite_recipes.files.samples.wav_files import ENDINGS as WAVES
from tflite_recipes.files.samples.wav_files import WavFolder
from tflite_recipes.steps.calibration_samples import Drawn, RangeMethod, Ranges, finish, of_arrays
from tflite_recipes.steps.source import code_problems

__all__ = [
    "CsvCalibration",
    "DigitsCalibration",
    "GeneratorCalibration",
    "ImagesCalibration",
    "NpyCalibration",
    "NpzCalibration",
    "RandomCalibration",
    "RangeMethod",
    "TfrecordCalibration",
    "WavCalibration",
    "digits_problems",
]

_GROUP = "calibration"


@dataclass(frozen=True)
class NpzCalibration(Drawn, NpzFile):
    """Arrays named by input in a `.npz` file, first axis samples. `samples: null` takes all, in the file's order;
    fewer are drawn without replacement by `seed`. labels: the array of the labels."""

    samples: Annotated[int | None, within(ge=1)]
    seed: Annotated[int, within(ge=0, lt=2**32)]
    labels: str | None = field(default=None, kw_only=True)

    def labelled(self) -> bool:
        return self.labels is not None

    def source_problems(
        self, inputs: tuple[TensorSpec, ...] | None, group: str, labels: str | None = None
    ) -> Iterable[Problem]:
        return NpzFile.source_problems(self, inputs, group, labels or self.labels)

    def __call__(self, state: State, reporter: Reporter) -> State:
        return self.draw(state, reporter, self.open(state.inputs, _GROUP, self.labels))


@dataclass(frozen=True)
class NpyCalibration(NpyFiles, Drawn):
    """A `.npy` file, or a folder with a NAME.npy for each input, mapped into memory; first axis samples."""

    def __call__(self, state: State, reporter: Reporter) -> State:
        return self.draw(state, reporter, self.open(state.inputs, _GROUP))


@dataclass(frozen=True)
class ImagesCalibration(ImageFolder, Drawn):
    """A folder of images, whose sub-folders are their labels."""

    def labelled(self) -> bool:
        return listing(Path(self.path), IMAGES).labels is not None

    def __call__(self, state: State, reporter: Reporter) -> State:
        return self.draw(state, reporter, self.open(state.inputs, _GROUP))


@dataclass(frozen=True)
class CsvCalibration(CsvFile, Drawn):
    """Columns of a CSV file with a header."""

    def labelled(self) -> bool:
        return self.label is not None

    def __call__(self, state: State, reporter: Reporter) -> State:
        return self.draw(state, reporter, self.open(state.inputs, _GROUP))


@dataclass(frozen=True)
class TfrecordCalibration(TfrecordFiles, Drawn):
    """Features of the `tf.train.Example`s in TFRecord files."""

    def labelled(self) -> bool:
        return self.label is not None

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.backend.models import tfrecords

        examples = functools.partial(tfrecords.examples, where=f"{_GROUP}.path")
        return self.draw(state, reporter, self.open(state.inputs, _GROUP, examples))


@dataclass(frozen=True)
class WavCalibration(WavFolder, Drawn):
    """A folder of `.wav` files, whose sub-folders are their labels."""

    def labelled(self) -> bool:
        return listing(Path(self.path), WAVES).labels is not None

    def __call__(self, state: State, reporter: Reporter) -> State:
        return self.draw(state, reporter, self.open(state.inputs, _GROUP))


@dataclass(frozen=True)
class GeneratorCalibration(Ranges):
    """A function of the user's that gives samples: dicts of arrays by input name, lists of arrays in the order of the
    inputs, arrays, or batches of them; also pairs of any of these and a label.

    The first `samples` are taken, in its order; null takes all. seed: given to Python's, NumPy's and TensorFlow's
    global generators before it is called.
    """

    function: Annotated[str, NeedsTrust()]
    arguments: dict[str, Any] = field(default_factory=dict)
    samples: Annotated[int | None, within(ge=1)] = 100
    seed: Annotated[int, within(ge=0, lt=2**32)] = 0

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        yield from code_problems(self.function, "calibration.function")

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.backend.models import session

        where = "calibration.function"
        try:
            function = schema.load_target(self.function)
        except RequestError as error:
            raise RequestError([Problem(p.what, where, p.fix) for p in error.problems]) from error
        user_code.record("calibration_function", [self.function], state, reporter)
        session.seed(self.seed)
        source = generated(function, self.arguments, self.function, self.samples, where, state.inputs)
        done = finish(state, reporter, source, None, self.seed, self)
        assert done.calibration is not None
        count = len(next(iter(npz.open_arrays(done.calibration).values())))
        if self.samples is not None and count < self.samples:
            reporter.warn(f"calibration.samples={self.samples}, but {self.function} gave {count}: all are used")
        return done


@dataclass(frozen=True)
class RandomCalibration(Ranges):
    """Seeded uniform noise in low…high. Never a default: ranges from noise are rarely those of real data.

    within_tables: draw numbers that look up rows of a table from all of its rows.
    """

    samples: Annotated[int, within(ge=1)]
    seed: Annotated[int, within(ge=0, lt=2**32)]
    low: float
    high: float
    within_tables: bool = False

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        if not self.low < self.high:
            fix = f"calibration.low={self.high:g} calibration.high={self.low:g}"
            if self.low == self.high:
                fix = f"calibration.high={self.low + 1:g}"
            yield Problem(f"low={self.low:g} is not below high={self.high:g}", "calibration.low", fix)

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.backend.converting import index_inputs

        limits = index_inputs.limits_of(state, reporter) if self.within_tables else {}
        arrays = npz.random_arrays(state.inputs, self.samples, self.seed, self.low, self.high, limits)
        rows = "".join(f", {name} in {low}…{high}" for name, (low, high) in limits.items())
        reporter.warn(f"calibrated on random data in {self.low:g}…{self.high:g}{rows}, as asked: expect poor accuracy")
        source = of_arrays(arrays, f"random {self.low:g}…{self.high:g}{rows}")
        return finish(state, reporter, source, range(self.samples), self.seed, self)


@dataclass(frozen=True)
class DigitsCalibration(Drawn):
    """Training images of the embedded digits, with their labels."""

    samples: Annotated[int, within(ge=1, le=1437)]
    seed: Annotated[int, within(ge=0, lt=2**32)]
    stratify: bool | None = field(default=False, kw_only=True)

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        yield from digits_problems(steps, "calibration")

    def __call__(self, state: State, reporter: Reporter) -> State:
        training = digits.training()
        arrays = {state.inputs[0].name: training.images}
        npz.check_arrays(arrays, state.inputs, "digits", "calibration")
        source = of_arrays(arrays, "scikit-learn load_digits, training part", training.labels.tolist())
        return self.draw(state, reporter, source)


def digits_problems(steps: Mapping[str, Any], group: str) -> Iterable[Problem]:
    """The digits suit a model with one input of 8 × 8 × 1 images."""
    inputs = steps["source"].shaped_inputs() if "source" in steps else None
    if inputs is None:
        return
    fits = len(inputs) == 1 and shape_fits(inputs[0].shape, digits.INPUT.shape)
    if not fits:
        listed = "; ".join(map(str, inputs))
        what = f"the digits are {digits.INPUT}, the model takes {listed}"
        yield Problem(what, group, f"{group}=FILE.npz" if "." in group else f"{group}=npz {group}.path=FILE")
