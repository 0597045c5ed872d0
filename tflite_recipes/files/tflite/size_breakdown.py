"""Where the bytes of a file are: its constants by layer, its metadata, and what is left for the graph itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # which reads the format, and the command line need not
    from tflite_recipes.files.tflite import Operator, Subgraph, Tensor, TFLiteFile

SIZES = "sizes.json"
_MADE_FLOAT = "DEQUANTIZE"


@dataclass(frozen=True)
class Part:
    """Constants of one layer. layer: "" for what no op reads; an op without a layer stands for itself, as `ADD 3`.
    ops: which read them. bytes: as stored. constants: how many. dtypes: bytes by type."""

    layer: str
    ops: tuple[str, ...]
    bytes: int
    constants: int
    dtypes: Mapping[str, int]


@dataclass(frozen=True)
class Breakdown:
    """file: its size in bytes, the sum of the four: weights (constants of two and more dimensions), other_constants
    (biases, shapes), metadata (entries and associated files), graph (ops, tensors with their names and scales, and
    padding). layers: largest first."""

    file: int
    weights: int
    other_constants: int
    metadata: int
    graph: int
    layers: tuple[Part, ...]

    def to_json(self) -> dict[str, Any]:
        """For `sizes.json`."""
        return asdict(self)


def breakdown(file: TFLiteFile, owners: Sequence[Mapping[int, str]], metadata: int) -> Breakdown:
    """The bytes of a file. owners: for each subgraph the layer of each op by its position, "" for none (see
    `op_layers`). metadata: bytes of its entries and associated files. A constant that several ops read is the first's.
    """
    read: dict[int, tuple[str, str, Tensor]] = {}
    for graph, layers in zip(file.subgraphs, owners, strict=True):
        for op, tensor in _readers(graph):
            layer = layers.get(op.index, "") or f"{op.label} {op.index}"
            read.setdefault(tensor.buffer_offset, (layer, op.label, tensor))
    for tensor in (tensor for graph in file.subgraphs for tensor in graph.tensors if tensor.is_constant):
        read.setdefault(tensor.buffer_offset, ("", "", tensor))
    by_layer: dict[str, list[tuple[str, Tensor]]] = {}
    for layer, op_name, tensor in read.values():
        by_layer.setdefault(layer, []).append((op_name, tensor))
    constants = [tensor for _, _, tensor in read.values()]
    weights = sum(tensor.buffer_bytes for tensor in constants if len(tensor.shape) >= 2)
    others = sum(tensor.buffer_bytes for tensor in constants) - weights
    parts = sorted((_part(layer, told) for layer, told in by_layer.items()), key=lambda part: (-part.bytes, part.layer))
    graph_bytes = max(file.size_bytes - weights - others - metadata, 0)
    return Breakdown(file.size_bytes, weights, others, metadata, graph_bytes, tuple(parts))


def _readers(graph: Subgraph) -> Iterator[tuple[Operator, Tensor]]:
    """Each op with each constant that it reads; what is stored in fewer bits and made float again on its way is read
    by the op behind that."""
    first: dict[int, Operator] = {}
    for op in graph.operators:
        for index in op.inputs:
            first.setdefault(index, op)
    for op in graph.operators:
        reader = first.get(op.outputs[0], op) if op.name == _MADE_FLOAT and op.outputs else op
        for index in op.inputs:
            if index >= 0 and graph.tensors[index].is_constant:
                yield reader, graph.tensors[index]


def _part(layer: str, told: Sequence[tuple[str, Tensor]]) -> Part:
    dtypes: dict[str, int] = {}
    for _, tensor in told:
        dtypes[tensor.dtype] = dtypes.get(tensor.dtype, 0) + tensor.buffer_bytes
    ops = tuple(dict.fromkeys(op for op, _ in told if op))
    return Part(layer, ops, sum(dtypes.values()), len(told), dtypes)
