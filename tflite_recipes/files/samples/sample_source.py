"""What every source gives, and which of its samples are taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tflite_recipes.files.samples import npz

Sample = Mapping[str, Any]  # numpy arrays by input name, without the axis that counts samples


def numbered(row: int) -> str:
    """A sample that has nothing but its number."""
    return f"sample {row}"


@dataclass(frozen=True)
class Samples:
    """Samples that can be read, one at a time, more than once.

    what: file, folder or function, as errors name it. where: its config key. count: None where only reading tells.
    read: gives the samples of these rows, which ascend (None: all there are), as they are to be fed, before they are
    cast to the input's dtype. labels: one a row. name: a row as errors name it. word: what an input is in this source.
    preprocessing: by input, what is done to the raw data. notes: what a user has to be told.
    """

    what: str
    where: str
    count: int | None
    read: Callable[[Sequence[int] | None], Iterator[Sample]]
    labels: Sequence[Any] | None = None
    name: Callable[[int], str] = numbered
    word: str = "input"
    fix: str = ""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def drawn(
    total: int, samples: int | None, seed: int, shuffle: bool, labels: Sequence[Any] | None, stratify: bool | None
) -> list[int]:
    """The rows that are taken, in the order in which they are kept: the source's own, or one drawn by `seed` with
    `shuffle`, which changes the order and never the choice. `samples` None, or more than there are: all rows.

    `stratify` None is true where there are labels. It takes as many rows of each label as of any other, as far as
    there are that many, and needs `labels`.
    """
    import numpy as np

    fewer = samples is not None and samples < total
    if fewer and labels is not None and stratify is not False:
        assert samples is not None
        rows = _stratified(labels, samples, seed)
    else:
        rows = npz.draw(total, samples, seed)
    if shuffle:  # of a generator of its own, so that it does not change the choice
        rows = np.random.default_rng([seed, 1]).permutation(rows)
    return [int(row) for row in rows]


def _stratified(labels: Sequence[Any], samples: int, seed: int) -> Any:
    """Rows, ascending: equal shares, the first labels in their order getting what does not divide."""
    import numpy as np

    values, numbers = np.unique(np.asarray(labels).astype(str), return_inverse=True)
    held = np.bincount(numbers, minlength=len(values))
    shares = np.zeros(len(values), int)
    while (left := samples - int(shares.sum())) > 0:
        (open_,) = np.nonzero(shares < held)
        if left < len(open_):
            shares[open_[:left]] += 1
            break
        shares[open_] += np.minimum(left // len(open_), (held - shares)[open_])
    rng = np.random.default_rng(seed)
    chosen = [
        rng.choice(np.flatnonzero(numbers == value), share, replace=False)
        for value, share in enumerate(shares)
        if share
    ]
    return np.sort(np.concatenate(chosen))


def label_counts(labels: Sequence[Any]) -> dict[str, int]:
    """How many samples each label has, by label."""
    import numpy as np

    values, counts = np.unique(np.asarray(labels).astype(str), return_counts=True)
    return {str(value): int(count) for value, count in zip(values, counts, strict=True)}
