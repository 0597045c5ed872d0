"""A representative dataset, checked, with a manifest of what it was."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from tflite_recipes import datasets, digits
from tflite_recipes.errors import Problem
from tflite_recipes.events import Reporter
from tflite_recipes.schema import ExistingPath, within
from tflite_recipes.state import State


def _finish(state: State, reporter: Reporter, arrays: Mapping[str, Any], source: str, seed: int | None) -> State:
    """Write the samples that were chosen, with their manifest, and hand their folder on."""
    folder = datasets.save_arrays(state.workdir / "calibration", arrays)
    manifest = datasets.manifest(arrays, source, seed)
    path = state.workdir / "calibration.json"
    path.write_text(json.dumps(manifest, indent=2))
    reporter.keep(str(path))
    reporter.tag({"tflite_recipes.calibration_sha256": manifest["sha256"]})
    reporter.used("calibration", "calibration", manifest["sha256"], source, manifest["samples"])
    for name, values in manifest["inputs"].items():
        if "min" in values and values["min"] == values["max"]:
            reporter.warn(
                f"every value of the calibration input {name!r} is {values['min']:g}: it says nothing of ranges"
            )
    reporter.progress("calibration samples read", manifest["samples"], manifest["samples"])
    return replace(state, calibration=folder, calibration_sha256=manifest["sha256"])


@dataclass(frozen=True)
class NpzCalibration:
    """Arrays named by input in a `.npz` file, first axis samples. `samples: null` takes all, in the file's order;
    fewer are drawn without replacement by `seed`."""

    path: ExistingPath
    samples: Annotated[int | None, within(ge=1)]
    seed: Annotated[int, within(ge=0, lt=2**32)]

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        yield from datasets.npz_problems(self.path, steps["source"].shaped_inputs(), "calibration.path")

    def __call__(self, state: State, reporter: Reporter) -> State:
        arrays = datasets.load_npz(Path(self.path), state.inputs, "calibration.path")
        total = len(next(iter(arrays.values())))
        if self.samples is not None and self.samples > total:
            reporter.warn(f"calibration.samples={self.samples}, but {self.path} holds {total}: all are used")
        arrays = datasets.choose(arrays, self.samples, self.seed)
        return _finish(state, reporter, arrays, self.path, self.seed)


@dataclass(frozen=True)
class RandomCalibration:
    """Seeded uniform noise in low…high. Never a default: ranges from noise are rarely those of real data."""

    samples: Annotated[int, within(ge=1)]
    seed: Annotated[int, within(ge=0, lt=2**32)]
    low: float
    high: float

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        if not self.low < self.high:
            fix = f"calibration.low={self.high:g} calibration.high={self.low:g}"
            if self.low == self.high:
                fix = f"calibration.high={self.low + 1:g}"
            yield Problem(f"low={self.low:g} is not below high={self.high:g}", "calibration.low", fix)

    def __call__(self, state: State, reporter: Reporter) -> State:
        arrays = datasets.random_arrays(state.inputs, self.samples, self.seed, self.low, self.high)
        reporter.warn(f"calibrated on random data in {self.low:g}…{self.high:g}, as asked: expect poor accuracy")
        return _finish(state, reporter, arrays, f"random {self.low:g}…{self.high:g}", self.seed)


@dataclass(frozen=True)
class DigitsCalibration:
    """Training images of the embedded digits."""

    samples: Annotated[int, within(ge=1, le=1437)]
    seed: Annotated[int, within(ge=0, lt=2**32)]

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        yield from digits_problems(steps, "calibration")

    def __call__(self, state: State, reporter: Reporter) -> State:
        arrays = {state.inputs[0].name: digits.training().images}
        datasets.check_arrays(arrays, state.inputs, "digits", "calibration")
        arrays = datasets.choose(arrays, self.samples, self.seed)
        return _finish(state, reporter, arrays, "scikit-learn load_digits, training part", self.seed)


def digits_problems(steps: Mapping[str, Any], group: str) -> Iterable[Problem]:
    """The digits suit a model with one input of 8 × 8 × 1 images."""
    inputs = steps["source"].shaped_inputs() if "source" in steps else None
    if inputs is None:
        return
    fits = len(inputs) == 1 and datasets.shape_fits(inputs[0].shape, digits.INPUT.shape)
    if not fits:
        listed = "; ".join(map(str, inputs))
        what = f"the digits are {digits.INPUT}, the model takes {listed}"
        yield Problem(what, group, f"{group}=FILE.npz" if "." in group else f"{group}=npz {group}.path=FILE")
