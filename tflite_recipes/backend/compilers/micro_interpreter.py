"""A `.tflite` in the tflite-micro interpreter, with the kernels that microcontrollers run, against LiteRT."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tflite_recipes.backend.running import runtime
from tflite_recipes.conversion.op_places import layers_of_ops
from tflite_recipes.core.errors import Problem, StepError, assignment
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.state import State
from tflite_recipes.files.samples import npz
from tflite_recipes.files.tflite import Operator, Subgraph, Tensor, TFLiteFile, read_tflite
from tflite_recipes.files.tflite.index_limits import index_limits
from tflite_recipes.targets.micro.kernels import has_kernel

# What the interpreter takes besides the tensors that the file tells of. It is reserved, and never touched.
_MORE_THAN_ENOUGH = 64 << 20
_MISSING = re.compile(r"Didn't find op for builtin opcode '(\w+)'")
_REFUSED = re.compile(r"Node (\w+) \(number (\d+)\) failed to (?:prepare|invoke)")
# An arena that is too small, which is no op's fault.
_MEMORY = re.compile(r"Failed to (?:allocate|resize)")
_TOTAL = re.compile(r"\] Arena allocation total (\d+) bytes")
# A range of so little, in all 256 steps, is that of a value that does not change.
_TINY_SCALE = 1e-7
# Lines that only say that something went wrong before them.
_SAYS_LITTLE = re.compile(r"^(Failed |Node |$)")


@dataclass(frozen=True)
class Unsupported:
    """An op that TensorFlow Lite Micro does not run. layer: of the source, "" where none is known; why: "" for no
    kernel, else the kernel's own words; output: the tensor that it makes."""

    op: str
    index: int
    layer: str
    why: str = ""
    output: str = ""

    @property
    def place(self) -> str:
        """Where it stands in words: its layer, else what it makes."""
        return self.layer or self.output.partition(";")[0] or f"op {self.index}"


@dataclass(frozen=True)
class Difference:
    """The largest difference of an output from LiteRT's: in quantization steps where it is an integer, or dequantized
    from one; relative to the output's range where it is float."""

    output: str
    steps: float | None
    relative: float | None


@dataclass(frozen=True)
class Simulation:
    """What the interpreter came to. `unsupported` alone where it does not run the file.

    arena_bytes: the smallest arena on this 64-bit host; recorded_bytes: what its allocator adds up to, 0 if unknown.
    data: where the samples came from.
    """

    version: str
    unsupported: tuple[Unsupported, ...] = ()
    arena_bytes: int = 0
    recorded_bytes: int = 0
    differences: tuple[Difference, ...] = ()
    samples: int = 0
    data: str = ""


def without_kernel(file: TFLiteFile, state: State) -> tuple[Unsupported, ...]:
    """The ops that the table of kernels lacks, with their layers."""
    return tuple(
        _unsupported_op(file, graph, op, state)
        for graph in file.subgraphs
        for op in graph.operators
        if not has_kernel(op)
    )


def simulate(file: TFLiteFile, state: State, samples: int, timeout_s: float, reporter: Reporter) -> Simulation:
    """Run calibration samples, or seeded random inputs, through both interpreters, and find the smallest arena.

    Errors: StepError where the interpreter fails otherwise than by an op that it does not run, dies, or is too slow.
    """
    ports = _ports(file, state)
    arrays, data = _samples(state, samples)
    fed = _fed(ports.inputs, arrays)
    job = _Job(state.workdir, file, state.stateful)
    answer, log = job.run(fed, enough_arena(file), timeout_s)
    reporter.keep(str(job.log))
    if "error" in answer:
        return Simulation(answer["version"], _unsupported(file, state, answer, log))
    total = _TOTAL.findall(log)
    return Simulation(
        answer["version"],
        arena_bytes=answer["arena_bytes"],
        recorded_bytes=int(total[-1]) if total else 0,
        differences=tuple(
            _compared(litert_outputs(file.path, fed, state.stateful), job.outputs(), ports.outputs, file)
        ),
        samples=len(next(iter(arrays.values()))),
        data=data,
    )


@dataclass(frozen=True)
class _Ports:
    """Names of the first graph's inputs and outputs with their tensors, in its own order."""

    inputs: tuple[tuple[str, Tensor], ...]
    outputs: tuple[tuple[str, Tensor], ...]


def _ports(file: TFLiteFile, state: State) -> _Ports:
    """As the signature calls them; as their tensors are called in a file without one. Errors: StepError."""
    graph = file.subgraphs[0]
    signature = next((s for s in file.signatures if s.key == state.signature), None)
    if signature and signature.subgraph:
        what = f"TensorFlow Lite Micro invokes the first graph of a file, and {state.signature} is another"
        raise StepError(Problem(what, "target", "target=generic"))
    names = {index: name for name, index in (*signature.inputs, *signature.outputs)} if signature else {}
    sides = (
        tuple((names.get(i, graph.tensors[i].name), graph.tensors[i]) for i in s) for s in (graph.inputs, graph.outputs)
    )
    return _Ports(*sides)


def _samples(state: State, count: int) -> tuple[dict[str, Any], str]:
    """Real-valued samples by input name, and where they come from."""
    if state.calibration is not None:
        return npz.choose(npz.open_arrays(state.calibration), count, 0), "calibration samples"
    limits = index_limits(read_tflite(state.tflite), state.signature) if state.tflite else {}
    return npz.random_arrays(state.inputs, count, 0, 0.0, 1.0, limits), "seeded random inputs"


def _fed(inputs: tuple[tuple[str, Tensor], ...], arrays: Mapping[str, Any]) -> dict[str, Any]:
    """What each invoke is fed by position of the input: (invokes, batch, …) as stored.

    Errors: StepError where a size besides the batch is open.
    """
    for name, tensor in inputs:
        if None in tensor.shape[1:]:
            fix = assignment(f"+source.input_shapes.{name}", [1, *(size or 32 for size in tensor.shape[1:])])
            what = f"TensorFlow Lite Micro takes no open sizes, and {name} has {list(tensor.shape)}"
            raise StepError(Problem(what, "target", fix))
    fed = {}
    for position, (name, tensor) in enumerate(inputs):
        scale = (tensor.scales[0], tensor.zero_points[0]) if tensor.scales else (0.0, 0)
        stored = runtime.quantize(np.asarray(arrays[name]), {"dtype": tensor.dtype, "quantization": scale})
        shape = [size or 1 for size in tensor.shape]
        batch = shape[0] if shape else 1
        stored = runtime.padded(stored, -(-len(stored) // batch) * batch) if len(stored) % batch else stored
        fed[str(position)] = np.ascontiguousarray(stored).reshape(-1, *shape)
    return fed


def litert_outputs(path: Path, fed: Mapping[str, Any], stateful: bool) -> list[Any]:
    """The outputs of LiteRT's own kernels, without delegates, by position: (invokes, …) as stored."""
    made = runtime.interpreter(path, xnnpack=False)
    inputs, outputs = made.get_input_details(), made.get_output_details()
    made.allocate_tensors()
    rows: list[list[Any]] = [[] for _ in outputs]
    for row in range(len(fed["0"])):
        if not stateful:
            made.reset_all_variables()
        for position, details in enumerate(inputs):
            made.set_tensor(details["index"], fed[str(position)][row])
        try:
            made.invoke()
        except (RuntimeError, ValueError) as error:
            raise StepError(Problem(f"LiteRT cannot run the file: {str(error).splitlines()[0]}", "target")) from error
        for kept, details in zip(rows, outputs, strict=True):
            kept.append(made.get_tensor(details["index"]))
    return [np.stack(kept) for kept in rows]


def enough_arena(file: TFLiteFile) -> int:
    """Bytes of an arena that no file needs: twice all that its graphs compute, and the same again for the rest."""
    computed = sum(
        int(np.prod([size or 1 for size in tensor.shape], dtype=np.int64)) * 8
        for graph in file.subgraphs
        for tensor in graph.tensors
        if not tensor.is_constant
    )
    return 2 * computed + 2 * file.size_bytes + _MORE_THAN_ENOUGH


class _Job:
    """The files of one run of the interpreter, and the process."""

    def __init__(self, workdir: Path, file: TFLiteFile, stateful: bool) -> None:
        self._file = file
        self.log = workdir / "tflite_micro.log"
        self._place = workdir / "micro"
        self._place.mkdir(exist_ok=True)
        self._outputs, self._answer = self._place / "outputs.npz", self._place / "answer.json"
        outputs = len(file.subgraphs[0].outputs)
        self._job = {"model": str(file.path), "output_count": outputs, "reset": not stateful}

    def run(self, fed: Mapping[str, Any], arena_bytes: int, timeout_s: float) -> tuple[dict[str, Any], str]:
        """The answer and what was printed. Errors: StepError where the process dies or takes too long."""
        np.savez(self._place / "inputs.npz", **fed)
        files = {"inputs": self._place / "inputs.npz", "outputs": self._outputs, "answer": self._answer}
        self._answer.unlink(missing_ok=True)
        job = {**self._job, **{name: str(path) for name, path in files.items()}, "arena_bytes": arena_bytes}
        (self._place / "job.json").write_text(json.dumps(job), encoding="utf-8")
        module = "tflite_recipes.backend.compilers.micro_process"
        command = [sys.executable, "-P", "-m", module, str(self._place / "job.json")]
        with self.log.open("wb") as log:
            try:
                done = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=timeout_s, check=False
                )
            except subprocess.TimeoutExpired as error:
                what = f"the tflite-micro interpreter did not come to an end in {timeout_s:g} s"
                ors = ("target.samples=1", "target.interpreter=false")
                raise StepError(Problem(what, "target", f"target.timeout_s={4 * timeout_s:g}", ors)) from error
        said = self.log.read_text(encoding="utf-8", errors="replace")
        if not self._answer.is_file():
            how = signal.Signals(-done.returncode).name if done.returncode < 0 else f"exit status {done.returncode}"
            what = f"the tflite-micro interpreter died ({how}): {telling(said)}{_tiny_scale(self._file)}"
            raise StepError(Problem(what, "target", "target.interpreter=false"))
        return json.loads(self._answer.read_text(encoding="utf-8")), said

    def outputs(self) -> list[Any]:
        """By position: (invokes, …) as stored."""
        with np.load(self._outputs) as stored:
            return [stored[str(position)] for position in range(self._job["output_count"])]


def _tiny_scale(file: TFLiteFile) -> str:
    """A clue for an interpreter that dies without a word: kernels abort where a scale leads beyond what they take."""
    tensors = (
        tensor for graph in file.subgraphs for tensor in graph.tensors if tensor.scales and not tensor.is_constant
    )
    least = min(tensors, key=lambda tensor: tensor.scales[0], default=None)
    if least is None or least.scales[0] > _TINY_SCALE:
        return ""
    return f"; {least.name.partition(';')[0]} has a scale of {least.scales[0]:.1g}: it is all but constant"


def telling(said: str) -> str:
    """The line of the interpreter's output that tells most: the first that does not only say that it failed."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if not _SAYS_LITTLE.match(line)), lines[-1] if lines else "it said nothing")


def _unsupported(file: TFLiteFile, state: State, answer: Mapping[str, Any], said: str) -> tuple[Unsupported, ...]:
    """The ops that the interpreter lacks or refuses. Errors: StepError where it was none of them."""
    graphs = [(graph, op) for graph in file.subgraphs for op in graph.operators]
    if missing := _MISSING.findall(said):
        named = {*missing, *(entry.op for entry in without_kernel(file, state))}
        found = [(graph, op, "") for graph, op in graphs if op.label in named]
    elif (refused := _REFUSED.search(said)) and not _MEMORY.search(said):
        name, index = refused[1], int(refused[2])
        found = [(graph, op, telling(said)) for graph, op in graphs if (op.index, op.label) == (index, name)][:1]
    else:
        # A custom op without a kernel is told by no builtin code.
        custom = {entry.op for entry in without_kernel(file, state)}
        found = [(graph, op, "") for graph, op in graphs if op.is_custom and op.label in custom]
    if not found:
        stage = {"load": "load", "invoke": "run"}.get(answer["stage"], "size")
        what = f"the tflite-micro interpreter cannot {stage} the file: {telling(said) if said else answer['error']}"
        raise StepError(Problem(what, "target", "target.interpreter=false"))
    return tuple(_unsupported_op(file, graph, op, state, why) for graph, op, why in found)


def _unsupported_op(file: TFLiteFile, graph: Subgraph, op: Operator, state: State, why: str = "") -> Unsupported:
    layer = layers_of_ops(file, graph, state.signature, state.layers).get(op.index, "")
    return Unsupported(op.label, op.index, layer, why, graph.tensors[op.outputs[0]].name if op.outputs else "")


def _compared(
    given: list[Any], ours: list[Any], outputs: tuple[tuple[str, Tensor], ...], file: TFLiteFile
) -> Iterator[Difference]:
    steps = _steps(file)
    for (name, tensor), theirs, own in zip(outputs, given, ours, strict=True):
        whole = "int" in tensor.dtype or tensor.dtype == "bool"
        yield difference_of(name, theirs, own, 1.0 if whole else steps.get(tensor.index, 0.0))


def difference_of(name: str, given: Any, ours: Any, step: float) -> Difference:
    """`step`: what one quantization step is in these values, 0 where there is none."""
    one, other = (np.asarray(side, "float64").reshape(-1) for side in (given, ours))
    with np.errstate(invalid="ignore"):  # infinity less infinity
        apart = np.where((one == other) | (np.isnan(one) & np.isnan(other)), 0.0, np.abs(one - other))
    largest = float(np.where(np.isnan(apart), np.inf, apart).max(initial=0.0))
    if step:
        return Difference(name, round(largest / step, 2), None)
    finite = one[np.isfinite(one)]
    spread = max(float(np.ptp(finite)), float(np.abs(finite).max())) if finite.size else 0.0
    return Difference(name, None, largest / spread if spread else largest)


def _steps(file: TFLiteFile) -> dict[int, float]:
    """The quantization step of the float tensors of the first graph that integers are dequantized to."""
    graph = file.subgraphs[0]
    made = {op.outputs[0]: graph.tensors[op.inputs[0]] for op in graph.operators if op.name == "DEQUANTIZE"}
    return {after: before.scales[0] for after, before in made.items() if before.scales}
