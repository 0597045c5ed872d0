"""What several ops of a graph make together: a GELU, a dropout, a product with a number."""

from __future__ import annotations

import math
from typing import Any

from tensorflow.python.framework import tensor_util

_RANDOM = frozenset(
    {
        "RandomUniform",
        "RandomStandardNormal",
        "TruncatedNormal",
        "StatelessRandomUniform",
        "StatelessRandomUniformV2",
        "StatelessRandomNormal",
        "StatelessRandomNormalV2",
    }
)


def scalar(tensor: Any) -> float | None:
    """The number that a tensor of one constant holds."""
    op = tensor.op
    while op.type in ("Identity", "Cast", "ReadVariableOp") and op.inputs:
        op = op.inputs[0].op
    if op.type != "Const":
        return None
    array = tensor_util.MakeNdarray(op.get_attr("value"))
    return float(array.reshape(-1)[0]) if array.size == 1 and array.dtype.kind in "f" else None


def _split(op: Any) -> tuple[Any, float] | None:
    """Tensor and factor of a product with, or a quotient by, one number."""
    if op.type not in ("Mul", "RealDiv") or len(op.inputs) != 2:
        return None
    left, right = op.inputs
    if number := scalar(right):
        return left, (number if op.type == "Mul" else 1.0 / number)
    if op.type == "Mul" and (number := scalar(left)):
        return right, number
    return None


def _factors(tensor: Any, depth: int = 6) -> tuple[list[Any], float]:
    """A product taken apart, at most `depth` ops deep: the tensors that are multiplied, and the number in front."""
    op = tensor.op
    if not depth:
        return [tensor], 1.0
    if op.type == "Identity":
        return _factors(op.inputs[0], depth - 1)
    if op.type == "Neg":
        found, number = _factors(op.inputs[0], depth - 1)
        return found, -number
    if (split := _split(op)) is not None:
        found, number = _factors(split[0], depth - 1)
        return found, number * split[1]
    if op.type == "Mul":
        left, right = (_factors(side, depth - 1) for side in op.inputs)
        return [*left[0], *right[0]], left[1] * right[1]
    return [tensor], 1.0


def _erf_argument(tensor: Any) -> Any | None:
    """x, where the tensor is 1 + erf(x/√2), or erfc(−x/√2), which is the same."""
    op = tensor.op
    if op.type == "Erfc":
        return _scaled(op.inputs[0], -math.sqrt(0.5))
    if op.type not in ("AddV2", "Add"):
        return None
    for one, other in (op.inputs, reversed(list(op.inputs))):
        if scalar(one) == 1.0 and other.op.type == "Erf":
            return _scaled(other.op.inputs[0], math.sqrt(0.5))
    return None


def _scaled(tensor: Any, wanted: float) -> Any | None:
    """x, where the tensor is x times a number."""
    found, number = _factors(tensor)
    return found[0] if len(found) == 1 and abs(number - wanted) < 1e-4 else None


def gelu_input(op: Any) -> Any | None:
    """x, where the op's output is x·½·(1 + erf(x/√2)) in any grouping; else None."""
    if op.type not in ("Mul", "RealDiv") or not op.outputs:
        return None
    found, number = _factors(op.outputs[0])
    if len(found) != 2 or abs(number - 0.5) > 1e-4:
        return None
    for one, other in (found, reversed(found)):
        source = _erf_argument(one)
        if source is not None and source.name == other.name:
            return other
    return None


def feeds_gelu(op: Any) -> bool:
    """Whether a negation stands within a GELU, which the converter fuses as it is."""
    users = [user for tensor in op.outputs for user in tensor.consumers()]
    users = [after for user in users for after in ([user] if user.type == "Erfc" else user.outputs[0].consumers())]
    return bool(users) and all(user.type == "Erfc" for user in users)


def dropped(op: Any) -> Any | None:
    """x, where the op's output is x after a dropout of TensorFlow's; else None."""
    if op.type not in ("SelectV2", "Mul") or not _compares_random(op):
        return None
    other = op.inputs[1 if op.type == "SelectV2" else 0]
    split = _split(other.op)
    return split[0] if split else None


def _compares_random(op: Any) -> bool:
    mask = op.inputs[0 if op.type == "SelectV2" else 1].op
    while mask.type in ("Cast", "Identity"):
        mask = mask.inputs[0].op
    return mask.type in ("GreaterEqual", "Less", "Greater", "LessEqual") and _is_random(mask.inputs[0].op)


def _is_random(op: Any, depth: int = 6) -> bool:
    if op.type in _RANDOM:
        return True
    return (
        depth > 0
        and op.type in ("AddV2", "Mul", "Sub", "Identity", "Cast")
        and any(_is_random(tensor.op, depth - 1) for tensor in op.inputs)
    )
