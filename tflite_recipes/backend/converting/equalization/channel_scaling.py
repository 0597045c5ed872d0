"""Scaling a link's channels in a file read as objects."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_recipes.backend.converting.equalization import factors
from tflite_recipes.backend.converting.equalization.float_graph import Graph, Layer, from_blocks, to_blocks
from tflite_recipes.backend.converting.equalization.layer_paths import Link

_RELU = schema.BuiltinOperator.RELU


class Editor:
    """Writes into the constants of a graph. Weights have one reader; a bias that has several gets a copy."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def scale(self, link: Link, scales: Any) -> None:
        """Divide the link's channels by their scales in the first layer and undo it in the second."""
        self._scale_weights(link.first, factors.with_outputs_scaled, 1 / scales)
        if link.first.bias is not None:
            self._divide(link.first.number, link.first.bias, scales)
        for at, position in link.offsets:
            self._divide(at, position, scales)
        self._scale_weights(link.second, factors.with_inputs_scaled, scales)
        for at in link.clips:
            self._unclip(at)

    def _scale_weights(self, layer: Layer, scaled: Any, scales: Any) -> None:
        tensor = self._graph.input(layer.number, layer.weights)
        weights = self._graph.constant(tensor)
        blocks = scaled(to_blocks(layer, weights), scales)
        self._write(tensor, from_blocks(layer, blocks, weights.shape))

    def _divide(self, at: int, position: int, scales: Any) -> None:
        """A constant's last axis by the scales, over and over where it is longer."""
        values = self._graph.constant(self._graph.input(at, position))
        if values.any():  # the converter keeps one vector of zeros for many layers
            tensor = self._own(at, position)
            self._write(tensor, values / np.tile(scales, values.shape[-1] // len(scales)))

    def _own(self, at: int, position: int) -> int:
        """The constant at a place of an operator's inputs, copied where others read it too."""
        model, tensor = self._graph.model, self._graph.input(at, position)
        held = self._graph.tensors[tensor]
        if self._graph.uses[held.buffer] == 1:
            return tensor
        self._graph.uses[held.buffer] -= 1
        mine = copy.copy(held)
        mine.name, mine.buffer = bytes(held.name or b"") + f"/equalized_{at}".encode(), len(model.buffers)
        model.buffers.append(copy.copy(model.buffers[held.buffer]))
        self._graph.tensors.append(mine)
        self._graph.operators[at].inputs[position] = len(self._graph.tensors) - 1
        self._graph.uses[mine.buffer] = 1
        return len(self._graph.tensors) - 1

    def _write(self, tensor: int, values: Any) -> None:
        data = np.ascontiguousarray(values, "<f4").tobytes()
        self._graph.model.buffers[self._graph.tensors[tensor].buffer].data = np.frombuffer(data, np.uint8)

    def _unclip(self, at: int) -> None:
        """RELU in place of RELU6, fused or on its own."""
        op = self._graph.operators[at]
        if self._graph.names[at] != "RELU6":
            op.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU
            return
        codes = self._graph.model.operatorCodes
        known = [k for k, code in enumerate(codes) if max(code.builtinCode, code.deprecatedBuiltinCode) == _RELU]
        if not known:
            code = schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = _RELU
            code.version = 1
            codes.append(code)
        op.opcodeIndex = known[0] if known else len(codes) - 1
