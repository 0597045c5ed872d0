"""Reads a `.tflite` file, and the values of its constants; refuses what is damaged."""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.files.tflite.mapped import mapped
from tflite_recipes.files.tflite.model import Operator, Signature, Subgraph, Tensor, TFLiteFile

IDENTIFIER = b"TFL3"
_DTYPES = {code: name.lower() for name, code in vars(schema.TensorType).items() if not name.startswith("_")}
_OPS = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_ARRAY_DTYPE = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)|complex(64|128)")


class _Reader:
    """Turns the flatbuffer into the classes of `model`; what it or flatbuffers raises means that the file is corrupt.

    flatbuffers checks little in Python, so every index is checked here, and so is the total of all lengths: parts of a
    sound file do not overlap, which bounds that total by the size of the file. Eight times the size leaves room for
    writers that share equal vectors, and keeps a corrupt length from turning into minutes of work.
    """

    def __init__(self, data: mmap.mmap) -> None:
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
        # Large files keep constants behind the flatbuffer; writers put 1 where they do not do so
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
        data = mapped(path)
    except OSError as error:
        raise _problem(path, f"cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise _problem(path, "is empty") from error
    if data[4:8] != IDENTIFIER:
        raise _problem(path, f"is not a TFLite file: {IDENTIFIER.decode()} is missing from bytes 4 to 8")
    try:
        return _Reader(data).file(path)
    # What flatbuffers raises on nonsense depends on which helper meets it first
    except (struct.error, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = f": {error}" if type(error) is ValueError else ""  # the reader's own words
        raise _problem(path, f"is truncated or corrupt{reason}") from error


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


def _problem(path: Path, what: str) -> RequestError:
    return RequestError(Problem(what, where=str(path)))
