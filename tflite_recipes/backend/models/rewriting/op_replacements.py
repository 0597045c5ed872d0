"""Replacements for single ops: each takes the op and its inputs, and gives what computes the same with other ops."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tflite_recipes.backend.models.rewriting.graph_values import Value, all_known, symbolic
from tflite_recipes.backend.models.rewriting.op_copies import REBUILT
from tflite_recipes.backend.models.rewriting.patterns import dropped, feeds_gelu, gelu_input, scalar
from tflite_recipes.backend.models.rewriting.walker import Handler, Walker, below
from tflite_recipes.core.state import CALIBRATED

# erf(x) = x P(x²) / Q(x²) for |x| ≤ 3.832506856900711, ±1 beyond; P and Q fitted by `fit_erf` below.
_ERF_LIMIT = 3.832506856900711
_NEARLY_ONE = 2.5
# Beside a bound that is farther away, as one for masked scores is, a difference in float32 loses the value.
_FAR = 1e3


def erf_polynomials(degree: int = 6) -> tuple[Any, Any]:
    """Coefficients, constant term first, of P and Q with x P(x²)/Q(x²) ≈ erf(x) for |x| up to the limit.

    Least squares on Chebyshev nodes for P(u) − g(u) Q(u) = 0 with Q(0) = 1 and g(u) = erf(√u)/√u.
    """
    nodes = (np.cos(np.pi * (np.arange(2000) + 0.5) / 2000) + 1) / 2 * _ERF_LIMIT**2
    root = np.sqrt(nodes)
    wanted = np.array([math.erf(x) for x in root]) / root
    scaled = nodes / _ERF_LIMIT**2
    powers = np.stack([scaled**n for n in range(degree + 1)], axis=1)
    system = np.concatenate([powers, -wanted[:, None] * powers[:, 1:]], axis=1)
    solved = np.linalg.lstsq(system, wanted, rcond=None)[0]
    rescale = np.array([_ERF_LIMIT ** (-2 * n) for n in range(degree + 1)])
    above, under = solved[: degree + 1], np.concatenate([[1.0], solved[degree + 1 :]])
    return above * rescale, under * rescale


def _horner(coefficients: Any, x: Any) -> Any:
    result = tf.constant(coefficients[-1], "float32")
    for coefficient in coefficients[-2::-1]:
        result = result * x + tf.constant(coefficient, "float32")
    return result


def _erf(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    if "erf" not in walker.rules:
        return None
    walker.matched("erf")
    above, under = erf_polynomials()
    with below(op, walker):
        if walker.scheme in CALIBRATED:
            return [_erf_of_tanh(symbolic(inputs[0]))]
        x = tf.clip_by_value(symbolic(inputs[0]), -_ERF_LIMIT, _ERF_LIMIT)
        squared = x * x
        return [x * _horner(above, squared) / _horner(under, squared)]


def _erf_of_tanh(x: Any) -> Any:
    """erf(x) ≈ tanh(1.129 x + 0.1 x³), within 5e-4: few steps, each of which eight bits can hold. Beyond ±2.5 it is ±1;
    the bounds are made of ReLUs, because a minimum would share one scale with its input."""
    bounded = tf.nn.relu(x + _NEARLY_ONE) - tf.nn.relu(x - _NEARLY_ONE) - _NEARLY_ONE
    return tf.tanh(bounded * (1.1293 + 0.1 * bounded * bounded))


def _erfc(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    made = _erf(op, inputs, walker)
    return made and [1.0 - made[0]]


def _gelu(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    """x·½·(1 + erf(x/√2)), however its factors are grouped, in the form that the converter fuses to GELU."""
    if "erf" not in walker.rules or (found := gelu_input(op)) is None:
        return None
    value = walker.value_of(found)
    if value is None:
        return None
    walker.matched("erf")
    with below(op, walker):
        return [tf.nn.gelu(symbolic(value), approximate=False)]


def _squared(x: Any, y: Any) -> Any:
    difference = x - y
    return difference * difference


# The same with ops that have integer kernels. Where x is infinite or NaN, x · 0 is not 0; an integer never is.
_BY_INTEGER_OPS: dict[str, Any] = {
    "Neg": lambda x: x * tf.constant(-1.0, x.dtype),
    "ZerosLike": lambda x: x * tf.constant(0.0, x.dtype),
    "OnesLike": lambda x: x * tf.constant(0.0, x.dtype) + tf.constant(1.0, x.dtype),
    "Square": lambda x: x * x,
    "SquaredDifference": _squared,
    "AddN": lambda *terms: functools.reduce(operator.add, terms),
    # The converter gives a minimum or maximum one scale with its inputs, and what is above the bound is lost.
    "Minimum": lambda x, y: x - tf.nn.relu(x - y),
    "Maximum": lambda x, y: y + tf.nn.relu(x - y),
    # Not by a minimum with 0: the converter gives a minimum one scale with its inputs, and x loses what is above 0.
    "Elu": lambda x: tf.nn.relu(x) + (tf.exp(x - tf.nn.relu(x)) - 1.0),
}


def lacks_integer_kernel(op: Any, scheme: str) -> bool:
    """Whether `integer_ops` has something for this op that the scheme needs."""
    if op.type not in _BY_INTEGER_OPS or not op.outputs[0].dtype.is_floating:
        return False
    if op.type in ("Minimum", "Maximum"):
        return scheme in CALIBRATED and _bounds_one_side(op)
    if op.type == "Elu":
        return scheme in ("integer_only", "int16x8")
    if op.type == "SquaredDifference":
        return scheme == "int16x8"
    if op.type == "AddN":
        return len(op.inputs) > 1
    return not (op.type == "Neg" and feeds_gelu(op))


def _bounds_one_side(op: Any) -> bool:
    """Whether this is a bound by a constant that the converter does not make a ReLU of, alone or with another."""
    bound = next((number for tensor in op.inputs if (number := scalar(tensor)) is not None), None)
    if bound is None or abs(bound) > _FAR or (op.type == "Maximum" and bound == 0.0):
        return False
    beside = [tensor.op for tensor in op.inputs] + [user for tensor in op.outputs for user in tensor.consumers()]
    return not any(other.type in ("Minimum", "Maximum", "Relu", "Relu6") for other in beside)


def _integer_op(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    if "integer_ops" not in walker.rules or not lacks_integer_kernel(op, walker.scheme):
        return None
    walker.matched("integer_ops")
    with below(op, walker):
        return [_BY_INTEGER_OPS[op.type](*map(symbolic, inputs))]


def _resize(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    """Resizing is linear and works on rows and columns apart: two products with constant matrices."""
    images, size = symbolic(inputs[0]), inputs[1]
    if "resize" not in walker.rules or not all_known(inputs[1:]) or None in (images.shape[1], images.shape[2]):
        return None
    walker.matched("resize")
    with below(op, walker):
        rows = _matrix(op, int(images.shape[1]), int(size[0]), inputs[2:], 0)
        columns = _matrix(op, int(images.shape[2]), int(size[1]), inputs[2:], 1)
        by_rows = tf.tensordot(tf.cast(images, "float32"), tf.constant(rows), [[1], [1]])  # n w c h
        both = tf.tensordot(by_rows, tf.constant(columns), [[1], [1]])  # n c h w
        return [tf.transpose(both, [0, 2, 3, 1])]


def _matrix(op: Any, size: int, wanted: int, rest: Sequence[Value], axis: int) -> Any:
    """(wanted, size): what the op itself makes of each unit vector along one axis, worked out now."""
    units = np.eye(size, dtype="float32")
    with tf.init_scope():
        images = tf.constant(units[None, :, None, :] if axis == 0 else units[None, None, :, :])
        shape = [wanted, 1] if axis == 0 else [1, wanted]
        values = {"images": images, "size": shape}
        attrs = {
            name: op.get_attr(name) for name in ("align_corners", "half_pixel_centers") if name in op.node_def.attr
        }
        if op.type == "ScaleAndTranslate":
            scale, translation = rest
            kept = [scale[0], 1.0] if axis == 0 else [1.0, scale[1]]
            moved = [translation[0], 0.0] if axis == 0 else [0.0, translation[1]]
            kernel, antialias = op.get_attr("kernel_type").decode(), op.get_attr("antialias")
            attrs = {"scale": kept, "translation": moved, "kernel_type": kernel, "antialias": antialias}
        made = getattr(tf.raw_ops, op.type)(**values, **attrs).numpy()[0]
    return made[:, 0, :].astype("float32") if axis == 0 else made[0].astype("float32")


def _pool_3d(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    """A window of depth × rows × columns in two goes: rows and columns of each slice, then the slices."""
    volume = symbolic(inputs[0])
    layout, sizes = op.get_attr("data_format").decode(), volume.shape[1:]
    if "pooling_3d" not in walker.rules or layout != "NDHWC" or None in sizes:
        return None
    walker.matched("pooling_3d")
    (_, kd, kh, kw, _), (_, sd, sh, sw, _) = op.get_attr("ksize"), op.get_attr("strides")
    pool = tf.nn.max_pool2d if op.type == "MaxPool3D" else tf.nn.avg_pool2d
    padding = op.get_attr("padding").decode()
    depth, height, width, channels = sizes
    with below(op, walker):
        slices = pool(tf.reshape(volume, [-1, height, width, channels]), [kh, kw], [sh, sw], padding)
        rows, columns = slices.shape[1:3]
        through = pool(tf.reshape(slices, [-1, depth, rows * columns, channels]), [kd, 1], [sd, 1], padding)
        return [tf.reshape(through, [-1, through.shape[1], rows, columns, channels])]


def _conv_3d(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    """A sum of 2-D convolutions, one for each depth of the kernel, on the slices that it meets."""
    volume, kernel = symbolic(inputs[0]), symbolic(inputs[1])
    plain = op.get_attr("data_format") == b"NDHWC" and list(op.get_attr("dilations")) == [1] * 5
    if "conv_3d" not in walker.rules or not plain or None in volume.shape[1:] or None in kernel.shape:
        return None
    if volume.shape[4] != kernel.shape[3]:  # groups
        return None
    walker.matched("conv_3d")
    _, stride, rows, columns, _ = op.get_attr("strides")
    padding, deep = op.get_attr("padding").decode(), int(kernel.shape[0])
    depth, height, width, channels = volume.shape[1:]
    with below(op, walker):
        out = -(-depth // stride) if padding == "SAME" else (depth - deep) // stride + 1
        if padding == "SAME":
            missing = max((out - 1) * stride + deep - depth, 0)
            volume = tf.pad(volume, [[0, 0], [missing // 2, missing - missing // 2], [0, 0], [0, 0], [0, 0]])
        total = None
        for at in range(deep):
            met = volume[:, at : at + (out - 1) * stride + 1 : stride]
            flat = tf.reshape(met, [-1, height, width, channels])
            part = tf.nn.conv2d(flat, kernel[at], [rows, columns], padding)
            total = part if total is None else total + part
        return [tf.reshape(total, [-1, out, *total.shape[1:]])]


def _no_dropout(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    """Dropout that is on in inference: what it keeps is x where a random number is high enough, scaled; x instead."""
    if "no_dropout" not in walker.rules or (source := dropped(op)) is None:
        return None
    value = walker.value_of(source)
    if value is None:
        return None
    walker.matched("no_dropout")
    return [value]


def _no_cast(op: Any, inputs: Sequence[Value], walker: Walker) -> list[Value] | None:
    """Between float types there is nothing left to cast after a rebuild at float32."""
    kinds = {op.get_attr("SrcT").as_datatype_enum, op.get_attr("DstT").as_datatype_enum}
    if not walker.at_float32 or not kinds & REBUILT:
        return None
    walker.matched("float32")
    if all(number in REBUILT or number == tf.float32.as_datatype_enum for number in kinds):
        return [inputs[0]]
    return None


HANDLERS: dict[str, list[Handler]] = {
    "Erf": [_erf],
    "Erfc": [_erfc],
    **{key: [_integer_op] for key in _BY_INTEGER_OPS},
    "Mul": [_no_dropout, _gelu],
    "RealDiv": [_gelu],
    "SelectV2": [_no_dropout],
    "Cast": [_no_cast],
    **{key: [_resize] for key in ("ResizeBicubic", "ResizeArea", "ScaleAndTranslate")},
    **{key: [_pool_3d] for key in ("MaxPool3D", "AvgPool3D")},
    "Conv3D": [_conv_3d],
}
