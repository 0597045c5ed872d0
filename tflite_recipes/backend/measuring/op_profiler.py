"""Which ops of a `.tflite` take how long, with what is on a device; `benchmark_script.py` runs it.

`by_profiler` and `by_prefixes` give {"method", "xnnpack", "runs", "total_ms", "ops": [{"index", "name", "ms",
"share"}, …]} for the ops of the signature's graph as they stand in the file, run by the runtime's own kernels without
delegates, in milliseconds of one invoke; an op with a body (WHILE) has it in its time. `share` is that of `total_ms`.

- `c_profiler`, the runtime's own, reached through its C library: means over `runs` invokes without their slowest tenth
  (its stamps are whole microseconds, so that a median would be, too). `delegated` gives the same with XNNPACK: its own
  ops as it names them, in the order they run, with what it left to the runtime among them (`by` says whose they are).
- `prefix`: the file is cut after each op, and an op's time is the median with it less the median of what ends before
  it, at least 0: rough where an op is quick.

Structures and numbers are those of LiteRT's public headers (litert/c, as of 2.3; 2.1 has another way to open a model).
A runtime with others says so, gives ops that are not the file's, which is refused, or dies, which is why this has a
process of its own.
"""

# ruff: noqa: B905 (`strict` of `zip` is not there in Python 3.9)

from __future__ import annotations

import ctypes
import struct
import time
from pathlib import Path

import numpy as np

# Invokes; the quick ones more often, for so many seconds: their stamps have few digits.
_RUNS, _LEAST_RUNS, _MOST_RUNS, _WARMUP, _QUICK_SECONDS = 50, 3, 2000, 3, 0.5
_SLOWEST = 90  # percentile of the invokes that are kept
_CLOSE_MS = 0.05


# Ops that run another graph of the file; fields of the file format's table `SubGraph`.
_CALLS = ("WHILE", "IF", "CALL", "CALL_ONCE")
_OUTPUTS_SLOT, _OPERATORS_SLOT = 8, 10


class Unreachable(Exception):
    """Why a method cannot be had, in words."""


# What the file has.


class Graph:
    """The graph of a signature: `ops` (names), `custom` (whether each is the application's own), `inputs` and `outputs`
    (names), `number` of the subgraph, `signature` among those of the file. Errors: Unreachable."""

    def __init__(self, path, key):
        from ai_edge_litert import schema_py_generated as schema

        self.data = bytearray(path.read_bytes())
        model = schema.Model.GetRootAsModel(self.data, 0)
        signatures = [model.SignatureDefs(i) for i in range(model.SignatureDefsLength())]
        keys = [signature.SignatureKey().decode() for signature in signatures]
        if key not in keys:
            raise Unreachable(f"the file has no signature {key}")
        self.signature = keys.index(key)
        found = signatures[self.signature]
        self.number = found.SubgraphIndex()
        self.inputs = [found.Inputs(i).Name().decode() for i in range(found.InputsLength())]
        self.outputs = [found.Outputs(i).Name().decode() for i in range(found.OutputsLength())]
        self.table = model.Subgraphs(self.number)
        names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
        codes = [
            model.OperatorCodes(self.table.Operators(i).OpcodeIndex()) for i in range(self.table.OperatorsLength())
        ]
        self.custom = [bool(code.CustomCode()) for code in codes]
        self.ops = [_label(code, names) for code in codes]


def _label(code, names):
    """The custom code of a custom op, the builtin name of any other."""
    custom = code.CustomCode()
    return custom.decode() if custom else names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]


def table(names, times_ms):
    """Rows of a profile from each op's ms, and their sum."""
    total = float(sum(times_ms))
    rows = [
        {"index": index, "name": name, "ms": float(ms), "share": float(ms) / total if total else 0.0}
        for index, (name, ms) in enumerate(zip(names, times_ms))
    ]
    return {"total_ms": total, "ops": rows}


# By the runtime's own profiler.


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("total", "in_use", "private")]


class _Event(ctypes.Structure):
    _fields_ = [
        *(("tag", ctypes.c_char_p), ("kind", ctypes.c_int), ("start_us", ctypes.c_uint64), ("us", ctypes.c_uint64)),
        *(("before", _Memory), ("after", _Memory), ("node", ctypes.c_uint64), ("graph", ctypes.c_uint64)),
        ("source", ctypes.c_int),
    ]


class _Layout(ctypes.Structure):
    _fields_ = [("rank", ctypes.c_uint), ("shape", ctypes.c_int32 * 8), ("strides", ctypes.c_uint32 * 8)]


class _TensorType(ctypes.Structure):
    _fields_ = [("element", ctypes.c_int), ("layout", _Layout)]


OPERATOR, DELEGATED = 2, 8  # LiteRtProfilerEventType
_SIDES = ("Input", "Output")
_CPU, _WRITE = 1, 1  # LiteRtHwAccelerators, LiteRtTensorBufferLockMode
_ELEMENTS = {
    **{"float32": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "complex64": 8, "int8": 9},
    **{"float16": 10, "float64": 11, "uint64": 13, "uint32": 16, "uint16": 17},
}


class Profiled:
    """A file compiled by the runtime's C library with its profiler on, its sample set. Errors: Unreachable."""

    def __init__(self, path, graph, threads, xnnpack, arrays, outputs):
        import ai_edge_litert

        found = sorted(Path(ai_edge_litert.__file__).parent.glob("libLiteRt.[sd]*"))
        if not found:
            raise Unreachable("the runtime has no C library")
        self._library, self._kept = ctypes.CDLL(str(found[0])), []
        self._number, options = ctypes.c_size_t(graph.signature), self._made("CreateOptions")
        self._environment = self._made("CreateEnvironment", 0, None)
        model = self._made("CreateModelFromFile", self._environment, str(path).encode())
        self._call("SetOptionsHardwareAccelerators", options, _CPU)
        kernels = "delegate" if xnnpack else "builtin"
        self._option(options, b"runtime_options_string", "enable_profiling = true\n")
        self._option(options, b"xnnpack", f'kernel_mode = "{kernels}"\nnum_threads = {threads}\n')
        self._model = self._made("CreateCompiledModel", self._environment, model, options)
        self._profiler = self._made("CompiledModelGetProfiler", self._model)
        signature = self._made("GetModelSignature", model, self._number)
        self._feed(
            *([of[name] for name in self._names(signature, side)] for side, of in zip(_SIDES, (arrays, outputs)))
        )

    def _names(self, signature, side):
        """Of a signature's inputs or outputs in the order in which buffers are given, which is not the file's."""
        count, name = ctypes.c_size_t(), ctypes.c_char_p()
        self._call(f"GetNumSignature{side}s", signature, ctypes.byref(count))
        for position in range(count.value):
            self._call(f"GetSignature{side}Name", signature, ctypes.c_size_t(position), ctypes.byref(name))
            yield name.value.decode()

    def _feed(self, inputs, outputs):
        """Buffers for all, those of the inputs filled."""
        for position, value in enumerate(inputs):
            layout, where = _Layout(), (self._model, *self._at(position))
            self._call("GetCompiledModelInputTensorLayout", *where, ctypes.byref(layout))
            if tuple(layout.shape[: value.ndim]) != value.shape:
                shape = (ctypes.c_int * value.ndim)(*value.shape)
                self._call("CompiledModelResizeInputTensorNonStrict", *where, shape, ctypes.c_size_t(value.ndim))
        layouts = (_Layout * len(outputs))()
        self._call("GetCompiledModelOutputTensorLayouts", self._model, *self._at(len(outputs)), layouts, True)
        self._buffers = []
        for side, values in zip(_SIDES, (inputs, outputs)):
            made = [self._buffer(side, position, value) for position, value in enumerate(values)]
            self._buffers.append((ctypes.c_void_p * len(made))(*(one.value for one in made)))
            if side == "Input":
                for buffer, value in zip(made, values):
                    self._fill(buffer, np.ascontiguousarray(value))

    def _call(self, name, *arguments):
        function = getattr(self._library, "LiteRt" + name)
        function.restype = ctypes.c_int
        arguments = [ctypes.c_bool(a) if isinstance(a, bool) else a for a in arguments]
        if status := function(*arguments):
            raise Unreachable(f"LiteRt{name} gives status {status}")

    def _made(self, name, *arguments):
        handle = ctypes.c_void_p()
        self._call(name, *arguments, ctypes.byref(handle))
        return handle

    def _at(self, position):
        return self._number, ctypes.c_size_t(position)

    def _option(self, options, name, text):
        payload, freed = ctypes.create_string_buffer(text.encode()), ctypes.CFUNCTYPE(None, ctypes.c_void_p)(id)
        self._kept += [payload, freed, name]
        option = self._made("CreateOpaqueOptions", name, ctypes.cast(payload, ctypes.c_void_p), freed)
        self._call("AddOpaqueOptions", options, option)

    def _buffer(self, side, position, value):
        if value.dtype.name not in _ELEMENTS:
            raise Unreachable(f"the runtime's C library is not given {value.dtype.name} here")
        kind = _TensorType(_ELEMENTS[value.dtype.name], _Layout(value.ndim))
        kind.layout.shape[: value.ndim] = value.shape
        needs = self._made(f"GetCompiledModel{side}BufferRequirements", self._model, *self._at(position))
        arguments = (self._environment, ctypes.byref(kind), needs)
        return self._made("CreateManagedTensorBufferFromRequirements", *arguments)

    def _fill(self, buffer, value):
        address, size = ctypes.c_void_p(), ctypes.c_size_t()
        self._call("GetTensorBufferPackedSize", buffer, ctypes.byref(size))
        if size.value != value.nbytes:
            raise Unreachable(f"the runtime's C library has {size.value} bytes for an input of {value.nbytes}")
        self._call("LockTensorBuffer", buffer, ctypes.byref(address), _WRITE)
        ctypes.memmove(address, value.ctypes.data, value.nbytes)
        self._call("UnlockTensorBuffer", buffer)

    def invoke(self):
        """One invoke."""
        sides = [part for side in self._buffers for part in (ctypes.c_size_t(len(side)), side)]
        self._call("RunCompiledModel", self._model, self._number, *sides)

    def events(self):
        """(tag, kind, node, graph, microseconds) of one invoke, in the order they ended up in."""
        self._call("StartProfiler", self._profiler)
        self.invoke()
        self._call("StopProfiler", self._profiler)
        count = ctypes.c_int()
        self._call("GetNumProfilerEvents", self._profiler, ctypes.byref(count))
        found = (_Event * max(1, count.value))()
        self._call("GetProfilerEvents", self._profiler, count, found)
        return [(e.tag.decode(), e.kind, e.node, e.graph, e.us) for e in found[: count.value]]


def ops_of(events, graph):
    """The events of a graph's ops, in order, among those of one invoke. Errors: Unreachable, where these are not the
    file's ops."""
    found = [event for event in events if event[1] == OPERATOR and event[3] == graph.number]
    if [event[2] for event in found] != list(range(len(graph.ops))):
        raise Unreachable(f"the profiler tells of {len(found)} ops, and the file has {len(graph.ops)}")
    for (tag, *_), name, custom in zip(found, graph.ops, graph.custom):
        if tag != name and not custom:  # a custom op's tag is whatever its kernel registered
            raise Unreachable(f"the profiler tells of {tag} where the file has {name}")
    return found


def means(runs):
    """Milliseconds of each op from microseconds (invokes, ops), without the slowest tenth of the invokes."""
    times = np.array(runs, "float64").reshape(len(runs), -1)
    totals = times.sum(axis=1)
    return (times[totals <= np.percentile(totals, _SLOWEST)].mean(axis=0) / 1e3).tolist()


def _repeat(once, seconds, tell=lambda *_: None, quick_seconds=0.0):
    """What `once` gives, again and again: after `_WARMUP`, `_RUNS` times and more for `quick_seconds`, fewer after
    `seconds`."""
    for _ in range(_WARMUP):
        once()
    found, began = [], time.monotonic()
    while len(found) < _MOST_RUNS:
        spent = time.monotonic() - began
        if len(found) >= (_LEAST_RUNS if spent >= seconds else _RUNS) and spent >= min(quick_seconds, seconds):
            break
        found.append(once())
        tell(min(len(found), _RUNS), _RUNS)
    return found


def check_total(total_ms, invoke_ms):
    """Errors: Unreachable, where the ops do not add up to what an invoke takes while nothing is profiled: the runtime's
    profiler slows graphs down that call others. A factor of two is left to other programs."""
    if not invoke_ms / 2 - _CLOSE_MS <= total_ms <= invoke_ms * 2 + _CLOSE_MS:
        raise Unreachable(f"its ops add up to {total_ms:.3g} ms, and an invoke takes {invoke_ms:.3g} ms")


def _profiled(profiled, pick, job, tell):
    """Events of many invokes as `pick` gives them, and the milliseconds of each of their ops. Errors: Unreachable."""
    half = job["profile_seconds"] / 2
    plain = float(np.median(_repeat(lambda: _clocked(profiled.invoke), half)))
    runs = _repeat(lambda: pick(profiled.events()), half, tell, _QUICK_SECONDS)
    if any([event[:2] for event in run] != [event[:2] for event in runs[0]] for run in runs):
        raise Unreachable("not the same ops run at each invoke")
    times = means([[event[4] for event in run] for run in runs])
    check_total(sum(times), plain)
    return runs, times


def by_profiler(path, job, arrays, outputs, tell):
    """Each op of the file by the runtime's own profiler. Errors: Unreachable."""
    graph = Graph(path, job["signature"])
    profiled = Profiled(path, graph, job["threads"], False, arrays, outputs)
    runs, times = _profiled(profiled, lambda events: ops_of(events, graph), job, tell)
    return {"method": "c_profiler", "xnnpack": False, "runs": len(runs), **table(graph.ops, times)}


def delegated(path, job, arrays, outputs, tell):
    """XNNPACK's ops by the runtime's own profiler. Errors: Unreachable, also where a graph is called by another: whose
    ops XNNPACK's are is not told."""
    graph = Graph(path, job["signature"])
    if nested := [name for name in graph.ops if name in _CALLS]:
        raise Unreachable(f"XNNPACK's ops are not told apart within {nested[0]}")
    profiled = Profiled(path, graph, job["threads"], True, arrays, outputs)
    kinds = {OPERATOR: "LiteRT", DELEGATED: "XNNPACK"}
    runs, times = _profiled(profiled, lambda events: [event for event in events if event[1] in kinds], job, tell)
    found = table([event[0] for event in runs[0]], times)
    for row, event in zip(found["ops"], runs[0]):
        row["by"] = kinds[event[1]]
    return {"method": "c_profiler", "xnnpack": True, "runs": len(runs), **found}


# By prefixes.


def prefix(graph, count):
    """The file cut after so many ops of its first subgraph: its last op's first output is all that it gives.

    Only lengths and one index change, in place; all else, the weights' alignment too, stays as it is.
    """
    data, table_ = bytearray(graph.data), graph.table._tab
    operators, outputs = (table_.Vector(table_.Offset(slot)) for slot in (_OPERATORS_SLOT, _OUTPUTS_SLOT))
    made = [graph.table.Operators(i).Outputs(0) for i in range(count) if graph.table.Operators(i).OutputsLength()]
    struct.pack_into("<I", data, operators - 4, count)
    if made:
        struct.pack_into("<Ii", data, outputs - 4, 1, made[-1])
    return bytes(data)


def by_prefixes(path, job, arrays, outputs, tell):
    """Each op of the file from what the file takes with and without it. Errors: Unreachable."""
    graph = Graph(path, job["signature"])
    if graph.number:
        raise Unreachable("only the first graph of a file can be cut")
    deadline, before, times, fewest = time.monotonic() + job["profile_seconds"], 0.0, [], _RUNS
    for count in range(1, len(graph.ops) + 1):
        left = (deadline - time.monotonic()) / (len(graph.ops) - count + 1)
        invoke = _loaded(prefix(graph, count), path, job, arrays)
        found = _repeat(lambda invoke=invoke: _clocked(invoke), left)
        if time.monotonic() > deadline + job["profile_seconds"]:
            raise Unreachable(f"profiling took twice as long as its {job['profile_seconds']:g} s")
        median, fewest = float(np.median(found)), min(fewest, len(found))
        times.append(max(0.0, median - before))
        before = max(before, median)
        tell(count, len(graph.ops))
    return {"method": "prefix", "xnnpack": False, "runs": fewest, **table(graph.ops, times)}


def _loaded(data, path, job, arrays):
    """`invoke` of a file that was cut, its inputs set by the names of the whole file's signature."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    whole = Interpreter(model_path=str(path), experimental_op_resolver_type=plain)
    details = whole.get_signature_runner(job["signature"]).get_input_details()
    made = Interpreter(model_content=data, num_threads=job["threads"], experimental_op_resolver_type=plain)
    for name, value in arrays.items():
        made.resize_tensor_input(details[name]["index"], value.shape)
    made.allocate_tensors()
    for name, value in arrays.items():
        made.set_tensor(details[name]["index"], value)
    return made.invoke


def _clocked(invoke):
    """Milliseconds of one invoke."""
    started = time.perf_counter()
    invoke()
    return (time.perf_counter() - started) * 1e3
