"""What a compiled file runs on the NPU and what on the CPU, told by the ops and layers that it was made from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tflite_recipes.backend.compilers.vela import Compiled
from tflite_recipes.conversion.op_places import layers_of_ops
from tflite_recipes.core.state import State
from tflite_recipes.files.tflite import QUANTIZE_OPS, Operator, Subgraph, TFLiteFile, op_macs, read_tflite
from tflite_recipes.targets.micro.kernels import ADD_METHODS, CUSTOM_ADD_METHODS
from tflite_recipes.targets.vela import output as vela_output

_NPU = "ethos-u"
_MOST_NAMED, _LONGEST = 10, 300


@dataclass(frozen=True)
class CpuOp:
    """An op that is left to the CPU. `reason` in Vela's words; `advice` is what would help."""

    index: int
    op: str
    layer: str
    output: str
    reason: str
    advice: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def __str__(self) -> str:
        place = f"in layer {self.layer!r}" if self.layer else f"with output {self.output.partition(';')[0]!r}"
        return f"{self.op} {place}"


def without_kernel(ops: tuple[CpuOp, ...]) -> tuple[CpuOp, ...]:
    """Those that TensorFlow Lite Micro does not run either."""
    return tuple(op for op in ops if op.op not in ADD_METHODS and op.op not in CUSTOM_ADD_METHODS)


def told(ops: tuple[CpuOp, ...]) -> list[str]:
    """A line for each reason, with the ops that it holds for."""
    groups: dict[tuple[str, str], list[CpuOp]] = {}
    for op in ops:
        groups.setdefault((_short(op.reason), op.advice), []).append(op)
    lines = []
    for (reason, advice), group in groups.items():
        named = ", ".join(map(str, group[:_MOST_NAMED]))
        rest = len(group) - _MOST_NAMED
        named += f" and {rest} more, which vela.json lists," if rest > 0 else ""
        lines.append(f"left to the CPU: {named}; Vela: {reason}; what would help: {advice}")
    return lines


@dataclass(frozen=True)
class Share:
    """How the ops of a file's main graph are shared out.

    ops, macs: of the uncompiled file, MACs by shapes. cpu: what is left to the CPU. cycles: for each op that runs on
    the NPU its layer, op, position, cycles and the MACs that Vela counts. open_batches: names of inputs whose batch is
    open, which Vela takes for 1.
    """

    ops: int
    macs: int
    cpu_macs: int
    cpu: tuple[CpuOp, ...]
    cycles: tuple[dict[str, Any], ...]
    open_batches: tuple[str, ...] = ()

    @property
    def on_npu(self) -> bool:
        """Whether anything runs there."""
        return len(self.cpu) < self.ops

    @property
    def npu_op_percent(self) -> float:
        """Of the uncompiled file's ops."""
        return 100.0 * (1 - len(self.cpu) / self.ops) if self.ops else 0.0

    @property
    def npu_mac_percent(self) -> float | None:
        """Of the uncompiled file's MACs; None where it has none."""
        return 100.0 * (1 - self.cpu_macs / self.macs) if self.macs else None


def share(state: State, compiled: Compiled) -> Share:
    """Compare `state.tflite` with what Vela made of it."""
    file = read_tflite(state.tflite)
    graph = file.subgraphs[0]
    layers = layers_of_ops(file, graph, state.signature, state.layers)
    left = _left_to_the_cpu(file, read_tflite(compiled.tflite))
    on_cpu = [op for op in graph.operators if op.index in left]
    cpu = tuple(_cpu_op(op, graph, layers.get(op.index, ""), compiled.reasons) for op in on_cpu)
    macs = {op.index: op_macs(op, graph) for op in graph.operators}
    cpu_macs = sum(macs[op.index] for op in on_cpu)
    cycles = tuple(_cycles(compiled.rows, graph, layers))
    inputs = (graph.tensors[index] for index in graph.inputs)
    open_batches = tuple(tensor.name for tensor in inputs if tensor.shape[:1] == (None,))
    return Share(len(graph.operators), sum(macs.values()), cpu_macs, cpu, cycles, open_batches)


def _left_to_the_cpu(source: TFLiteFile, compiled: TFLiteFile) -> set[int]:
    """Positions of the ops of the main graph that the compiled file still has, by the names of their outputs."""
    graph = compiled.subgraphs[0]
    if not any(op.custom_code == _NPU for op in graph.operators):
        return {op.index for op in source.subgraphs[0].operators}
    kept = Counter(_key(op, graph) for op in graph.operators if op.custom_code != _NPU)
    found = set()
    for op in source.subgraphs[0].operators:
        key = _key(op, source.subgraphs[0])
        if kept[key] > 0:
            kept[key] -= 1
            found.add(op.index)
    return found


def _key(op: Operator, graph: Subgraph) -> tuple[str, str]:
    return op.label, graph.tensors[op.outputs[0]].name if op.outputs else ""


def _cpu_op(op: Operator, graph: Subgraph, layer: str, reasons: Mapping[str, str]) -> CpuOp:
    names = [graph.tensors[index].name for index in op.outputs]
    reason = next((reasons[name] for name in names if name in reasons), "it gives no reason")
    return CpuOp(op.index, op.label, layer, names[0] if names else "", reason, _advice(op, graph, reason))


def _advice(op: Operator, graph: Subgraph, reason: str) -> str:
    """What would bring the op to the NPU."""
    if op.name in QUANTIZE_OPS and set(op.inputs) & set(graph.inputs):
        return "optimization.input_type=int8"
    if op.name in QUANTIZE_OPS and set(op.outputs) & set(graph.outputs):
        return "optimization.output_type=int8"
    if op.name in QUANTIZE_OPS or "Float" in reason:
        return "optimization=integer_only, or a layer that has an integer form"
    if "shapeless" in reason or reason.startswith("Dynamic "):
        return "fixed sizes in source.input_shapes"
    if "Unsupported opType" in reason:
        return "another layer in its place: the NPU has no such op"
    return "another layer in its place, or one within that limit"


def _cycles(rows: tuple[vela_output.Row, ...], graph: Subgraph, layers: Mapping[int, str]) -> list[dict[str, Any]]:
    """Cycles and MACs by op, in the file's order; what belongs to no op stands last."""
    ops = {op.index: op for op in graph.operators}
    order = [op.index for op in graph.operators]
    outputs = [graph.tensors[op.outputs[0]].name if op.outputs else "" for op in graph.operators]
    sums: dict[int | None, list[int]] = {}
    for row, position in zip(rows, vela_output.owners(rows, outputs), strict=True):
        if row.on_npu:
            total = sums.setdefault(None if position is None else order[position], [0, 0])
            total[0] += row.cycles
            total[1] += row.macs
    known = sorted(index for index in sums if index is not None)
    found = []
    for index in [*known, *([None] if None in sums else [])]:
        name = (layers.get(index, ""), ops[index].label) if index is not None else ("", "made by Vela")
        found.append(
            {"layer": name[0], "op": name[1], "index": index, "cycles": sums[index][0], "macs": sums[index][1]}
        )
    return found


def _short(reason: str) -> str:
    """Without the name of the tensor, which may be longer than all else, and differs from op to op."""
    text = re.sub(r"(unsupported DataType \w+) \(.*?\)(; |$)", r"\1\2", reason)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
