"""Find what a `.tflite` file keeps behind its flatbuffer, and state where it is after the file's bytes have moved.

Three places state a position from the file's beginning:

- `Buffer.offset`: constants, which the LiteRT quantizer appends from 256 KiB on, and every writer beyond 2 GB;
- `Operator.large_custom_options_offset`: options of custom ops;
- `bytecode_offset` in the options of a DISPATCH_OP, a FlexBuffers map: what LiteRT's compilers made for an NPU
  (litert/core/dispatch_op_schema.cc).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

# Fields of the tables Buffer and Operator in LiteRT's schema.fbs, as offsets into their vtables.
_OFFSET, _LARGE_OPTIONS_OFFSET, _CUSTOM_OPTIONS = 6, 22, 14
_DISPATCH, _BYTECODE_OFFSET, _BYTECODE_SIZE = b"DISPATCH_OP", "bytecode_offset", "bytecode_size"
# The flatbuffer's own alignment; a cache line, for constants; a memory page of at most 16 KiB, for bytecode.
_LEAST_ALIGNMENT, _CACHE_LINE, _PAGE = 16, 64, 1 << 14


@dataclass(frozen=True)
class Statement:
    """A position that a file states.

    Attributes:
        start: The position, in bytes from the beginning of the file.
        place: Where the statement stands in the file.
        stated: The bytes there: an unsigned number, or the options of a DISPATCH_OP.
        bytecode: Whether they are the options of a DISPATCH_OP.
        most_aligned: The largest alignment, in bytes, that the data at the position can need.
    """

    start: int
    place: int
    stated: bytes
    bytecode: bool = False
    most_aligned: int = _PAGE

    def moved(self, distance: int) -> bytes:
        """Return the bytes that state a position `distance` bytes further on.

        Raises:
            ValueError: The statement has too few bytes for the new position.
        """
        if not self.bytecode:
            return struct.pack("<Q", self.start + distance)
        return _with_position(self.stated, self.start + distance)


def statements(data: Any) -> tuple[Statement, ...]:
    """Return the positions that a sound file states, each place once, in the order of the positions."""
    model = schema.Model.GetRootAs(data, 0)
    found = {statement.place: statement for statement in (*_buffers(model), *_operators(model))}
    return tuple(sorted(found.values(), key=lambda statement: (statement.start, statement.place)))


def alignment(found: tuple[Statement, ...]) -> int:
    """Return the bytes of which data may move a multiple: each position stays as aligned as its kind can need."""
    return max(_LEAST_ALIGNMENT, max((min(item.start & -item.start, item.most_aligned) for item in found), default=0))


def data_of_operator(custom_code: bytes | None, op: Any) -> tuple[bytes, ...]:
    """Return the data that an op keeps behind the flatbuffer, with its options but for the position; () for none."""
    if op.LargeCustomOptionsOffset() > 1:
        start = op.LargeCustomOptionsOffset()
        return (bytes(op._tab.Bytes[start : start + op.LargeCustomOptionsSize()]),)
    found = tuple(_dispatched(op)) if custom_code == _DISPATCH and op.CustomOptionsLength() else ()
    if not found:
        return ()
    (statement,) = found
    size = flexbuffers.GetRoot(bytearray(statement.stated)).AsMap[_BYTECODE_SIZE].AsInt
    return _with_position(statement.stated, 0), bytes(op._tab.Bytes[statement.start : statement.start + size])


def _with_position(options: bytes, start: int) -> bytes:
    changed = bytearray(options)
    if not flexbuffers.GetRoot(changed).AsMap[_BYTECODE_OFFSET].MutateInt(start):
        raise ValueError(f"the options of {_DISPATCH.decode()} have no room for position {start}")
    return bytes(changed)


def _buffers(model: Any) -> Iterator[Statement]:
    for buffer in map(model.Buffers, range(model.BuffersLength())):
        # Writers put 1 where they append nothing.
        if buffer.Offset() > 1:
            yield replace(_number(buffer._tab, _OFFSET), most_aligned=_CACHE_LINE)


def _operators(model: Any) -> Iterator[Statement]:
    codes = [model.OperatorCodes(index).CustomCode() for index in range(model.OperatorCodesLength())]
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for op in map(graph.Operators, range(graph.OperatorsLength())):
            if op.LargeCustomOptionsOffset() > 1:
                yield _number(op._tab, _LARGE_OPTIONS_OFFSET)
            if codes[op.OpcodeIndex()] == _DISPATCH and op.CustomOptionsLength():
                yield from _dispatched(op)


def _number(table: Any, field: int) -> Statement:
    place = table.Pos + table.Offset(field)
    stated = bytes(table.Bytes[place : place + 8])
    return Statement(struct.unpack("<Q", stated)[0], place, stated)


def _dispatched(op: Any) -> Iterator[Statement]:
    options = bytes(op.CustomOptionsAsNumpy())
    try:
        start = flexbuffers.GetRoot(bytearray(options)).AsMap[_BYTECODE_OFFSET].AsInt
    except Exception:  # options of another form, on which flexbuffers fails in many ways
        return
    if start > 1:
        yield Statement(start, op._tab.Vector(op._tab.Offset(_CUSTOM_OPTIONS)), options, True)
