"""Sample data for calibration, evaluation and fine-tuning: bound by input name, checked before anything uses it."""

from __future__ import annotations

import contextlib
import hashlib
import math
import mmap
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tflite_recipes.core import regular_files
from tflite_recipes.core.errors import Problem, RequestError, assignment, gist
from tflite_recipes.core.shapes import fixed_batch, shape_fits
from tflite_recipes.core.state import TensorSpec
from tflite_recipes.files import archives

Arrays = Mapping[str, Any]  # numpy arrays by input name; numpy is imported where it is needed, as it takes 0.1 s


def headers(path: Path, where: str) -> dict[str, TensorSpec]:
    """Names, shapes and dtypes of the arrays in a `.npz`, without reading their data. Errors: RequestError."""
    import numpy as np

    found: dict[str, TensorSpec] = {}
    with reading_npz(f"{path}", where), archives.open_zip(path) as archive:
        for member in archive.namelist():
            name = member.removesuffix(".npy")
            held = archive.getinfo(member).file_size
            with archive.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                read = np.lib.format.read_array_header_1_0
                if version >= (2, 0):
                    read = np.lib.format.read_array_header_2_0
                shape, _, dtype = read(stream)
            if not dtype.hasobject and (promised := math.prod(shape) * dtype.itemsize) > held:
                words = [regular_files.size_in_words(n) for n in (promised, held)]
                raise ValueError("array {!r} promises {}, and the file holds {}".format(name, *words))
            found[name] = TensorSpec(name, shape, dtype.name)
    return found


@contextlib.contextmanager
def reading_npz(what: str, where: str) -> Iterator[None]:
    """Turn whatever goes wrong inside into a RequestError that `what` cannot be read."""
    # For a damaged file zipfile, zlib, tokenize and numpy raise all kinds of errors.
    try:
        yield
    except RequestError:
        raise
    except Exception as error:
        ors = ("write it with numpy.savez(FILE, NAME=array)",)
        raise RequestError(
            Problem(f"{what} cannot be read as .npz: {gist(error)}", where, _other(where), ors)
        ) from error


def _other(where: str) -> str:
    """The fix for data that is no use: another file, where `where` is the key of a file."""
    return f"{where}=OTHER.npz" if "." in where else ""


def npz_problems(
    path: str,
    inputs: tuple[TensorSpec, ...] | None,
    where: str,
    extra: tuple[str, ...] = (),
) -> Iterable[Problem]:
    """What the headers of a `.npz` already tell: inputs that are missing, misshaped or empty.

    `inputs` is None where the model is not known yet. `extra` names arrays that must be there too (labels).
    """
    try:
        found = headers(Path(path), where)
    except RequestError as error:
        yield from error.problems
        return
    for name in extra:
        if name not in found:
            key = where.rsplit(".", 1)[0]
            others = [other for other in found if other not in {spec.name for spec in inputs or ()}]
            told = others and key in ("evaluation", "calibration")
            fix = assignment(f"{key}.labels", others[0]) if told else ""
            listed = ", ".join(map(str, found.values())) or "none"
            yield Problem(f"{path} has no array {name!r}; it has {listed}", where, fix or _other(where))
    if inputs is None:
        return
    missing = [spec.name for spec in inputs if spec.name not in found]
    if missing:
        yield Problem(f"{path} has not the model's inputs\n{side_by_side(inputs, found)}", where, _other(where))
        return
    for spec in inputs:
        yield from header_problems(f"{path}, array {spec.name!r}", spec, found[spec.name], where)
    used = [found[name] for name in dict.fromkeys([*(spec.name for spec in inputs), *extra]) if name in found]
    lengths = {array.name: array.shape[0] for array in used if array.shape}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        yield Problem(f"{path}: the arrays differ in their number of samples: {listed}", where, _other(where))


def header_problems(
    named: str, spec: TensorSpec, array: TensorSpec, where: str, fix: str | None = None
) -> Iterable[Problem]:
    """What shape and dtype of an array, called `named`, tell against the input that it is for."""
    fix = _other(where) if fix is None else fix
    if not shape_fits(spec.shape, array.shape):
        yield Problem(f"{named}: shape {array.shape} does not fit the model's {spec}", where, fix)
    elif not array.shape or 0 in array.shape:
        yield Problem(f"{named}: empty, it holds no sample", where, fix)
    if not castable(array.dtype, spec.dtype):
        yield Problem(f"{named}: {array.dtype} cannot become the model's {spec.dtype}", where, fix)


def castable(given: str, wanted: str) -> bool:
    """Whether values of one dtype may stand for those of another."""
    import numpy as np

    if wanted == "string":
        return given.startswith(("str", "bytes", "object"))
    if given == wanted:
        return True
    if wanted == "bfloat16":  # which NumPy knows only after ml_dtypes is imported, and then as no kind of float
        return given.startswith("float")
    kinds = {"f": "f", "i": "fi", "u": "fi", "b": "fi"}
    try:
        a, b = np.dtype(given).kind, np.dtype(wanted).kind
    except TypeError:
        return False
    return b in kinds.get(a, "") or (a == b == "b") or (a in "iu" and b in "iu")


def side_by_side(inputs: tuple[TensorSpec, ...], found: Mapping[str, TensorSpec]) -> str:
    """The model's inputs and the file's arrays in two columns."""
    left = ["the model takes", *map(str, inputs)]
    right = ["the file has", *(map(str, found.values()) if found else ["nothing"])]
    width = max(map(len, left)) + 3
    rows = max(len(left), len(right))
    left, right = left + [""] * (rows - len(left)), right + [""] * (rows - len(right))
    return "\n".join(f"  {a:<{width}}{b}".rstrip() for a, b in zip(left, right, strict=True))


def load_npz(path: Path, inputs: tuple[TensorSpec, ...], where: str, extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """The arrays of the inputs (and `extra` ones), checked and cast to the inputs' dtypes. Errors: RequestError."""
    import numpy as np

    problems = list(npz_problems(str(path), inputs, where, extra))
    if problems:
        raise RequestError(problems)
    arrays: dict[str, Any] = {}
    with archives.open_zip(path), np.load(path, allow_pickle=False) as data:
        for name in (*(spec.name for spec in inputs), *extra):
            with reading_npz(f"{path}, array {name!r}:", where):
                arrays[name] = data[name]
    checked = check_arrays(arrays, inputs, str(path), where)
    return {**arrays, **checked}


def check_arrays(arrays: Arrays, inputs: tuple[TensorSpec, ...], file: str, where: str) -> dict[str, Any]:
    """The inputs' arrays in the inputs' order and dtypes. Refuses what would poison a calibration: NaN, infinities,
    nothing at all, another shape. Errors: RequestError naming file, array and first bad sample."""
    problems: list[Problem] = []
    checked: dict[str, Any] = {}
    for spec in inputs:
        if spec.name not in arrays:
            found = {name: TensorSpec(name, array.shape, array.dtype.name) for name, array in arrays.items()}
            what = f"{file} has not the model's inputs\n{side_by_side(inputs, found)}"
            raise RequestError(Problem(what, where, _other(where)))
        array = arrays[spec.name]
        found_spec = TensorSpec(spec.name, array.shape, array.dtype.name)
        listed = list(header_problems(f"{file}, array {spec.name!r}", spec, found_spec, where))
        if not listed:
            cast = in_type(array, spec.dtype)
            listed = list(_bad_samples(file, spec.name, array, cast, where))
            checked[spec.name] = cast
        problems += listed
    if problems:
        raise RequestError(problems)
    return checked


def in_type(array: Any, dtype: str) -> Any:
    """The array in an input's dtype; text as objects. Values that are too large become what `bad_rows` finds."""
    import numpy as np

    with np.errstate(over="ignore"):
        return array.astype(object if dtype == "string" else dtype, copy=False)


def _bad_samples(file: str, name: str, array: Any, cast: Any, where: str) -> Iterable[Problem]:
    import numpy as np

    for what, samples in bad_rows(array, cast).items():
        rows = np.flatnonzero(samples)
        if len(rows):
            said = bad_values(what, cast.dtype.name, f"sample {rows[0]}", len(rows))
            ors = ("in a mask, write -1e9 instead of -inf",) if what == "infinite" else ()
            yield Problem(f"{file}, array {name!r}: {said}", where, _other(where), ors)


def bad_rows(array: Any, cast: Any) -> dict[str, Any]:
    """Which samples would poison a calibration, as they are or in the type that the model takes: bool (n,) a kind."""
    import numpy as np

    bad: dict[str, Any] = {}
    if array.dtype.kind == "f":
        bad = {
            "NaN": np.isnan(array),
            "infinite": np.isinf(array),
            "too large": np.isfinite(array) & ~np.isfinite(cast),
        }
    elif array.dtype.kind in "iu" and cast.dtype.kind in "iu":
        bad = {"too large or too small": array != cast}
    return {what: cells.reshape(len(array), -1).any(axis=1) for what, cells in bad.items()}


def bad_values(what: str, dtype: str, first: str, count: int) -> str:
    """The words for `count` samples with values of this kind (see `bad_rows`), of which the first is `first`."""
    which = first if count == 1 else f"{count} samples, the first is {first}"
    return f"{what} values{f' for {dtype}' if what.startswith('too') else ''} in {which}"


def draw(total: int, samples: int | None, seed: int) -> Any:
    """Row numbers, ascending: `samples` of them drawn without replacement by `seed`, or all for None."""
    import numpy as np

    if samples is None or samples >= total:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, samples, replace=False))


def choose(arrays: Arrays, samples: int | None, seed: int) -> dict[str, Any]:
    """`samples` rows drawn without replacement by `seed`, the same rows of every array; all rows for None."""
    total = len(next(iter(arrays.values())))
    if samples is None or samples >= total:
        return dict(arrays)
    rows = draw(total, samples, seed)
    return {name: array[rows] for name, array in arrays.items()}


def random_arrays(
    inputs: tuple[TensorSpec, ...],
    samples: int,
    seed: int,
    low: float,
    high: float,
    limits: Mapping[str, tuple[int, int]] | None = None,
) -> dict[str, Any]:
    """Return seeded uniform samples for each input, (samples, …): whole numbers in low…high for integer inputs, within
    their type; words of five letters for text inputs. Dynamic sizes are taken as 1.

    limits: for inputs that are indices, of whatever type, the least and the greatest.
    """
    import numpy as np

    limits = limits or {}
    rng = np.random.default_rng(seed)
    arrays: dict[str, Any] = {}
    for spec in inputs:
        shape = (samples, *(size or 1 for size in spec.shape[1:]))
        if spec.dtype in ("string", "object"):
            letters = rng.integers(ord("a"), ord("z") + 1, (*shape, 5)).astype("uint8")
            arrays[spec.name] = letters.view("S5").reshape(shape).astype(object)
        elif spec.dtype == "bool":
            arrays[spec.name] = rng.integers(0, 2, shape).astype(bool)
        elif spec.name in limits:
            arrays[spec.name] = rng.integers(*limits[spec.name], shape, endpoint=True).astype(spec.dtype)
        elif np.dtype(spec.dtype).kind in "iu":
            whole = np.iinfo(spec.dtype)
            least = min(max(int(low), whole.min), whole.max)
            arrays[spec.name] = rng.integers(least, max(min(int(high), whole.max), least), shape, spec.dtype, True)
        else:
            arrays[spec.name] = rng.uniform(low, high, shape).astype(spec.dtype)
    return arrays


_OPEN_SIZE = 32  # what most models take that take any


def with_sizes(inputs: tuple[TensorSpec, ...], sizes: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    """The inputs with sizes for the dimensions, besides the batch, that are open: those of samples where these are
    known by name, else 32."""
    filled = []
    for spec in inputs:
        known = sizes.get(spec.name, ())
        known = known if len(known) == len(spec.shape) else (None,) * len(spec.shape)
        inner = (own or size or _OPEN_SIZE for own, size in zip(spec.shape[1:], known[1:], strict=True))
        filled.append(TensorSpec(spec.name, (*spec.shape[:1], *inner), spec.dtype))
    return tuple(filled)


def save_arrays(folder: Path, arrays: Arrays) -> Path:
    """One `.npy` per array, numbered, because input names may hold what file names may not."""
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "names.txt").write_text("\n".join(arrays), encoding="utf-8")
    for position, array in enumerate(arrays.values()):
        np.save(folder / f"{position}.npy", array)
    return folder


def open_arrays(folder: Path) -> dict[str, Any]:
    """The arrays of `save_arrays`, memory-mapped."""
    import numpy as np

    names = (folder / "names.txt").read_text(encoding="utf-8").split("\n")
    arrays = {}
    for position, name in enumerate(names):
        path = folder / f"{position}.npy"
        try:
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError:  # text samples are objects, which cannot be mapped; the file is our own
            arrays[name] = np.load(path, allow_pickle=True)
    return arrays


def chunks(array: Any) -> Iterator[Any]:
    """The array in slices of about a MiB along its first axis, so that a mapped one is never in memory as a whole."""
    import numpy as np

    if not array.ndim or not len(array):
        yield array
        return
    rows = max(1, _CHUNK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        yield np.ascontiguousarray(array[start : start + rows])
        let_go(array)


def let_go(array: Any) -> None:
    """Give back what of a mapped array was read so far, which else counts as the process's memory."""
    if isinstance(array.base, mmap.mmap):
        array.base.madvise(mmap.MADV_DONTNEED)


_CHUNK_BYTES = 1 << 20


def sha256(arrays: Arrays) -> str:
    """Digest of names, dtypes, shapes and values, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        if array.dtype == object:
            digest.update(repr(array.tolist()).encode())
            continue
        for part in chunks(array):
            digest.update(part.tobytes())
    return digest.hexdigest()


def manifest(arrays: Arrays, source: str, seed: int | None) -> dict[str, Any]:
    """What the samples were: source, count, seed, digest, and per input shape, dtype, min, max and mean."""
    samples = len(next(iter(arrays.values())))
    return {"source": source, "samples": samples, "seed": seed, "sha256": sha256(arrays), "inputs": described(arrays)}


def described(arrays: Arrays, labels: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """By name of each array its `shape` without the samples, its `dtype` and, where it holds numbers, `min`, `max` and
    `mean`; `labels: true` for those of these names."""
    found: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        found[name] = {"shape": list(array.shape[1:]), "dtype": array.dtype.name, **_statistics(array)}
        if name in labels:
            found[name]["labels"] = True
    return found


def _statistics(array: Any) -> dict[str, float]:
    if array.dtype.kind not in "fiu":
        return {}
    parts = [(float(part.min()), float(part.max()), float(part.sum(dtype="float64"))) for part in chunks(array)]
    lows, highs, sums = zip(*parts, strict=True)
    return {"min": min(lows), "max": max(highs), "mean": sum(sums) / array.size}


def random_batches(
    inputs: tuple[TensorSpec, ...],
    sizes: Mapping[str, Any],
    samples: int,
    seed: int,
    limits: Mapping[str, tuple[int, int]] | None = None,
) -> dict[str, Any]:
    """Return about so many samples in 0…1, in whole batches, with sizes for the dimensions that are open; see
    `random_arrays` and `with_sizes`."""
    batch = fixed_batch(inputs)
    return random_arrays(with_sizes(inputs, sizes), batch * max(1, samples // batch), seed, 0.0, 1.0, limits)
