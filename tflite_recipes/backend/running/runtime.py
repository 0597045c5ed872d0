"""LiteRT: a `.tflite` run by signature and input name, whatever its types and batch."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tflite_recipes.backend.running.runtime_messages import in_words
from tflite_recipes.core.errors import Problem, StepError
from tflite_recipes.files.samples import text

# Rows at once where the batch is open: as many as the largest tensor leaves room for. Larger batches fall out of the
# caches, smaller ones pay for each invoke.
_BATCH_BYTES = 8 << 20
_MOST_ROWS = 256
_ROWS_OF_OPEN_SIZES = 32
# An invoke that touches less is done in microseconds: threads of any kind only get in each other's way.
_SMALL_BYTES = 1 << 20
# Less work in all than this, or than so many times the file, is done before a second interpreter has been set up.
_LITTLE_BYTES = 256 << 20
_LITTLE_TIMES = 64
# Each interpreter packs the weights anew.
_MOST_INTERPRETERS = 4
_LARGEST_COPIED_FILE = 64 << 20
# Rows that are quantized, and whose outputs are put together, at a time.
_CHUNK_BYTES = 1 << 20
# Values that are quantized at a time: more would not stay in the caches between one operation and the next.
_BLOCK = 1 << 16


def interpreter(path: Path, threads: int = 1, xnnpack: bool = True) -> Any:
    """An interpreter, its tensors allocated where no size besides the batch is open.

    Errors: StepError when the runtime cannot take the file.
    """
    kind = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        made = Interpreter(model_path=str(path), num_threads=threads, experimental_op_resolver_type=kind)
        # A file stores an open size as 1, at which a model need not work; who runs it gives sizes of its own.
        if not any(-1 in details["shape_signature"][1:] for details in made.get_input_details()):
            made.allocate_tensors()
    except (RuntimeError, ValueError, KeyError) as error:
        raise StepError(Problem(f"LiteRT cannot load the file: {in_words(error, path)}", "target")) from error
    return made


def quantize(values: Any, details: Mapping[str, Any]) -> Any:
    """Real values as the tensor stores them: q = round(r / scale) + zero_point, clipped to the type's range."""
    dtype = np.dtype(details["dtype"])
    scale, zero_point = details["quantization"]
    if dtype.kind in text.TEXT_KINDS:
        return text.encoded(np.asarray(values))
    if dtype.kind not in "iu" or not scale:
        return np.asarray(values).astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    real = np.asarray(values)
    if real.dtype == np.float32 and dtype.itemsize <= 2 and np.float32(scale) == scale:
        whole = _rounded(real, np.float32(scale))
    else:
        whole = np.rint(np.asarray(real, "float64") / scale)
    # Clipped before the zero point is added, where nothing is too large to be exact.
    np.clip(whole, limits.min - zero_point, limits.max - zero_point, out=whole)
    whole += zero_point
    return whole.astype(dtype)


def _stored(values: Any, details: Mapping[str, Any]) -> Any:
    """What `quantize` gives, block by block."""
    if not details["quantization"][0] or values.size <= _BLOCK:
        return quantize(values, details)
    flat, stored = np.ascontiguousarray(values).reshape(-1), np.empty(values.size, details["dtype"])
    for start in range(0, len(flat), _BLOCK):
        stored[start : start + _BLOCK] = quantize(flat[start : start + _BLOCK], details)
    return stored.reshape(values.shape)


def _rounded(real: Any, scale: Any) -> Any:
    """round(r / scale) in float32, equal to that in float64 at half the cost: rounding the quotient to float32 keeps
    the side of a tie that it is on, or ends on the tie, and these few are looked at again."""
    with np.errstate(over="ignore", invalid="ignore"):  # infinite is clipped like all that is too large
        quotient = np.divide(real, scale)
        whole = np.rint(quotient)
        quotient -= whole
    np.abs(quotient, out=quotient)
    ties = quotient == 0.5
    if ties.any():
        whole[ties] = np.rint(real[ties].astype("float64") / float(scale))
    return whole


def dequantize(values: Any, details: Mapping[str, Any]) -> Any:
    """Stored values as real ones: r = scale × (q − zero_point)."""
    scale, zero_point = details["quantization"]
    if not scale:
        return values
    return (scale * (values.astype("float64") - zero_point)).astype("float32")


@dataclass(frozen=True)
class Plan:
    """How a file is run over samples: rows an invoke, whether the file leaves another number of rows no choice, how
    many interpreters take turns, and with how many threads each."""

    batch: int
    fixed: bool
    interpreters: int
    threads: int


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def plan(path: Path, signature: str, samples: int, stateful: bool = False) -> Plan:
    """The plan that is quickest for so many samples, from the sizes of the file's tensors alone, so that it is the
    same at every run. Errors: StepError."""
    made = interpreter(path, xnnpack=False)
    inputs = made.get_signature_runner(signature).get_input_details().values()
    sizes = [int(details["shape_signature"][0]) for details in inputs if len(details["shape_signature"])]
    fixed = [size for size in sizes if size > 0]
    open_sizes = any(-1 in details["shape_signature"][1:] for details in inputs)
    tensors = [_Extent.of(details) for details in made.get_tensor_details()]
    if fixed:
        batch = max(fixed)
    elif open_sizes:
        batch = _ROWS_OF_OPEN_SIZES
    else:
        largest = max((tensor.bytes for tensor in tensors if tensor.grows), default=1)
        batch = max(1, min(_MOST_ROWS, _BATCH_BYTES // max(largest, 1)))
    # State shows at a second invoke only.
    most = samples // 2 if stateful else samples
    batch = batch if fixed else min(batch, max(most, 1))
    touched = sum(tensor.bytes * (batch if tensor.grows and not fixed else 1) for tensor in tensors)
    batches = -(-samples // batch)
    file = path.stat().st_size
    little = touched * batches < max(_LITTLE_BYTES, _LITTLE_TIMES * file)
    alone = stateful or little or file > _LARGEST_COPIED_FILE
    if touched < _SMALL_BYTES:
        return Plan(batch, bool(fixed), 1, 1)
    count = 1 if alone else min(cores(), _MOST_INTERPRETERS, batches)
    return Plan(batch, bool(fixed), count, max(1, cores() // count))


@dataclass(frozen=True)
class _Extent:
    """Bytes of a tensor at a batch of one, and whether they grow with the batch."""

    bytes: int
    grows: bool

    @classmethod
    def of(cls, details: Mapping[str, Any]) -> _Extent:
        dtype, signature = np.dtype(details["dtype"]), details["shape_signature"]
        size = int(np.prod(details["shape"])) * dtype.itemsize
        return cls(size, len(signature) > 0 and int(signature[0]) == -1)


class _Invoker:
    """One interpreter, and rows of real values through it."""

    def __init__(self, path: Path, signature: str, threads: int, xnnpack: bool, stateful: bool) -> None:
        self._path = path
        self._made = interpreter(path, threads, xnnpack)
        runner = self._made.get_signature_runner(signature)
        self._inputs, self._outputs = runner.get_input_details(), runner.get_output_details()
        # Tensors by number are those of the first subgraph, which is the signature's where there is only one. With
        # numbers a size is set once, where the runner sets it anew for each invoke. (A runner that is kept would
        # make LiteRT refuse new sizes.)
        self._runner = runner if len(self._made.get_signature_list()) > 1 else None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._stateful = stateful

    def rows(self, arrays: Mapping[str, Any], start: int, stop: int, planned: Plan) -> dict[str, Any]:
        """Real outputs by name for rows start…stop. Errors: StepError."""
        ready = {name: _stored(arrays[name][start:stop], details) for name, details in self._inputs.items()}
        count, batch = stop - start, planned.batch
        if planned.fixed and count % batch:
            ready = {name: padded(values, -(-count // batch) * batch) for name, values in ready.items()}
        batch = min(batch, len(next(iter(ready.values()))))
        try:
            kept = self._invoke(ready, batch)
        except (RuntimeError, ValueError) as error:
            raise StepError(Problem(f"LiteRT cannot run the file: {in_words(error, self._path)}", "target")) from error
        gathered = {}
        for name, parts in kept.items():
            if len(parts[0]) > batch:
                parts = [part[:batch] for part in parts]
            whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
            gathered[name] = dequantize(whole[:count], self._outputs[name])
        return gathered

    def _invoke(self, ready: Mapping[str, Any], batch: int) -> dict[str, list[Any]]:
        made, rows = self._made, len(next(iter(ready.values())))
        kept: dict[str, list[Any]] = {name: [] for name in self._outputs}
        if self._runner is not None:
            for start in range(0, rows, batch):
                if not self._stateful:
                    made.reset_all_variables()
                part = {name: values[start : start + batch] for name, values in ready.items()}
                for name, value in self._runner(**part).items():
                    kept[name].append(value)
            return kept
        self._size({name: (batch, *values.shape[1:]) for name, values in ready.items()})
        fed = [(self._inputs[name]["index"], values) for name, values in ready.items()]
        read = [(details["index"], kept[name].append) for name, details in self._outputs.items()]
        put, invoke, get, reset = made.set_tensor, made.invoke, made.get_tensor, made.reset_all_variables
        for start in range(0, rows, batch):
            if not self._stateful:
                reset()
            for index, values in fed:
                put(index, values[start : start + batch])
            invoke()
            for index, keep in read:
                keep(get(index))
        return kept

    def _size(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        if self._shapes == shapes:
            return
        for name, shape in shapes.items():
            self._made.resize_tensor_input(self._inputs[name]["index"], shape)
        self._made.allocate_tensors()
        self._shapes = dict(shapes)


def run(
    path: Path,
    signature: str,
    arrays: Mapping[str, Any],
    tell: Callable[[int, int], None],
    xnnpack: bool = True,
    stateful: bool = False,
    planned: Plan | None = None,
) -> dict[str, Any]:
    """Real-valued outputs by name, first axis samples, for arrays by input name. Errors: StepError.

    Unless the source is `stateful`, state is reset before each invoke: a fused LSTM keeps some, though its source does
    not. Several interpreters share the rows where that is quicker; besides the
    outputs memory holds a few batches.
    """
    total = len(next(iter(arrays.values())))
    planned = planned or plan(path, signature, total, stateful)
    gathered: dict[str, Any] = {}
    for start, stop, results in _chunks(path, signature, arrays, xnnpack, stateful, planned):
        for name, values in results.items():
            _place(gathered, name, values, start, stop, total)
        tell(stop, total)
    return {name: np.concatenate(parts) if isinstance(parts, list) else parts for name, parts in gathered.items()}


def _place(gathered: dict[str, Any], name: str, values: Any, start: int, stop: int, total: int) -> None:
    """Into an array of all rows, made when the first are known; where an output has rows of its own, into a list."""
    if name not in gathered:
        whole = len(values) == stop - start
        gathered[name] = np.empty((total, *values.shape[1:]), values.dtype) if whole else []
    if isinstance(gathered[name], list):
        gathered[name].append(values)
    elif values.shape == (stop - start, *gathered[name].shape[1:]):
        gathered[name][start:stop] = values
    else:
        what = f"output {name} changes its shape from {gathered[name].shape[1:]} to {values.shape[1:]} between samples"
        raise StepError(Problem(what, "evaluation"))


def _chunks(
    path: Path, signature: str, arrays: Mapping[str, Any], xnnpack: bool, stateful: bool, planned: Plan
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Outputs of a few batches at a time, in order."""
    total = len(next(iter(arrays.values())))
    row = sum(np.asarray(values[:1]).nbytes for values in arrays.values())
    batches = -(-total // planned.batch)
    most = -(-batches // (4 * planned.interpreters)) if planned.interpreters > 1 else batches
    size = planned.batch * max(1, min(most, _CHUNK_BYTES // max(1, row * planned.batch)))
    # A rest of fewer rows is another size for an open batch, and has a place of its own at the end.
    even = total if planned.fixed else total // planned.batch * planned.batch
    bounds = [(start, min(start + size, even)) for start in range(0, even, size)]
    bounds += [(even, total)] if even < total else []

    def made() -> _Invoker:
        return _Invoker(path, signature, planned.threads, xnnpack, stateful)

    if planned.interpreters == 1:
        invoker = made()
        for start, stop in bounds:
            yield start, stop, invoker.rows(arrays, start, stop, planned)
        return
    idle: queue.SimpleQueue[_Invoker | None] = queue.SimpleQueue()
    for _ in range(planned.interpreters):
        idle.put(None)

    def work(bound: tuple[int, int]) -> dict[str, Any]:
        invoker = idle.get() or made()
        try:
            return invoker.rows(arrays, *bound, planned)
        finally:
            idle.put(invoker)

    # LiteRT lets go of Python's lock while it computes.
    with ThreadPoolExecutor(planned.interpreters) as pool:
        try:
            for (start, stop), results in zip(bounds, pool.map(work, bounds), strict=True):
                yield start, stop, results
        finally:
            pool.shutdown(cancel_futures=True)


def padded(values: Any, batch: int) -> Any:
    """Rows up to a fixed batch, the last one repeated; the caller drops what comes of the added ones."""
    return np.concatenate([values, np.repeat(values[-1:], batch - len(values), axis=0)])
