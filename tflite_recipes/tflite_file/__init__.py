"""Read a `.tflite` file into small frozen dataclasses, and count what it holds. Needs no TensorFlow."""

from tflite_recipes.tflite_file.analysis import (
    CONVOLUTIONS,
    FLOAT_DTYPES,
    LSTMS,
    QUANTIZE_OPS,
    WEIGHT_DTYPES,
    WEIGHT_OPS,
    float_operators,
    foreign_ops,
    op_counts,
    op_metrics,
    sparsity,
    tensor_dtypes,
    weight_tensors,
)
from tflite_recipes.tflite_file.listing import LARGEST_CONSTANTS, describe, to_json
from tflite_recipes.tflite_file.macs import macs, op_macs
from tflite_recipes.tflite_file.model import (
    Inspection,
    Operator,
    Signature,
    SignaturePorts,
    Subgraph,
    Tensor,
    TFLiteFile,
)
from tflite_recipes.tflite_file.ordering import in_order
from tflite_recipes.tflite_file.reader import IDENTIFIER, constant_array, read_tflite

__all__ = [
    "CONVOLUTIONS",
    "FLOAT_DTYPES",
    "IDENTIFIER",
    "LARGEST_CONSTANTS",
    "LSTMS",
    "QUANTIZE_OPS",
    "WEIGHT_DTYPES",
    "WEIGHT_OPS",
    "Inspection",
    "Operator",
    "Signature",
    "SignaturePorts",
    "Subgraph",
    "TFLiteFile",
    "Tensor",
    "constant_array",
    "describe",
    "float_operators",
    "foreign_ops",
    "in_order",
    "macs",
    "op_counts",
    "op_macs",
    "op_metrics",
    "read_tflite",
    "sparsity",
    "tensor_dtypes",
    "to_json",
    "weight_tensors",
]
