"""Tiny `.tflite` files written by hand, in milliseconds and without TensorFlow, for compilers and interpreters.

`write(path, "conv", "shuffle", "last")`: a picture (1, 8, 8, 4) through the named ops, each a layer of that name.
"""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

SIGNATURE = "serving_default"
LAYERS = ("conv", "shuffle", "choose", "last", "to_integer", "to_float")
_TYPES = {"int8": schema.TensorType.INT8, "float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32}
_TYPES["bool"] = schema.TensorType.BOOL


def _entry(name, tensor):
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, tensor
    return entry


class _Graph:
    def __init__(self, dtype):
        self.dtype, self.model, self.graph = dtype, schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.description = 3, "tiny"
        self.model.buffers, self.model.operatorCodes = [schema.BufferT()], []
        self.model.subgraphs = [self.graph]
        self.graph.tensors, self.graph.operators = [], []

    def tensor(self, name, shape, dtype, values=None, scale=0.05):
        made = schema.TensorT()
        made.name, made.shape, made.type = name, list(shape), _TYPES[dtype]
        if dtype not in ("float32", "bool"):
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale], [0]
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.astype(dtype).tobytes(), np.uint8)
            made.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def op(self, name, inputs, output, options=None):
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 2 if self.dtype == "int8" else 1
        self.model.operatorCodes.append(code)
        op = schema.OperatorT()
        op.opcodeIndex, op.inputs, op.outputs = len(self.model.operatorCodes) - 1, inputs, [output]
        if options is not None:
            op.builtinOptions = options
            op.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.graph.operators.append(op)
        return output

    def sign(self, first, last):
        made = schema.SignatureDefT()
        made.signatureKey, made.subgraphIndex = SIGNATURE, 0
        sides = ((first, self.graph.inputs), (last, self.graph.outputs))
        made.inputs, made.outputs = ([_entry(name, tensors[0])] for name, tensors in sides)
        self.model.signatureDefs = [made]

    def shape(self, tensor):
        return self.graph.tensors[tensor].shape

    def convolution(self, name, tensor, filters, rng, zeros):
        depth = self.shape(tensor)[-1]
        values = rng.integers(-127, 128, (filters, 3, 3, depth))
        values[rng.random(values.shape) < zeros] = 0
        weights = self.tensor(f"model/{name}/weights", values.shape, self.dtype, values, 0.01)
        bias_type = "int32" if self.dtype == "int8" else "float32"
        bias = self.tensor(f"model/{name}/bias", [filters], bias_type, np.zeros(filters), 0.05 * 0.01)
        output = self.tensor(f"model/{name}/Conv2D", [*self.shape(tensor)[:3], filters], self.dtype)
        options = schema.Conv2DOptionsT()
        options.padding, options.strideW, options.strideH = schema.Padding.SAME, 1, 1
        return self.op("CONV_2D", [tensor, weights, bias], output, options)

    def shuffle(self, tensor):
        batch, height, width, depth = self.shape(tensor)
        output = self.tensor("model/shuffle/SpaceToDepth", [batch, height // 2, width // 2, depth * 4], self.dtype)
        options = schema.SpaceToDepthOptionsT()
        options.blockSize = 2
        return self.op("SPACE_TO_DEPTH", [tensor], output, options)

    def choose(self, tensor):
        mask = self.tensor("mask", self.shape(tensor), "bool", np.ones(self.shape(tensor)))
        output = self.tensor("model/choose/Select", self.shape(tensor), self.dtype)
        return self.op("SELECT", [mask, tensor, tensor], output, schema.SelectOptionsT())

    def converted(self, name, op, tensor, dtype):
        output = self.tensor(f"model/{name}/{op.title()}", self.shape(tensor), dtype)
        return self.op(op, [tensor], output)


def write(path, *layers, dtype="int8", filters=8, zeros=0.0, open_axes=()):
    """`zeros`: share of weights that are zero; `open_axes`: of the input, sizes that are open. Inputs and outputs are
    float where a layer converts them."""
    graph, rng = _Graph(dtype), np.random.default_rng(0)
    first = "float32" if "to_integer" in layers else dtype
    tensor = graph.tensor("x", [1, 8, 8, 4], first)
    graph.graph.inputs = [tensor]
    if open_axes:
        made = graph.graph.tensors[tensor]
        made.shapeSignature = [-1 if axis in open_axes else size for axis, size in enumerate(made.shape)]
    for layer in layers:
        if layer == "shuffle":
            tensor = graph.shuffle(tensor)
        elif layer == "choose":
            tensor = graph.choose(tensor)
        elif layer == "to_integer":
            tensor = graph.converted(layer, "QUANTIZE", tensor, "int8")
        elif layer == "to_float":
            tensor = graph.converted(layer, "DEQUANTIZE", tensor, "float32")
        else:
            tensor = graph.convolution(layer, tensor, filters, rng, zeros)
    graph.graph.outputs = [tensor]
    graph.sign("x", "y")
    builder = flatbuffers.Builder(1024)
    builder.Finish(graph.model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path
