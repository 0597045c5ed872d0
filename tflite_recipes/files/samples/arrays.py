"""Arrays in `.npz` and `.npy` files, read row by row."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tflite_recipes.core import regular_files
from tflite_recipes.core.errors import Problem, RequestError, gist
from tflite_recipes.core.schema import near
from tflite_recipes.core.state import TensorSpec
from tflite_recipes.files import archives
from tflite_recipes.files.samples import npz
from tflite_recipes.files.samples.folders import HasPath, only_input
from tflite_recipes.files.samples.sample_source import Samples


@dataclass(frozen=True)
class NpzFile(HasPath):
    """Arrays named by input in a `.npz` file, first axis samples."""

    def specs(self) -> Mapping[str, TensorSpec]:
        """What the headers say. Errors: RequestError."""
        return npz.headers(Path(self.path), "")

    def source_problems(
        self, inputs: tuple[TensorSpec, ...] | None, group: str, labels: str | None = None
    ) -> Iterable[Problem]:
        yield from npz.npz_problems(self.path, inputs, f"{group}.path", (labels,) if labels else ())

    def open(self, inputs: tuple[TensorSpec, ...], group: str, labels: str | None = None) -> Samples:
        """The file is read from its beginning to its end, compressed or not, whose checksums are thereby held against
        it; only an array in Fortran's order, whose samples lie scattered, is read as a whole."""
        where = f"{group}.path"
        if problems := list(self.source_problems(inputs, group, labels)):
            raise RequestError(problems)
        path, names = Path(self.path), [spec.name for spec in inputs]
        found = npz.headers(path, where)

        def rows(wanted: Sequence[int] | None) -> Iterator[dict[str, Any]]:
            every = range(found[names[0]].shape[0] or 0) if wanted is None else wanted
            with npz.reading_npz(f"{path}", where), archives.open_zip(path) as archive:
                streams = [_member_rows(archive, name, every) for name in names]
                for values in zip(*streams, strict=True):
                    yield dict(zip(names, values, strict=True))

        kept = None
        if labels is not None:
            with npz.reading_npz(f"{path}, array {labels!r}:", where), archives.open_zip(path) as archive:
                kept = list(_member_rows(archive, labels, range(found[labels].shape[0] or 0)))
            _check_labels(kept, f"{path}, array {labels!r}", where)
        count = found[names[0]].shape[0] or 0
        return Samples(self.path, where, count, rows, kept, word="array", fix=f"{where}=OTHER.npz")


def _member_rows(archive: zipfile.ZipFile, name: str, rows: Sequence[int]) -> Iterator[Any]:
    """These rows, ascending, of one array."""
    import numpy as np

    member = f"{name}.npy" if f"{name}.npy" in archive.namelist() else name
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_2_0 if version >= (2, 0) else np.lib.format.read_array_header_1_0
        shape, fortran, dtype = header(stream)
        if dtype.hasobject:
            raise ValueError(f"array {name!r} holds Python objects, which would run code when read")
        if fortran and len(shape) > 1:
            whole = np.frombuffer(stream.read(), dtype).reshape(shape, order="F")
            yield from (np.ascontiguousarray(whole[row]) for row in rows)
            return
        size = int(dtype.itemsize * np.prod(shape[1:], dtype="int64"))
        at = 0
        for row in rows:
            _skip(stream, (row - at) * size)
            yield np.frombuffer(_exactly(stream, size), dtype).reshape(shape[1:])
            at = row + 1
        while stream.read(_BLOCK):  # the checksum stands at the end
            pass


_BLOCK = 1 << 20


def _skip(stream: IO[bytes], count: int) -> None:
    while count > 0:
        count -= len(_exactly(stream, min(count, _BLOCK)))


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    while len(data) < count:
        more = stream.read(count - len(data))
        if not more:
            raise EOFError("it ends before its last sample")
        data += more
    return data


def _check_labels(labels: Sequence[Any], named: str, where: str) -> None:
    if labels and labels[0].ndim:
        what = f"{named}: one label a sample is needed, these have the shape {labels[0].shape}"
        raise RequestError(Problem(what, where))


@dataclass(frozen=True)
class NpyFiles(HasPath):
    """One array in a `.npy` file for a model with one input, or a folder with a NAME.npy for each input; first axis
    samples."""

    def specs(self) -> Mapping[str, TensorSpec]:
        """What the headers of a folder's files say, by input. Errors: RequestError."""
        files = {file.stem: file for file in sorted(Path(self.path).glob("*.npy"))} if Path(self.path).is_dir() else {}
        return {name: _spec(name, file, "") for name, file in files.items()}

    def source_problems(self, inputs: tuple[TensorSpec, ...] | None, group: str) -> Iterable[Problem]:
        where = f"{group}.path"
        if not Path(self.path).is_dir():
            yield from only_input(inputs, "one .npy file's samples", group)
        try:
            files = self._files(inputs, where)
            found = {name: _spec(name, file, where) for name, file in files.items()}
        except RequestError as error:
            yield from error.problems
            return
        by_name = {spec.name: spec for spec in inputs or ()}
        for name, array in found.items():
            if name in by_name:
                yield from npz.header_problems(f"{files[name]}", by_name[name], array, where, self._other(where))
        lengths = {name: array.shape[0] for name, array in found.items() if array.shape}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
            yield Problem(
                f"{self.path}: the arrays differ in their number of samples: {listed}", where, self._other(where)
            )

    def _other(self, where: str) -> str:
        return f"{where}={'FOLDER' if Path(self.path).is_dir() else 'OTHER.npy'}"

    def _files(self, inputs: tuple[TensorSpec, ...] | None, where: str) -> dict[str, Path]:
        path = Path(self.path)
        if not path.is_dir():
            return {inputs[0].name if inputs else "": path}
        held = {file.stem: file for file in sorted(path.glob("*.npy"))}
        names = [spec.name for spec in inputs] if inputs is not None else list(held)
        missing = [name for name in names if name not in held]
        if missing or not held:
            listed = ", ".join(file.name for file in held.values()) or "no .npy file"
            needed = f"for the model's inputs {', '.join(f'{name}.npy' for name in missing)} " if missing else ""
            better = near(missing[0], list(held)) if missing else []
            renamed = (f"rename {held[better[0]]} to {missing[0]}.npy",) if better else ()
            what = f"{path} holds {listed}; {needed}must be there"
            raise RequestError(Problem(what, where, f"{where}=FOLDER", renamed))
        return {name: held[name] for name in names}

    def open(self, inputs: tuple[TensorSpec, ...], group: str) -> Samples:
        """The files are mapped into memory, not read."""
        import numpy as np

        where = f"{group}.path"
        if problems := list(self.source_problems(inputs, group)):
            raise RequestError(problems)
        files = self._files(inputs, where)
        arrays = {name: np.load(file, mmap_mode="r", allow_pickle=False) for name, file in files.items()}
        count = len(next(iter(arrays.values())))

        def rows(wanted: Sequence[int] | None) -> Iterator[dict[str, Any]]:
            waiting = 0
            for row in range(count) if wanted is None else wanted:
                sample = {name: np.array(array[row]) for name, array in arrays.items()}
                waiting += sum(array.nbytes for array in sample.values())
                if waiting >= _BLOCK:
                    waiting = 0
                    for array in arrays.values():
                        npz.let_go(array)
                yield sample

        return Samples(self.path, where, count, rows, word="array", fix=self._other(where))


def _spec(name: str, file: Path, where: str) -> TensorSpec:
    """What a `.npy` file's header says, held against the file's size. Errors: RequestError."""
    import numpy as np

    try:
        regular_files.open_regular(file).close()
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy raises all kinds of errors for a damaged header
        ors = ("write it with numpy.save(FILE, ARRAY)",)
        fix = f"{where}=OTHER.npy" if where else ""
        raise RequestError(Problem(f"{file} cannot be read as .npy: {gist(error)}", where, fix, ors)) from error
    if not isinstance(array, np.ndarray):
        ors = (f"{where.partition('.')[0]}=npz {where}={file}",)
        raise RequestError(Problem(f"{file} is a .npz file, not a .npy one", where, ors[0]))
    return TensorSpec(name, array.shape, array.dtype.name)
