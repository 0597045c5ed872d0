"""A small float `.tflite` that LiteRT runs, made without TensorFlow: x (1, 64) → y (1, 512)."""

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

OPS = ["FULLY_CONNECTED", "TANH", "FULLY_CONNECTED", "SOFTMAX"]
LAYERS = ["first", "squash", "second", "chances"]
OUTPUTS = ["net/first/MatMul", "net/squash/Tanh", "net/second/MatMul", "net/chances/Softmax"]
WIDTHS = (64, 512, 512)


def write(path: Path, keys: tuple[str, ...] = ("serve",)) -> Path:
    """Each key is the signature of a graph of its own."""
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes = [_code(name) for name in sorted(set(OPS))]
    rng = np.random.default_rng(0)
    model.buffers = [schema.BufferT()]
    for rows, columns in zip(WIDTHS[1:], WIDTHS[:-1], strict=True):
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(rng.normal(0, 0.1, (rows, columns)).astype("float32").tobytes(), "uint8")
        model.buffers.append(buffer)
    model.subgraphs = [_graph(key) for key in keys]
    model.signatureDefs = [_signature(key, number) for number, key in enumerate(keys)]
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return path


def reference(path: Path, x: np.ndarray) -> np.ndarray:
    """What a plain interpreter gives for `x`."""
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(str(path))
    made.allocate_tensors()
    made.set_tensor(0, x)
    made.invoke()
    return made.get_tensor(made.get_output_details()[0]["index"])


def _graph(name: str):
    graph = schema.SubGraphT()
    graph.name = name
    shapes = [("x", 0, (1, 64)), ("net/first/kernel", 1, (512, 64)), (OUTPUTS[0], 0, (1, 512))]
    shapes += [(OUTPUTS[1], 0, (1, 512)), ("net/second/kernel", 2, (512, 512))]
    shapes += [(name, 0, (1, 512)) for name in OUTPUTS[2:]]
    graph.tensors = [tensor_of(*about) for about in shapes]
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    options = schema.BuiltinOptions
    graph.operators = [
        operator_of("FULLY_CONNECTED", [0, 1, -1], 2, options.FullyConnectedOptions, schema.FullyConnectedOptionsT()),
        operator_of("TANH", [2], 3, options.NONE, None),
        operator_of("FULLY_CONNECTED", [3, 4, -1], 5, options.FullyConnectedOptions, schema.FullyConnectedOptionsT()),
        operator_of("SOFTMAX", [5], 6, options.SoftmaxOptions, softmax),
    ]
    graph.inputs, graph.outputs = [0], [6]
    return graph


def tensor_of(name: str, buffer: int, shape: tuple[int, ...]):
    made = schema.TensorT()
    made.name, made.buffer, made.shape, made.type = name, buffer, list(shape), schema.TensorType.FLOAT32
    return made


def operator_of(name: str, inputs: list[int], output: int, kind: int, options):
    made = schema.OperatorT()
    made.opcodeIndex = sorted(set(OPS)).index(name)
    made.inputs, made.outputs = inputs, [output]
    made.builtinOptionsType, made.builtinOptions = kind, options
    return made


def _code(name: str):
    made = schema.OperatorCodeT()
    made.builtinCode = made.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
    made.version = 1
    return made


def _signature(key: str, number: int):
    made = schema.SignatureDefT()
    made.signatureKey, made.subgraphIndex = key, number
    made.inputs, made.outputs = [port_of("features", 0)], [port_of("scores", 6)]
    return made


def port_of(name: str, index: int):
    made = schema.TensorMapT()
    made.name, made.tensorIndex = name, index
    return made
