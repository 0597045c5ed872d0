"""A CSV file with a header: a row is a sample, columns are its numbers."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tflite_recipes.core import regular_files
from tflite_recipes.core.errors import Problem, RequestError, assignment, gist
from tflite_recipes.core.schema import near
from tflite_recipes.core.state import TensorSpec
from tflite_recipes.files.samples.folders import HasPath
from tflite_recipes.files.samples.sample_source import Samples
from tflite_recipes.files.samples.scaling import Scaling

_SHOWN = 12
# Columns of a table, and characters of a line. An image of 224 x 224 in colour has 150,528 values.
_MOST_COLUMNS, _LONGEST_LINE = 200_000, 16 << 20
# Names that a mistyped one is compared with: each takes 20 µs.
_COMPARED = 5_000


@dataclass(frozen=True)
class CsvFile(HasPath):
    """Columns of a CSV file, UTF-8, that opens with their names.

    inputs: the columns of each input, by the input's name; {} gives all columns but the label, in the file's order,
    to a model with one input. The columns of a row fill the input's shape in C order. label: the column of the labels.
    """

    inputs: dict[str, list[str]] = field(default_factory=dict)
    label: str | None = None
    delimiter: str = ","
    mean: Any = None
    std: Any = None
    scale: Any = None
    offset: Any = None

    def source_problems(self, inputs: tuple[TensorSpec, ...] | None, group: str) -> Iterable[Problem]:
        yield from Scaling.of(vars(self)).problems(group, None)
        if len(self.delimiter) != 1 or self.delimiter in '\r\n"':
            what = f"{self.delimiter!r} is not one character that can stand between cells"
            yield Problem(what, f"{group}.delimiter", assignment(f"{group}.delimiter", ","))
            return
        try:
            header = self._header(group)
        except RequestError as error:
            yield from error.problems
            return
        yield from self._column_problems(header, group)
        if inputs is not None:
            yield from self._input_problems(header, inputs, group)

    def _header(self, group: str) -> list[str]:
        where = f"{group}.path"
        with self._opened(where) as stream:
            try:
                names = [name.strip() for name in next(csv.reader(stream, delimiter=self.delimiter), [])]
            except csv.Error as error:
                what = f"{self.path} cannot be read as CSV: {error}"
                raise RequestError(Problem(what, where, f"{where}=OTHER.csv")) from error
        if not any(names):
            raise RequestError(Problem(f"{self.path} is empty", where, f"{where}=OTHER.csv"))
        if all(_is_number(name) for name in names):
            what = f"{self.path} opens with numbers, not with the names of its columns"
            ors = (f"sed -i '1i {self.delimiter.join(f'c{i}' for i in range(min(len(names), 3)))}…' {self.path}",)
            raise RequestError(Problem(what, where, f"{where}=OTHER.csv", ors))
        if len(names) > _MOST_COLUMNS:
            what = f"{self.path} has {len(names)} columns, and at most {_MOST_COLUMNS} are read"
            ors = (f"save the values as .npy: {where.partition('.')[0]}=npy",)
            raise RequestError(Problem(what, where, "", ors))
        twice = sorted(name for name, count in Counter(names).items() if count > 1)[:_SHOWN]
        if twice:
            what = f"{self.path} has several columns {', '.join(map(repr, twice))}"
            raise RequestError(Problem(what, where, f"{where}=OTHER.csv"))
        return names

    def _opened(self, where: str) -> Any:
        try:
            return _Text(Path(self.path), where)
        except OSError as error:
            raise RequestError(Problem(f"{self.path} cannot be read: {gist(error)}", where)) from error

    def _column_problems(self, header: list[str], group: str) -> Iterable[Problem]:
        listed = ", ".join(header[:_SHOWN]) + (", …" if len(header) > _SHOWN else "")
        if self.label is not None and self.label not in header:
            better = next(iter(near(self.label, header[:_COMPARED])), None)
            what = f"{self.path} has no column {self.label!r}; it has {listed}"
            yield Problem(what, f"{group}.label", assignment(f"{group}.label", better))
        known = set(header)
        for name, columns in self.inputs.items():
            for column in columns:
                if column not in known:
                    better = next(iter(near(column, header[:_COMPARED])), header[0])
                    fixed = [better if other == column else other for other in columns]
                    what = f"{self.path} has no column {column!r}; it has {listed}"
                    key = f"{group}.inputs"
                    yield Problem(what, f"{key}.{name}", assignment(key, {**self.inputs, name: fixed}))

    def _input_problems(self, header: list[str], inputs: tuple[TensorSpec, ...], group: str) -> Iterable[Problem]:
        key, names = f"{group}.inputs", [spec.name for spec in inputs]
        open_ = {name: ["COLUMN"] for name in names}
        if not self.inputs and len(inputs) != 1:
            what = f"the model has {len(inputs)} inputs, {', '.join(names)}: name the columns of each"
            yield Problem(what, key, assignment(key, open_))
            return
        for name in self.inputs:
            if name not in names:
                better = next(iter(near(name, names)), names[0])
                fixed = {better if other == name else other: columns for other, columns in self.inputs.items()}
                what = f"the model has no input {name!r}; it has {', '.join(names)}"
                yield Problem(what, f"{key}.{name}", assignment(key, fixed))
                return
        missing = [name for name in names if self.inputs and name not in self.inputs]
        if missing:
            fixed = {**open_, **self.inputs}
            yield Problem(f"no columns for the input {', '.join(missing)}", key, assignment(key, fixed))
            return
        for name, columns in self._columns(header, inputs).items():
            spec = next(spec for spec in inputs if spec.name == name)
            if _shape(spec, len(columns)) is None:
                what = f"{self.path}: {len(columns)} columns do not fill the model's {spec}"
                fix = assignment(f"{group}.label", header[-1]) if self._one_too_many(spec, len(columns)) else ""
                yield Problem(what, f"{key}.{name}" if self.inputs else f"{group}.path", fix)

    def _one_too_many(self, spec: TensorSpec, count: int) -> bool:
        return self.label is None and not self.inputs and _shape(spec, count - 1) is not None

    def _columns(self, header: list[str], inputs: tuple[TensorSpec, ...]) -> dict[str, list[str]]:
        return self.inputs or {inputs[0].name: [name for name in header if name != self.label]}

    def open(self, inputs: tuple[TensorSpec, ...], group: str) -> Samples:
        """The rows in the file's order. The file is read once to count its rows, and again for the samples."""
        where = f"{group}.path"
        if problems := list(self.source_problems(inputs, group)):
            raise RequestError(problems)
        header, scaling = self._header(group), Scaling.of(vars(self))
        columns = self._columns(header, inputs)
        labelled = header.index(self.label) if self.label is not None else None
        lines, labels = 0, []
        for _, cells in self._lines(header, where):
            lines += 1
            if labelled is not None:
                labels.append(sys.intern(cells[labelled].strip()))

        def rows(wanted: Sequence[int] | None) -> Iterator[dict[str, Any]]:
            at_name = {name: at for at, name in enumerate(header)}
            places = {spec: [at_name[name] for name in columns[spec.name]] for spec in inputs}
            scaled, awaited = scaling.function(), iter(range(lines) if wanted is None else wanted)
            row = next(awaited, None)
            for number, (line, cells) in enumerate(self._lines(header, where)):
                if row is None:
                    return
                if number == row:
                    yield {
                        spec.name: self._values(spec, [(header[at], cells[at]) for at in found], line, where, scaled)
                        for spec, found in places.items()
                    }
                    row = next(awaited, None)

        done = {spec.name: {"columns": columns[spec.name], **scaling.recorded()} for spec in inputs}
        return Samples(
            self.path,
            where,
            lines,
            rows,
            None if labelled is None else labels,
            fix=f"{where}=OTHER.csv",
            preprocessing=done,
        )

    def _lines(self, header: list[str], where: str) -> Iterator[tuple[int, list[str]]]:
        """Line numbers and cells, empty lines left out."""
        with self._opened(where) as stream:
            reader = csv.reader(stream, delimiter=self.delimiter)
            try:
                next(reader)
                for cells in reader:
                    if not cells:
                        continue
                    if len(cells) != len(header):
                        what = f"{self.path}, line {reader.line_num}: {len(cells)} cells for {len(header)} columns"
                        raise RequestError(Problem(what, where, f"{where}=OTHER.csv"))
                    yield reader.line_num, cells
            except csv.Error as error:
                what = f"{self.path}, line {reader.line_num}: {error}"
                raise RequestError(Problem(what, where, f"{where}=OTHER.csv")) from error

    def _values(self, spec: TensorSpec, cells: list[tuple[str, str]], line: int, where: str, scaled: Any) -> Any:
        import numpy as np

        shape = _shape(spec, len(cells))
        if spec.dtype == "string":
            return np.array([text for _, text in cells]).reshape(shape)
        whole, values = not Scaling.of(vars(self)).asked() and np.dtype(spec.dtype).kind in "iu", []
        for name, text in cells:
            try:
                values.append(int(text) if whole else float(text))
            except ValueError as error:
                kind = "a whole number" if whole else "a number"
                said = repr(text) if text.strip() else "an empty cell"
                what = f"{self.path}, line {line}, column {name!r}: {said} is not {kind}"
                raise RequestError(Problem(what, where, f"{where}=OTHER.csv")) from error
        return scaled(np.array(values, "int64" if whole else "float64").reshape(shape))


class _Text:
    """The file as text, whose reading says where it is not."""

    def __init__(self, path: Path, where: str) -> None:
        self._path, self._where = path, where
        binary = regular_files.open_regular(path)
        self._stream = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")

    def __enter__(self) -> Iterator[str]:
        return self._lines()

    def __exit__(self, *_: Any) -> None:
        self._stream.close()

    def _lines(self) -> Iterator[str]:
        try:
            while line := self._stream.readline(_LONGEST_LINE):
                if len(line) == _LONGEST_LINE:
                    what = f"{self._path} has a line of more than {_LONGEST_LINE} characters"
                    raise RequestError(Problem(what, self._where))
                yield line
        except UnicodeDecodeError as error:
            what = f"{self._path} is not UTF-8 text: {error.reason} at byte {error.start}"
            raise RequestError(Problem(what, self._where, f"{self._where}=OTHER.csv")) from error


def _shape(spec: TensorSpec, count: int) -> tuple[int, ...] | None:
    """The input's shape, without the batch, that `count` numbers fill; at most one size of it may be open."""
    inner = spec.shape[1:]
    known = math.prod(size for size in inner if size is not None)
    open_ = sum(size is None for size in inner)
    if count < 1 or open_ > 1 or count % known or (not open_ and count != known):
        return None
    return tuple(count // known if size is None else size for size in inner)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
