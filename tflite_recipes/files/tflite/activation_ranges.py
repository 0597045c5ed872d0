"""What the activations of a quantized file can hold: the ranges that calibration, or training, gave them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # which reads the format, and the command line need not
    from tflite_recipes.files.tflite import TFLiteFile

RANGES = "activation_ranges.csv"
# The least and the greatest integer of the types that activations are quantized to.
_INTEGERS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
_INPUT = "INPUT"


@dataclass(frozen=True)
class ActivationRange:
    """An activation: its tensor, the layer and the op that make it (`INPUT` for the model's inputs), its type, scale
    and zero point, and the least and the greatest real value that these can hold."""

    tensor: str
    layer: str
    op: str
    dtype: str
    scale: float
    zero_point: int
    least: float
    greatest: float

    @property
    def width(self) -> float:
        """From the least to the greatest value."""
        return self.greatest - self.least


def activation_ranges(file: TFLiteFile, owners: Sequence[Mapping[int, str]]) -> list[ActivationRange]:
    """Of every activation with one scale, widest first; ties by name. owners: as for `size_breakdown.breakdown`."""
    found = []
    for graph, layers in zip(file.subgraphs, owners, strict=True):
        makers = {index: op for op in graph.operators for index in op.outputs}
        for tensor in graph.tensors:
            made = makers.get(tensor.index)
            known = made is not None or tensor.index in graph.inputs
            if not known or tensor.is_constant or len(tensor.scales) != 1 or tensor.dtype not in _INTEGERS:
                continue
            scale, zero = tensor.scales[0], tensor.zero_points[0] if tensor.zero_points else 0
            least, greatest = (scale * (end - zero) for end in _INTEGERS[tensor.dtype])
            layer, op = (layers.get(made.index, ""), made.label) if made is not None else ("", _INPUT)
            found.append(ActivationRange(tensor.name, layer, op, tensor.dtype, scale, zero, least, greatest))
    return sorted(found, key=lambda row: (-row.width, row.tensor))


def write_csv(path: Path, rows: Iterable[ActivationRange]) -> None:
    """One row a tensor, in their order."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for row in rows:
            writer.writerow(f"{cell:.9g}" if isinstance(cell, float) else cell for cell in astuple(row))


def read_csv(path: Path) -> list[ActivationRange]:
    """What `write_csv` wrote. Errors: OSError, KeyError, ValueError."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [_row(cells) for cells in csv.DictReader(stream)]


def _row(cells: Mapping[str, str]) -> ActivationRange:
    names = (cells["tensor"], cells["layer"], cells["op"], cells["dtype"])
    scale, least, greatest = (float(cells[name]) for name in ("scale", "least", "greatest"))
    return ActivationRange(*names, scale, int(cells["zero_point"]), least, greatest)


_COLUMNS = tuple(field.name for field in fields(ActivationRange))
