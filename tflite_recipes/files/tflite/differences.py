"""Where two `.tflite` files differ in what they compute: graphs, operators with their options, tensors, constants.

What only tells of the file does not count: its description, its metadata and associated files, the oldest runtime that
takes it, names of subgraphs and tensors, and recorded ranges that nothing reads (`min`, `max`). The names in signatures
do count, because applications bind by them. (Tensors are named after layers, which a rebuilt model may number anew.)
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_recipes.core.errors import RequestError
from tflite_recipes.files.tflite import appended_data, flex_options
from tflite_recipes.files.tflite.mapped import mapped
from tflite_recipes.files.tflite.model import Subgraph, Tensor, TFLiteFile
from tflite_recipes.files.tflite.reader import constant_array, read_tflite

_OPTIONS = ("builtinOptions", "builtinOptionsType", "builtinOptions2", "builtinOptions2Type", "customOptions")
_OP_FIELDS = ("inputs", "outputs", "intermediates", "mutatingVariableInputs", *_OPTIONS)
_TENSOR_FIELDS = ("type", "shape", "shapeSignature", "isVariable", "hasRank", "sparsity", "variantTensors")
_QUANTIZATION = ("scale", "zeroPoint", "quantizedDimension", "detailsType", "details")


@dataclass(frozen=True)
class Difference:
    """One place: `where` is a tensor, an op or a signature; `what` says how the second file differs from the first."""

    where: str
    what: str


@dataclass(frozen=True)
class Compared:
    """differences: every one, in the order of the graph. renamed: tensors whose names alone differ."""

    differences: tuple[Difference, ...]
    renamed: int = 0


def compare(first: Path, second: Path) -> Compared:
    """Hold the second file against the first. Errors: RequestError where one is no sound `.tflite` file."""
    one, other = _Opened(first), _Opened(second)
    found = [*_signatures(one.file, other.file)]
    counts = len(one.file.subgraphs), len(other.file.subgraphs)
    if counts[0] != counts[1]:
        found.append(Difference("file", f"{counts[1]} subgraphs, not {counts[0]}"))
    renamed = 0
    for number in range(min(counts)):
        found += _graph(one, other, number)
        pairs = zip(one.file.subgraphs[number].tensors, other.file.subgraphs[number].tensors, strict=False)
        renamed += sum(a.name != b.name for a, b in pairs)
    return Compared(tuple(found), renamed)


class _Opened:
    """A file read twice: checked and small, and as the tables of LiteRT's schema, which have all the fields."""

    def __init__(self, path: Path) -> None:
        self.file = read_tflite(path)
        self.model: Any = schema.Model.GetRootAs(mapped(path), 0)

    def operator(self, graph: int, index: int) -> dict[str, Any]:
        op = self.model.Subgraphs(graph).Operators(index)
        table = schema.OperatorT.InitFromObj(op)
        code = self.model.OperatorCodes(table.opcodeIndex)
        fields = {"version": code.Version(), **{name: _plain(getattr(table, name)) for name in _OP_FIELDS}}
        if (code.CustomCode() or b"").startswith(b"Flex") and fields["customOptions"]:
            options = bytes(fields["customOptions"])
            fields["customOptions"] = flex_options.meaning(options) or options
        elif appended := appended_data.data_of_operator(code.CustomCode(), op):
            fields["customOptions"] = appended
        return fields

    def tensor(self, graph: int, index: int) -> dict[str, Any]:
        table = schema.TensorT.InitFromObj(self.model.Subgraphs(graph).Tensors(index))
        quantization = table.quantization or schema.QuantizationParametersT()
        return {
            **{name: _plain(getattr(table, name)) for name in _TENSOR_FIELDS},
            **{name: _plain(getattr(quantization, name)) or None for name in _QUANTIZATION},
        }


def _plain(value: Any) -> Any:
    """A table as a mapping, a vector as a list: what can be compared."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return repr(value)  # where NaN equals itself
    if value is None or isinstance(value, (bool, int, str, bytes)):
        return value
    return {"": type(value).__name__, **{name: _plain(item) for name, item in vars(value).items()}}


def _signatures(one: TFLiteFile, other: TFLiteFile) -> Iterator[Difference]:
    first, second = ({signature.key: signature for signature in file.signatures} for file in (one, other))
    for key in dict.fromkeys([*first, *second]):
        if first.get(key) != second.get(key):
            state = "is new" if key not in first else "is gone" if key not in second else "binds other names or tensors"
            yield Difference(f"signature {key!r}", state)


def _graph(one: _Opened, other: _Opened, number: int) -> Iterator[Difference]:
    graphs = one.file.subgraphs[number], other.file.subgraphs[number]
    prefix = f"subgraph {number} " if number else ""
    for side in ("inputs", "outputs"):
        if getattr(graphs[0], side) != getattr(graphs[1], side):
            yield Difference(f"{prefix}{side}", "are other tensors")
    yield from _operators(one, other, number, prefix)
    if len(graphs[0].tensors) != len(graphs[1].tensors):
        yield Difference(f"{prefix}tensors", f"{len(graphs[1].tensors)}, not {len(graphs[0].tensors)}")
    for before, after in zip(graphs[0].tensors, graphs[1].tensors, strict=False):
        where = f"{prefix}tensor {before.index} {before.name!r}"
        tables = one.tensor(number, before.index), other.tensor(number, after.index)
        if changed := _changed(*tables):
            yield Difference(where, changed)
        elif text := _constants(one.file, before, other.file, after):
            yield Difference(where, text)


def _operators(one: _Opened, other: _Opened, number: int, prefix: str) -> Iterator[Difference]:
    before, after = (_labels(opened.file.subgraphs[number]) for opened in (one, other))
    if before != after:
        at = next(
            (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(map(len, (before, after)))
        )
        names = (labels[at] if at < len(labels) else "nothing" for labels in (before, after))
        was, now = names
        counts = f"{len(after)} ops, not {len(before)}; " if len(before) != len(after) else ""
        yield Difference(f"{prefix}op {at}", f"{counts}{now} where {was} was")
        return
    for index, label in enumerate(before):
        if changed := _changed(one.operator(number, index), other.operator(number, index)):
            yield Difference(f"{prefix}op {index} {label}", changed)


def _labels(graph: Subgraph) -> list[str]:
    return [op.label for op in graph.operators]


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Which fields differ, short values with what they were; "" for none."""
    said = []
    for name, value in after.items():
        if before[name] != value:
            was, now = _brief(before[name]), _brief(value)
            said.append(f"{name} {now}, not {was}" if len(was + now) <= 80 else f"{name}{_count(before[name], value)}")
    return "; ".join(said)


def _count(before: Any, after: Any) -> str:
    """Of two long lists of one length (scales by channel, say), how many differ."""
    if not (isinstance(before, list) and isinstance(after, list) and len(before) == len(after)):
        return ""
    return f" ({sum(a != b for a, b in zip(before, after, strict=True))} of {len(before)})"


def _brief(value: Any) -> str:
    """A value as people read it: of a list of one the one, of a number what tells."""
    if isinstance(value, list):
        return _brief(value[0]) if len(value) == 1 else f"[{', '.join(map(_brief, value))}]"
    return "none" if value is None else f"{value:.9g}" if isinstance(value, float) else str(value)


def _constants(one: TFLiteFile, before: Tensor, other: TFLiteFile, after: Tensor) -> str:
    """How the values of a constant differ; "" where they are the same."""
    if before.buffer_bytes != after.buffer_bytes:
        return f"{after.buffer_bytes} bytes of values, not {before.buffer_bytes}"
    if not before.is_constant or _bytes(one.path, before) == _bytes(other.path, after):
        return ""
    try:
        values = constant_array(one, before), constant_array(other, after)
    except RequestError:  # stored compressed, or of a type that numpy lacks
        return "other values"
    differ = int((values[0] != values[1]).sum())
    by = ""
    if values[0].dtype.kind in "iuf":
        by = f", by up to {np.abs(values[0].astype('float64') - values[1].astype('float64')).max():.3g}"
    return f"{differ:,} of {values[0].size:,} values{by}"


def _bytes(path: Path, tensor: Tensor) -> bytes:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data[tensor.buffer_offset : tensor.buffer_offset + tensor.buffer_bytes]
