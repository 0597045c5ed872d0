"""Stored weights against the float file's: dequantized, slot by slot of the ops that read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_recipes.backend.running.tensor_pairs import Pairs
from tflite_recipes.conversion.quality.decibels import decibels
from tflite_recipes.conversion.quality.tensor_errors import TensorError
from tflite_recipes.core.errors import RequestError
from tflite_recipes.files import tflite
from tflite_recipes.files.tflite import Operator, Tensor, TFLiteFile

# Biases (int32, int64) are stored with the scale of the product: their rounding does not show.
_STORED = ("int2", "int4", "int8", "uint8", "int16", "float16")


def weight_errors(float_file: TFLiteFile, quantized_file: TFLiteFile, pairs: Pairs) -> list[TensorError]:
    """One row for each weight and op that reads it. Weights whose layout is not known here end up in
    `pairs.unmatched`."""
    rows = []
    for op, ours, theirs in _matched(pairs):
        if ours.dtype != "float32" or theirs.dtype not in _STORED:
            continue
        try:
            values = tflite.constant_array(float_file, ours).astype("float64")
            stored = _stored(quantized_file, theirs)
            steps = _steps(quantized_file, pairs, theirs, stored.shape)
        except (RequestError, ValueError):
            pairs.unmatched.append(theirs.name)
            continue
        if values.shape != stored.shape:
            pairs.unmatched.append(theirs.name)
            continue
        rows.append(_row(pairs, op, ours, theirs, values, stored, steps))
    return rows


def _matched(pairs: Pairs) -> Iterator[tuple[Operator, Tensor, Tensor]]:
    """Float ops with the constants in the same slots of both files, through a DEQUANTIZE where they pass one."""
    ours, theirs = pairs.sides
    dequantized = {op.outputs[0]: op.inputs[0] for op in theirs.operators if op.name == "DEQUANTIZE"}
    index_of = {pair.quantized.index: index for index, pair in pairs.activations.items()}
    for op in theirs.operators:
        found = next((index_of[i] for i in op.outputs if i in index_of), None)
        mate = pairs.makers.get(found) if found is not None else None
        if mate is None or mate.label != op.label or len(mate.inputs) != len(op.inputs):
            continue
        for i, j in zip(mate.inputs, op.inputs, strict=True):
            if i >= 0 and j >= 0:
                a, b = ours.tensors[i], theirs.tensors[dequantized.get(j, j)]
                if a.is_constant and b.is_constant:
                    yield mate, a, b


def _row(pairs: Pairs, op: Operator, ours: Tensor, theirs: Tensor, values: Any, stored: Any, steps: Any) -> TensorError:
    scale, zero = steps
    error = values - (stored.astype("float64") - zero) * scale
    integer = theirs.dtype != "float16"
    clipped = None
    if integer:
        bits = int(theirs.dtype.removeprefix("u").removeprefix("int"))
        low, high = (0, 2**bits - 1) if theirs.dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        asked = values / np.where(scale == 0.0, 1.0, scale) + zero
        clipped = float(((asked < low - 0.5) | (asked > high + 0.5)).mean()) if values.size else 0.0
    sqnr = decibels(float((values**2).sum()), float((error**2).sum()))
    over = np.sqrt(np.mean((error / np.where(scale == 0.0, 1.0, scale)) ** 2)) if values.size else 0.0
    return TensorError(
        tensor=ours.name,
        layer=pairs.layers[op.index],
        op=op.label,
        kind="weight",
        dtype=theirs.dtype,
        shape=ours.shape,
        scale=float(np.max(scale)) if integer else None,
        zero_point=int(np.max(zero)) if integer else None,
        sqnr_db=sqnr,
        local_sqnr_db=sqnr,
        rmse=float(np.sqrt(np.mean(error**2))) if values.size else 0.0,
        rmse_over_scale=float(over) if integer else None,
        clipped=clipped,
        output=pairs.sides[0].tensors[op.outputs[0]].name,
    )


def _stored(file: TFLiteFile, tensor: Tensor) -> Any:
    """The integers (or float16) as an array in the tensor's shape; int4 and int2 are packed, lowest bits first."""
    if tensor.dtype not in ("int4", "int2"):
        return tflite.constant_array(file, tensor)
    bits = int(tensor.dtype[3:])
    shape = [size or 0 for size in tensor.shape]
    packed = np.fromfile(file.path, "uint8", tensor.buffer_bytes, offset=tensor.buffer_offset)
    parts = np.stack([(packed >> shift) & (2**bits - 1) for shift in range(0, 8, bits)], axis=-1).reshape(-1)
    values = parts[: int(np.prod(shape))].astype("int8")
    return np.where(values >= 2 ** (bits - 1), values - 2**bits, values).reshape(shape)


def _steps(file: TFLiteFile, pairs: Pairs, tensor: Tensor, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Scale and zero point for each value, by broadcasting. Errors: ValueError for another kind of quantization."""
    if tensor.dtype == "float16":
        return np.ones(()), np.zeros(())
    if not tensor.scales:
        return _block_steps(file, pairs, tensor, shape)
    along = [1] * len(shape)
    if len(tensor.scales) > 1:
        along[tensor.quantized_dimension] = len(tensor.scales)
    zeros = tensor.zero_points or (0,) * len(tensor.scales)
    return np.reshape(np.array(tensor.scales, "float64"), along), np.reshape(np.array(zeros, "float64"), along)


def _block_steps(file: TFLiteFile, pairs: Pairs, tensor: Tensor, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Blockwise: the last axis in blocks, whose scales are a tensor of their own."""
    graph = schema.Model.GetRootAs(file.path.read_bytes(), 0).Subgraphs(pairs.graphs[1])
    quantization = graph.Tensors(tensor.index).Quantization()
    if quantization is None or quantization.DetailsType() != schema.QuantizationDetails.BlockwiseQuantization:
        raise ValueError("neither scales nor blocks")
    details = schema.BlockwiseQuantization()
    details.Init(quantization.Details().Bytes, quantization.Details().Pos)
    scales = tflite.constant_array(file, pairs.sides[1].tensors[details.Scales()]).astype("float64")
    size = details.BlockSize()
    if scales.size * size != np.prod(shape) or shape[-1] % size:
        raise ValueError("blocks that do not fill the last axis")
    return np.repeat(scales.reshape(*shape[:-1], -1), size, axis=-1), np.zeros(())
