"""What a function yields for samples, in the forms that people write, as samples by input name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tflite_recipes.core.shapes import shape_fits
from tflite_recipes.core.state import TensorSpec


@dataclass(frozen=True)
class Yielded:
    """One sample: arrays by input name, and its label where `labelled`."""

    arrays: Mapping[str, Any]
    labelled: bool = False
    label: Any = None


def samples_of(given: Any, inputs: Sequence[TensorSpec]) -> Iterator[Yielded] | None:
    """Return the samples that one yielded value holds; None where it is none of the forms.

    The forms are a dict of arrays by input name, a list of arrays in the order of the inputs (what
    `tf.lite.RepresentativeDataset` takes), an array or tensor for a model of one input, and a pair of any of them and
    a label. Arrays that all have one axis more than a sample of theirs are a batch, whose rows are the samples.
    """
    arrays = _by_name(given, inputs)
    if arrays is not None:
        return _rows(arrays, inputs, False, None)
    if isinstance(given, tuple) and len(given) == 2:
        arrays = _by_name(given[0], inputs)
        return None if arrays is None else _rows(arrays, inputs, True, given[1])
    return None


def _by_name(given: Any, inputs: Sequence[TensorSpec]) -> Mapping[str, Any] | None:
    if isinstance(given, Mapping):
        return given
    if _is_array(given):
        return {inputs[0].name: given} if len(inputs) == 1 else None
    listed = isinstance(given, (list, tuple)) and len(given) == len(inputs) and all(map(_is_array, given))
    return {spec.name: value for spec, value in zip(inputs, given, strict=True)} if listed else None


def _is_array(value: Any) -> bool:
    """Return whether it is an array or a tensor of one type; a list of numbers may as well be a list of inputs."""
    return hasattr(value, "__array__") and hasattr(value, "shape")


def _rows(arrays: Mapping[str, Any], inputs: Sequence[TensorSpec], labelled: bool, label: Any) -> Iterator[Yielded]:
    sizes = {_batch(arrays[spec.name], spec) for spec in inputs if spec.name in arrays}
    count = next(iter(sizes)) if len(sizes) == 1 else None
    if count is None:
        yield Yielded(arrays, labelled, label)
        return
    several = labelled and getattr(label, "shape", ())[:1] == (count,)
    for row in range(count):
        one = {spec.name: arrays[spec.name][row] for spec in inputs if spec.name in arrays}
        yield Yielded(one, labelled, label[row] if several else label)


def _batch(value: Any, spec: TensorSpec) -> int | None:
    """The number of samples in a batch of them; None for one sample, and for what is neither."""
    shape = tuple(getattr(value, "shape", ()))
    is_batch = len(shape) == len(spec.shape) > 0 and shape_fits((None, *spec.shape[1:]), shape)
    return int(shape[0]) if is_batch and _is_array(value) else None
