"""Lists a `.tflite` file: every operator as JSON, and what `inspect` shows."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tflite_recipes.files.tflite.file_statistics import most_first, op_counts, tensor_dtypes
from tflite_recipes.files.tflite.model import Inspection, Signature, SignaturePorts, Tensor, TFLiteFile

LARGEST_CONSTANTS = 10


def to_json(file: TFLiteFile) -> dict[str, Any]:
    """Every operator with its tensors (null for an input left out), and the histograms of ops and tensor dtypes."""
    return {
        "operators": [
            {
                "subgraph": number,
                "index": op.index,
                "name": op.label,
                "inputs": [_tensor_json(graph.tensors[i]) if i >= 0 else None for i in op.inputs],
                "outputs": [_tensor_json(graph.tensors[i]) for i in op.outputs],
            }
            for number, graph in enumerate(file.subgraphs)
            for op in graph.operators
        ],
        "op_counts": op_counts(file),
        "tensor_dtypes": tensor_dtypes(file),
    }


def describe(file: TFLiteFile) -> Inspection:
    """Gather what `inspect` shows."""
    constants: dict[int, Tensor] = {}
    for graph in file.subgraphs:
        for tensor in graph.tensors:
            if tensor.is_constant:
                constants.setdefault(tensor.buffer_offset, tensor)
    largest = sorted(constants.values(), key=lambda tensor: -tensor.buffer_bytes)
    constant_bytes: Counter[str] = Counter()
    for tensor in largest:
        constant_bytes[tensor.dtype] += tensor.buffer_bytes
    # A file without signatures has one entry point all the same
    main = file.subgraphs[0]
    inputs, outputs = (tuple((main.tensors[i].name, i) for i in side) for side in (main.inputs, main.outputs))
    signatures = file.signatures or (Signature("", inputs, outputs, 0),)
    return Inspection(
        size_bytes=file.size_bytes,
        version=file.version,
        description=file.description,
        metadata=file.metadata,
        signatures=tuple(_ports(file, signature) for signature in signatures),
        op_counts=op_counts(file),
        tensor_dtypes=tensor_dtypes(file),
        constant_bytes=most_first(constant_bytes),
        largest_constants=tuple(largest[:LARGEST_CONSTANTS]),
    )


def _tensor_json(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape)}


def _ports(file: TFLiteFile, signature: Signature) -> SignaturePorts:
    tensors = file.subgraphs[signature.subgraph].tensors
    sides = (signature.inputs, signature.outputs)
    inputs, outputs = (tuple((name, tensors[i]) for name, i in side) for side in sides)
    return SignaturePorts(signature.key, inputs, outputs)
