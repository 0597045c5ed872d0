"""Samples → a folder of `.npy` files (see `npz.save_arrays`), checked on the way: never in memory as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.core.shapes import shape_fits
from tflite_recipes.core.state import TensorSpec
from tflite_recipes.files.samples import npz
from tflite_recipes.files.samples.sample_source import Samples, drawn

_BLOCK_BYTES = 1 << 20  # in float64, the most that a number may become on its way


def store(
    samples: Samples,
    rows: Sequence[int] | None,
    inputs: tuple[TensorSpec, ...],
    folder: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> Path:
    """Write these rows, in this order, cast to the inputs' dtypes; all there are for None. Text is kept in memory.

    Errors: RequestError that names source, input and first bad sample for NaN, infinities, values too large for the
    input, another shape or type, or nothing at all.
    """
    ascending = sorted(rows) if rows is not None else None
    places = {row: place for place, row in enumerate(rows)} if rows is not None else None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "names.txt").write_text("\n".join(spec.name for spec in inputs), encoding="utf-8")
    columns = [_Column(folder / f"{position}.npy", spec, samples) for position, spec in enumerate(inputs)]
    count = 0
    try:
        for sample in samples.read(ascending):
            row = ascending[count] if ascending is not None else count
            for column in columns:
                column.add(row, places[row] if places is not None else row, _of(sample, column.spec, samples, row))
            count += 1
            progress(count)
    finally:
        problems = [problem for column in columns for problem in column.close()]
    if count == 0:
        raise RequestError(Problem(f"{samples.what}: empty, it holds no sample", samples.where, samples.fix))
    if problems:
        raise RequestError(problems)
    return folder


def read(
    samples: Samples, inputs: tuple[TensorSpec, ...], folder: Path, count: int | None = None, seed: int = 0
) -> tuple[dict[str, Any], Any]:
    """Arrays by input name, memory-mapped from `folder`, with their labels (n,) or None, of `count` samples drawn by
    `seed`, without regard to labels. Errors: RequestError, as `store`."""
    import numpy as np

    rows = None if samples.count is None else drawn(samples.count, count, seed, False, None, False)
    arrays = npz.open_arrays(store(samples, rows, inputs, folder))
    if not samples.labels:  # a function that gives none leaves them empty
        return arrays, None
    labels = np.asarray(samples.labels)
    return arrays, labels if rows is None else labels[rows]


def _of(sample: Mapping[str, Any], spec: TensorSpec, samples: Samples, row: int) -> Any:
    if spec.name not in sample:
        what = f"{samples.what}: {samples.name(row)} has no {spec.name!r}; it has {', '.join(sample) or 'nothing'}"
        raise RequestError(Problem(what, samples.where, samples.fix))
    return sample[spec.name]


@dataclass
class _Finding:
    count: int
    first: int


class _Column:
    """One input's samples on their way to its file."""

    def __init__(self, path: Path, spec: TensorSpec, samples: Samples) -> None:
        self.spec = spec
        self._path, self._samples = path, samples
        self._file: IO[bytes] | None = None
        self._waiting: list[tuple[int, int, Any]] = []
        self._waiting_bytes = self._count = self._start = 0
        self._shape: tuple[int, ...] | None = None
        self._text: list[tuple[int, Any]] = []
        self._found: dict[str, _Finding] = {}

    def add(self, row: int, place: int, value: Any) -> None:
        import numpy as np

        array = np.asarray(value)
        if self._shape is None or array.shape != self._shape or array.dtype != self._waiting_type:
            self._flush()
            self._begin(row, array)
        self._waiting.append((row, place, array))
        self._waiting_bytes += 8 * array.size
        if self._waiting_bytes >= _BLOCK_BYTES:
            self._flush()

    def _begin(self, row: int, array: Any) -> None:
        """The first sample, or one of another shape or type than that before it."""
        named = f"{self._samples.what}, {self._samples.word} {self.spec.name!r}"
        given = TensorSpec(self.spec.name, (1, *array.shape), array.dtype.name)
        which = self._samples.name(row)
        if not shape_fits(self.spec.shape, given.shape):
            self._refuse(f"{named}: {which} has the shape {array.shape}, which does not fit the model's {self.spec}")
        if self._shape is not None and array.shape != self._shape:
            self._refuse(f"{named}: {which} has the shape {array.shape}, those before it have {self._shape}")
        if 0 in array.shape:
            self._refuse(f"{named}: {which} is empty, its shape is {array.shape}")
        if not npz.castable(given.dtype, self.spec.dtype):
            self._refuse(f"{named}: {given.dtype} cannot become the model's {self.spec.dtype}")
        self._shape, self._waiting_type = array.shape, array.dtype

    def _refuse(self, what: str) -> None:
        raise RequestError(Problem(what, self._samples.where, self._samples.fix))

    def _flush(self) -> None:
        import numpy as np

        if not self._waiting:
            return
        rows, places, values = zip(*self._waiting, strict=True)
        array = np.stack(values)
        cast = npz.in_type(array, self.spec.dtype)
        for what, bad in npz.bad_rows(array, cast).items():
            if bad.any():
                found = self._found.setdefault(what, _Finding(0, rows[int(bad.argmax())]))
                found.count += int(bad.sum())
        if cast.dtype == object:
            self._text += zip(places, cast, strict=True)
        else:
            self._write(places, np.ascontiguousarray(cast))
        self._count += len(rows)
        self._waiting, self._waiting_bytes = [], 0

    def _write(self, places: Sequence[int], block: Any) -> None:
        if self._file is None:
            self._file = self._path.open("wb")
            self._head(block.dtype, 0)
            self._start = self._file.tell()
        size = block[:1].nbytes
        if places == tuple(range(places[0], places[0] + len(places))):
            self._file.seek(self._start + places[0] * size)
            self._file.write(block.tobytes())
        else:
            for place, value in zip(places, block, strict=True):
                self._file.seek(self._start + place * size)
                self._file.write(value.tobytes())
        self._dtype = block.dtype

    def _head(self, dtype: Any, count: int) -> None:
        """Numpy's header leaves room for a first axis that grows, so it can be written again."""
        import numpy as np

        assert self._file is not None
        assert self._shape is not None
        shape = (count, *self._shape)
        described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        self._file.seek(0)
        np.lib.format.write_array_header_1_0(self._file, described)

    def close(self) -> Iterable[Problem]:
        """Finish the file. What was wrong with the samples."""
        import numpy as np

        self._flush()
        if self._file is not None:
            self._head(self._dtype, self._count)
            assert self._file.tell() == self._start
            self._file.close()
        if self._text:
            ordered = [value for _, value in sorted(self._text, key=lambda entry: entry[0])]
            np.save(self._path, np.stack(ordered))
        named = f"{self._samples.what}, {self._samples.word} {self.spec.name!r}"
        for what, found in self._found.items():
            said = npz.bad_values(what, self.spec.dtype, self._samples.name(found.first), found.count)
            yield Problem(f"{named}: {said}", self._samples.where, self._samples.fix)
