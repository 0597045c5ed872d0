"""TFLite Metadata in a `.tflite` file: what a model is, for who finds the file alone.

The standard's buffer is the entry `TFLITE_METADATA` of the file's metadata, its associated files are a zip archive
behind the flatbuffer (see `metadata_table` for the schema). Beside it stands an entry of our own, `RECIPE_DIGEST`, with
nothing but the digest in hexadecimal digits, which the standard has no field for.

A file is given metadata without rewriting it: a flatbuffer refers only forward, so a new root, new lists of buffers and
of metadata, and the new buffers are put before it, and refer to the rest of it as it stands. The old root and its two
lists stay behind as a few bytes that nothing refers to. What is before it is a multiple of 16 bytes, the largest
alignment in the file format, so constants stay aligned; and a file of any size costs no more than copying it. Data
that a file keeps behind its flatbuffer moves by as much: its positions are stated anew, and its alignment is kept.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from flatbuffers.table import Table

from tflite_recipes.core.errors import Problem, StepError
from tflite_recipes.files.tflite import appended_data
from tflite_recipes.files.tflite.metadata_table import ModelMetadata, from_buffer, to_buffer
from tflite_recipes.files.tflite.reader import IDENTIFIER

STANDARD, RECIPE_DIGEST = "TFLITE_METADATA", "tflite_recipes.recipe_digest"
MIN_RUNTIME_VERSION = "min_runtime_version"
# A flatbuffer's offsets are signed where they are read.
_LARGEST = (1 << 31) - 1
_ALIGNMENT = 16
_CHUNK = 1 << 20
# Fields of the table Model in LiteRT's schema.fbs, version 3.
_VERSION, _BUFFERS, _METADATA, _FIELDS = 0, 4, 6, 16
_OPS = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
# The earliest time that a zip archive can state, and the system on which permissions are stored as here.
_NO_TIME, _UNIX, _PERMISSIONS = (1980, 1, 1, 0, 0, 0), 3, 0o644


@dataclass(frozen=True)
class Stated:
    """The metadata of a file. model: None where there is none. files: the associated files by name.

    entries: every entry of the file's metadata by name, the standard's among them.
    """

    model: ModelMetadata | None
    files: Mapping[str, bytes] = field(default_factory=dict)
    entries: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def recipe_digest(self) -> str:
        """Of the recipe that made the file, "" for a file of other make."""
        return self.entries.get(RECIPE_DIGEST, b"").decode(errors="replace")

    @property
    def min_runtime_version(self) -> str:
        """Of the runtime, as the converter states it; "" where it does not."""
        return self.entries.get(MIN_RUNTIME_VERSION, b"").rstrip(b"\0").decode(errors="replace")


def read_metadata(path: Path) -> Stated:
    """What a sound file (see `reader.read_tflite`) says of itself; a damaged buffer of metadata reads as none."""
    with _mapped(path) as data:
        model = schema.Model.GetRootAs(data, 0)
        entries = {}
        for number in range(model.MetadataLength()):
            entry = model.Metadata(number)
            entries[(entry.Name() or b"").decode(errors="replace")] = _bytes_of(model.Buffers(entry.Buffer()))
        start = archive_start(data)
        files = _associated(data[start:]) if start is not None else {}
    with contextlib.suppress(struct.error, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return Stated(from_buffer(entries.get(STANDARD, b"")), files, entries)
    return Stated(None, files, entries)


def op_versions(path: Path) -> frozenset[tuple[str, int]]:
    """The builtin ops of a sound file, each with its version; custom ones are left out."""
    with _mapped(path) as data:
        model = schema.Model.GetRootAs(data, 0)
        codes = (model.OperatorCodes(number) for number in range(model.OperatorCodesLength()))
        found = {(max(code.DeprecatedBuiltinCode(), code.BuiltinCode()), code.Version()) for code in codes}
    return frozenset((_OPS[code], version) for code, version in found if _OPS.get(code, "CUSTOM") != "CUSTOM")


def write_metadata(
    source: Path, path: Path, metadata: ModelMetadata, digest: str, files: Mapping[str, bytes] | None = None
) -> None:
    """Write `path`: the file `source` with this metadata, in place of what it has of it, and these associated files.

    The same in gives the same bytes. Errors: StepError for a file whose flatbuffer leaves no room for it below 2 GiB.
    """
    entries = {STANDARD: to_buffer(metadata), RECIPE_DIGEST: digest.encode()}
    with _mapped(source) as data:
        start = archive_start(data)
        end = len(data) if start is None else start
        stated = appended_data.statements(data)
        wanted = {name: value for name, value in entries.items() if value}
        head = _head(data, wanted, appended_data.alignment(stated))
    flatbuffer = min((statement.start for statement in stated), default=end)
    if len(head) + flatbuffer > _LARGEST:
        raise _unsuited(f"a flatbuffer of {flatbuffer} bytes leaves no room for metadata below 2 GiB")
    try:
        moved = [(statement.place, statement.moved(len(head))) for statement in stated]
    except ValueError as error:
        raise _unsuited(str(error)) from error
    with source.open("rb") as old, path.open("wb") as new:
        new.write(head)
        left = end
        while left and (read := old.read(min(left, _CHUNK))):
            new.write(read)
            left -= len(read)
        new.write(_archive(files or {}, len(head) + end))
        for place, value in moved:
            new.seek(len(head) + place)
            new.write(value)


def _head(data: Any, entries: Mapping[str, bytes], alignment: int) -> bytes:
    """What goes before the file so that it has these entries, a multiple of `alignment` bytes.

    In it a place is told by its distance from the end of what goes before, which is where the file begins; so a place
    in the file is one of negative distance.
    """
    root = Table(data, int.from_bytes(data[:4], "little"))
    model = schema.Model.GetRootAs(data, 0)
    kept = [place for place, name in _places(root, _METADATA) if name not in entries]
    buffers = [place for place, _ in _places(root, _BUFFERS)]
    builder = flatbuffers.Builder(1024)
    for name, value in entries.items():
        kept.append(-_entry(builder, name, len(buffers)))
        buffers.append(-_buffer(builder, value))
    lists = {_BUFFERS: _references(builder, buffers), _METADATA: _references(builder, kept)}
    builder.StartObject(_FIELDS)
    for number in range(_FIELDS):
        at = root.Offset(4 + 2 * number)
        if number in lists:
            builder.PrependUOffsetTRelativeSlot(number, lists[number], 0)
        elif at and number == _VERSION:
            builder.PrependUint32Slot(number, model.Version(), 0)
        elif at:  # everything else in this table is a reference, also what later versions of the schema add
            builder.PrependUOffsetTRelativeSlot(number, -root.Indirect(root.Pos + at), 0)
    table = builder.EndObject()
    builder.Prep(alignment, 2 * flatbuffers.number_types.UOffsetTFlags.bytewidth)
    builder.Finish(table, file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _places(root: Any, number: int) -> Iterator[tuple[int, str]]:
    """Where each table of a list of the root lies in the file, and its name where it is an entry of metadata."""
    at = root.Offset(4 + 2 * number)
    if not at:
        return
    start = root.Vector(at)
    for item in range(root.VectorLen(at)):
        place = root.Indirect(start + 4 * item)
        name = ""
        if number == _METADATA:
            entry = schema.Metadata()
            entry.Init(root.Bytes, place)
            name = (entry.Name() or b"").decode(errors="replace")
        yield place, name


def _entry(builder: Any, name: str, buffer: int) -> int:
    said = builder.CreateString(name)
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(0, said, 0)
    builder.PrependUint32Slot(1, buffer, 0)
    return int(builder.EndObject())


def _buffer(builder: Any, value: bytes) -> int:
    builder.StartVector(1, len(value), _ALIGNMENT)
    builder.head -= len(value)
    builder.Bytes[builder.head : builder.head + len(value)] = value
    data = builder.EndVector()
    builder.StartObject(3)
    builder.PrependUOffsetTRelativeSlot(0, data, 0)
    return int(builder.EndObject())


def _references(builder: Any, places: list[int]) -> int:
    """A list of tables at these places of the file; those before it are negative ones."""
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(-place)
    return int(builder.EndVector())


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[Any]:
    """The file's bytes, of which only what is looked at is read."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _bytes_of(buffer: Any) -> bytes:
    if buffer.Offset() > 1:
        return bytes(buffer._tab.Bytes[buffer.Offset() : buffer.Offset() + buffer.Size()])
    if not buffer.DataLength():
        return b""
    start = buffer._tab.Vector(buffer._tab.Offset(4))
    return bytes(buffer._tab.Bytes[start : start + buffer.DataLength()])


# Signature and size of a zip archive's last record, which a comment of at most 65535 bytes may follow.
_END, _END_BYTES = b"PK\x05\x06", 22
# Signature and least size of what its directory says of a file.
_ENTRY, _ENTRY_BYTES = b"PK\x01\x02", 46


def archive_start(data: Any) -> int | None:
    """Where the archive of associated files behind the flatbuffer begins; None where there is none."""
    at = data.rfind(_END, max(0, len(data) - _END_BYTES - 0xFFFF))
    if at < 0 or at + _END_BYTES > len(data):
        return None
    directory, where, comment = struct.unpack_from("<IIH", data, at + 12)
    first = data.find(_ENTRY, at - directory, at) if directory <= at else -1
    if at + _END_BYTES + comment != len(data) or first != at - directory or where != first:
        return None
    offsets: list[int] = []
    place = first
    while place < at:
        if place + _ENTRY_BYTES > at or data[place : place + 4] != _ENTRY:
            return None
        names = struct.unpack_from("<HHH", data, place + 28)
        offsets.append(struct.unpack_from("<I", data, place + 42)[0])
        place += _ENTRY_BYTES + sum(names)
    return min(offsets)


def _associated(archive: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            return {name: opened.read(name) for name in opened.namelist()}
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError):
        return {}


def _archive(files: Mapping[str, bytes], start: int) -> bytes:
    """The archive as it stands at `start` of a file, from whose beginning the standard counts; not compressed."""
    if not files:
        return b""
    made = _Displaced(start)
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, value in files.items():
            about = zipfile.ZipInfo(name, _NO_TIME)
            about.create_system, about.external_attr = _UNIX, _PERMISSIONS << 16
            archive.writestr(about, value)
    return made.getvalue()


class _Displaced(io.BytesIO):
    """A stream whose first byte is told to be number `start` of a file."""

    def __init__(self, start: int) -> None:
        super().__init__()
        self._start = start

    def tell(self) -> int:
        return super().tell() + self._start

    def seek(self, offset: int, whence: int = 0) -> int:
        return super().seek(offset - (self._start if whence == 0 else 0), whence) + self._start


def _unsuited(what: str) -> StepError:
    return StepError(Problem(what, "target.metadata", "target.metadata=false"))
