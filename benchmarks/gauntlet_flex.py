"""Run a `.tflite` with TensorFlow's own ops (Flex), which no Python runtime can run as a whole.

Each op runs by itself: those of LiteRT as a file of one op, those of TensorFlow eagerly, from the NodeDef in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from ai_edge_litert.tools import flatbuffer_utils

_FLEX = "Flex"
_WITH_GRAPHS = (schema.BuiltinOperator.WHILE, schema.BuiltinOperator.IF)
_TYPES = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}


class FlexRunner:
    """The main graph of a file. Loops and branches of LiteRT, which have graphs of their own, raise ValueError."""

    def __init__(self, file: Path) -> None:
        self._model = flatbuffer_utils.read_model(str(file))
        (signature, *_) = self._model.signatureDefs
        self._graph = self._model.subgraphs[signature.subgraphIndex]
        self.inputs = {bytes(port.name).decode(): int(port.tensorIndex) for port in signature.inputs}
        self._called, self._variables = set[int](), dict[str, Any]()
        self.outputs = {bytes(port.name).decode(): int(port.tensorIndex) for port in signature.outputs}

    def __call__(self, fed: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs by name."""
        values: dict[int, Any] = {index: np.asarray(fed[name]) for name, index in self.inputs.items()}
        self._run(self._graph, values)
        return {name: np.asarray(values[index]) for name, index in self.outputs.items()}

    def _run(self, graph: Any, values: dict[int, Any]) -> None:
        for op in graph.operators:
            code = self._model.operatorCodes[op.opcodeIndex]
            if _number(code) == schema.BuiltinOperator.CALL_ONCE:
                if op.builtinOptions.initSubgraphIndex not in self._called:
                    self._called.add(op.builtinOptions.initSubgraphIndex)
                    self._run(self._model.subgraphs[op.builtinOptions.initSubgraphIndex], {})
                continue
            if (made := self._of_variable(graph, op, _number(code), values)) is not None:
                values |= dict(zip(map(int, op.outputs), made, strict=True))
                continue
            indices = [int(index) for index in ([] if op.inputs is None else op.inputs)]
            given = [self._value(graph, index, values) for index in indices]
            name = bytes(code.customCode or b"").decode()
            made = _by_tensorflow(op, given) if name.startswith(_FLEX) else self._by_litert(graph, op, code, given)
            values |= dict(zip(map(int, op.outputs), made, strict=True))

    def _of_variable(self, graph: Any, op: Any, number: int, values: Mapping[int, Any]) -> list[Any] | None:
        """The outputs of an op on a variable, which is known by its name; None for other ops."""
        if number == schema.BuiltinOperator.VAR_HANDLE:
            return [str(op.builtinOptions.sharedName)]
        if number == schema.BuiltinOperator.READ_VARIABLE:
            return [self._variables[values[int(op.inputs[0])]]]
        if number == schema.BuiltinOperator.ASSIGN_VARIABLE:
            value = self._value(graph, int(op.inputs[1]), values)
            self._variables[values[int(op.inputs[0])]] = value.array() if isinstance(value, _Constant) else value
            return []
        return None

    def _value(self, graph: Any, index: int, values: Mapping[int, Any]) -> Any:
        """A computed value, a constant, or None if the op has no such input."""
        return values[index] if index in values else None if index < 0 else _Constant(self._model, graph, index)

    def _by_litert(self, whole: Any, op: Any, code: Any, given: list[Any]) -> list[Any]:
        if _number(code) in _WITH_GRAPHS:
            raise ValueError("a loop or a branch of LiteRT has graphs of its own")
        alone, graph = schema.ModelT(), schema.SubGraphT()
        alone.version, alone.operatorCodes, alone.subgraphs = 3, [code], [graph]
        alone.buffers, graph.tensors, graph.inputs = [schema.BufferT()], [], []
        inputs, fed = [], []
        for place, value in zip(op.inputs, given, strict=True):
            if value is None:
                inputs.append(-1)
                continue
            inputs.append(len(graph.tensors))
            if isinstance(value, _Constant):
                alone.buffers.append(value.buffer)
                graph.tensors.append(_tensor(value.tensor, value.tensor.shape, len(alone.buffers) - 1))
            else:
                graph.inputs.append(len(graph.tensors))
                fed.append(np.asarray(value))
                graph.tensors.append(_tensor(whole.tensors[int(place)], fed[-1].shape, 0))
        first = len(graph.tensors)
        graph.tensors += [_tensor(whole.tensors[int(index)], (), 0, is_open=True) for index in op.outputs]
        single = schema.OperatorT()
        vars(single).update(vars(op))
        graph.outputs = np.arange(first, len(graph.tensors), dtype=np.int32)
        single.opcodeIndex, single.inputs, single.outputs = 0, np.array(inputs, np.int32), graph.outputs
        graph.operators, graph.inputs = [single], np.array(graph.inputs, np.int32)
        content = bytes(flatbuffer_utils.convert_object_to_bytearray(alone))
        kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = Interpreter(model_content=content, experimental_op_resolver_type=kind, num_threads=1)
        interpreter.allocate_tensors()
        for detail, value in zip(interpreter.get_input_details(), fed, strict=True):
            interpreter.set_tensor(detail["index"], value.astype(detail["dtype"]))
        interpreter.invoke()
        return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


class _Constant:
    def __init__(self, model: Any, graph: Any, index: int) -> None:
        self.tensor = graph.tensors[index]
        self.buffer = model.buffers[self.tensor.buffer]

    def array(self) -> Any:
        """The numbers of a constant."""
        kind = _TYPES[self.tensor.type].lower()
        data = bytes(self.buffer.data) if self.buffer.data is not None else b""
        if kind == "string":
            count = int.from_bytes(data[:4], "little")
            ends = np.frombuffer(data, "<i4", count + 1, 4)
            texts = [data[start:end] for start, end in pairwise(ends)]
            return np.array(texts, object).reshape(self.tensor.shape)
        return np.frombuffer(data, kind).reshape(self.tensor.shape)


def _number(code: Any) -> int:
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def _tensor(like: Any, shape: Any, buffer: int, is_open: bool = False) -> Any:
    made = schema.TensorT()
    vars(made).update(vars(like))
    made.shape, made.buffer, made.shapeSignature = np.array(shape, np.int32), buffer, None
    if is_open:
        made.shape = like.shape
    return made


def _by_tensorflow(op: Any, given: list[Any]) -> list[Any]:
    import tensorflow as tf
    from flatbuffers import flexbuffers
    from tensorflow.core.framework import node_def_pb2
    from tensorflow.python.eager import context, execute

    name, text = flexbuffers.GetRoot(bytes(op.customOptions)).AsVector
    node = node_def_pb2.NodeDef.FromString(bytes(text.AsString, "latin-1") if not text.IsBlob else text.AsBlob)
    attributes: list[Any] = []
    for key, value in node.attr.items():
        if key.startswith("_"):
            continue
        kind = value.WhichOneof("value")
        if kind == "list":
            (field,) = [field for field, _ in value.list.ListFields()] or [None]
            plain = [] if field is None else list(getattr(value.list, field.name))
        else:
            plain = getattr(value, kind)
        attributes += [key, plain]
    tensors = [tf.convert_to_tensor(one.array() if isinstance(one, _Constant) else one) for one in given]
    made = execute.execute(name.AsString, len(op.outputs), tensors, tuple(attributes), context.context())
    return [one if one.dtype in (tf.variant, tf.resource) else one.numpy() for one in made]
