"""The way of calibration samples from their source to the state: drawn, checked, written, told of."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, unique
from typing import Annotated, Any

from tflite_recipes.core.analysis import keep_written
from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.schema import within
from tflite_recipes.core.state import State, TensorSpec
from tflite_recipes.files.samples import Samples, npz, sample_checks, sample_source, store

_WHERE = "calibration"


@unique
class RangeMethod(Enum):
    """How the range of a tensor is set from what it was in the samples."""

    min_max = "least and largest value"
    percentile = "the part in the middle that holds `percentile` percent of the values"
    mse = "the range whose quantization has the least mean squared error"
    moving_average = "least and largest value of each sample, averaged with `smoothing`"


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """How ranges are set from the samples. percentile, smoothing: for the methods of these names."""

    method: RangeMethod = RangeMethod.min_max
    percentile: Annotated[float, within(gt=50, le=100)] = 99.99
    smoothing: Annotated[float, within(gt=0, lt=1)] = 0.95

    def without_effect(self) -> Iterable[str]:
        """What to say of keys that are for another method."""
        for key in ("percentile", "smoothing"):
            method = "moving_average" if key == "smoothing" else key
            if getattr(self, key) != getattr(Ranges, key) and self.method.name != method:
                yield f"calibration.{key} is for calibration.method={method}, and has no effect on {self.method.name}"

    def recorded(self) -> dict[str, Any]:
        """For the manifest: nothing for the default."""
        if self.method is RangeMethod.min_max:
            return {}
        said: dict[str, Any] = {"method": self.method.name}
        said |= {"percentile": self.percentile} if self.method is RangeMethod.percentile else {}
        said |= {"smoothing": self.smoothing} if self.method is RangeMethod.moving_average else {}
        return {"ranges": said}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which samples are taken, and in which order.

    samples: null takes all; fewer are drawn without replacement by `seed`, and kept in the source's order. shuffle:
    in an order drawn by `seed` instead, which does not change which ones. stratify: equally many of each label where
    not all are taken; null: where there are labels.
    """

    samples: Annotated[int | None, within(ge=1)] = None
    seed: Annotated[int, within(ge=0, lt=2**32)] = 0
    shuffle: bool = False
    stratify: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Drawn(Ranges, Choice):
    """A calibration on samples that are drawn from a source."""

    def labelled(self) -> bool:
        """Whether the source tells labels, as far as can be told before it is read."""
        return False

    def source_problems(self, inputs: tuple[TensorSpec, ...] | None, group: str) -> Iterable[Problem]:
        """What is wrong with the source itself."""
        return ()

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        found = list(self.source_problems(steps["source"].shaped_inputs(), _WHERE))
        yield from found
        if self.stratify and not found and not self.labelled():
            yield _no_labels()

    def draw(self, state: State, reporter: Reporter, source: Samples) -> State:
        """The state with the samples of `source` that are asked for."""
        assert source.count is not None
        if self.stratify and source.labels is None:
            raise RequestError(_no_labels())
        if self.samples is not None and self.samples > source.count:
            reporter.warn(f"calibration.samples={self.samples}, but {source.what} holds {source.count}: all are used")
        rows = sample_source.drawn(source.count, self.samples, self.seed, self.shuffle, source.labels, self.stratify)
        return finish(state, reporter, source, rows, self.seed, self)


def _no_labels() -> Problem:
    return Problem("there are no labels to stratify by", "calibration.stratify", "calibration.stratify=null")


def of_arrays(arrays: Mapping[str, Any], what: str, labels: Sequence[Any] | None = None) -> Samples:
    """Samples that are in memory already."""
    count = len(next(iter(arrays.values())))

    def rows(wanted: Sequence[int] | None) -> Iterator[Mapping[str, Any]]:
        for row in range(count) if wanted is None else wanted:
            yield {name: array[row] for name, array in arrays.items()}

    return Samples(what, _WHERE, count, rows, labels)


def finish(
    state: State,
    reporter: Reporter,
    source: Samples,
    rows: Sequence[int] | None,
    seed: int | None,
    ranges: Ranges,
) -> State:
    """Write the samples of these rows with their manifest, say what is suspicious, and hand their folder on."""
    total = len(rows) if rows is not None else 0
    told = functools.partial(_progress, reporter, total) if total else lambda done: None
    folder = store(source, rows, state.inputs, state.workdir / "calibration", told)
    arrays = npz.open_arrays(folder)
    manifest = npz.manifest(arrays, source.what, seed)
    if source.labels:
        kept = source.labels if rows is None else [source.labels[row] for row in rows]
        manifest["labels"] = sample_source.label_counts(kept)
    manifest |= {"preprocessing": dict(source.preprocessing)} if source.preprocessing else {}
    manifest |= ranges.recorded()
    path = state.workdir / "calibration.json"
    keep_written(reporter, path, lambda path: path.write_text(json.dumps(manifest, indent=2)), "calibration")
    reporter.tag({"tflite_recipes.calibration_sha256": manifest["sha256"]})
    known = (manifest["sha256"], source.what, manifest["samples"], manifest["inputs"])
    reporter.used("calibration", "calibration", *known)
    for text in (*ranges.without_effect(), *source.notes, *_suspicions(state, arrays, source, rows)):
        reporter.warn(text)
    reporter.progress("calibration samples read", manifest["samples"], manifest["samples"])
    return replace(
        state, calibration=folder, calibration_sha256=manifest["sha256"], preprocessing=dict(source.preprocessing)
    )


def _progress(reporter: Reporter, total: int, done: int) -> None:
    if done < total:  # the last is told when all is done
        reporter.progress("calibration samples read", done, total)


def _suspicions(state: State, arrays: Mapping[str, Any], source: Samples, rows: Sequence[int] | None) -> Iterable[str]:
    yield from sample_checks.constant(arrays)
    yield from sample_checks.alike(arrays)
    yield from sample_checks.outlier(arrays, lambda place: source.name(place if rows is None else rows[place]))
    yield from sample_checks.raw_pixels(arrays, functools.partial(_takes_bytes, state, arrays))


def _takes_bytes(state: State, arrays: Mapping[str, Any], name: str) -> bool:
    """Return whether the model is made for values in 0…255 of this input: it scales them, looks them up in a table, or
    was trained on them."""
    from tflite_recipes.backend.running import pixel_scale

    return name in _scaled_inputs(state) or pixel_scale.trained_on_bytes(state, arrays, name)


def _scaled_inputs(state: State) -> frozenset[str]:
    """The inputs that the model scales by itself."""
    from tflite_recipes.backend.models import first_ops

    if state.saved_model is not None:
        return first_ops.scaled_inputs(state.saved_model, state.signature)
    assert state.float_file is not None
    return first_ops.scaled_inputs_of_file(state.float_file, state.signature)
