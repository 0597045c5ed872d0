"""Which inputs of a file are indices into its tables (token ids, say), and how large these tables are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tflite_recipes.files.tflite.model import Operator, TFLiteFile
from tflite_recipes.files.tflite.operators import operator_details
from tflite_recipes.files.tflite.reader import constant_array

# Ops whose output holds the numbers of their first input as they were, in another place, shape or type. Selections and
# concatenations hold those of several.
_MOVES = frozenset(
    {"CAST", "RESHAPE", "EXPAND_DIMS", "SQUEEZE", "TRANSPOSE", "STRIDED_SLICE", "SLICE", "UNPACK", "SPLIT_V", "TILE"}
    | {"PAD", "PADV2", "MIRROR_PAD", "REVERSE_V2", "BROADCAST_TO", "QUANTIZE", "DEQUANTIZE", "FLOOR", "ROUND"}
    | {"GATHER", "GATHER_ND"}
)
_JOINS = frozenset(("PACK", "CONCATENATION", "SELECT", "SELECT_V2", "SPLIT", "MAXIMUM", "MINIMUM"))


def index_limits(file: TFLiteFile, signature: str) -> dict[str, int]:
    """Return the inputs that look up rows of a table, each with the number of rows of the smallest of its tables.

    Args:
        file: what the `.tflite` holds.
        signature: the key of the signature whose inputs are meant.

    Raises:
        RequestError: if the file has changed since it was read.
    """
    entry = next((found for found in file.signatures if found.key == signature), None)
    if entry is None:
        return {}
    operators = file.subgraphs[entry.subgraph].operators
    if not any(operator.name in ("GATHER", "EMBEDDING_LOOKUP", "ONE_HOT") for operator in operators):
        return {}
    axes = [detail.options.get("axis", 0) for detail in operator_details(file.path, entry.subgraph)]
    sizes = {name: list(_table_sizes(file, entry.subgraph, axes, index)) for name, index in entry.inputs}
    return {name: min(found) for name, found in sizes.items() if found}


def _table_sizes(file: TFLiteFile, subgraph: int, axes: Sequence[int], index: int) -> Iterator[int]:
    """Sizes of the tables that a tensor is an index into."""
    same = {index}  # tensors with the same numbers; operators stand in the order in which they run
    for operator in file.subgraphs[subgraph].operators:
        size = _looked_up(file, subgraph, operator, axes[operator.index], same)
        if size is not None:
            yield size
        moved = operator.inputs[:1] if operator.name in _MOVES else operator.inputs if operator.name in _JOINS else ()
        if same.intersection(moved):
            same.update(operator.outputs)


def _looked_up(file: TFLiteFile, subgraph: int, operator: Operator, axis: int, same: set[int]) -> int | None:
    """Return the size of the table in which the operator looks these numbers up, None where it does not."""
    tensors = file.subgraphs[subgraph].tensors
    if operator.name == "GATHER" and operator.inputs[1] in same:
        return tensors[operator.inputs[0]].shape[axis]
    if operator.name == "EMBEDDING_LOOKUP" and operator.inputs[0] in same:
        return tensors[operator.inputs[1]].shape[0]
    depth = tensors[operator.inputs[1]] if operator.name == "ONE_HOT" and operator.inputs[0] in same else None
    return int(constant_array(file, depth).item()) if depth is not None and depth.is_constant else None
