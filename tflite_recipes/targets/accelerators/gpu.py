"""Which ops LiteRT's GPU delegate takes (Android: OpenCL, OpenGL; iOS: Metal).

Stated after the delegate's own source, LiteRT of 2026-08-21 (commit f67457790c9c):
tflite/delegates/gpu/common/model_builder.cc, which ops, to which version, of which types; and
tflite/tools/versioning/gpu_compatibility.cc, of which shapes and options. The runtime's model analyzer asks neither
since TensorFlow 2.19 and calls every file compatible (github.com/tensorflow/tensorflow/issues/77042).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tflite_recipes.targets.accelerators.accelerator_graph import SIGN_BIT, TANH, Op, shape

SOURCE = "LiteRT's GPU delegate, source of 2026-08-21 (commit f67457790c9c)"
_ANY = 10**6
_MOST_DIMENSIONS = 4
_FLOAT = frozenset({"float16", "float32"})
# Quantized values are dequantized as they are read, and rounded as they are written: computed in floating point.
QUANTIZED = frozenset({"int8", "uint8"})
_COMPARISONS = frozenset({"EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL"})
_READ_TOO = {
    "CAST": {"bool", "int32"},
    "GATHER": {"int32"},
    "LOGICAL_AND": {"bool"},
    "ONE_HOT": {"int32"},
    "SELECT": {"bool"},
    "SELECT_V2": {"bool"},
}
_WRITTEN_TOO = {**{name: {"bool"} for name in _COMPARISONS}, "CAST": {"bool", "int32"}, "LOGICAL_AND": {"bool"}}
_FROM_BOOL = frozenset({"CAST", "SELECT", "SELECT_V2"})
_CASTS = {("bool", "float16"), ("bool", "float32"), ("float16", "bool"), ("float32", "bool")}
_CASTS |= {(a, b) for a in ("float32", "int32") for b in ("float32", "int32")}
_FULL_LSTM, _FULL_LSTM_INPUTS = 0, (20, 24)

Check = Callable[[Op], str]  # why not, "" for none


def _takes(computed: int, constants: int | None = None, outputs: int = 1) -> Check:
    def check(op: Op) -> str:
        if len(op.computed) != computed:
            return f"takes {computed} computed input{'s' * (computed != 1)}, and has {len(op.computed)}"
        if constants is not None and len(op.constants) != constants:
            return f"takes {constants} constant inputs, and has {len(op.constants)}"
        return "" if len(op.outputs) == outputs else f"takes {outputs} outputs, and has {len(op.outputs)}"

    return check


def _one_of(*checks: Check) -> Check:
    def check(op: Op) -> str:
        reasons = [one(op) for one in checks]
        return "" if "" in reasons else reasons[0]

    return check


def _activation(op: Op) -> str:
    return "the fused activation SIGN_BIT is not taken" if op.activation == SIGN_BIT else ""


def _convolution(op: Op) -> str:
    return "more than 2 computed inputs are not taken" if len(op.computed) > 2 else ""


def _depthwise(op: Op) -> str:
    data, kernel = op.input(0), op.input(1)
    if data is None or kernel is None or any(len(t.shape) != 4 for t in (data, kernel, *op.outputs)):
        return "takes 4 dimensions only"
    depth = shape(op.outputs[0])[3]
    fits = depth == shape(kernel)[3] == shape(data)[3] * int(op.options.get("depthMultiplier", 1))
    return "" if fits else "its channels do not follow from the depth multiplier"


def _broadcast(op: Op) -> str:
    """Two tensors of different numbers of dimensions: each pair of sizes is equal, or one of them is 1."""
    if len(op.inputs) != 2:
        return f"takes 2 inputs, and has {len(op.inputs)}"
    a, b = (shape(tensor) if tensor is not None else () for tensor in op.inputs)
    pairs = zip(reversed(a), reversed(b), strict=False)
    if len(a) > 1 and len(b) > 1 and len(a) != len(b) and any(x != y and 1 not in (x, y) for x, y in pairs):
        return f"{list(a)} with {list(b)} cannot be broadcast"
    return ""


def _axes(op: Op) -> str:
    axes = op.input(1)
    return "" if axes is not None and axes.is_constant and axes.dtype == "int32" else "takes constant int32 axes only"


def _paddings(op: Op) -> str:
    paddings = op.input(1)
    size = shape(paddings) if paddings is not None else ()
    return "" if size in ((3, 2), (4, 2)) else "pads 3 or 4 dimensions only"


def _three_or_four(op: Op) -> str:
    data = op.input(0)
    dimensions = len(data.shape) if data is not None else 0
    return "" if dimensions in (3, 4) else f"takes 3 or 4 dimensions, and has {dimensions}"


def _no_masks(op: Op) -> str:
    masks = {"ellipsisMask": "an ellipsis", "newAxisMask": "a new axis", "shrinkAxisMask": "an axis taken away"}
    asked = [words for name, words in masks.items() if op.options.get(name)]
    return f"{' and '.join(asked)} in its slices is not taken" if asked else ""


def _dense(op: Op) -> str:
    if op.options.get("weightsFormat"):
        return "takes weights in the default format only"
    data = op.input(0)
    differ = data is not None and len(data.shape) != len(op.outputs[0].shape)
    if op.options.get("keepNumDims") and differ:
        return "keeps dimensions that its output lacks"
    return _convolution(op)


def _indices(op: Op) -> str:
    indices = op.input(1)
    taken = indices is not None and len(indices.shape) == 1 and indices.dtype == "int32"
    return "" if taken else "takes int32 indices in 1 dimension only"


def _cast(op: Op) -> str:
    data = op.input(0)
    kinds = (data.dtype if data is not None else "", op.outputs[0].dtype)
    if op.fed_by in _COMPARISONS or kinds in _CASTS:
        return ""
    return f"{kinds[0]} to {kinds[1]} is not taken"


def _compared(op: Op) -> str:
    """A comparison is taken only as what a CAST or SELECT to floating point reads, and nothing else."""
    if len(op.users) == 1 and op.users[0][0] in _FROM_BOOL and op.users[0][1] in _FLOAT:
        return ""
    return "its result has to be read by one CAST or SELECT to floating point, and by nothing else"


def _cumulative(op: Op) -> str:
    data = op.input(0)
    if data is None or data.dtype not in _FLOAT or op.outputs[0].dtype != data.dtype:
        return "takes floating point only"
    return _axes(op)


def _one_hot(op: Op) -> str:
    indices, low, high = op.input(0), op.input(3), op.input(2)
    if indices is None or low is None or high is None:
        return "takes 4 inputs"
    scalars = all(t.is_constant and t.dtype == "float32" and shape(t) in ((), (1,)) for t in (low, high))
    if indices.dtype != "int32" or not scalars or op.options.get("axis", -1) != -1:
        return "takes int32 indices, constant float scalars and the last axis only"
    sizes = shape(indices)
    inner = sizes[1 if len(sizes) > 3 else 0 : -1]
    return "" if all(size == 1 for size in inner) else "takes indices along the batch and the last axis only"


def _select(op: Op) -> str:
    if len(op.inputs) != 3 or None in op.inputs:
        return "takes 3 inputs"
    asked, result = op.inputs[0], shape(op.outputs[0])
    if asked is not None and asked.dtype not in {"bool", *_FLOAT}:
        return f"chooses by bool or floating point, not by {asked.dtype}"
    for tensor in op.inputs[1:]:
        size = shape(tensor) if tensor is not None else ()
        if size not in ((), result) and (len(size) > 1 or size[0] > 1):
            return "chooses between tensors of its output's shape, or scalars, only"
        if tensor is not None and not tensor.is_constant and len(size) == 2:
            return "takes 2 dimensions only as constants"
    return ""


def _option(name: str, wrong: Callable[[object], bool], words: str) -> Check:
    def check(op: Op) -> str:
        return words if name in op.options and wrong(op.options[name]) else ""

    return check


def _corners(op: Op) -> str:
    both = op.options.get("alignCorners") and op.options.get("halfPixelCenters")
    return "align_corners and half_pixel_centers exclude each other" if both else ""


def _dequantize(op: Op) -> str:
    data = op.input(0)
    return "int16 is not taken" if data is not None and data.dtype == "int16" else ""


def _lstm(op: Op) -> str:
    if op.options.get("kernelType") == _FULL_LSTM:
        if len(op.inputs) not in _FULL_LSTM_INPUTS:
            return f"takes 20 or 24 inputs, and has {len(op.inputs)}"
        return "" if op.activation == TANH else "takes tanh only"
    reason = _takes(3, 2, 4)(op)
    clips = op.options.get("cellClip") or op.options.get("projClip")
    return reason or ("takes tanh only" if op.activation != TANH else "clips are not taken" if clips else "")


@dataclass(frozen=True)
class _Rule:
    """version: the newest that is taken. checks: what else has to hold."""

    version: int
    checks: tuple[Check, ...] = ()


_ONE = _takes(1)
_UNARY = _Rule(2, (_takes(1, 0),))
_BINARY = _Rule(2, (_one_of(_takes(2, 0), _takes(1, 1)), _activation))
_POOL = _Rule(2, (_ONE, _activation))
_REDUCE = _Rule(_ANY, (_ONE, _axes))
_PAD = _Rule(2, (_option("mode", bool, "pads by reflection only"), _ONE, _paddings))
_BLOCKS = _option("blockSize", lambda size: size == 1, "blocks of 1 do nothing")
_SCALED = _option("beta", lambda beta: beta != 1, "takes beta 1 only")
_OF_ONE = """
    ABS COS ELU EXP FLOOR GELU LOG LOGISTIC NEG RSQRT SIGN SIN SQRT SQUARE TANH
""".split()  # noqa: SIM905
_OF_TWO = """
    DIV FLOOR_DIV FLOOR_MOD LOGICAL_AND MAXIMUM MINIMUM POW SQUARED_DIFFERENCE SUB
""".split()  # noqa: SIM905
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(_OF_ONE, _UNARY),
    **dict.fromkeys(_OF_TWO, _BINARY),
    **dict.fromkeys(_COMPARISONS, _Rule(2, (_compared,))),
    **dict.fromkeys(("REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "SUM"), _REDUCE),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), _POOL),
    **dict.fromkeys(("MIRROR_PAD", "PAD", "PADV2"), _PAD),
    **dict.fromkeys(("RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "LEAKY_RELU"), _Rule(2)),
    **dict.fromkeys(("SELECT", "SELECT_V2"), _Rule(1, (_select,))),
    **dict.fromkeys(("SPLIT", "SPLIT_V", "PACK", "UNPACK"), _Rule(_ANY)),
    "ADD": _Rule(2, (_broadcast,)),
    "ADD_N": _Rule(2, (_broadcast,)),
    "BATCH_MATMUL": _Rule(_ANY),
    "CAST": _Rule(_ANY, (_ONE, _cast)),
    "CONCATENATION": _Rule(2),
    "CONV_2D": _Rule(6, (_convolution, _activation)),
    "CUMSUM": _Rule(1, (_cumulative,)),
    "DENSIFY": _Rule(1, (_takes(0),)),
    "DEPTHWISE_CONV_2D": _Rule(6, (_convolution, _activation, _depthwise)),
    "DEPTH_TO_SPACE": _Rule(_ANY, (_ONE, _BLOCKS)),
    "DEQUANTIZE": _Rule(3, (_dequantize,)),
    "FULLY_CONNECTED": _Rule(9, (_dense,)),
    "GATHER": _Rule(1, (_one_of(_takes(2, 0), _takes(1, 1)), _indices)),
    "HARD_SWISH": _Rule(_ANY, (_ONE,)),
    "LSTM": _Rule(4, (_lstm,)),
    "MEAN": _Rule(_ANY, (_takes(1, 1), _axes)),
    "MUL": _Rule(3, (_broadcast, _activation)),
    "ONE_HOT": _Rule(1, (_one_hot,)),
    "PRELU": _Rule(1),
    "QUANTIZE": _Rule(2, (_ONE,)),
    "RESHAPE": _Rule(1, (_ONE,)),
    "RESIZE_BILINEAR": _Rule(3, (_ONE, _corners)),
    "RESIZE_NEAREST_NEIGHBOR": _Rule(3, (_ONE,)),
    "SLICE": _Rule(2, (_three_or_four,)),
    "SOFTMAX": _Rule(2, (_SCALED,)),
    "SPACE_TO_DEPTH": _Rule(2, (_ONE, _BLOCKS)),
    "STRIDED_SLICE": _Rule(4, (_no_masks, _three_or_four)),
    "TILE": _Rule(_ANY, (_ONE,)),
    "TRANSPOSE": _Rule(4, (_ONE,)),
    "TRANSPOSE_CONV": _Rule(3, (_convolution,)),
}


def refusal(op: Op) -> str:
    """Why the delegate does not take an op, "" for none: the first reason of the version, its shape and options, and
    the types of its tensors."""
    rule = _RULES.get(op.name)
    if rule is None:
        return "the delegate has no such op"
    if op.version > rule.version:
        return f"the delegate knows it up to version {rule.version}, and the file has version {op.version}"
    return next((reason for check in rule.checks if (reason := check(op))), "") or _types(op)


def _types(op: Op) -> str:
    tensors = [tensor for tensor in (*op.inputs, *op.outputs) if tensor is not None]
    if any(len(tensor.shape) > _MOST_DIMENSIONS for tensor in tensors):
        return f"tensors of more than {_MOST_DIMENSIONS} dimensions are not taken"
    taken = _FLOAT | QUANTIZED
    read = _wrong((tensor.dtype for tensor in op.computed), taken | _READ_TOO.get(op.name, set()))
    written = _wrong((tensor.dtype for tensor in op.outputs), taken | _WRITTEN_TOO.get(op.name, set()))
    wrong = sorted(read | written)
    return f"{', '.join(wrong)} is not a type that it computes with" if wrong else ""


def _wrong(kinds: Iterable[str], taken: Iterable[str]) -> set[str]:
    return set(kinds) - set(taken)
