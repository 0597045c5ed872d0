"""Read a `.tflite` file into the mutable objects of LiteRT's schema, and write them."""

from __future__ import annotations

import struct
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from tflite_recipes.files.tflite import appended_data
from tflite_recipes.files.tflite.reader import IDENTIFIER

# Fields `offset` and `size` of the table Buffer in LiteRT's schema.fbs, as offsets into its vtable.
_POSITION_FIELDS = (6, 8)
_ALIGNMENT = 16
# A flatbuffer ends below 2 GiB; padding and tables need some room.
_LARGEST = (1 << 31) - (1 << 26)


def read(data: bytes) -> Any:
    """Return the file as a `ModelT`, with constants and options of custom ops inside."""
    buffer = bytearray(data)
    _clear_placeholders(buffer)
    model = flatbuffer_utils.read_model_from_bytearray(buffer)
    for entry in model.buffers:
        if isinstance(entry.data, (bytes, bytearray)):  # which flatbuffers would write byte by byte, in Python
            entry.data = np.frombuffer(entry.data, np.uint8)
    return model


def write(model: Any) -> bytes:
    """Return the file of a `ModelT`, with all constants in the flatbuffer."""
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def has_old_op_codes(data: bytes) -> bool:
    """Return whether the file lacks `builtin_code` of an op, as files from before TensorFlow 2.4 do."""
    model = schema.Model.GetRootAs(data, 0)
    codes = map(model.OperatorCodes, range(model.OperatorCodesLength()))
    return any(code.BuiltinCode() < code.DeprecatedBuiltinCode() for code in codes)


def with_op_codes_of_today(data: bytes) -> bytes:
    """Return the file with each op's code in `builtin_code`.

    litert_quantizer 0.11 reads that field alone, so it takes each op of an old file for an ADD, whose code is 0.
    """
    if not has_old_op_codes(data):
        return data
    model = read(data)
    for code in model.operatorCodes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
    return write(model)


def has_constants_behind(data: bytes) -> bool:
    """Return whether the file keeps constants or options of custom ops behind its flatbuffer."""
    return any(not statement.bytecode for statement in appended_data.statements(data))


def with_constants_inside(data: bytes) -> bytes:
    """Return the file with what it keeps behind its flatbuffer moved into it, aligned as the converter aligns it.

    TensorFlow Lite Micro takes constants behind the flatbuffer for tensors without values, and gives other results.
    A file that is too large for one flatbuffer stays as it is, and so does one with bytecode for an NPU.
    """
    stated = appended_data.statements(data)
    if not stated or any(statement.bytecode for statement in stated) or len(data) > _LARGEST:
        return data
    builder = _AligningBuilder(len(data))
    builder.Finish(read(data).Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


class _AligningBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """A builder that aligns byte vectors to 16, as the schema demands (`force_align`) and flatbuffers does not."""

    def CreateNumpyVector(self, x: Any) -> int:
        if x.dtype == np.uint8:
            self.Prep(_ALIGNMENT, x.nbytes)
        return int(super().CreateNumpyVector(x))


def _clear_placeholders(buffer: bytearray) -> None:
    """Clear positions of 1, which writers put where a constant is in the flatbuffer; they are read as positions."""
    model: Any = schema.Model.GetRootAs(buffer, 0)
    for entry in map(model.Buffers, range(model.BuffersLength())):
        if entry.Offset() == 1:
            for field in _POSITION_FIELDS:
                if at := entry._tab.Offset(field):
                    struct.pack_into("<Q", buffer, entry._tab.Pos + at, 0)
