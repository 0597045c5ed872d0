"""Read a `.tflite` file into small frozen dataclasses, and count what it holds. Needs no TensorFlow."""

from __future__ import annotations

import math
import re
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from tflite_recipes.errors import Problem, RequestError

IDENTIFIER = b"TFL3"
LARGEST_CONSTANTS = 10
QUANTIZE_OPS = frozenset({"QUANTIZE", "DEQUANTIZE"})
FLOAT_DTYPES = frozenset({"float32", "float16"})
WEIGHT_DTYPES = FLOAT_DTYPES | {"int8"}
CONVOLUTIONS = frozenset({"CONV_2D", "CONV_3D", "CONV_3D_TRANSPOSE", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"})
LSTMS = frozenset({"BIDIRECTIONAL_SEQUENCE_LSTM", "LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"})
WEIGHT_OPS = CONVOLUTIONS | LSTMS | {"BATCH_MATMUL", "EMBEDDING_LOOKUP", "FULLY_CONNECTED", "GATHER", "SVDF"}

_DTYPES = {code: name.lower() for name, code in vars(schema.TensorType).items() if not name.startswith("_")}
_OPS = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_ARRAY_DTYPE = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)|complex(64|128)")


@dataclass(frozen=True)
class Tensor:
    """A tensor of a subgraph.

    shape: None where a dimension is dynamic.
    dtype: numpy's name where numpy has one, else the lower-case name of the file format ("int4", "string", ...).
    scales, zero_points: one pair per tensor, or one per slice along `quantized_dimension`; empty if not quantized.
    is_sparse: the constant is stored compressed, so that its bytes do not follow from its shape.
    buffer_bytes: size of the constant as stored; 0 for what is computed.
    buffer_offset: where it starts, in bytes from the start of the file. Tensors that share a buffer have the same one.
    """

    index: int
    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    quantized_dimension: int = 0
    is_variable: bool = False
    is_sparse: bool = False
    buffer_bytes: int = 0
    buffer_offset: int = 0

    @property
    def is_constant(self) -> bool:
        """Its values stand in the file."""
        return self.buffer_bytes > 0


@dataclass(frozen=True)
class Operator:
    """An operator: its builtin name ("CUSTOM" for custom ones) and the tensor indices; input -1 = left out."""

    index: int
    name: str
    custom_code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def is_flex(self) -> bool:
        """Runs as a TensorFlow op, which needs the Flex delegate."""
        return self.custom_code.startswith("Flex")

    @property
    def is_custom(self) -> bool:
        """Neither a builtin nor a TensorFlow op: the application has to bring it."""
        return self.name == "CUSTOM" and not self.is_flex

    @property
    def label(self) -> str:
        """The custom code of a custom operator, the builtin name of any other."""
        return self.custom_code or self.name


@dataclass(frozen=True)
class Subgraph:
    """A graph; `inputs` and `outputs` are tensor indices. The first of a file is the main one."""

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """A named entry point: (argument name, tensor index) pairs of one subgraph."""

    key: str
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]
    subgraph: int


@dataclass(frozen=True)
class TFLiteFile:
    """What a file holds, without the constants' bytes. Every index in it is within range."""

    path: Path
    size_bytes: int
    version: int
    description: str
    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[Signature, ...]
    metadata: tuple[str, ...]


@dataclass(frozen=True)
class SignaturePorts:
    """A signature with its tensors looked up."""

    key: str
    inputs: tuple[tuple[str, Tensor], ...]
    outputs: tuple[tuple[str, Tensor], ...]


@dataclass(frozen=True)
class Inspection:
    """What `inspect` shows of a file.

    signatures: a file without any shows its main subgraph under the empty key, with tensor names.
    op_counts, tensor_dtypes: histograms over all subgraphs, most frequent first.
    constant_bytes: stored bytes by dtype, largest first; a buffer that tensors share counts once.
    largest_constants: largest first, at most `LARGEST_CONSTANTS`, one per buffer.
    """

    size_bytes: int
    version: int
    description: str
    metadata: tuple[str, ...]
    signatures: tuple[SignaturePorts, ...]
    op_counts: dict[str, int]
    tensor_dtypes: dict[str, int]
    constant_bytes: dict[str, int]
    largest_constants: tuple[Tensor, ...]


class _Reader:
    """Turns the flatbuffer into the classes above; what it or flatbuffers raises means that the file is corrupt.

    flatbuffers checks little in Python, so every index is checked here, and so is the total of all lengths: parts of a
    sound file do not overlap, which bounds that total by the size of the file. Eight times the size leaves room for
    writers that share equal vectors, and keeps a corrupt length from turning into minutes of work.
    """

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self.budget = 8 * self.size
        self.model: Any = schema.Model.GetRootAs(data, 0)
        self.codes = [self.operator_code(code) for code in self.tables(self.model, "OperatorCodes")]
        self.buffers = [self.buffer(buffer) for buffer in self.tables(self.model, "Buffers")]
        # The format reserves buffer 0 for "no data"
        self.buffers[:1] = [(0, 0)]

    def file(self, path: Path) -> TFLiteFile:
        subgraphs = tuple(self.subgraph(graph) for graph in self.tables(self.model, "Subgraphs"))
        if not subgraphs:
            raise ValueError("no subgraph")
        return TFLiteFile(
            path=path,
            size_bytes=self.size,
            version=self.model.Version(),
            description=self.text(self.model.Description()),
            subgraphs=subgraphs,
            signatures=tuple(self.signature(s, subgraphs) for s in self.tables(self.model, "SignatureDefs")),
            metadata=tuple(self.text(entry.Name()) for entry in self.tables(self.model, "Metadata")),
        )

    def operator_code(self, code: Any) -> tuple[str, str]:
        # The older field has 8 bits, so newer ops are in the other one; whichever a writer does not use holds 0 or a
        # placeholder below the real number
        number = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
        name = _OPS.get(number, f"UNKNOWN_{number}")
        return name, self.text(code.CustomCode()) if name == "CUSTOM" else ""

    def buffer(self, buffer: Any) -> tuple[int, int]:
        """Size and position of a buffer's bytes."""
        # Files beyond 2 GB keep constants behind the flatbuffer; writers put 1 where they do not do so
        if buffer.Offset() > 1:
            size, offset = buffer.Size(), buffer.Offset()
        elif size := buffer.DataLength():
            offset = buffer._tab.Vector(buffer._tab.Offset(4))
        if not size:
            return 0, 0
        if offset + size > self.size:
            raise ValueError("a constant reaches beyond the end of the file")
        return size, offset

    def subgraph(self, graph: Any) -> Subgraph:
        tensors = tuple(self.tensor(index, t) for index, t in enumerate(self.tables(graph, "Tensors")))
        return Subgraph(
            name=self.text(graph.Name()),
            tensors=tensors,
            operators=tuple(
                self.operator(index, op, tensors) for index, op in enumerate(self.tables(graph, "Operators"))
            ),
            inputs=self.indices(graph, "Inputs", tensors),
            outputs=self.indices(graph, "Outputs", tensors),
        )

    def operator(self, index: int, operator: Any, tensors: tuple[Tensor, ...]) -> Operator:
        name, custom_code = self.codes[operator.OpcodeIndex()]
        inputs = self.indices(operator, "Inputs", tensors, lowest=-1)
        return Operator(index, name, custom_code, inputs, self.indices(operator, "Outputs", tensors))

    def tensor(self, index: int, tensor: Any) -> Tensor:
        shape = self.numbers(tensor, "ShapeSignature") or self.numbers(tensor, "Shape")
        quantization = tensor.Quantization()
        size, offset = self.buffers[tensor.Buffer()]
        return Tensor(
            index=index,
            name=self.text(tensor.Name()),
            shape=tuple(None if d < 0 else d for d in shape),
            dtype=_DTYPES.get(tensor.Type(), f"unknown_{tensor.Type()}"),
            scales=self.numbers(quantization, "Scale") if quantization else (),
            zero_points=self.numbers(quantization, "ZeroPoint") if quantization else (),
            quantized_dimension=quantization.QuantizedDimension() if quantization else 0,
            is_variable=tensor.IsVariable(),
            is_sparse=tensor.Sparsity() is not None,
            buffer_bytes=size,
            buffer_offset=offset,
        )

    def signature(self, signature: Any, subgraphs: tuple[Subgraph, ...]) -> Signature:
        subgraph = signature.SubgraphIndex()
        count = len(subgraphs[subgraph].tensors)

        def pairs(field: str) -> tuple[tuple[str, int], ...]:
            found = tuple((self.text(a.Name()), a.TensorIndex()) for a in self.tables(signature, field))
            if any(index >= count for _, index in found):
                raise ValueError("a signature names a tensor that does not exist")
            return found

        return Signature(self.text(signature.SignatureKey()), pairs("Inputs"), pairs("Outputs"), subgraph)

    def spend(self, size: int) -> None:
        self.budget -= size
        if self.budget < 0:
            raise ValueError("its parts overlap")

    def tables(self, owner: Any, field: str) -> Iterator[Any]:
        count = getattr(owner, f"{field}Length")()
        self.spend(4 * count)
        return (getattr(owner, field)(i) for i in range(count))

    def numbers(self, owner: Any, field: str) -> tuple[Any, ...]:
        if not getattr(owner, f"{field}Length")():
            return ()
        values = getattr(owner, f"{field}AsNumpy")()
        self.spend(values.nbytes)
        return tuple(values.tolist())

    def indices(self, owner: Any, field: str, tensors: tuple[Tensor, ...], lowest: int = 0) -> tuple[int, ...]:
        values = self.numbers(owner, field)
        if any(not lowest <= value < len(tensors) for value in values):
            raise ValueError("an operator or a subgraph names a tensor that does not exist")
        return values

    def text(self, raw: bytes | None) -> str:
        self.spend(len(raw or b""))
        return (raw or b"").decode("utf-8", errors="replace")


def read_tflite(path: Path) -> TFLiteFile:
    """Read a file. RequestError if it is missing, empty, not a TFLite file, truncated or corrupt."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _problem(path, f"cannot be read: {error.strerror or error}") from error
    if not data:
        raise _problem(path, "is empty")
    if data[4:8] != IDENTIFIER:
        raise _problem(path, f"is not a TFLite file: {IDENTIFIER.decode()} is missing from bytes 4 to 8")
    try:
        return _Reader(data).file(path)
    # What flatbuffers raises on nonsense depends on which helper meets it first
    except (struct.error, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise _problem(path, f"is truncated or corrupt: {error}") from error


def constant_array(file: TFLiteFile, tensor: Tensor) -> npt.NDArray[Any]:
    """The values of a constant in its shape and dtype, as stored: quantized ones stay integers.

    Reads them from the file again. RequestError if the file has changed since, or if the tensor is not a constant, is
    stored compressed, has a dtype that numpy lacks, or does not have the bytes its shape needs.
    """
    where = f"tensor {tensor.name!r}"
    shape = [d for d in tensor.shape if d is not None]
    # 32 axes are numpy's limit; only a corrupt file has more
    plain = tensor.is_constant and not tensor.is_sparse and len(shape) == len(tensor.shape) <= 32
    if not plain or not _ARRAY_DTYPE.fullmatch(tensor.dtype):
        raise _problem(file.path, f"{where} is not a plain constant of a numpy dtype")
    dtype = np.dtype(tensor.dtype).newbyteorder("<")
    if math.prod(shape) * dtype.itemsize != tensor.buffer_bytes:
        raise _problem(file.path, f"{where} has {tensor.buffer_bytes} bytes, which does not fit {shape} {tensor.dtype}")
    try:
        values = np.fromfile(file.path, dtype, math.prod(shape), offset=tensor.buffer_offset)
    except OSError as error:
        raise _problem(file.path, f"cannot be read: {error.strerror or error}") from error
    if values.nbytes != tensor.buffer_bytes:
        raise _problem(file.path, f"ends within {where}; the file has changed since it was opened")
    return values.reshape(shape)


def weight_tensors(file: TFLiteFile) -> tuple[Tensor, ...]:
    """Constants of at least two dimensions, float32, float16 or int8, that an op with weights reads; one per buffer.

    Weights may pass a DEQUANTIZE on their way, as those stored as float16 do.
    """
    found: dict[int, Tensor] = {}
    for graph in file.subgraphs:
        dequantize = (op for op in graph.operators if op.name == "DEQUANTIZE")
        source = {output: value for op in dequantize for output, value in zip(op.outputs, op.inputs, strict=False)}
        for index in (index for op in graph.operators if op.name in WEIGHT_OPS for index in op.inputs):
            origin = source.get(index, index)
            tensor = graph.tensors[origin] if origin >= 0 else None
            if tensor and tensor.is_constant and len(tensor.shape) >= 2 and tensor.dtype in WEIGHT_DTYPES:
                found.setdefault(tensor.buffer_offset, tensor)
    return tuple(found.values())


def sparsity(file: TFLiteFile) -> float:
    """Share of zeros among the values of `weight_tensors`, 0.0 to 1.0; 0.0 if there are none.

    A quantized weight is zero where it equals its zero point. Leaves out weights that are stored compressed.
    RequestError as for `constant_array`.
    """
    zeros = total = 0
    for tensor in weight_tensors(file):
        if not tensor.is_sparse:
            values = constant_array(file, tensor)
            # The format fixes the zero points of weights with one per channel at 0, so the first speaks for all
            zero = tensor.zero_points[0] if tensor.zero_points and tensor.dtype not in FLOAT_DTYPES else 0
            zeros += int(np.count_nonzero(values == zero))
            total += values.size
    return zeros / total if total else 0.0


def op_counts(file: TFLiteFile) -> dict[str, int]:
    """How often each op occurs, most frequent first; custom ops by their custom code."""
    return _sorted(Counter(op.label for graph in file.subgraphs for op in graph.operators))


def tensor_dtypes(file: TFLiteFile) -> dict[str, int]:
    """How many tensors have each dtype, most frequent first."""
    return _sorted(Counter(tensor.dtype for graph in file.subgraphs for tensor in graph.tensors))


def float_operators(file: TFLiteFile) -> tuple[tuple[str, str], ...]:
    """Op name and name of the first float output of each op that computes in float.

    QUANTIZE and DEQUANTIZE only convert, so they do not count.
    """
    found = []
    for graph in file.subgraphs:
        for op in graph.operators:
            outputs = [graph.tensors[i].name for i in op.outputs if graph.tensors[i].dtype in FLOAT_DTYPES]
            if outputs and op.name not in QUANTIZE_OPS:
                found.append((op.label, outputs[0]))
    return tuple(found)


def op_metrics(file: TFLiteFile) -> dict[str, int]:
    """Numbers of operators by kind, over all subgraphs."""
    operators = [op for graph in file.subgraphs for op in graph.operators]
    return {
        "ops.total": len(operators),
        "ops.flex": sum(op.is_flex for op in operators),
        "ops.custom": sum(op.is_custom for op in operators),
        "ops.quantize_dequantize": sum(op.name in QUANTIZE_OPS for op in operators),
        "ops.float": len(float_operators(file)),
    }


def to_json(file: TFLiteFile) -> dict[str, Any]:
    """Every operator with its tensors (null for an input left out), and the histograms of ops and tensor dtypes."""
    return {
        "operators": [
            {
                "subgraph": number,
                "index": op.index,
                "name": op.label,
                "inputs": [_tensor_json(graph.tensors[i]) if i >= 0 else None for i in op.inputs],
                "outputs": [_tensor_json(graph.tensors[i]) for i in op.outputs],
            }
            for number, graph in enumerate(file.subgraphs)
            for op in graph.operators
        ],
        "op_counts": op_counts(file),
        "tensor_dtypes": tensor_dtypes(file),
    }


def describe(file: TFLiteFile) -> Inspection:
    """Gather what `inspect` shows."""
    constants: dict[int, Tensor] = {}
    for graph in file.subgraphs:
        for tensor in graph.tensors:
            if tensor.is_constant:
                constants.setdefault(tensor.buffer_offset, tensor)
    largest = sorted(constants.values(), key=lambda tensor: -tensor.buffer_bytes)
    constant_bytes: Counter[str] = Counter()
    for tensor in largest:
        constant_bytes[tensor.dtype] += tensor.buffer_bytes
    # A file without signatures has one entry point all the same
    main = file.subgraphs[0]
    inputs, outputs = (tuple((main.tensors[i].name, i) for i in side) for side in (main.inputs, main.outputs))
    signatures = file.signatures or (Signature("", inputs, outputs, 0),)
    return Inspection(
        size_bytes=file.size_bytes,
        version=file.version,
        description=file.description,
        metadata=file.metadata,
        signatures=tuple(_ports(file, signature) for signature in signatures),
        op_counts=op_counts(file),
        tensor_dtypes=tensor_dtypes(file),
        constant_bytes=_sorted(constant_bytes),
        largest_constants=tuple(largest[:LARGEST_CONSTANTS]),
    )


def _problem(path: Path, what: str) -> RequestError:
    return RequestError(Problem(what, where=str(path)))


def _sorted(counts: Counter[str]) -> dict[str, int]:
    # Ties by name, so that two files with the same ops list them alike
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _tensor_json(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape)}


def _ports(file: TFLiteFile, signature: Signature) -> SignaturePorts:
    tensors = file.subgraphs[signature.subgraph].tensors
    sides = (signature.inputs, signature.outputs)
    inputs, outputs = (tuple((name, tensors[i]) for name, i in side) for side in sides)
    return SignaturePorts(signature.key, inputs, outputs)
