"""Fourier transforms of any length as products with constant matrices; arithmetic on the parts of complex numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tflite_recipes.backend.models.rewriting.graph_values import ComplexParts, Value, is_known, symbolic
from tflite_recipes.backend.models.rewriting.op_copies import copied
from tflite_recipes.backend.models.rewriting.walker import Handler, Walker, below

# Ops that move values about and compute nothing: done to both parts alike.
_MOVES = frozenset(
    """
    Identity Reshape Transpose StridedSlice Slice Pack Unpack ConcatV2 Pad PadV2 ExpandDims Squeeze GatherV2 GatherNd
    Tile BroadcastTo ReverseV2 Split SplitV Sum Mean
    """.split()  # noqa: SIM905
)


def _angles(points: int, frequencies: int, length: int) -> Any:
    """(points, frequencies) float64: 2π·t·f / length, with t·f taken modulo the length, so that it stays exact."""
    product = np.outer(np.arange(points, dtype="int64"), np.arange(frequencies, dtype="int64"))
    return 2.0 * np.pi * (product % length) / length


def _product(values: Any, matrix: Any) -> Any:
    """(…, points) × (points, frequencies) → (…, frequencies)."""
    return tf.tensordot(values, tf.constant(matrix.astype("float32")), [[-1], [0]])


def _fitted(values: Any, length: int) -> Any:
    """At most `length` values along the last axis; shorter ones need no padding, as zeros add nothing."""
    return values[..., :length] if values.shape[-1] > length else values


def _parts(value: Value) -> ComplexParts:
    if isinstance(value, ComplexParts):
        return value
    if is_known(value):
        return ComplexParts(np.real(value).astype("float32"), np.imag(value).astype("float32"))
    return ComplexParts(tf.math.real(value), tf.math.imag(value))


def _transform(parts: ComplexParts, length: int, inverse: bool) -> ComplexParts:
    """The complex transform along the last axis."""
    real, imaginary = (_fitted(symbolic(part), length) for part in (parts.real, parts.imaginary))
    angles = _angles(real.shape[-1], length, length)
    cosine, sine = np.cos(angles), (1 if inverse else -1) * np.sin(angles)
    scale = 1.0 / length if inverse else 1.0
    return ComplexParts(
        _product(real, scale * cosine) - _product(imaginary, scale * sine),
        _product(real, scale * sine) + _product(imaginary, scale * cosine),
    )


def _real_transform(values: Any, length: int) -> ComplexParts:
    """The transform of real values: frequencies 0 … length // 2."""
    values = _fitted(values, length)
    angles = _angles(values.shape[-1], length // 2 + 1, length)
    return ComplexParts(_product(values, np.cos(angles)), _product(values, -np.sin(angles)))


def _inverse_real(parts: ComplexParts, length: int) -> Any:
    """Real values from the frequencies 0 … length // 2; those in between stand for two."""
    count = length // 2 + 1
    real, imaginary = (_fitted(symbolic(part), count) for part in (parts.real, parts.imaginary))
    angles = _angles(real.shape[-1], length, length)
    twice = np.full(real.shape[-1], 2.0)
    twice[0] = 1.0
    if length % 2 == 0 and len(twice) == count:
        twice[-1] = 1.0
    weights = twice[:, None] / length
    return _product(real, weights * np.cos(angles)) - _product(imaginary, weights * np.sin(angles))


def _lengths(op: Any, inputs: Sequence[Value]) -> list[int] | None:
    """The transform's length along each of its axes; None where it is not known."""
    if len(inputs) > 1:
        return [int(size) for size in inputs[1]] if is_known(inputs[1]) else None
    axes = 2 if op.type.endswith("2D") else 1
    shape = _parts(inputs[0]).real.shape[-axes:]
    return None if None in shape else [int(size) for size in shape]


def _fourier(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    lengths = _lengths(op, inputs) if "fourier" in walker.rules else None
    if lengths is None:
        return None
    walker.matched("fourier")
    with below(op, walker):
        return [_TRANSFORMS[op.type](inputs[0], lengths)]


def _along_rows(parts: ComplexParts, length: int, inverse: bool) -> ComplexParts:
    """The complex transform along the last axis but one."""

    def swapped(part: Any) -> Any:
        tensor = symbolic(part)
        return tf.linalg.matrix_transpose(tensor)

    done = _transform(ComplexParts(swapped(parts.real), swapped(parts.imaginary)), length, inverse)
    return ComplexParts(swapped(done.real), swapped(done.imaginary))


_TRANSFORMS: dict[str, Callable[[Value, list[int]], Value]] = {
    "RFFT": lambda value, lengths: _real_transform(symbolic(value), lengths[0]),
    "IRFFT": lambda value, lengths: _inverse_real(_parts(value), lengths[0]),
    "FFT": lambda value, lengths: _transform(_parts(value), lengths[0], False),
    "IFFT": lambda value, lengths: _transform(_parts(value), lengths[0], True),
    "RFFT2D": lambda value, lengths: _along_rows(_real_transform(symbolic(value), lengths[1]), lengths[0], False),
    "IRFFT2D": lambda value, lengths: _inverse_real(_along_rows(_parts(value), lengths[0], True), lengths[1]),
    "FFT2D": lambda value, lengths: _along_rows(_transform(_parts(value), lengths[1], False), lengths[0], False),
    "IFFT2D": lambda value, lengths: _along_rows(_transform(_parts(value), lengths[1], True), lengths[0], True),
}


def _complex(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    """Whatever else is done to complex numbers."""
    if "fourier" not in walker.rules:
        return None
    if op.type == "Complex":
        return [ComplexParts(inputs[0], inputs[1])]
    if op.type == "Cast" and op.get_attr("DstT").is_complex and not op.get_attr("SrcT").is_complex:
        real = symbolic(inputs[0])
        return [ComplexParts(tf.cast(real, "float32"), tf.zeros_like(real, "float32"))]
    if not any(isinstance(value, ComplexParts) for value in inputs):
        return None
    if op.type in _MOVES:
        return _moved(op, inputs, walker)
    if op.type not in _ARITHMETIC:
        return None
    with below(op, walker):
        return [_ARITHMETIC[op.type](*[_parts(value) for value in inputs])]


def _moved(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value]:
    sides = []
    for side in ("real", "imaginary"):
        taken = [
            getattr(_parts(value), side) if tensor.dtype.is_complex else value
            for tensor, value in zip(op.inputs, inputs, strict=True)
        ]
        sides.append(copied(op, taken, f"{walker.named(op)}/{side}", walker.at_float32, part=True))
    return [ComplexParts(real, imaginary) for real, imaginary in zip(*sides, strict=True)]


def _times(a: ComplexParts, b: ComplexParts) -> ComplexParts:
    ar, ai, br, bi = (symbolic(part) for part in (a.real, a.imaginary, b.real, b.imaginary))
    return ComplexParts(ar * br - ai * bi, ar * bi + ai * br)


def _over(a: ComplexParts, b: ComplexParts) -> ComplexParts:
    br, bi = symbolic(b.real), symbolic(b.imaginary)
    norm = br * br + bi * bi
    above = _times(a, ComplexParts(br, -bi))
    return ComplexParts(above.real / norm, above.imaginary / norm)


def _each(compute: Callable[[Any, Any], Any]) -> Callable[[ComplexParts, ComplexParts], ComplexParts]:
    def both(a: ComplexParts, b: ComplexParts) -> ComplexParts:
        real = compute(symbolic(a.real), symbolic(b.real))
        return ComplexParts(real, compute(symbolic(a.imaginary), symbolic(b.imaginary)))

    return both


def _magnitude(a: ComplexParts) -> Any:
    real, imaginary = symbolic(a.real), symbolic(a.imaginary)
    return tf.sqrt(real * real + imaginary * imaginary)


_ARITHMETIC: dict[str, Callable[..., Value]] = {
    "Real": lambda a: a.real,
    "Imag": lambda a: a.imaginary,
    "Conj": lambda a: ComplexParts(a.real, -symbolic(a.imaginary)),
    "ComplexAbs": _magnitude,
    "Angle": lambda a: tf.math.atan2(symbolic(a.imaginary), symbolic(a.real)),
    "Cast": lambda a: a.real,
    "Neg": lambda a: ComplexParts(-symbolic(a.real), -symbolic(a.imaginary)),
    "Mul": _times,
    "RealDiv": _over,
    "AddV2": _each(lambda x, y: x + y),
    "Add": _each(lambda x, y: x + y),
    "Sub": _each(lambda x, y: x - y),
}

HANDLERS: dict[str, list[Handler]] = {**{key: [_fourier] for key in _TRANSFORMS}, "*": [_complex]}
