"""The buffer of the standard TFLite Metadata: written and read, field by field.

Tables, their fields' numbers and the values of enums are those of `metadata_schema.fbs`, semantic version 1.5.0, file
identifier M001 (github.com/tensorflow/tflite-support, tensorflow_lite_support/metadata). A field that is "" or empty
here is left out of its table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import flatbuffers
from flatbuffers import number_types as N
from flatbuffers.table import Table

IDENTIFIER = b"M001"


class Content(IntEnum):
    """The union `ContentProperties`, as far as this package writes it."""

    none = 0
    features = 1
    image = 2
    audio = 4


class ColorSpace(IntEnum):
    """The enum `ColorSpaceType`."""

    unknown = 0
    rgb = 1
    grayscale = 2


# `AssociatedFileType.TENSOR_AXIS_LABELS`, and `ProcessUnitOptions` of `NormalizationOptions`.
_AXIS_LABELS = 2
_NORMALIZATION = 1
# The first version of the schema, and the one that brought `AudioProperties`.
_FIRST_VERSION, _AUDIO_VERSION = "1.0.0", "1.3.0"


@dataclass(frozen=True)
class TensorMetadata:
    """What is said of one input or output.

    content: what it holds. color_space, size: of an image, size (width, height) in pixels. sample_rate in Hz, channels:
    of a sound. mean, std: one number, or one a channel; what is fed is (x - mean) / std. minimum, maximum: of its
    values. labels: name of the associated file that names the places of its last axis.
    """

    name: str
    description: str = ""
    content: Content = Content.features
    color_space: ColorSpace = ColorSpace.unknown
    size: tuple[int, int] | None = None
    sample_rate: int = 0
    channels: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    minimum: tuple[float, ...] = ()
    maximum: tuple[float, ...] = ()
    labels: str = ""


@dataclass(frozen=True)
class ModelMetadata:
    """What is said of a model, inputs and outputs in the file's own order.

    min_parser_version: of the schema, what a reader has to know at least; set by `to_buffer`.
    """

    name: str
    description: str = ""
    inputs: tuple[TensorMetadata, ...] = ()
    outputs: tuple[TensorMetadata, ...] = ()
    min_parser_version: str = ""


def to_buffer(metadata: ModelMetadata) -> bytes:
    """The flatbuffer of it. The same metadata gives the same bytes."""
    builder = flatbuffers.Builder(1024)
    sides = [[_tensor(builder, tensor) for tensor in side] for side in (metadata.inputs, metadata.outputs)]
    inputs, outputs = (_offsets(builder, side) for side in sides)
    subgraph = _table(builder, 9, {2: inputs, 3: outputs})
    fields = {
        0: _text(builder, metadata.name),
        1: _text(builder, metadata.description),
        3: _offsets(builder, [subgraph]),
        7: _text(builder, _version(metadata)),
    }
    builder.Finish(_table(builder, 8, fields), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def from_buffer(data: bytes) -> ModelMetadata:
    """What `to_buffer` wrote, or another writer; of the latter's what there are fields for here.

    Errors: ValueError for anything that is not such a buffer; what flatbuffers raises for one that is cut short.
    """
    if data[4:8] != IDENTIFIER:
        raise ValueError("not a buffer of TFLite Metadata: M001 is missing from bytes 4 to 8")
    root = _Fields(Table(data, int.from_bytes(data[:4], "little")))
    subgraph = next(iter(root.tables(3)), None)
    sides = ([_read_tensor(table) for table in subgraph.tables(at)] if subgraph else [] for at in (2, 3))
    inputs, outputs = map(tuple, sides)
    return ModelMetadata(root.text(0), root.text(1), inputs, outputs, root.text(7))


def _version(metadata: ModelMetadata) -> str:
    audio = any(tensor.content is Content.audio for tensor in (*metadata.inputs, *metadata.outputs))
    return _AUDIO_VERSION if audio else _FIRST_VERSION


def _tensor(builder: Any, tensor: TensorMetadata) -> int:
    fields = {
        0: _text(builder, tensor.name),
        1: _text(builder, tensor.description),
        3: _content(builder, tensor),
        4: _units(builder, tensor),
        5: _stats(builder, tensor),
        6: _label_file(builder, tensor.labels),
    }
    return _table(builder, 7, fields)


def _content(builder: Any, tensor: TensorMetadata) -> int:
    if tensor.content is Content.image:
        size = _numbers(builder, 2, tensor.size) if tensor.size is not None else 0
        builder.StartObject(2)
        builder.PrependInt8Slot(0, int(tensor.color_space), 0)
        builder.PrependUOffsetTRelativeSlot(1, size, 0)
        properties = builder.EndObject()
    elif tensor.content is Content.audio:
        properties = _numbers(builder, 2, (tensor.sample_rate, tensor.channels))
    else:
        properties = _table(builder, 0, {})
    builder.StartObject(3)
    builder.PrependUint8Slot(0, int(tensor.content), 0)
    builder.PrependUOffsetTRelativeSlot(1, properties, 0)
    return int(builder.EndObject())


def _units(builder: Any, tensor: TensorMetadata) -> int:
    """The vector of process units: the normalization, where there is one."""
    if not tensor.std:
        return 0
    options = _table(builder, 2, {0: _floats(builder, tensor.mean), 1: _floats(builder, tensor.std)})
    builder.StartObject(2)
    builder.PrependUint8Slot(0, _NORMALIZATION, 0)
    builder.PrependUOffsetTRelativeSlot(1, options, 0)
    return _offsets(builder, [builder.EndObject()])


def _stats(builder: Any, tensor: TensorMetadata) -> int:
    if not tensor.maximum and not tensor.minimum:
        return 0
    return _table(builder, 2, {0: _floats(builder, tensor.maximum), 1: _floats(builder, tensor.minimum)})


def _label_file(builder: Any, name: str) -> int:
    if not name:
        return 0
    given, said = _text(builder, name), _text(builder, "Labels of the last axis, one a line.")
    builder.StartObject(5)
    builder.PrependUOffsetTRelativeSlot(0, given, 0)
    builder.PrependUOffsetTRelativeSlot(1, said, 0)
    builder.PrependInt8Slot(2, _AXIS_LABELS, 0)
    return _offsets(builder, [builder.EndObject()])


def _table(builder: Any, slots: int, offsets: dict[int, int]) -> int:
    """A table whose fields all refer to something; 0 is left out."""
    builder.StartObject(slots)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    return int(builder.EndObject())


def _numbers(builder: Any, slots: int, values: Iterable[int]) -> int:
    builder.StartObject(slots)
    for slot, value in enumerate(values):
        builder.PrependUint32Slot(slot, value, 0)
    return int(builder.EndObject())


def _text(builder: Any, text: str) -> int:
    return int(builder.CreateString(text)) if text else 0


def _floats(builder: Any, values: Sequence[float]) -> int:
    return _vector(builder, values, builder.PrependFloat32) if values else 0


def _offsets(builder: Any, tables: Sequence[int]) -> int:
    return _vector(builder, tables, builder.PrependUOffsetTRelative) if tables else 0


def _vector(builder: Any, values: Sequence[Any], put: Callable[[Any], None]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        put(value)
    return int(builder.EndVector())


class _Fields:
    """A table's fields by number; what is left out reads as "", empty or 0."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def _at(self, slot: int) -> int:
        return int(self._table.Offset(4 + 2 * slot))

    def text(self, slot: int) -> str:
        at = self._at(slot)
        return self._table.String(self._table.Pos + at).decode() if at else ""

    def number(self, slot: int, kind: Any = N.Uint32Flags) -> int:
        return int(self._table.GetSlot(4 + 2 * slot, 0, kind))

    def floats(self, slot: int) -> tuple[float, ...]:
        values = self._table.GetVectorAsNumpy(N.Float32Flags, self._at(slot)) if self._at(slot) else ()
        return tuple(map(float, values))

    def table(self, slot: int) -> _Fields | None:
        at = self._at(slot)
        return _Fields(Table(self._table.Bytes, self._table.Indirect(self._table.Pos + at))) if at else None

    def tables(self, slot: int) -> list[_Fields]:
        at = self._at(slot)
        if not at:
            return []
        start = self._table.Vector(at)
        positions = (self._table.Indirect(start + 4 * i) for i in range(self._table.VectorLen(at)))
        return [_Fields(Table(self._table.Bytes, position)) for position in positions]


def _read_tensor(table: _Fields) -> TensorMetadata:
    tensor = TensorMetadata(table.text(0), table.text(1), Content.none)
    if content := table.table(3):
        tensor = _read_content(tensor, content.number(0, N.Uint8Flags), content.table(1))
    for unit in table.tables(4):
        if unit.number(0, N.Uint8Flags) == _NORMALIZATION and (options := unit.table(1)):
            tensor = replace(tensor, mean=options.floats(0), std=options.floats(1))
    if stats := table.table(5):
        tensor = replace(tensor, maximum=stats.floats(0), minimum=stats.floats(1))
    labels = [file.text(0) for file in table.tables(6) if file.number(2, N.Int8Flags) == _AXIS_LABELS]
    return replace(tensor, labels=labels[0] if labels else "")


def _read_content(tensor: TensorMetadata, kind: int, properties: _Fields | None) -> TensorMetadata:
    if kind not in list(Content) or properties is None:
        return tensor
    tensor = replace(tensor, content=Content(kind))
    if kind == Content.image:
        size = properties.table(1)
        color_space = ColorSpace(properties.number(0, N.Int8Flags))
        return replace(tensor, color_space=color_space, size=(size.number(0), size.number(1)) if size else None)
    if kind == Content.audio:
        return replace(tensor, sample_rate=properties.number(0), channels=properties.number(1))
    return tensor
