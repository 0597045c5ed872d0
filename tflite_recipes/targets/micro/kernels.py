"""The builtin ops that TensorFlow Lite Micro has kernels for, and what its op resolver calls them. No TensorFlow.

KERNELS is asked of the tflite-micro interpreter, op by op, by `python benchmarks/probe_micro_kernels.py --write`, and a
test asks again. The names of methods are those of `micro_mutable_op_resolver.h` at TensorFlow Lite Micro's commit
90b983c2b3f1480642e040bbd2ddb37b998f3424, which has the same ops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # which reads the format, and the tables need not
    from tflite_recipes.files.tflite import Operator, TFLiteFile

KERNELS = frozenset(
    """
    ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_ARGS
    BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE
    DIV DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD
    FULLY_CONNECTED GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D LEAKY_RELU
    LESS LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM
    MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE REDUCE_ALL REDUCE_MAX REDUCE_MIN RELU
    RELU6 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX
    SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM
    SVDF TANH TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE
    """.split()  # noqa: SIM905
)
# Where the method is not the op's name in camel case.
_OWN_NAMES = {
    "AVERAGE_POOL_2D": "AddAveragePool2D",
    "BATCH_MATMUL": "AddBatchMatMul",
    "CONV_2D": "AddConv2D",
    "CUMSUM": "AddCumSum",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
    "L2_POOL_2D": "AddL2Pool2D",
    "MAX_POOL_2D": "AddMaxPool2D",
    "PADV2": "AddPadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
}
# Builtin op -> method of `MicroMutableOpResolver` that adds its kernel.
ADD_METHODS = {
    name: _OWN_NAMES.get(name) or "Add" + "".join(part.capitalize() for part in name.split("_"))
    for name in sorted(KERNELS)
}
# Custom code -> the method that adds the kernel TensorFlow Lite Micro brings for it. Ethos-U's is a driver of its own.
CUSTOM_ADD_METHODS = {
    "CIRCULAR_BUFFER": "AddCircularBuffer",
    "SignalDelay": "AddDelay",
    "SignalEnergy": "AddEnergy",
    "SignalFftAutoScale": "AddFftAutoScale",
    "SignalFilterBank": "AddFilterBank",
    "SignalFilterBankLog": "AddFilterBankLog",
    "SignalFilterBankSpectralSubtraction": "AddFilterBankSpectralSubtraction",
    "SignalFilterBankSquareRoot": "AddFilterBankSquareRoot",
    "SignalFramer": "AddFramer",
    "SignalIrfft": "AddIrfft",
    "SignalOverlapAdd": "AddOverlapAdd",
    "SignalPCAN": "AddPCAN",
    "SignalRfft": "AddRfft",
    "SignalStacker": "AddStacker",
    "SignalWindow": "AddWindow",
    "TFLM_DECODE": "AddDecode",
    "TFLite_Detection_PostProcess": "AddDetectionPostprocess",
    "ethos-u": "AddEthosU",
}


def has_kernel(op: Operator) -> bool:
    """Whether TensorFlow Lite Micro's reference kernels run this op; "ethos-u" needs the board's driver."""
    return op.name in KERNELS or op.custom_code in CUSTOM_ADD_METHODS


def add_methods(file: TFLiteFile) -> tuple[str, ...]:
    """The resolver's methods for the ops of a file, sorted, each once. KeyError on an op that has no kernel."""
    ops = {op for graph in file.subgraphs for op in graph.operators}
    return tuple(sorted({CUSTOM_ADD_METHODS[op.label] if op.is_custom else ADD_METHODS[op.label] for op in ops}))
