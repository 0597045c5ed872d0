"""Where a quantized file loses accuracy: the table by tensor, its ranking by op, its file and its plot."""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path
from typing import Any

from tflite_recipes.errors import Problem, RequestError

TABLE = "quantization_error.csv"
PLOT = "quantization_error.svg"
# Identical tensors have no noise; MLflow's stores take no infinity.
MOST_DB = 200.0
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
_JOINING = ("CONCATENATION", "PACK")
_PLOTTED = 20


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


@dataclass(frozen=True)
class Sensitive:
    """An op by its first output tensor, with the signal to noise ratio in dB of what the op itself adds.

    together: the other ops, by their outputs, without which giving this one more precision does not help.
    """

    tensor: str
    layer: str
    op: str
    score: float
    together: tuple[str, ...] = ()


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two sums of squares, within ±200."""
    if noise <= 0.0:
        return MOST_DB
    if signal <= 0.0:
        return -MOST_DB
    return min(max(10.0 * math.log10(signal / noise), -MOST_DB), MOST_DB)


def worst_first(rows: Iterable[TensorError]) -> list[TensorError]:
    """By `sqnr_db`; ties by name, so that the same errors give the same file."""
    return sorted(rows, key=lambda row: (row.sqnr_db, row.tensor, row.kind))


def metrics(rows: Sequence[TensorError]) -> dict[str, float]:
    """The worst and the median `sqnr_db` of all rows, by tracking name; nothing of no rows."""
    found = [row.sqnr_db for row in rows]
    if not found:
        return {}
    return {"quantization.worst_sqnr_db": min(found), "quantization.median_sqnr_db": statistics.median(found)}


def sensitivity(rows: Iterable[TensorError]) -> list[Sensitive]:
    """The ops of a quantized file, the one that adds most noise first.

    Relative to the signal, what an op adds is the larger of two: the noise of its output over that of its worst input
    (n_out − n_in, with n = 10^(−sqnr/10)), which finds weights, kernels and amplification; and the rounding of its
    output and its weights alone, which noise from before cannot hide. An op behind a bad one that adds nothing ranks
    low, however bad its output is. Ops that only pass values on, and float ones, are left out.

    An op adds more than its own rounding where it brings out noise that its input holds already, in values that are
    small beside others (depthwise convolutions of unlike channels, differences): it goes together with the ops that
    make its inputs. An op whose output has the scale of a CONCATENATION or PACK that takes it goes together with
    that: what joins has set the scale.
    """
    rows = list(rows)
    rounding: dict[str, float] = {}
    added: dict[str, float] = {}
    named: dict[str, TensorError] = {}
    for row in filter(_nameable, rows):
        own = row.sqnr_db if row.kind == "weight" else row.local_sqnr_db
        rounding[row.output] = rounding.get(row.output, 0.0) + _share(MOST_DB if own is None else own)
        if row.kind == "activation":
            named[row.output] = row
            added[row.output] = max(added.get(row.output, 0.0), _share(row.sqnr_db) - _share(row.input_sqnr_db))
        named.setdefault(row.output, row)
    graph = {row.tensor: row for row in rows if row.kind == "activation"}
    takers: dict[str, list[TensorError]] = {}
    for row in graph.values():
        for name in row.inputs:
            takers.setdefault(name, []).append(row)
    found = []
    for name, row in named.items():
        score = decibels(1.0, max(rounding[name], added.get(name, 0.0)))
        made = graph.get(name, row)
        before = _makers(made, graph) if added.get(name, 0.0) > _AMPLIFIED * rounding[name] else ()
        others = dict.fromkeys(other for other in (*before, *_joined(made, takers)) if other in named and other != name)
        found.append(Sensitive(name, row.layer, row.op, score, tuple(others)))
    return sorted(found, key=lambda op: (op.score, op.tensor))


# Noise beyond this many times an op's own rounding came with its inputs.
_AMPLIFIED = 4.0


def _makers(row: TensorError, graph: Mapping[str, TensorError]) -> list[str]:
    """The outputs of the ops that make what an op takes, before what only passes it on."""
    found, left, seen = [], list(row.inputs), set()
    while left:
        name = left.pop(0)
        maker = graph.get(name)
        if maker is None or name in seen:
            continue
        seen.add(name)
        if maker.op in PASSING:
            left += maker.inputs
        else:
            found.append(maker.output)
    return found


def _joined(row: TensorError, takers: Mapping[str, Sequence[TensorError]]) -> list[str]:
    """The ops that join this output with others, at the joint's scale, behind what only passes it on."""
    found, left, seen = [], [row.tensor], set()
    while left:
        name = left.pop(0)
        if name in seen:
            continue
        seen.add(name)
        for taker in takers.get(name, ()):
            if (taker.scale, taker.zero_point) != (row.scale, row.zero_point):
                continue
            if taker.op in _JOINING:
                found.append(taker.output)
            elif taker.op in PASSING:
                left.append(taker.tensor)
    return found


def _nameable(row: TensorError) -> bool:
    quantized = row.kind == "weight" or row.scale is not None
    passing = row.op in PASSING and row.kind == "activation"  # of a table it looks up, GATHER makes the values
    return bool(quantized and row.output and row.op != INPUT and not passing)


def _share(sqnr_db: float) -> float:
    """Noise over signal."""
    return float(10.0 ** (-sqnr_db / 10.0))


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
        with path.open(encoding="utf-8", newline="") as stream:
            table = csv.DictReader(stream)
            missing = [name for name in _COLUMNS if name not in (table.fieldnames or ())]
            if missing:
                raise _not_a_table(path, f"it has no column {', '.join(missing[:3])}")
            return [_row(path, number, cells) for number, cells in enumerate(table, 2)]
    except OSError as error:
        raise RequestError(Problem(f"cannot be read: {error.strerror or error}", str(path))) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise _not_a_table(path, str(error)) from error


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
        raise _not_a_table(path, f"line {number}: {error}") from error
    return TensorError(**values)


def _not_a_table(path: Path, why: str) -> RequestError:
    return RequestError(Problem(f"is not a {TABLE} as a run writes it: {why}", str(path)))


# The plot

_LABEL, _BAR, _LINE, _HEAD, _VALUE = 330, 400, 22, 30, 60


def plot(rows: Iterable[TensorError], count: int = _PLOTTED) -> str:
    """The worst tensors as a self-contained SVG: a bar for `sqnr_db`, a mark for `local_sqnr_db`; short is bad."""
    shown = worst_first(rows)[:count]
    values = [value for row in shown for value in (row.sqnr_db, row.local_sqnr_db) if value is not None]
    low, high = min([0.0, *values]), max([1.0, *values])
    width, height = _LABEL + _BAR + 90, _HEAD + _LINE * len(shown) + 6
    title = "SQNR in dB, weights brown; the mark is rounding alone"
    bars = "".join(_bar(row, _HEAD + position * _LINE, low, high) for position, row in enumerate(shown))
    head = f"<svg xmlns='http://www.w3.org/2000/svg' role='img' width='{width}' height='{height}'"
    style = "style='font: 13px system-ui, sans-serif; background: #fff' fill='#1c2733'"
    text = f"<text x='{_LABEL}' y='16' fill='#62707d'>{title}</text>"
    return f"{head} viewBox='0 0 {width} {height}' {style}>{text}{bars}</svg>"


def _bar(row: TensorError, top: int, low: float, high: float) -> str:
    def at(value: float) -> float:
        return _LABEL + _BAR * (value - low) / (high - low)

    left, right = sorted((at(0.0), at(row.sqnr_db)))
    fill, edge, mark = "#c9662b" if row.kind == "weight" else "#2f7fb8", right, ""
    if row.kind == "activation" and row.local_sqnr_db is not None:
        x = at(row.local_sqnr_db)
        edge = x + 2 if right - 4 < x < right + _VALUE else right
        mark = f"<rect x='{x:.1f}' y='{top}' width='2' height='{_LINE - 1}'/>"
    return (
        f"<g><title>{escape(row.tensor)}</title><text x='0' y='{top + 14}'>{escape(_label(row))}</text>"
        f"<rect x='{left:.1f}' y='{top + 3}' width='{max(right - left, 1.0):.1f}' height='{_LINE - 7}' fill='{fill}'/>"
        f"{mark}<text x='{edge + 6:.1f}' y='{top + 14}'>{row.sqnr_db:.1f} dB</text></g>"
    )


def _label(row: TensorError) -> str:
    name = row.layer or row.tensor
    name = name if len(name) <= 26 else f"…{name[-25:]}"
    op = row.op if len(row.op) <= 24 else f"…{row.op[-23:]}"  # the name of a custom op
    return f"{name}  {op}{' weight' if row.kind == 'weight' else ''}"
