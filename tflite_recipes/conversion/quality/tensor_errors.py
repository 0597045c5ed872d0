"""Where a quantized file loses accuracy: the table by tensor, and its file."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tflite_recipes.conversion.quality.decibels import MOST_DB
from tflite_recipes.core import regular_files
from tflite_recipes.core.errors import Problem, RequestError, gist

_MOST = 64 << 20  # bytes of a table; a row has about 200
TABLE = "quantization_error.csv"
# What makes a graph's input.
INPUT = "INPUT"
# Ops that pass values on: what they give was rounded before.
PASSING = frozenset(
    {
        "BATCH_TO_SPACE_ND",
        "BROADCAST_TO",
        "DEPTH_TO_SPACE",
        "DEQUANTIZE",
        "EXPAND_DIMS",
        "GATHER",
        "GATHER_ND",
        "MAX_POOL_2D",
        "MIRROR_PAD",
        "PAD",
        "PADV2",
        "QUANTIZE",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "RESHAPE",
        "RESIZE_NEAREST_NEIGHBOR",
        "REVERSE_V2",
        "SLICE",
        "SPACE_TO_BATCH_ND",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SPLIT_V",
        "SQUEEZE",
        "STRIDED_SLICE",
        "TILE",
        "TRANSPOSE",
        "UNPACK",
    }
)


@dataclass(frozen=True)
class TensorError:
    """What quantization did to one tensor, over all samples.

    tensor: its name in the float file. layer: the layer of the source. op: the op that makes an activation, or that
    reads a weight; INPUT for the model's inputs. kind: activation or weight. dtype, shape (None: dynamic), scale,
    zero_point: as in the quantized file; of several scales the largest, None where there is none.
    sqnr_db: signal to quantization noise ratio 10 log10(sum f² / sum (f − q)²) against the float file, with all error
    that came in with the op's inputs; within ±200 dB. local_sqnr_db: that of the float values rounded with this
    tensor's scale and zero point alone; None where it has none. rmse: root mean square error in the tensor's own
    unit. rmse_over_scale: the same over the scale (of each channel); rounding alone gives 1/√12 ≈ 0.289 (Widrow).
    clipped: share of the float values, 0 to 1, more than half a step beyond what the type can hold. covered: share of
    the type's range that the float values span. input_sqnr_db: the least sqnr_db among what the op takes, 200 where
    that is exact. inputs: names of the activations that it takes. output: name of the op's first output, by which
    rules find it.
    """

    tensor: str
    layer: str
    op: str
    kind: str
    dtype: str
    shape: tuple[int | None, ...]
    scale: float | None
    zero_point: int | None
    sqnr_db: float
    local_sqnr_db: float | None
    rmse: float
    rmse_over_scale: float | None
    clipped: float | None
    covered: float | None = None
    input_sqnr_db: float = MOST_DB
    inputs: tuple[str, ...] = ()
    output: str = ""


def worst_first(rows: Iterable[TensorError]) -> list[TensorError]:
    """By `sqnr_db`; ties by name, so that the same errors give the same file."""
    return sorted(rows, key=lambda row: (row.sqnr_db, row.tensor, row.kind))


def metrics(rows: Sequence[TensorError]) -> dict[str, float]:
    """The worst and the median `sqnr_db` of all rows, by tracking name; nothing of no rows."""
    found = [row.sqnr_db for row in rows]
    if not found:
        return {}
    return {"quantization.worst_sqnr_db": min(found), "quantization.median_sqnr_db": statistics.median(found)}


# The file


def write_csv(path: Path, rows: Iterable[TensorError]) -> None:
    """One row a tensor, worst `sqnr_db` first. Shapes are written as 1x8x?; `inputs` is a JSON list."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for row in worst_first(rows):
            cells = {name: _cell(getattr(row, name)) for name in _COLUMNS} | {"inputs": json.dumps(row.inputs)}
            writer.writerow(cells.values())


_COLUMNS = tuple(field.name for field in fields(TensorError))
_OPTIONAL = ("scale", "local_sqnr_db", "rmse_over_scale", "clipped", "covered")
_NUMBERS = ("sqnr_db", "rmse", "input_sqnr_db")


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join("?" if size is None else str(size) for size in value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


def read_csv(path: Path) -> list[TensorError]:
    """What `write_csv` wrote. Errors: RequestError for a file that is not there or is not such a table."""
    try:
        with regular_files.open_lines(path, _MOST) as stream:
            table = csv.DictReader(stream)
            missing = [name for name in _COLUMNS if name not in (table.fieldnames or ())]
            if missing:
                raise _not_a_table(path, f"it has no column {', '.join(missing[:3])}")
            return [_row(path, number, cells) for number, cells in enumerate(table, 2)]
    except OSError as error:
        raise RequestError(Problem(f"cannot be read: {error.strerror or error}", str(path))) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise _not_a_table(path, gist(error)) from error


def _row(path: Path, number: int, cells: Mapping[str, str | None]) -> TensorError:
    try:
        text = {name: cells[name] or "" for name in _COLUMNS}
        values: dict[str, Any] = dict(text)
        values |= {name: float(text[name]) for name in _NUMBERS}
        values |= {name: float(text[name]) if text[name] else None for name in _OPTIONAL}
        values["zero_point"] = int(text["zero_point"]) if text["zero_point"] else None
        values["shape"] = tuple(None if size == "?" else int(size) for size in text["shape"].split("x") if size)
        values["inputs"] = tuple(map(str, json.loads(text["inputs"])))
    except (ValueError, TypeError) as error:
        raise _not_a_table(path, f"line {number} holds something else") from error
    return TensorError(**values)


def _not_a_table(path: Path, why: str) -> RequestError:
    return RequestError(Problem(f"is not a {TABLE} as a run writes it: {why}", str(path)))
