"""A Python function of the user's that gives samples."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tflite_recipes.core.errors import Problem, RequestError, gist
from tflite_recipes.files.samples.sample_source import Samples, numbered


def generated(
    function: Callable[..., Iterable[Any]], arguments: Mapping[str, Any], named: str, most: int | None, where: str
) -> Samples:
    """What `function(**arguments)` gives, `most` samples of it: dicts of arrays by input name, or pairs of such a dict
    and a label. It is called anew for each reading; `labels` fill while the samples are read."""
    labels: list[Any] = []

    def refusal(what: str) -> RequestError:
        return RequestError(Problem(f"{named} {what}", where))

    def rows(wanted: Sequence[int] | None) -> Iterator[Mapping[str, Any]]:
        assert wanted is None, "a function's samples are taken in its own order"
        labels.clear()
        labelled = False
        for row, given in enumerate(itertools.islice(_told(function, arguments, refusal), most)):
            pair = isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], Mapping)
            sample = given[0] if pair else given
            if not isinstance(sample, Mapping):
                kind = type(given).__name__
                raise refusal(f"gave {kind} for {numbered(row)}; a dict of arrays by input name is needed")
            if row and pair is not labelled:
                raise refusal(f"gave a label for some samples and not for others, the first is {numbered(row)}")
            labelled = pair
            if pair:
                labels.append(given[1].item() if hasattr(given[1], "item") else given[1])
            yield sample

    return Samples(named, where, None, rows, labels)


def _told(
    function: Callable[..., Iterable[Any]], arguments: Mapping[str, Any], refusal: Callable[[str], RequestError]
) -> Iterator[Any]:
    """What it gives, its errors turned into ones that name it. The log of the run has their traceback."""
    row = 0
    try:
        made = function(**arguments)
    except (Exception, SystemExit) as error:
        raise refusal(f"failed when it was called: {type(error).__name__}: {gist(error)}") from error
    if isinstance(made, (Mapping, str, bytes)) or not hasattr(made, "__iter__"):
        raise refusal(f"gave {type(made).__name__}, nothing that yields samples one by one")
    stream = iter(made)
    while True:
        try:
            given = next(stream)
        except StopIteration:
            return
        except (Exception, SystemExit) as error:
            raise refusal(f"failed at {numbered(row)}: {type(error).__name__}: {gist(error)}") from error
        yield given
        row += 1
