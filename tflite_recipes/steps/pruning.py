"""Magnitude pruning of Keras 3 models, with a short fine-tune: small weights become zeros and stay zeros."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, unique
from pathlib import Path
from typing import Annotated, Any

from tflite_recipes.core.errors import Problem
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.schema import PossiblePath, within
from tflite_recipes.core.state import State
from tflite_recipes.files.samples import digits, npz
from tflite_recipes.steps.calibration import digits_problems


@unique  # members of one value would be one member
class Loss(Enum):
    """What the fine-tune minimizes."""

    sparse_categorical_crossentropy = "integer labels"
    categorical_crossentropy = "one-hot labels"
    binary_crossentropy = "labels 0 and 1"
    mean_squared_error = "labels of the output's own shape, squared differences"
    mean_absolute_error = "labels of the output's own shape, absolute differences"


@dataclass(frozen=True)
class Pruning:
    """What both schedules share. `sparsity_at(step, total)` is the share of zeros wanted at a training step."""

    final_sparsity: Annotated[float, within(gt=0, lt=1)]
    frequency: Annotated[int, within(ge=1)]
    layers: list[str]
    data: PossiblePath | None
    epochs: Annotated[int, within(ge=0)]
    batch_size: Annotated[int, within(ge=1)]
    learning_rate: Annotated[float, within(gt=0)]
    loss: Loss
    from_logits: bool
    validation_split: Annotated[float, within(ge=0, lt=1)]
    seed: Annotated[int, within(ge=0, lt=2**32)]

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        if type(steps["source"]).__name__ == "SavedModelSource":
            what = "pruning works on Keras models, and the source is a SavedModel"
            yield Problem(what, "pruning", "pruning=none", ("source=keras source.path=model.keras",))
        if self.data is None and self.epochs:
            ors = ("pruning.epochs=0",)
            best = "pruning.data=FILE.npz"
            if type(steps["source"]).__name__ == "DigitsSource":
                best = "pruning.data=digits"
            yield Problem("a fine-tune needs data (a .npz with the inputs and `labels`)", "pruning.data", best, ors)
        elif self.data == "digits":
            yield from digits_problems(steps, "pruning.data")
        elif self.data is not None:
            if not Path(self.data).is_file():
                yield Problem(f"there is no {self.data}", "pruning.data", "pruning.data=FILE.npz")
                return
            inputs = steps["source"].shaped_inputs()
            yield from npz.npz_problems(self.data, inputs, "pruning.data", ("labels",))

    def sparsity_at(self, step: int, total: int) -> float:
        raise NotImplementedError

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.backend.models import named_model, source_model
        from tflite_recipes.backend.training import magnitude_pruning

        model = state.model.prunable()
        samples = None
        if self.data == "digits":
            training = digits.training()
            samples = {state.model.inputs[0].name: training.images, "labels": training.labels}
        elif self.data is not None:
            samples = npz.load_npz(Path(self.data), state.model.inputs, "pruning.data", ("labels",))
        if samples is not None:
            digest, described = npz.sha256(samples), npz.described(samples, ("labels",))
            reporter.used("pruning", "training", digest, str(self.data), len(samples["labels"]), described)
        state = named_model.kept(state, "pruning", reporter)
        magnitude_pruning.prune(model, self, samples, reporter)
        return source_model.changed(state)


@dataclass(frozen=True)
class ConstantPruning(Pruning):
    """One sparsity from the first step on."""

    def sparsity_at(self, step: int, total: int) -> float:
        return self.final_sparsity


@dataclass(frozen=True)
class PolynomialDecayPruning(Pruning):
    """From `initial_sparsity` to `final_sparsity` along a polynomial between two training steps.

    The schedule is that of Zhu and Gupta, "To prune, or not to prune" (2017), equation 1, with `power` for its 3.
    """

    initial_sparsity: Annotated[float, within(ge=0, lt=1)]
    power: Annotated[float, within(gt=0)]
    begin_step: Annotated[int, within(ge=0)]
    end_step: Annotated[int | None, within(ge=1)]

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        yield from super().problems(steps)
        if self.initial_sparsity > self.final_sparsity:
            what = f"initial_sparsity={self.initial_sparsity:g} is above final_sparsity={self.final_sparsity:g}"
            yield Problem(what, "pruning.initial_sparsity", "pruning.initial_sparsity=0.0")
        if self.end_step is not None and self.end_step <= self.begin_step:
            what = f"end_step={self.end_step} is not after begin_step={self.begin_step}"
            yield Problem(what, "pruning.end_step", "pruning.end_step=null")

    def sparsity_at(self, step: int, total: int) -> float:
        end = self.end_step if self.end_step is not None else max(self.begin_step + 1, (3 * total) // 4)
        if step < self.begin_step:
            return 0.0
        rest = 1.0 - min(1.0, (step - self.begin_step) / (end - self.begin_step))
        return self.final_sparsity + (self.initial_sparsity - self.final_sparsity) * float(rest**self.power)
