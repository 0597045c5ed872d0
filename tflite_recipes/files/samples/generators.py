"""A Python function of the user's that gives samples."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.core.raised import misfit, raised
from tflite_recipes.core.state import TensorSpec
from tflite_recipes.files.samples.generator_samples import Yielded, samples_of
from tflite_recipes.files.samples.sample_source import Samples, numbered


def generated(
    function: Callable[..., Iterable[Any]],
    arguments: Mapping[str, Any],
    named: str,
    most: int | None,
    where: str,
    inputs: Sequence[TensorSpec],
) -> Samples:
    """Return what `function(**arguments)` gives, `most` samples of it, in any of the forms of `samples_of`, with labels
    or without. It is called anew for each reading; `labels` fill while the samples are read."""
    labels: list[Any] = []

    def refusal(what: str) -> RequestError:
        return RequestError(Problem(f"{named} {what}", where))

    def rows(wanted: Sequence[int] | None) -> Iterator[Mapping[str, Any]]:
        assert wanted is None, "a function's samples are taken in its own order"
        labels.clear()
        labelled = False
        for row, sample in enumerate(itertools.islice(_samples(_told(function, arguments, refusal), refusal), most)):
            if row and sample.labelled is not labelled:
                raise refusal(f"gave a label for some samples and not for others, the first is {numbered(row)}")
            labelled = sample.labelled
            if labelled:
                labels.append(_plain(sample.label))
            yield sample.arrays

    def _samples(stream: Iterator[Any], refusal: Callable[[str], RequestError]) -> Iterator[Yielded]:
        for row, given in enumerate(stream):
            found = samples_of(given, inputs)
            if found is None:
                names = ", ".join(spec.name for spec in inputs)
                what = f"arrays by input name are needed, or a list of {len(inputs)} in the order of {names}"
                raise refusal(f"gave {type(given).__name__} for {numbered(row)}; {what}")
            yield from found

    return Samples(named, where, None, rows, labels)


def _plain(label: Any) -> Any:
    """A label as a Python number or text; tensors are read."""
    label = label.numpy() if hasattr(label, "numpy") else label
    return label.item() if getattr(label, "size", 0) == 1 else label


def _told(
    function: Callable[..., Iterable[Any]], arguments: Mapping[str, Any], refusal: Callable[[str], RequestError]
) -> Iterator[Any]:
    """What it gives, its errors turned into ones that name it. The log of the run has their traceback."""
    row = 0
    if wrong := misfit(function, **arguments):
        raise refusal(wrong)
    try:
        made = function(**arguments)
    except (Exception, SystemExit) as error:
        raise refusal(f"failed when it was called: {raised(error)}") from error
    if isinstance(made, (Mapping, str, bytes)) or not hasattr(made, "__iter__"):
        raise refusal(f"gave {type(made).__name__}, nothing that yields samples one by one")
    stream = iter(made)
    while True:
        try:
            given = next(stream)
        except StopIteration:
            return
        except (Exception, SystemExit) as error:
            raise refusal(f"failed at {numbered(row)}: {raised(error)}") from error
        yield given
        row += 1
