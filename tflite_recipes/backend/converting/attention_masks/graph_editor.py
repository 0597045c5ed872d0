"""Edits of one subgraph of a file read as objects: operators before others, constants, and what is left out then."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_recipes.backend.converting.attention_masks.mask_ranges import Ranges
from tflite_recipes.backend.converting.equalization.float_graph import Graph
from tflite_recipes.backend.converting.file_edits import renumber

_OPTIONS = {
    "ADD": schema.AddOptionsT,
    "SUB": schema.SubOptionsT,
    "MUL": schema.MulOptionsT,
    "GREATER": schema.GreaterOptionsT,
    "LESS": schema.LessOptionsT,
    "MAXIMUM": schema.MaximumMinimumOptionsT,
    "SELECT_V2": schema.SelectV2OptionsT,
}
_OPTION_NAMES = {"MAXIMUM": "MaximumMinimumOptions", "SELECT_V2": "SelectV2Options"}


class GraphEditor:
    """Collects the edits of one subgraph. `finish` carries out those that move operators."""

    def __init__(self, model: Any, number: int, graph: Graph, ranges: Ranges) -> None:
        self._model, self._number, self._graph, self._ranges = model, number, graph, ranges
        self._before: dict[int, list[Any]] = {}
        self._replaced: set[int] = set()

    def finish(self) -> None:
        """Put new operators in their places, and leave out what nothing reads any more."""
        graph = self._model.subgraphs[self._number]
        graph.operators = [part for at, op in enumerate(graph.operators) for part in (*self._before.get(at, ()), op)]
        gone = self._without_readers(graph)
        for index in gone:
            buffer = graph.tensors[index].buffer
            if all(graph.tensors[other].buffer != buffer for other in set(range(len(graph.tensors))) - gone):
                self._empty(buffer)
        renumber(self._model, self._number, dict.fromkeys(gone, int(graph.inputs[0])))
        self._drop_unused_codes()

    def _drop_unused_codes(self) -> None:
        """TensorFlow's calibrator refuses a file that names an op and has none."""
        operators = [op for graph in self._model.subgraphs for op in graph.operators]
        used = sorted({op.opcodeIndex for op in operators})
        place = {index: number for number, index in enumerate(used)}
        self._model.operatorCodes = [self._model.operatorCodes[index] for index in used]
        for op in operators:
            op.opcodeIndex = place[op.opcodeIndex]

    def _without_readers(self, graph: Any) -> set[int]:
        """Take out the operators behind what was replaced. The tensors that nothing reads then."""
        doubtful = set(self._replaced)
        while True:
            read = {int(index) for op in graph.operators for index in op.inputs} | set(map(int, graph.outputs))
            idle = [op for op in graph.operators if set(map(int, op.outputs)) <= doubtful - read]
            if not idle:
                return doubtful - read - set(map(int, graph.inputs))
            doubtful |= {int(index) for op in idle for index in op.inputs if index >= 0}
            graph.operators = [op for op in graph.operators if op not in idle]

    def _empty(self, buffer: int) -> None:
        """Leave a constant's data out where no other subgraph has it."""
        others = (graph for at, graph in enumerate(self._model.subgraphs) if at != self._number)
        if all(tensor.buffer != buffer for graph in others for tensor in graph.tensors):
            self._model.buffers[buffer].data = None

    def _read(self, at: int, position: int, tensor: int) -> None:
        self._replaced.add(self._graph.input(at, position))
        inputs = np.array(self._graph.operators[at].inputs, np.int32)
        inputs[position] = tensor
        self._graph.operators[at].inputs = inputs

    def _constant(self, values: Any, at: int, position: int) -> int:
        is_condition = np.asarray(values).dtype == bool and position == 3
        array = np.ascontiguousarray(values, bool if is_condition else "<f4")
        buffer, tensor = schema.BufferT(), schema.TensorT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        tensor.name = f"bounded_mask_{at}_{position}".encode()
        tensor.type = schema.TensorType.BOOL if is_condition else schema.TensorType.FLOAT32
        tensor.shape, tensor.hasRank, tensor.buffer = (
            np.array(np.shape(values), np.int32),
            True,
            len(self._model.buffers),
        )
        self._model.buffers.append(buffer)
        return self._append(tensor)

    def _like(self, tensor: int, name: str) -> int:
        made = copy.copy(self._graph.tensors[tensor])
        made.name, made.buffer = f"bounded_mask_{name}".encode(), len(self._model.buffers)
        self._model.buffers.append(schema.BufferT())
        return self._append(made)

    def _append(self, tensor: Any) -> int:
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _insert(self, at: int, name: str, inputs: list[int], result: int, activation: int = 0) -> None:
        op = schema.OperatorT()
        op.opcodeIndex = self._code(getattr(schema.BuiltinOperator, name))
        op.inputs, op.outputs = np.array(inputs, np.int32), np.array([result], np.int32)
        op.builtinOptions = _OPTIONS[name]()
        if activation:
            op.builtinOptions.fusedActivationFunction = activation
        op.builtinOptionsType = getattr(schema.BuiltinOptions, _OPTION_NAMES.get(name, f"{name.title()}Options"))
        self._before.setdefault(at, []).append(op)

    def _code(self, number: int) -> int:
        codes = self._model.operatorCodes
        for index, code in enumerate(codes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == number:
                return index
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.version = 1
        codes.append(code)
        return len(codes) - 1
