"""Which ops the Edge TPU's compiler maps, as far as its documentation says it.

From Coral's "TensorFlow models on the Edge TPU" (coral.ai/docs/edgetpu/models-intro, sections "Model requirements" and
"Supported operations", as of compiler 16.0 of 2021, the last one). What of it could be opened in 2026-11 was its start;
the table was read from Axis' ARTPEC-7 page, which has the same wording, down to RESIZE_BILINEAR, and from an older copy
from SLICE to STRIDED_SLICE; TRANSPOSE and TRANSPOSE_CONV are named as supported in the compiler's public issues; RSQRT,
SQUARED_DIFFERENCE, SUM with its limits and that SPLIT is not along the batch stand here unchecked. The compiler itself
may refuse more: it is closed, and knows limits of size and precision that are written nowhere.

It reads ops as TensorFlow Lite had them when it was made: 16.0 refuses files with CONV_2D version 6, QUANTIZE 3,
EXP 2, TRANSPOSE_CONV 4 (github.com/google-coral/edgetpu issues 631, 879, 845, google-coral/libedgetpu 71), all of which
came after TensorFlow 2.6 by LiteRT's tflite/converter/tools/versioning/runtime_version.cc. `_NEWEST_READ` has that
list's last versions up to 2.6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tflite_recipes.targets.accelerators.accelerator_graph import NO_ACTIVATION, Op, shape
from tflite_recipes.targets.accelerators.partitions import partitions

if TYPE_CHECKING:
    from tflite_recipes.files.tflite import Tensor

SOURCE = "Coral's documentation of its compiler 16.0 (coral.ai/docs/edgetpu/models-intro)"
# Coral states about 8 MB of SRAM for parameters, of which the program takes some (docs/edgetpu/compiler; not checked).
PARAMETER_CACHE_BYTES = 8 * 1024**2
_QUANTIZED = frozenset({"int8", "uint8"})
_MOST_DIMENSIONS = 3
_MOST_SOFTMAX = 16_000
_ELSEWHERE = "only the first group of ops that can be mapped is, and it lies behind one that cannot"

Check = Callable[[Op], str]  # why not, "" for none

# The newest version that the compiler reads, of ops that have a newer one; 0: the op itself is newer.
_NEWEST_READ = """
    ABS 4 ADD 4 ARG_MAX 2 ARG_MIN 2 ATAN2 0 BATCH_TO_SPACE_ND 3 BITCAST 0 BITWISE_XOR 0 BROADCAST_TO 3 BUCKETIZE 0
    CAST 1 CONCATENATION 3 CONV_2D 5 COS 1 DEPTHWISE_CONV_2D 6 DEQUANTIZE 4 DILATE 0 DYNAMIC_UPDATE_SLICE 0
    EMBEDDING_LOOKUP 3 EQUAL 3 EXP 1 FILL 3 FLOOR_DIV 2 FLOOR_MOD 1 FULLY_CONNECTED 9 GATHER 5 GATHER_ND 3 GELU 0
    GREATER_EQUAL 2 LESS 2 LOG 1 MIRROR_PAD 2 MUL 5 MULTINOMIAL 0 NOT_EQUAL 3 PACK 3 PAD 4 PADV2 4 QUANTIZE 2
    RANDOM_STANDARD_NORMAL 0 RANDOM_UNIFORM 0 RANGE 1 REDUCE_WINDOW 0 RELU_0_TO_1 0 REVERSE_V2 3 RIGHT_SHIFT 0 RSQRT 2
    SELECT 2 SELECT_V2 1 SIGN 0 SIN 1 SLICE 5 SOFTMAX 3 SPACE_TO_BATCH_ND 3 SPLIT 4 SPLIT_V 2 SQRT 1 STRIDED_SLICE 6
    TILE 2 TOPK_V2 2 TRANSPOSE 5 TRANSPOSE_CONV 3 UNIDIRECTIONAL_SEQUENCE_LSTM 3 UNPACK 4 UNSORTED_SEGMENT_MAX 0
    UNSORTED_SEGMENT_MIN 0 UNSORTED_SEGMENT_PROD 0 UNSORTED_SEGMENT_SUM 0 WHERE 1
""".split()  # noqa: SIM905
_READ_TO = {name: int(version) for name, version in zip(_NEWEST_READ[::2], _NEWEST_READ[1::2], strict=True)}


def _not_fused(op: Op) -> str:
    return "" if op.activation == NO_ACTIVATION else "not with a fused activation"


def _same_dilation(op: Op) -> str:
    same = op.options.get("dilationHFactor", 1) == op.options.get("dilationWFactor", 1)
    return "" if same else "only with the same dilation in height and width"


def _concatenation(op: Op) -> str:
    if op.constants and len(op.inputs) != 2:
        return "with a constant, only of 2 inputs"
    return _not_fused(op)


def _dense(op: Op) -> str:
    if op.options.get("weightsFormat"):
        return "only with weights in the default format"
    rows = shape(op.outputs[0])[:-1]
    return "" if all(size == 1 for size in rows) else "only with one row of outputs"


def _axis_option(words: str) -> Check:
    def check(op: Op) -> str:
        return words if op.options.get("axis", -1) == 0 else ""

    return check


def _axes_at(position: int, words: str) -> Check:
    """Not along the batch, by the constant axes that are one of two inputs, the data being the other."""

    def check(op: Op) -> str:
        data = op.input(1 - position)
        axes = op.values.get(position)
        if axes is None:
            return "only along constant axes"
        dimensions = len(data.shape) if data is not None else 0
        return words if any(axis % dimensions == 0 for axis in axes if dimensions > 1) else ""

    return check


def _depth_by_fours(op: Op) -> str:
    data, axes = op.input(0), op.values.get(1, ())
    size = shape(data) if data is not None else ()
    if any(axis % len(size) == len(size) - 1 for axis in axes if len(size) > 1) and size[-1] % 4:
        return "over channels only where their number is a multiple of 4"
    return ""


def _padding(op: Op) -> str:
    paddings, data = op.values.get(1), op.input(0)
    if paddings is None:
        return "only by constants"
    return "not along the batch" if data is not None and len(data.shape) > 1 and any(paddings[:2]) else ""


def _prelu(op: Op) -> str:
    alpha = op.input(1)
    flat = alpha is not None and all(size == 1 for size in shape(alpha)[:-1])
    return "" if flat else "only with one alpha a channel (PReLU's shared_axes=[1, 2])"


def _softmax(op: Op) -> str:
    size = shape(op.outputs[0])
    if any(one != 1 for one in size[:-1]):
        return "only over 1 dimension"
    return "" if not size or size[-1] <= _MOST_SOFTMAX else f"only of at most {_MOST_SOFTMAX:,} values"


def _squeeze(op: Op) -> str:
    data = op.input(0)
    size = list(shape(data)) if data is not None else []
    while size and size[0] == 1:
        size.pop(0)
    return "" if 1 not in size else "only of leading dimensions of 1"


def _strides(op: Op) -> str:
    if op.options.get("ellipsisMask") or op.options.get("newAxisMask"):
        return "not with an ellipsis or a new axis"
    strides = op.values.get(3)
    return "" if strides is not None and all(step == 1 for step in strides) else "only with strides of 1"


_ANY: tuple[Check, ...] = ()
_PLAIN = """
    ADD EXPAND_DIMS L2_NORMALIZATION LOGISTIC MAXIMUM MINIMUM MUL QUANTIZE RELU RELU6 RELU_N1_TO_1 RESHAPE
    RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SPACE_TO_DEPTH SQUARED_DIFFERENCE SUB TANH TRANSPOSE
    TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM
""".split()  # noqa: SIM905
_NOT_BATCH = _axes_at(1, "not along the batch")
_OPS: dict[str, tuple[Check, ...]] = {
    **dict.fromkeys(_PLAIN, _ANY),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), (_not_fused,)),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), (_same_dilation,)),
    **dict.fromkeys(("REDUCE_MAX", "REDUCE_MIN", "SUM"), (_NOT_BATCH,)),
    "CONCATENATION": (_concatenation,),
    "FULLY_CONNECTED": (_dense,),
    "MEAN": (_NOT_BATCH, _depth_by_fours),
    "PACK": (_axis_option("not along the batch"),),
    "PAD": (_padding,),
    "PRELU": (_prelu,),
    "SOFTMAX": (_softmax,),
    "SPLIT": (_axes_at(0, "not along the batch"),),
    "SQUEEZE": (_squeeze,),
    "STRIDED_SLICE": (_strides,),
}
_MAYBE = {
    "RESHAPE": "large ones may not be mapped",
    "RESIZE_BILINEAR": "some sizes are not mapped, for their loss of precision",
    "RESIZE_NEAREST_NEIGHBOR": "some sizes are not mapped, for their loss of precision",
}
_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})


def unreadable(op: Op) -> str:
    """Why the compiler cannot read an op, and with it the file; "" for none."""
    known = 0 if op.name.startswith("STABLEHLO_") else _READ_TO.get(op.name, op.version)
    if op.version <= known:
        return ""
    newest = f"version {known}" if known else "none"
    return f"{op.name} version {op.version} is newer than the compiler, which knows {newest}"


def refusal(op: Op) -> str:
    """Why an op is not mapped, "" for none."""
    checks = _OPS.get(op.name)
    if checks is None:
        return "the Edge TPU has no such op"
    return _tensors(op) or next((reason for check in checks if (reason := check(op))), "")


def _tensors(op: Op) -> str:
    tensors = [tensor for tensor in (*op.computed, *op.outputs) if not tensor.is_variable]  # as the state of an LSTM
    kinds = sorted({tensor.dtype for tensor in tensors} - _QUANTIZED)
    if kinds:
        return f"takes int8 and uint8 only, and this one has {', '.join(kinds)}"
    if any(None in tensor.shape for tensor in tensors):
        return "takes fixed sizes only"
    kernel = op.input(1) if op.name in _WEIGHTED else None
    if kernel is not None and not kernel.is_constant:
        return "takes constant weights only"
    wide = any(_wide(tensor) for tensor in tensors)
    return f"only the {_MOST_DIMENSIONS} innermost dimensions may be larger than 1" if wide else ""


def _wide(tensor: Tensor) -> bool:
    return any(size != 1 for size in shape(tensor)[:-_MOST_DIMENSIONS])


@dataclass(frozen=True)
class Verdicts:
    """reasons: why each op is not mapped, "" for what is, in the order of the ops. groups: how many groups of ops could
    be mapped, of which the first is. notes: what the documentation leaves open."""

    reasons: tuple[str, ...]
    groups: int
    notes: tuple[str, ...]


def judge(ops: Sequence[Op]) -> Verdicts:
    """What becomes of a graph: the first group of ops that can be mapped is; the CPU runs all else."""
    unread = [reason for op in ops if (reason := unreadable(op))]
    if unread:
        return Verdicts(
            (f"the compiler cannot read the file: {unread[0]}",) * len(ops), 0, tuple(dict.fromkeys(unread))
        )
    reasons = [refusal(op) for op in ops]
    parts = partitions(ops, {position for position, reason in enumerate(reasons) if not reason})
    groups = [positions for is_mapped, positions in parts if is_mapped]
    mapped = set(groups[0]) if groups else set()
    final = (reason or ("" if at in mapped else _ELSEWHERE) for at, reason in enumerate(reasons))
    open_questions = (f"{name}: {_MAYBE[name]}" for name in dict.fromkeys(op.name for op in ops) if name in _MAYBE)
    return Verdicts(tuple(final), len(groups), tuple(open_questions))
