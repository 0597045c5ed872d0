"""Build `.tflite` files from the schema, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

from support.checkout import SHARED

MODELS = SHARED / "models"


needs_models = pytest.mark.skipif(not MODELS.is_dir(), reason="the published models (../shared/models) are not here")


HALF = np.array([[0, 1, 2], [0, 3, 4], [0, 5, 6], [0, 0, 7]], np.float16)


KERNEL = np.array([[3, 0, 3, 5], [-7, 3, 1, 2]], np.int8)


BIAS = np.array([10, -20], np.int32)


def buffer(array: np.ndarray[Any, Any] | None = None, **fields: int) -> Any:
    found = schema.BufferT()
    if array is not None:
        found.data = np.frombuffer(array.tobytes(), np.uint8)
    vars(found).update(fields)
    return found


def tensor(name: str, shape: Sequence[int], dtype: str = "FLOAT32", buffer: int = 0, **quantization: Any) -> Any:
    found = schema.TensorT()
    found.name, found.shape, found.type, found.buffer = name, list(shape), getattr(schema.TensorType, dtype), buffer
    if quantization:
        found.quantization = schema.QuantizationParametersT()
        vars(found.quantization).update(quantization)
    return found


def operator(code: int, inputs: Sequence[int], outputs: Sequence[int]) -> Any:
    found = schema.OperatorT()
    found.opcodeIndex, found.inputs, found.outputs = code, list(inputs), list(outputs)
    return found


def operator_code(name: str, custom: str | None = None, old: bool = False) -> Any:
    """`old`: as written before builtin codes outgrew 8 bits."""
    found = schema.OperatorCodeT()
    number = getattr(schema.BuiltinOperator, name)
    found.deprecatedBuiltinCode = min(number, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
    found.builtinCode = 0 if old else number
    found.customCode = custom
    return found


def tensor_map(name: str, index: int) -> Any:
    found = schema.TensorMapT()
    found.name, found.tensorIndex = name, index
    return found


def tiny_model() -> Any:
    """A float16 layer, an int8 layer used twice with the same kernel, and a few ops of other kinds."""
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [
        tensor("x", [1, 3]),
        tensor("half", HALF.shape, "FLOAT16", 1),
        tensor("dense", HALF.shape),
        tensor("y", [1, 4]),
        tensor("q", [1, 4], "INT8", scale=[0.5], zeroPoint=[-1]),
        tensor("kernel", KERNEL.shape, "INT8", 2, scale=[0.25], zeroPoint=[3]),
        tensor("bias", BIAS.shape, "INT32", 3, scale=[0.125, 0.25], zeroPoint=[0, 0], quantizedDimension=0),
        tensor("z", [1, 2], "INT8", scale=[1.0], zeroPoint=[0]),
        tensor("tied", KERNEL.shape, "INT8", 2, scale=[0.25], zeroPoint=[3]),
        tensor("erf", [1, 4]),
        tensor("mine", [1, 2], "INT8"),
        tensor("state", [1, 2], "RESOURCE"),
    ]
    graph.tensors[0].shapeSignature = [-1, 3]
    graph.tensors[11].isVariable = True
    graph.operators = [
        operator(0, [1], [2]),
        operator(1, [0, 2, -1], [3]),
        operator(2, [3], [4]),
        operator(1, [4, 5, 6], [7]),
        operator(1, [4, 8, 6], [7]),
        operator(3, [3], [9]),
        operator(4, [7], [10]),
        operator(5, [3], [3]),
    ]
    graph.inputs, graph.outputs = [0], [10, 9]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serve", 0
    signature.inputs, signature.outputs = [tensor_map("features", 0)], [tensor_map("scores", 10)]
    metadata = schema.MetadataT()
    metadata.name, metadata.buffer = "min_runtime_version", 0
    model = schema.ModelT()
    model.version, model.description = 3, "tiny"
    model.operatorCodes = [
        operator_code("DEQUANTIZE"),
        operator_code("FULLY_CONNECTED", old=True),
        operator_code("QUANTIZE"),
        operator_code("CUSTOM", "FlexErf"),
        operator_code("CUSTOM", "MyOp"),
        operator_code("GELU"),
    ]
    model.subgraphs, model.signatureDefs, model.metadata = [graph], [signature], [metadata]
    model.buffers = [buffer(), buffer(HALF), buffer(KERNEL), buffer(BIAS)]
    return model


def pack(model: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


WEIGHTS = np.arange(6, dtype="float32").reshape(2, 3)


def dense(keys=("serve",), names=("x", "y"), weights="FLOAT32", **quantization):
    """One dense layer, with a signature for each key."""
    graph = schema.SubGraphT()
    graph.tensors = [
        tensor(names[0], [1, 3]),
        tensor("w", WEIGHTS.shape, weights, 1, **quantization),
        tensor(names[1], [1, 2]),
    ]
    graph.tensors[0].shapeSignature = [-1, 3]
    graph.operators, graph.inputs, graph.outputs = [operator(0, [0, 1, -1], [2])], [0], [2]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [operator_code("FULLY_CONNECTED")], [graph]
    model.buffers = [buffer(), buffer(WEIGHTS)]
    model.signatureDefs = []
    for key in keys:
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = key, 0
        signature.inputs, signature.outputs = [tensor_map("features", 0)], [tensor_map("scores", 2)]
        model.signatureDefs.append(signature)
    return pack(model)


def appended(model: Any, data: dict[int, bytes], alignment: int = 16) -> bytes:
    """The file of a model whose buffers of these numbers stand behind its flatbuffer, as litert_quantizer writes it."""
    tail, starts, end = b"", {}, 0
    for _ in range(2):  # the positions are known only once the flatbuffer has its size
        tail, starts = b"", {}
        for number, value in data.items():
            starts[number] = -(-(end + len(tail)) // alignment) * alignment
            tail += bytes(starts[number] - end - len(tail)) + value
        for number, value in data.items():
            model.buffers[number] = buffer(offset=max(starts[number], 2), size=len(value))
        end = len(pack(model))
    return pack(model) + tail


def npu_file(bytecode: bytes, options: bytes, alignment: int = 1024) -> bytes:
    """An op with bytecode for an NPU behind the flatbuffer, as LiteRT's compilers write it, and a custom op with its
    options there; see `files/tflite/appended_data.py`."""
    graph = schema.SubGraphT()
    graph.tensors = [tensor("x", [1, 3]), tensor("y", [1, 2]), tensor("z", [1, 2])]
    graph.operators, graph.inputs, graph.outputs = [operator(0, [0], [1]), operator(1, [1], [2])], [0], [2]
    model = schema.ModelT()
    model.version, model.subgraphs = 3, [graph]
    model.operatorCodes = [operator_code("CUSTOM", "DISPATCH_OP"), operator_code("CUSTOM", "Mine")]
    model.buffers, model.metadata = [buffer()], []
    end, start, later = 0, 2, 2
    for _ in range(2):
        start = max(-(-end // alignment) * alignment, 2)
        later = start + len(bytecode)
        graph.operators[0].customOptions = dispatch_options(start, len(bytecode))
        graph.operators[1].largeCustomOptionsOffset = later
        graph.operators[1].largeCustomOptionsSize = len(options)
        end = len(pack(model))
    return pack(model) + bytes(start - end) + bytecode + options


def dispatch_options(start: int, size: int) -> np.ndarray[Any, Any]:
    builder = flexbuffers.Builder(force_min_bit_width=flexbuffers.BitWidth.W64)
    with builder.Map():
        builder.UInt("bytecode_size", size)
        builder.UInt("bytecode_offset", start)
        builder.String("name", "subgraph_0")
    return np.frombuffer(bytes(builder.Finish()), np.uint8)
