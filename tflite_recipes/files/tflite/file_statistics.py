"""Counts what a `.tflite` file holds: ops, dtypes, zeros among the weights, operators that compute in float."""

from __future__ import annotations

from collections import Counter

import numpy as np

from tflite_recipes.files.tflite.model import Tensor, TFLiteFile
from tflite_recipes.files.tflite.reader import constant_array

QUANTIZE_OPS = frozenset({"QUANTIZE", "DEQUANTIZE"})
FLOAT_DTYPES = frozenset({"float32", "float16"})
WEIGHT_DTYPES = FLOAT_DTYPES | {"int8"}
CONVOLUTIONS = frozenset({"CONV_2D", "CONV_3D", "CONV_3D_TRANSPOSE", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"})
LSTMS = frozenset({"BIDIRECTIONAL_SEQUENCE_LSTM", "LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"})
WEIGHT_OPS = CONVOLUTIONS | LSTMS | {"BATCH_MATMUL", "EMBEDDING_LOOKUP", "FULLY_CONNECTED", "GATHER", "SVDF"}


def weight_tensors(file: TFLiteFile) -> tuple[Tensor, ...]:
    """Constants of at least two dimensions, float32, float16 or int8, that an op with weights reads; one per buffer.

    Weights may pass a DEQUANTIZE on their way, as those stored as float16 do.
    """
    found: dict[int, Tensor] = {}
    for graph in file.subgraphs:
        dequantize = (op for op in graph.operators if op.name == "DEQUANTIZE")
        source = {output: value for op in dequantize for output, value in zip(op.outputs, op.inputs, strict=False)}
        for index in (index for op in graph.operators if op.name in WEIGHT_OPS for index in op.inputs):
            origin = source.get(index, index)
            tensor = graph.tensors[origin] if origin >= 0 else None
            if tensor and tensor.is_constant and len(tensor.shape) >= 2 and tensor.dtype in WEIGHT_DTYPES:
                found.setdefault(tensor.buffer_offset, tensor)
    return tuple(found.values())


def sparsity(file: TFLiteFile) -> float:
    """Share of zeros among the values of `weight_tensors`, 0.0 to 1.0; 0.0 if there are none.

    A quantized weight is zero where it equals its zero point. Leaves out weights that are stored compressed.
    RequestError as for `constant_array`.
    """
    zeros = total = 0
    for tensor in weight_tensors(file):
        if not tensor.is_sparse:
            values = constant_array(file, tensor)
            # The format fixes the zero points of weights with one per channel at 0, so the first speaks for all
            zero = tensor.zero_points[0] if tensor.zero_points and tensor.dtype not in FLOAT_DTYPES else 0
            zeros += int(np.count_nonzero(values == zero))
            total += values.size
    return zeros / total if total else 0.0


def op_counts(file: TFLiteFile) -> dict[str, int]:
    """How often each op occurs, most frequent first; custom ops by their custom code."""
    return most_first(Counter(op.label for graph in file.subgraphs for op in graph.operators))


def tensor_dtypes(file: TFLiteFile) -> dict[str, int]:
    """How many tensors have each dtype, most frequent first."""
    return most_first(Counter(tensor.dtype for graph in file.subgraphs for tensor in graph.tensors))


def float_operators(file: TFLiteFile) -> tuple[tuple[str, str], ...]:
    """Op name and name of the first float output of each op that computes in float.

    QUANTIZE and DEQUANTIZE only convert, so they do not count.
    """
    found = []
    for graph in file.subgraphs:
        for op in graph.operators:
            outputs = [graph.tensors[i].name for i in op.outputs if graph.tensors[i].dtype in FLOAT_DTYPES]
            if outputs and op.name not in QUANTIZE_OPS:
                found.append((op.label, outputs[0]))
    return tuple(found)


def foreign_ops(file: TFLiteFile) -> frozenset[str]:
    """The ops that are not LiteRT's own: Flex ops and custom ops, by their custom codes."""
    return frozenset(op.label for graph in file.subgraphs for op in graph.operators if op.is_flex or op.is_custom)


def op_metrics(file: TFLiteFile) -> dict[str, int]:
    """Numbers of operators by kind, over all subgraphs."""
    operators = [op for graph in file.subgraphs for op in graph.operators]
    return {
        "ops.total": len(operators),
        "ops.flex": sum(op.is_flex for op in operators),
        "ops.custom": sum(op.is_custom for op in operators),
        "ops.quantize_dequantize": sum(op.name in QUANTIZE_OPS for op in operators),
        "ops.float": len(float_operators(file)),
    }


def fused_lstms(file: TFLiteFile) -> int:
    """How many ops compute an LSTM over a whole sequence."""
    return sum(op.name in LSTMS for graph in file.subgraphs for op in graph.operators)


def keeps_state(file: TFLiteFile) -> bool:
    """Return whether an invoke depends on those before it: an op reads a variable tensor, or assigns a resource.

    The graph that sets resources once has neither inputs nor outputs, and belongs to no signature.
    """
    called = {signature.subgraph for signature in file.signatures} | {0}
    graphs = [g for number, g in enumerate(file.subgraphs) if number in called or g.inputs or g.outputs]
    read = (g.tensors[index] for g in graphs for op in g.operators for index in op.inputs if index >= 0)
    return any(t.is_variable for t in read) or any(op.name == "ASSIGN_VARIABLE" for g in graphs for op in g.operators)


def most_first(counts: Counter[str]) -> dict[str, int]:
    """The counts, largest first."""
    # Ties by name, so that two files with the same ops list them alike
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
