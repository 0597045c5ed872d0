"""Multiplications with accumulation (MACs) that one invoke of a file takes, op by op, from shapes alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tflite_recipes.files.tflite.model import Operator, Subgraph, Tensor, TFLiteFile


def op_macs(op: Operator, graph: Subgraph) -> int:
    """MACs of one op, an open size counted as 1: products of weights or matrices. 0 for every other op.

    Biases, activations and requantization are not counted; pooling and element-wise ops have no MACs.
    """
    count = _COUNTS.get(op.name)
    inputs = [graph.tensors[index] if index >= 0 else None for index in op.inputs]
    outputs = [graph.tensors[index] for index in op.outputs]
    if count is None or not outputs or len(inputs) < 2:
        return 0
    return count(inputs, outputs[0])


def macs(file: TFLiteFile) -> int:
    """MACs of all ops of all graphs. The body of a loop counts once, as the file does not say how often it runs."""
    return sum(op_macs(op, graph) for graph in file.subgraphs for op in graph.operators)


def _sizes(tensor: Tensor | None) -> tuple[int, ...]:
    return () if tensor is None else tuple(size or 1 for size in tensor.shape)


def _convolution(inputs: Sequence[Tensor | None], output: Tensor) -> int:
    """CONV_2D: weights (out, height, width, in); in is that of a group where there are groups."""
    return math.prod(_sizes(output)) * math.prod(_sizes(inputs[1])[1:])


def _depthwise(inputs: Sequence[Tensor | None], output: Tensor) -> int:
    """DEPTHWISE_CONV_2D: weights (1, height, width, out)."""
    return math.prod(_sizes(output)) * math.prod(_sizes(inputs[1])[1:3])


def _convolution_3d(inputs: Sequence[Tensor | None], output: Tensor) -> int:
    """CONV_3D: weights (depth, height, width, in, out)."""
    return math.prod(_sizes(output)) * math.prod(_sizes(inputs[1])[:4])


def _transposed(inputs: Sequence[Tensor | None], output: Tensor) -> int:
    """TRANSPOSE_CONV: each input pixel times the whole kernel; inputs are sizes, weights (out, height, width, in) and
    the picture. What the kernel lays beyond the border is counted, though it is cut off."""
    return math.prod(_sizes(inputs[2])) * math.prod(_sizes(inputs[1])[:3]) if len(inputs) > 2 else 0


def _transposed_3d(inputs: Sequence[Tensor | None], output: Tensor) -> int:
    """CONV_3D_TRANSPOSE: weights (depth, height, width, out, in)."""
    return math.prod(_sizes(inputs[2])) * math.prod(_sizes(inputs[1])[:4]) if len(inputs) > 2 else 0


def _dense(inputs: Sequence[Tensor | None], output: Tensor) -> int:
    """FULLY_CONNECTED: weights (out, in)."""
    return math.prod(_sizes(output)) * (_sizes(inputs[1]) or (1,))[-1]


def _product(inputs: Sequence[Tensor | None], output: Tensor) -> int:
    """BATCH_MATMUL: of the first matrix's two sizes the one that is not the output's rows is summed over, whichever
    way round it lies."""
    first, made = _sizes(inputs[0]), _sizes(output)
    if len(first) < 2 or len(made) < 2:
        return 0
    return math.prod(made) * (math.prod(first[-2:]) // made[-2])


def _lstm(inputs: Sequence[Tensor | None], output: Tensor) -> int:
    """The sequence LSTMs: every matrix once a step, of (batch, steps, features) or (steps, batch, features)."""
    matrices = [tensor for tensor in inputs[1:] if tensor is not None and tensor.is_constant and len(tensor.shape) == 2]
    return math.prod(_sizes(inputs[0])[:-1]) * sum(math.prod(_sizes(matrix)) for matrix in matrices)


_COUNTS: dict[str, Callable[[Sequence[Tensor | None], Tensor], int]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "CONV_3D": _convolution_3d,
    "TRANSPOSE_CONV": _transposed,
    "CONV_3D_TRANSPOSE": _transposed_3d,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": _product,
    "LSTM": _lstm,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    "BIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    # (batch, features); features and time each have a matrix
    "SVDF": _lstm,
}
