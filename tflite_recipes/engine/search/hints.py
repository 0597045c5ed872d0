"""What the files of a run tell about where to go on: the ops that lose most, and what stands at the outputs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from tflite_recipes.conversion.quality.tensor_errors import PASSING, TABLE, read_csv
from tflite_recipes.conversion.sensitivity import sensitivity
from tflite_recipes.engine.search.candidate_outcome import Head

OPS = "ops.json"
_ACTIVATIONS = ("SOFTMAX", "LOGISTIC", "LOG_SOFTMAX")
_WEIGHTED = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "BATCH_MATMUL")
# An op: its type, the tensors that it takes and those that it gives.
Op = tuple[str, tuple[str, ...], tuple[str, ...]]


def losing_ops(folder: Path) -> tuple[str, ...]:
    """Names of the tensors that ops give, the op that loses most first, and behind each what goes together with it; ()
    where the run measured none."""
    path = folder / TABLE
    if not path.exists():
        return ()
    ranked = sensitivity(read_csv(path))
    return tuple(dict.fromkeys(name for op in ranked for name in (op.tensor, *op.together)))


def heads(folder: Path) -> tuple[Head, ...]:
    """What stands at the outputs of the file of a run; () where its ops were not listed.

    By the names of the float file where the run compared every op with it, because rules go by these.
    """
    table, listed = folder / TABLE, folder / OPS
    if table.exists():
        rows = [row for row in read_csv(table) if row.kind == "activation" and row.op != "INPUT"]
        found = heads_of((row.op, row.inputs, (row.tensor,)) for row in rows)
        if any(head.weighted for head in found):
            return found
    if not listed.exists():
        return ()
    operators = json.loads(listed.read_text(encoding="utf-8"))["operators"]
    return heads_of(
        (op["name"], tuple(t["name"] for t in op["inputs"] if t), tuple(t["name"] for t in op["outputs"]))
        for op in operators
        if op["subgraph"] == 0
    )


def heads_of(operators: Iterable[Op]) -> tuple[Head, ...]:
    """The same of a graph's ops."""
    listed = list(operators)
    maker = {name: op for op in listed for name in op[2]}
    read = {name for op in listed for name in op[1]}
    found = (_head(maker[name], maker) for name in maker if name not in read)
    return tuple(head for head in found if head != Head("", ""))


def _head(op: Op | None, maker: Mapping[str, Op]) -> Head:
    activation, seen = "", set()
    while op is not None and op[0] not in _WEIGHTED and op[2] not in seen:
        seen.add(op[2])
        if op[0] in _ACTIVATIONS and not activation:
            activation = op[2][0]
        elif op[0] not in PASSING:
            return Head(activation, "")
        op = next((maker[name] for name in op[1] if name in maker), None)
    return Head(activation, op[2][0] if op is not None else "")
