"""Small edits of a finished `.tflite` file."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_recipes.backend.converting import model_objects

_OP = schema.BuiltinOperator
# These look at a tensor's shape only, whatever its type.
_SHAPE_ONLY = (_OP.SHAPE, _OP.RANK)


def without_dequantized_shapes(data: bytes) -> bytes:
    """The file without the DEQUANTIZE operators whose results are only asked for their shape.

    litert_quantizer puts one before the SHAPE of each model with a dynamic batch and a Flatten, which makes a file
    that could be integer throughout a partly float one.
    """
    model = model_objects.read(data)
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    shortened = [_shorten(model, number, codes) for number in range(len(model.subgraphs))]
    return model_objects.write(model) if any(shortened) else data


def _shorten(model: Any, number: int, codes: list[int]) -> bool:
    """Take the operators out of a subgraph, and their results with them. Whether there were any."""
    graph = model.subgraphs[number]
    readers: dict[int, list[Any]] = {}
    for op in graph.operators:
        for index in op.inputs:
            readers.setdefault(int(index), []).append(op)
    origin: dict[int, int] = {}
    for op in graph.operators:
        if codes[op.opcodeIndex] == _OP.DEQUANTIZE:
            result, users = int(op.outputs[0]), readers.get(int(op.outputs[0]), [])
            if users and result not in graph.outputs and all(codes[user.opcodeIndex] in _SHAPE_ONLY for user in users):
                origin[result] = int(op.inputs[0])
    if origin:
        graph.operators = [op for op in graph.operators if int(op.outputs[0]) not in origin]
        renumber(model, number, origin)
    return bool(origin)


def renumber(model: Any, number: int, origin: dict[int, int]) -> None:
    """Read each tensor of `origin` as the one that it was made from, and leave it out of a subgraph."""
    graph = model.subgraphs[number]
    kept = [index for index in range(len(graph.tensors)) if index not in origin]
    new = {-1: -1, **{old: position for position, old in enumerate(kept)}}
    new |= {gone: new[source] for gone, source in origin.items()}
    graph.tensors = [graph.tensors[index] for index in kept]
    holders = [(graph, "inputs"), (graph, "outputs")]
    holders += [(op, side) for op in graph.operators for side in ("inputs", "outputs", "intermediates")]
    for holder, side in holders:
        if getattr(holder, side) is not None:
            setattr(holder, side, np.array([new[int(index)] for index in getattr(holder, side)], np.int32))
    for signature in model.signatureDefs or ():
        if signature.subgraphIndex == number:
            for port in (*signature.inputs, *signature.outputs):
                port.tensorIndex = new[port.tensorIndex]


_FLOAT = struct.Struct("<f")
# The place of `cell_clip` in the format's table of an UNIDIRECTIONAL_SEQUENCE_LSTM's options.
_CELL_CLIP = 6


def without_cell_clip(data: bytes) -> bytes:
    """The file with `cell_clip` 0, no limit, in each UNIDIRECTIONAL_SEQUENCE_LSTM.

    The converter writes 10, while Keras has no limit. The numbers are set in place: all else keeps its bytes.
    """
    changed = bytearray(data)
    model = schema.Model.GetRootAs(changed)
    codes = [model.OperatorCodes(number).BuiltinCode() for number in range(model.OperatorCodesLength())]
    for graph in (model.Subgraphs(number) for number in range(model.SubgraphsLength())):
        for op in (graph.Operators(number) for number in range(graph.OperatorsLength())):
            table = op.BuiltinOptions()
            is_lstm = codes[op.OpcodeIndex()] == _OP.UNIDIRECTIONAL_SEQUENCE_LSTM
            if is_lstm and table is not None and (place := table.Offset(_CELL_CLIP)):
                _FLOAT.pack_into(changed, place + table.Pos, 0.0)
    return bytes(changed)


def with_signature(data: bytes, key: str) -> bytes:
    """The file with a signature for its main graph, by its tensors' names."""
    model = model_objects.read(data)
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = key.encode(), 0
    graph = model.subgraphs[0]
    signature.inputs, signature.outputs = (
        [_port(graph, int(index)) for index in side] for side in (graph.inputs, graph.outputs)
    )
    model.signatureDefs = [signature]
    return model_objects.write(model)


def _port(graph: Any, index: int) -> Any:
    port = schema.TensorMapT()
    port.name, port.tensorIndex = graph.tensors[index].name, index
    return port
