"""Tiny `.tflite` files for TensorFlow Lite Micro, built from the schema without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

IN, OUT = 6, 4


class Builder:
    """A graph of one path: each op takes the tensor before it."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version, self.model.buffers, self.model.operatorCodes = 3, [schema.BufferT()], []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, name: str, shape: list[int], kind: str, scale: float = 0.0, values: Any = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type = name, shape, getattr(schema.TensorType, kind)
        if scale:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale], [0]
        made.buffer = 0
        if values is not None:
            stored = schema.BufferT()
            stored.data = np.frombuffer(np.asarray(values).tobytes(), "uint8")
            self.model.buffers.append(stored)
            made.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def op(self, name: str, inputs: list[int], outputs: list[int], options: str = "", custom: str = "") -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        code.customCode = custom or None
        self.model.operatorCodes.append(code)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = len(self.model.operatorCodes) - 1, inputs, outputs
        if options:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            made.builtinOptions = getattr(schema, f"{options}T")()
        self.graph.operators.append(made)

    def write(self, path: Path, inputs: list[int], outputs: list[int]) -> Path:
        self.graph.inputs, self.graph.outputs = inputs, outputs
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
        signature.inputs = [self._entry(index) for index in inputs]
        signature.outputs = [self._entry(index) for index in outputs]
        self.model.signatureDefs = [signature]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path

    def _entry(self, index: int) -> Any:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = self.graph.tensors[index].name.encode(), index
        return entry


def dense(
    path: Path,
    kind: str = "INT8",
    weights: str = "INT8",
    out: int = OUT,
    batch: int = 1,
    after: str = "",
    times: int = 1,
    wide: int = IN,
) -> Path:
    """A dense layer of `kind` for `wide` numbers, its `weights` of a type of their own, and `times` one op more."""
    rng = np.random.default_rng(0)
    made = Builder()
    quantized = kind == "INT8"
    x = made.tensor("x", [batch, wide], kind, 0.02 * quantized)
    values = rng.integers(-100, 100, (out, wide)).astype("int8")
    if weights == "FLOAT32":
        values = rng.normal(size=(out, wide)).astype("float32")
    w = made.tensor("dense/MatMul", [out, wide], weights, 0.01 * (weights == "INT8"), values)
    bias = np.arange(out).astype("int32" if quantized else "float32")
    b = made.tensor("dense/bias", [out], "INT32" if quantized else "FLOAT32", 0.02 * 0.01 * quantized, bias)
    y = made.tensor("dense/BiasAdd", [batch, out], kind, 0.03 * quantized)
    made.op("FULLY_CONNECTED", [x, w, b], [y], "FullyConnectedOptions")
    if after == "DEQUANTIZE":
        z = made.tensor("z", [batch, out], "FLOAT32")
        made.op("DEQUANTIZE", [y], [z], "DequantizeOptions")
    for number in range(times if after and after != "DEQUANTIZE" else 0):
        z, before = made.tensor("act/z", [batch, out], kind, 0.03 * quantized), z if number else y
        made.op(*((after, [before], [z], "GeluOptions") if after == "GELU" else ("CUSTOM", [before], [z], "", after)))
    return made.write(path, [x], [z if after else y])


def convolution(path: Path) -> Path:
    """A float convolution of 8 filters of 3×3 over a picture of 6×6×2, unpadded."""
    made = Builder()
    x = made.tensor("x", [1, 6, 6, 2], "FLOAT32")
    w = made.tensor("conv/w", [8, 3, 3, 2], "FLOAT32", values=np.ones((8, 3, 3, 2), "float32"))
    b = made.tensor("conv/b", [8], "FLOAT32", values=np.zeros(8, "float32"))
    y = made.tensor("conv/y", [1, 4, 4, 8], "FLOAT32")
    made.op("CONV_2D", [x, w, b], [y], "Conv2DOptions")
    options = made.graph.operators[0].builtinOptions
    options.padding, options.strideW, options.strideH = schema.Padding.VALID, 1, 1
    return made.write(path, [x], [y])
