"""A float `.tflite` as equalization sees it: who reads what, and the layers with weights of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

_OP = schema.BuiltinOperator
_NAMES = {number: name for name, number in vars(_OP).items() if isinstance(number, int)}
_NUMPY = {schema.TensorType.FLOAT32: "<f4", schema.TensorType.INT32: "<i4", schema.TensorType.INT64: "<i8"}
# Where each kind of layer holds its data, weights and bias among its inputs.
_LAYERS = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}
# These look at a tensor's shape only; the second lot passes on nothing else where only its own shape is asked for.
_SHAPE_ONLY = ("SHAPE", "RANK")
_RESHAPING = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")


@dataclass(frozen=True)
class Layer:
    """A layer whose weights can be scaled.

    number: the operator's; name: its result's. data, weights, bias: their places among the operator's inputs, None
    for a bias that is not there. inputs, outputs: how many channels it reads and makes.
    """

    number: int
    kind: str
    name: str
    data: int
    weights: int
    bias: int | None
    inputs: int
    outputs: int


class Graph:
    """A subgraph of a model. Tensors and operators are told by their numbers."""

    def __init__(self, model: Any, number: int, uses: Counter[int]) -> None:
        """uses: how often operators read each buffer, from `buffer_uses`."""
        self.model, self.uses = model, uses
        self._graph = model.subgraphs[number]
        self.tensors, self.operators = self._graph.tensors, self._graph.operators or []
        self.names = [_NAMES.get(_code(model, op), "CUSTOM") for op in self.operators]
        self.inputs = {int(index) for index in self._graph.inputs}
        self.outputs = {int(index) for index in self._graph.outputs}
        for signature in model.signatureDefs or ():
            if signature.subgraphIndex == number:
                self.outputs |= {int(port.tensorIndex) for port in signature.outputs}
        self._readers: dict[int, list[tuple[int, int]]] = {}
        for at in reversed(range(len(self.operators))):  # whoever reads an operator's result stands behind it
            if self.names[at] in _SHAPE_ONLY or (self.names[at] in _RESHAPING and self._is_unread(self.result(at))):
                continue
            for position, index in enumerate(_list(self.operators[at].inputs)):
                self._readers.setdefault(int(index), []).append((at, position))

    def _is_unread(self, tensor: int) -> bool:
        return tensor not in self.outputs and not self.readers(tensor)

    def readers(self, tensor: int) -> list[tuple[int, int]]:
        """Operators that read a tensor's values, with its place among their inputs."""
        return self._readers.get(tensor, [])

    def input(self, at: int, position: int) -> int:
        """The tensor at a place of an operator's inputs, -1 where there is none."""
        inputs = _list(self.operators[at].inputs)
        return int(inputs[position]) if position < len(inputs) else -1

    def result(self, at: int) -> int:
        return int(self.operators[at].outputs[0])

    def name(self, tensor: int) -> str:
        return bytes(self.tensors[tensor].name or b"").decode("utf-8", "replace")

    def label(self, tensor: int) -> str:
        """The name, without those of the ops that were fused into the one that makes it."""
        return self.name(tensor).partition(";")[0]

    def last(self, tensor: int) -> int | None:
        """Size of the last axis. None where it is open, or there is no axis."""
        open_shape, shape = _list(self.tensors[tensor].shapeSignature), _list(self.tensors[tensor].shape)
        sizes = open_shape if len(open_shape) else shape
        return int(sizes[-1]) if len(sizes) and sizes[-1] > 0 else None

    def rank(self, tensor: int) -> int:
        return len(_list(self.tensors[tensor].shape))

    def constant(self, tensor: int) -> Any:
        """A constant's numbers in its shape. None of what is no constant, sparse, or neither float32 nor integer."""
        if tensor < 0:
            return None
        held = self.tensors[tensor]
        data = self.model.buffers[held.buffer].data
        if data is None or not len(data) or held.sparsity is not None or held.type not in _NUMPY:
            return None
        values = np.frombuffer(bytes(data), _NUMPY[held.type])
        shape = [int(size) for size in _list(held.shape)]
        return values.reshape(shape) if values.size == int(np.prod(shape)) else None

    def is_layer(self, at: int) -> bool:
        """Whether an operator is one of the kinds that have weights, whatever these are like."""
        return self.names[at] in _LAYERS

    def layer(self, at: int) -> Layer | str:
        """The operator as a layer, or why its weights cannot be scaled."""
        kind, name = self.names[at], self.label(self.result(at))
        data, weights, bias = _LAYERS[kind]
        values, held = self.constant(self.input(at, weights)), self.input(at, bias)
        if values is None or values.dtype.kind != "f":
            return f"the weights of {name} are no float32 constant"
        if not np.isfinite(values).all():
            return f"the weights of {name} are not all finite"
        if (times := self.uses[self.tensors[self.input(at, weights)].buffer]) > 1:
            return f"the weights of {name} are read by {times} operators"
        if held >= 0 and self.constant(held) is None:
            return f"the bias of {name} is no float32 constant"
        inputs = _inputs(kind, values.shape, self.last(self.input(at, data)))
        if inputs is None or getattr(self.operators[at].builtinOptions, "weightsFormat", 0):
            return f"the weights of {name} are laid out in a way that is not known here"
        outputs = values.shape[3 if kind == "DEPTHWISE_CONV_2D" else 0]
        place = bias if held >= 0 else None
        return Layer(at, kind, self.name(self.result(at)), data, weights, place, inputs, outputs)

    def leading(self) -> set[int]:
        """Operators with a layer somewhere behind them."""
        wanted: set[int] = set()
        found: set[int] = set()
        for at in reversed(range(len(self.operators))):
            op = self.operators[at]
            if leads := any(int(index) in wanted for index in _list(op.outputs)):
                found.add(at)
            if leads or self.is_layer(at):
                wanted |= {int(index) for index in _list(op.inputs)}
        return found


def buffer_uses(model: Any) -> Counter[int]:
    """How often operators of any subgraph read each buffer, as an output counted too."""
    uses: Counter[int] = Counter()
    for graph in model.subgraphs:
        uses.update(graph.tensors[index].buffer for index in _read(graph))
    return uses


def _read(graph: Any) -> Iterator[int]:
    yield from (int(index) for index in _list(graph.outputs))
    for op in graph.operators or ():
        yield from (int(index) for index in _list(op.inputs) if int(index) >= 0)


def _list(values: Any) -> Any:
    return [] if values is None else values


def _code(model: Any, op: Any) -> int:
    code = model.operatorCodes[op.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def _inputs(kind: str, shape: tuple[int, ...], last: int | None) -> int | None:
    """How many input channels a layer reads. None where weights and input do not go together as known here."""
    if kind == "FULLY_CONNECTED":
        return shape[1] if len(shape) == 2 else None
    if len(shape) != 4 or last is None:
        return None
    if kind == "DEPTHWISE_CONV_2D":
        return last if shape[0] == 1 and shape[3] % last == 0 else None
    if kind == "TRANSPOSE_CONV":
        return last if last == shape[3] else None
    groups = last // shape[3]
    return last if last % shape[3] == 0 and shape[0] % groups == 0 else None


def to_blocks(layer: Layer, weights: Any) -> Any:
    """A layer's weights as `factors` takes them: (groups, outputs of a group, inputs of a group, rest)."""
    if layer.kind == "FULLY_CONNECTED":
        return weights[None, :, :, None]
    if layer.kind == "DEPTHWISE_CONV_2D":
        return weights.reshape(-1, layer.inputs, weights.shape[3] // layer.inputs).transpose(1, 2, 0)[:, :, None, :]
    outputs, height, width, inputs = weights.shape
    groups = layer.inputs // inputs
    return weights.reshape(groups, outputs // groups, height * width, inputs).swapaxes(2, 3)


def from_blocks(layer: Layer, blocks: Any, shape: tuple[int, ...]) -> Any:
    """Blocks as weights of this shape."""
    if layer.kind == "DEPTHWISE_CONV_2D":
        return blocks[:, :, 0, :].transpose(2, 0, 1).reshape(shape)
    return blocks.swapaxes(2, 3).reshape(shape)
