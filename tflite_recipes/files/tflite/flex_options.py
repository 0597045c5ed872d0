"""The options of TensorFlow's own ops in a file (custom ops named `Flex...`): a NodeDef, whose attributes are a map.

The converter writes the map in another order in each process. In one order, files that say the same have the same
bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_ATTRIBUTE, _NAME, _ORIGIN = 5, 1, 6  # fields of a NodeDef; the last tells which nodes it was made from


def ordered(data: bytes) -> bytes:
    """The `.tflite` file with the attributes of such ops in the order of their bytes. It is as large as before."""
    from ai_edge_litert import schema_py_generated as schema

    if b"Flex" not in data:
        return data
    changed = bytearray(data)
    model: Any = schema.Model.GetRootAs(changed, 0)
    codes = [model.OperatorCodes(index).CustomCode() or b"" for index in range(model.OperatorCodesLength())]
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for op in map(graph.Operators, range(graph.OperatorsLength())):
            if codes[op.OpcodeIndex()].startswith(b"Flex") and op.CustomOptionsLength():
                view = op.CustomOptionsAsNumpy()
                view[:] = list(in_order(bytes(view)))
    return bytes(changed)


def meaning(options: bytes) -> tuple[bytes, ...] | None:
    """What decides of such an op: the fields of its NodeDef, attributes in one order, but for the node's name and where
    it came from. None where this cannot be read."""
    node = _node_def(options)
    fields = None if node is None else fields_of(node)
    if fields is None:
        return None
    others = [text for number, text in fields if number not in (_ATTRIBUTE, _NAME, _ORIGIN)]
    return (*others, *sorted(text for number, text in fields if number == _ATTRIBUTE))


def in_order(options: bytes) -> bytes:
    """Return the options of a TensorFlow op with its attributes in one order, as many bytes as before; what is no such
    thing stays as it is."""
    node = _node_def(options)
    fields = None if node is None else fields_of(node)
    if node is None or fields is None or options.count(node) != 1:
        return options
    attributes: Iterator[bytes] = iter(sorted(text for number, text in fields if number == _ATTRIBUTE))
    return options.replace(node, b"".join(next(attributes) if n == _ATTRIBUTE else text for n, text in fields))


def _node_def(options: bytes) -> bytes | None:
    """Of the pair (op, NodeDef) in FlexBuffers the second."""
    from flatbuffers import flexbuffers

    try:
        pair = flexbuffers.GetRoot(bytearray(options)).AsVector
        return bytes(pair[1].AsStringBytes) if len(pair) == 2 else None
    except Exception:  # whatever bytes that others made lead its reader to
        return None


def fields_of(message: bytes) -> list[tuple[int, bytes]] | None:
    """The fields of a message, each by its number with all its bytes; None where it is no message."""
    found, at = [], 0
    while at < len(message):
        start = at
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 2:
            length, at = _varint(message, at)
            at += length
        elif kind == 0:
            _, at = _varint(message, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            return None
        if at > len(message):
            return None
        found.append((tag >> 3, message[start:at]))
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number, and where it ends: behind the end of the message where it is cut off."""
    value, shift = 0, 0
    while at < len(message) and shift < 70:
        byte = message[at]
        value, at = value | (byte & 127) << shift, at + 1
        if byte < 128:
            return value, at
        shift += 7
    return value, len(message) + 1
