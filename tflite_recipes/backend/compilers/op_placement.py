"""Where the ops of a file would run, each with its layer: the rules of `targets.accelerators` on a file of a run."""

from __future__ import annotations

from collections.abc import Sequence

from tflite_recipes.conversion.op_places import layers_of_ops
from tflite_recipes.core.state import State
from tflite_recipes.files.tflite import TFLiteFile, read_tflite
from tflite_recipes.targets.accelerators import edge_tpu, gpu
from tflite_recipes.targets.accelerators.accelerator_graph import Op, main_graph, without_unpacking
from tflite_recipes.targets.accelerators.partitions import delegated, partitions
from tflite_recipes.targets.accelerators.placement import Place, Placement

GPU, EDGE_TPU = "GPU", "Edge TPU"
_CONTROLLED = "it stands in a graph that control flow runs, which is not judged"
_IN_FLOAT = (
    "quantized values are dequantized as they are read and rounded as they are written: a GPU computes in floating "
    "point, so int8 saves memory on it, and no time"
)


def on_gpu(state: State, most_partitions: int) -> Placement:
    """Where LiteRT's GPU delegate would run each op, given that it takes over the `most_partitions` largest groups."""
    file = _read(state)
    ops = without_unpacking(main_graph(file))
    reasons = [gpu.refusal(op) for op in ops]
    parts = partitions(ops, {position for position, reason in enumerate(reasons) if not reason})
    chosen = {position for part in delegated(parts, most_partitions) for position in part}
    groups = sum(is_taken for is_taken, _ in parts)
    left = f"the GPU could run it, but of {groups} groups the delegate takes over the largest {most_partitions} only"
    final = [reason or ("" if at in chosen else left) for at, reason in enumerate(reasons)]
    quantized = any(tensor.dtype in gpu.QUANTIZED for op in ops for tensor in op.outputs)
    return Placement(GPU, _places(file, state, ops, final), groups, gpu.SOURCE, (_IN_FLOAT,) if quantized else ())


def on_edge_tpu(state: State) -> Placement:
    """What the Edge TPU's compiler would map, by its documentation."""
    file = _read(state)
    ops = main_graph(file)
    verdicts = edge_tpu.judge(ops)
    places = _places(file, state, ops, verdicts.reasons)
    return Placement(EDGE_TPU, places, verdicts.groups, edge_tpu.SOURCE, verdicts.notes)


def parameter_bytes(state: State) -> int:
    """Bytes of the constants, one that tensors share counted once."""
    tensors = (tensor for graph in _read(state).subgraphs for tensor in graph.tensors if tensor.is_constant)
    return sum({tensor.buffer_offset: tensor.buffer_bytes for tensor in tensors}.values())


def _read(state: State) -> TFLiteFile:
    assert state.tflite is not None
    return read_tflite(state.tflite)


def _places(file: TFLiteFile, state: State, ops: Sequence[Op], reasons: Sequence[str]) -> tuple[Place, ...]:
    places = []
    for number, graph in enumerate(file.subgraphs):
        layers = layers_of_ops(file, graph, state.signature, state.layers)
        if number:
            places += [Place(op.index, op.label, layers[op.index], _CONTROLLED, number) for op in graph.operators]
        else:
            places += [Place(op.index, op.name, layers[op.index], why) for op, why in zip(ops, reasons, strict=True)]
    return tuple(places)
