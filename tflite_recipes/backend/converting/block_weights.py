"""Weights of a float `.tflite` with one scale for each block of values along a row, computed in float32.

LiteRT 2.3 computes a DEQUANTIZE of the format's own blockwise tensors wrongly. The same values as a matrix with one
block a row have a scale for each row, which it does take: DEQUANTIZE of (blocks, size), then RESHAPE to the weights'
shape.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_recipes.backend.converting import model_objects

# Ops that read their weights row by row, and which input these are.
WEIGHTS = {"CONV_2D": 1, "FULLY_CONNECTED": 1}
_OP = schema.BuiltinOperator
_LARGEST = {8: 127, 4: 7}
_TYPE = {8: schema.TensorType.INT8, 4: schema.TensorType.INT4}


def with_blocks(data: bytes, tensors: Iterable[str], size: int, bits: int) -> bytes:
    """The file with these constants, by name, in `bits` (8 or 4) wide integers and a scale for each `size` values.

    scale = max|w| / (2^(bits−1) − 1) over a block, zero point 0.
    """
    wanted = set(tensors)
    if not wanted:
        return data
    model = model_objects.read(data)
    for graph in model.subgraphs:
        added: list[Any] = []
        for index, tensor in enumerate(list(graph.tensors)):
            if tensor.name.decode() in wanted:
                added += _blocked(model, graph, index, size, bits)
        graph.operators = [*added, *graph.operators]
    return model_objects.write(model)


def quantized(weights: Any, size: int, bits: int) -> tuple[Any, Any]:
    """Integers (blocks, size) int8 and float32 scales (blocks,) of weights whose number is a multiple of `size`."""
    blocks = np.asarray(weights, np.float32).reshape(-1, size)
    largest = np.abs(blocks).max(axis=1)
    scales = np.where(largest > 0, largest / _LARGEST[bits], 1.0).astype(np.float32)
    limit = _LARGEST[bits]
    return np.clip(np.rint(blocks / scales[:, None]), -limit, limit).astype(np.int8), scales


def packed(values: Any) -> Any:
    """Two four-bit integers a byte, the first in the lower half."""
    flat = values.reshape(-1)
    flat = np.concatenate([flat, np.zeros(len(flat) % 2, np.int8)]).view(np.uint8) & 0x0F
    return (flat[0::2] | (flat[1::2] << 4)).astype(np.uint8)


def _blocked(model: Any, graph: Any, index: int, size: int, bits: int) -> list[Any]:
    """Turn one constant into what is computed from its blocks, by the two ops that it gives."""
    tensor = graph.tensors[index]
    weights = np.frombuffer(np.asarray(model.buffers[tensor.buffer].data, np.uint8).tobytes(), np.float32)
    values, scales = quantized(weights, size, bits)
    stored = values.view(np.uint8).reshape(-1) if bits == 8 else packed(values)
    name, shape = tensor.name, [int(length) for length in tensor.shape]
    integers = _tensor(name + b"_blocks", values.shape, _TYPE[bits], _buffer(model, stored))
    integers.quantization = schema.QuantizationParametersT()
    integers.quantization.scale, integers.quantization.quantizedDimension = scales, 0
    integers.quantization.zeroPoint = np.zeros(len(scales), np.int64)
    floats = _tensor(name + b"_dequantized_blocks", values.shape, schema.TensorType.FLOAT32, 0)
    shape_bytes = np.array(shape, np.int32).view(np.uint8)
    sizes = _tensor(name + b"_shape", (len(shape),), schema.TensorType.INT32, _buffer(model, shape_bytes))
    first = len(graph.tensors)
    graph.tensors = [*graph.tensors, integers, floats, sizes]
    if not _read_elsewhere(model, tensor):
        model.buffers[tensor.buffer].data = None
    tensor.buffer = 0
    dequantize = _operator(model, _OP.DEQUANTIZE, [first], [first + 1])
    reshape = _operator(model, _OP.RESHAPE, [first + 1, first + 2], [index])
    reshape.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
    reshape.builtinOptions = schema.ReshapeOptionsT()
    reshape.builtinOptions.newShape = np.array(shape, np.int32)
    return [dequantize, reshape]


def _read_elsewhere(model: Any, tensor: Any) -> bool:
    return any(other is not tensor and other.buffer == tensor.buffer for g in model.subgraphs for other in g.tensors)


def _buffer(model: Any, data: Any) -> int:
    made = schema.BufferT()
    made.data = data
    model.buffers.append(made)
    return len(model.buffers) - 1


def _tensor(name: bytes, shape: tuple[int, ...], kind: int, buffer: int) -> Any:
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, np.array(shape, np.int32), kind, buffer
    made.hasRank = True
    return made


def _operator(model: Any, code: int, inputs: list[int], outputs: list[int]) -> Any:
    known = [max(entry.builtinCode, entry.deprecatedBuiltinCode) for entry in model.operatorCodes]
    if code not in known:
        entry = schema.OperatorCodeT()
        entry.builtinCode = entry.deprecatedBuiltinCode = code
        # Four-bit DEQUANTIZE came with version 6.
        entry.version = 6 if code == _OP.DEQUANTIZE else 1
        model.operatorCodes.append(entry)
        known.append(code)
    made = schema.OperatorT()
    made.opcodeIndex = known.index(code)
    made.inputs, made.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
    return made
