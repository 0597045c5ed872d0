"""What the files of a run tell about where to go on: the ops that lose most, and what stands at the outputs."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tflite_recipes.search.outcome import Head

ERRORS, OPS = "quantization_error.csv", "ops.json"
_ACTIVATIONS = ("SOFTMAX", "LOGISTIC", "LOG_SOFTMAX")
# What only passes values on.
_PASSING = ("QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE")
_WEIGHTED = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "BATCH_MATMUL")


def losing_ops(folder: Path) -> tuple[str, ...]:
    """Names of the tensors that ops give, the op that loses most first; () where the run measured none."""
    path = folder / ERRORS
    if not path.exists():
        return ()
    with path.open(newline="", encoding="utf-8") as stream:
        return ranked(csv.DictReader(stream))


def ranked(rows: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    """Tensors of ops by the error that the op itself adds (`local_sqnr_db`, else `sqnr_db`), worst first."""
    found: dict[str, float] = {}
    for row in rows:
        if row.get("op", "") in ("", *_PASSING):
            continue
        measured = (_number(row.get(key)) for key in ("local_sqnr_db", "sqnr_db"))
        error = next((value for value in measured if value is not None), None)
        if error is not None:
            found[row["tensor"]] = min(error, found.get(row["tensor"], math.inf))
    return tuple(sorted(found, key=lambda name: found[name]))


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return None if math.isnan(value) else value


def heads(folder: Path) -> tuple[Head, ...]:
    """What stands at the outputs of the file of a run; () where its ops were not listed."""
    path = folder / OPS
    return heads_of(json.loads(path.read_text(encoding="utf-8"))["operators"]) if path.exists() else ()


def heads_of(operators: Iterable[Mapping[str, Any]]) -> tuple[Head, ...]:
    """The same of the operators as `ops.json` lists them."""
    main = [op for op in operators if op["subgraph"] == 0]
    maker = {tensor["name"]: op for op in main for tensor in op["outputs"]}
    read = {tensor["name"] for op in main for tensor in op["inputs"] if tensor is not None}
    ends = [name for name in maker if name not in read]
    return tuple(head for name in ends if (head := _head(maker[name], maker)) != Head("", ""))


def _head(op: Mapping[str, Any] | None, maker: Mapping[str, Mapping[str, Any]]) -> Head:
    activation = ""
    while op is not None and op["name"] not in _WEIGHTED:
        output = str(op["outputs"][0]["name"])
        if op["name"] in _ACTIVATIONS and not activation:
            activation = output
        elif op["name"] not in _PASSING:
            return Head(activation, "")
        op = next((maker[t["name"]] for t in op["inputs"] if t is not None and t["name"] in maker), None)
    return Head(activation, str(op["outputs"][0]["name"]) if op is not None else "")
