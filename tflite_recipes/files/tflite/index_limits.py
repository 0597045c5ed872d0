"""Which inputs of a file are indices into its tables (token ids, say), and between which numbers these lie.

Each lookup bounds the numbers that it reads. The bounds go back through the ops before it, each of which turns the
bounds of its result into bounds of what it reads (interval arithmetic).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflite_recipes.core.errors import RequestError
from tflite_recipes.files.tflite.model import Operator, Subgraph, TFLiteFile
from tflite_recipes.files.tflite.operators import operator_details
from tflite_recipes.files.tflite.reader import constant_array

# Both ends are included.
Interval = tuple[float, float]

# Ops whose output holds the numbers of their first input as they were, in another place, shape or type. Of those that
# bound them, numbers within the bounds stay as they are.
_MOVES = frozenset(
    {"CAST", "RESHAPE", "EXPAND_DIMS", "SQUEEZE", "TRANSPOSE", "STRIDED_SLICE", "SLICE", "UNPACK", "SPLIT_V", "TILE"}
    | {"PAD", "PADV2", "MIRROR_PAD", "REVERSE_V2", "REVERSE_SEQUENCE", "BROADCAST_TO", "QUANTIZE", "DEQUANTIZE"}
    | {"GATHER", "GATHER_ND", "FLOOR", "CEIL", "ROUND", "RELU", "DYNAMIC_UPDATE_SLICE"}
)
# Those that hold the numbers of several inputs, by the position of the first of these.
_SELECTIONS = ("SELECT", "SELECT_V2")
_JOINS = {"PACK": 0, "CONCATENATION": 0, "MAXIMUM": 0, "MINIMUM": 0, "SPLIT": 1, **dict.fromkeys(_SELECTIONS, 1)}
_LOOKUPS = frozenset(("GATHER", "GATHER_ND", "EMBEDDING_LOOKUP", "ONE_HOT"))
_WHOLE = frozenset(("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"))
# A remainder takes any number. So many times its divisor reach all of it also where a factor follows.
_TURNS = 16


def index_limits(file: TFLiteFile, signature: str) -> dict[str, tuple[int, int]]:
    """Return the inputs that look up rows of tables, each with the least and the greatest of its numbers.

    Args:
        file: what the `.tflite` holds.
        signature: the key of the signature whose inputs are meant.

    Raises:
        RequestError: if the file has changed since it was read.
    """
    entry = next((found for found in file.signatures if found.key == signature), None)
    if entry is None:
        return {}
    graph = file.subgraphs[entry.subgraph]
    if not any(operator.name in _LOOKUPS for operator in graph.operators):
        return {}
    axes = [detail.options.get("axis", 0) for detail in operator_details(file.path, entry.subgraph)]
    bounds = _Bounds(file, graph, {})
    for operator in reversed(graph.operators):
        bounds.before(operator, axes[operator.index])
    found = {name: _whole(bounds.of.get(index, ()), graph.tensors[index].dtype) for name, index in entry.inputs}
    return {name: limits for name, limits in found.items() if limits is not None}


@dataclass(frozen=True)
class _Bound:
    """Bounds of the numbers of a tensor. either: they hold for one branch of a selection."""

    low: float
    high: float
    either: bool = False


def _whole(bounds: Iterable[_Bound], dtype: str) -> tuple[int, int] | None:
    """Return the whole numbers of a type within all bounds, None if there are none or no end to them.

    Of the branches of a selection, that of numbers from 0 on counts first: Keras 3 adds the size of a table to negative
    indices. One that contradicts it is for other numbers.
    """
    low, high = -math.inf, math.inf
    if dtype in _WHOLE:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    is_bounded = False
    for bound in sorted(bounds, key=lambda bound: (bound.either, bound.low < 0, bound.low)):
        both = max(low, math.ceil(bound.low)) if math.isfinite(bound.low) else low, min(high, bound.high)
        if bound.either and both[0] > both[1]:
            continue
        low, high = both
        is_bounded = True
    if not is_bounded or not math.isfinite(low) or not math.isfinite(high) or math.ceil(low) > math.floor(high):
        return None
    return math.ceil(low), math.floor(high)


@dataclass(frozen=True)
class _Bounds:
    """Bounds of a graph's tensors, by index. They are found from the last operator to the first."""

    file: TFLiteFile
    graph: Subgraph
    of: dict[int, set[_Bound]]

    def before(self, operator: Operator, axis: int) -> None:
        """Bound what an operator reads by what it looks up, and by the bounds of its outputs."""
        for index, (low, high) in self._looked_up(operator, axis):
            self.of.setdefault(index, set()).add(_Bound(low, high))
        either = operator.name in _SELECTIONS
        for bound in [bound for output in operator.outputs for bound in self.of.get(output, ())]:
            for index, (low, high) in self._passed(operator, bound.low, bound.high):
                self.of.setdefault(index, set()).add(_Bound(low, high, bound.either or either))

    def _looked_up(self, operator: Operator, axis: int) -> Iterator[tuple[int, Interval]]:
        tensors = self.graph.tensors
        if operator.name not in _LOOKUPS:
            return
        first, second = operator.inputs[:2]
        if operator.name == "EMBEDDING_LOOKUP":
            index, size = first, tensors[second].shape[0]
        elif operator.name == "ONE_HOT":
            depth = self._constant(second)
            index, size = first, None if depth is None else int(depth.item())
        elif operator.name == "GATHER":
            index, size = second, tensors[first].shape[axis]
        else:
            parts = tensors[second].shape[-1] or 0
            sizes = [size for size in tensors[first].shape[:parts] if size is not None]
            index, size = second, min(sizes, default=None)
        if size:
            yield index, (0, size - 1)

    def _passed(self, operator: Operator, low: float, high: float) -> Iterator[tuple[int, Interval]]:
        read: tuple[int, ...] = ()
        if operator.name in _MOVES:
            read = operator.inputs[:1]
        elif operator.name in _JOINS:
            read = operator.inputs[_JOINS[operator.name] :]
        for index in read:
            yield index, (low, high)
        if operator.name == "NEG":
            yield operator.inputs[0], (-high, -low)
        elif operator.name in _ARITHMETIC and len(operator.inputs) == 2:
            first, second = operator.inputs
            if (value := self._constant(second)) is not None:
                yield first, _met(_ARITHMETIC[operator.name], low, high, value)
            elif operator.name in _EITHER and (value := self._constant(first)) is not None:
                yield second, _met(_EITHER[operator.name], low, high, value)

    def _constant(self, index: int) -> Any:
        """Return the real values of a constant, None for a tensor that is none or is stored in parts of a byte."""
        tensor = self.graph.tensors[index]
        if index < 0 or not tensor.is_constant or len(tensor.scales) > 1:
            return None
        try:
            values = constant_array(self.file, tensor).astype("float64")
        except RequestError:
            return None
        return (values - tensor.zero_points[0]) * tensor.scales[0] if tensor.scales else values


_Inverse = Callable[[float, float, float], Interval]


def _met(inverse: _Inverse, low: float, high: float, constants: Any) -> Interval:
    """Return bounds that hold beside each of the constants."""
    found = [inverse(low, high, float(constant)) for constant in np.unique(constants)]
    return max(low for low, _ in found), min(high for _, high in found)


def _factor(low: float, high: float, constant: float) -> Interval:
    if constant == 0:
        return -math.inf, math.inf
    ends = low / constant, high / constant
    return min(ends), max(ends)


def _divisor(low: float, high: float, constant: float) -> Interval:
    ends = low * constant, high * constant
    return min(ends), max(ends)


def _floored(low: float, high: float, constant: float) -> Interval:
    return (low * constant, high * constant + constant - 1) if constant > 0 else (-math.inf, math.inf)


def _remainder(low: float, high: float, constant: float) -> Interval:
    if constant <= 0:
        return -math.inf, math.inf
    if low <= 0 and high >= constant - 1:
        return 0, _TURNS * constant - 1
    return max(low, 0), min(high, constant - 1)


# The bounds of x from those of `x OP constant`, and from those of `constant OP x`.
_ARITHMETIC: Mapping[str, _Inverse] = {
    "ADD": lambda low, high, constant: (low - constant, high - constant),
    "SUB": lambda low, high, constant: (low + constant, high + constant),
    "MUL": _factor,
    "DIV": _divisor,
    "FLOOR_DIV": _floored,
    "FLOOR_MOD": _remainder,
}
_EITHER: Mapping[str, _Inverse] = {
    "ADD": _ARITHMETIC["ADD"],
    "SUB": lambda low, high, constant: (constant - high, constant - low),
    "MUL": _factor,
}
