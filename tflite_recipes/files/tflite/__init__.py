"""Read a `.tflite` file into small frozen dataclasses, and count what it holds. Needs no TensorFlow.

The package offers these names and imports each when it is asked for: the reader needs LiteRT and numpy, and much of
what is known about files does not.
"""

from typing import TYPE_CHECKING

from tflite_recipes.core import public_names

if TYPE_CHECKING:
    from tflite_recipes.files.tflite.file_statistics import CONVOLUTIONS as CONVOLUTIONS
    from tflite_recipes.files.tflite.file_statistics import FLOAT_DTYPES as FLOAT_DTYPES
    from tflite_recipes.files.tflite.file_statistics import LSTMS as LSTMS
    from tflite_recipes.files.tflite.file_statistics import QUANTIZE_OPS as QUANTIZE_OPS
    from tflite_recipes.files.tflite.file_statistics import WEIGHT_DTYPES as WEIGHT_DTYPES
    from tflite_recipes.files.tflite.file_statistics import WEIGHT_OPS as WEIGHT_OPS
    from tflite_recipes.files.tflite.file_statistics import float_operators as float_operators
    from tflite_recipes.files.tflite.file_statistics import foreign_ops as foreign_ops
    from tflite_recipes.files.tflite.file_statistics import fused_lstms as fused_lstms
    from tflite_recipes.files.tflite.file_statistics import keeps_state as keeps_state
    from tflite_recipes.files.tflite.file_statistics import op_counts as op_counts
    from tflite_recipes.files.tflite.file_statistics import op_metrics as op_metrics
    from tflite_recipes.files.tflite.file_statistics import sparsity as sparsity
    from tflite_recipes.files.tflite.file_statistics import tensor_dtypes as tensor_dtypes
    from tflite_recipes.files.tflite.file_statistics import weight_tensors as weight_tensors
    from tflite_recipes.files.tflite.listing import LARGEST_CONSTANTS as LARGEST_CONSTANTS
    from tflite_recipes.files.tflite.listing import describe as describe
    from tflite_recipes.files.tflite.listing import to_json as to_json
    from tflite_recipes.files.tflite.macs import op_macs as op_macs
    from tflite_recipes.files.tflite.model import Inspection as Inspection
    from tflite_recipes.files.tflite.model import Operator as Operator
    from tflite_recipes.files.tflite.model import Signature as Signature
    from tflite_recipes.files.tflite.model import SignaturePorts as SignaturePorts
    from tflite_recipes.files.tflite.model import Subgraph as Subgraph
    from tflite_recipes.files.tflite.model import Tensor as Tensor
    from tflite_recipes.files.tflite.model import TFLiteFile as TFLiteFile
    from tflite_recipes.files.tflite.ordering import in_order as in_order
    from tflite_recipes.files.tflite.reader import IDENTIFIER as IDENTIFIER
    from tflite_recipes.files.tflite.reader import constant_array as constant_array
    from tflite_recipes.files.tflite.reader import read_tflite as read_tflite

_HOMES = {
    "CONVOLUTIONS": "file_statistics",
    "FLOAT_DTYPES": "file_statistics",
    "IDENTIFIER": "reader",
    "Inspection": "model",
    "LARGEST_CONSTANTS": "listing",
    "LSTMS": "file_statistics",
    "Operator": "model",
    "QUANTIZE_OPS": "file_statistics",
    "Signature": "model",
    "SignaturePorts": "model",
    "Subgraph": "model",
    "TFLiteFile": "model",
    "Tensor": "model",
    "WEIGHT_DTYPES": "file_statistics",
    "WEIGHT_OPS": "file_statistics",
    "constant_array": "reader",
    "describe": "listing",
    "float_operators": "file_statistics",
    "foreign_ops": "file_statistics",
    "fused_lstms": "file_statistics",
    "in_order": "ordering",
    "keeps_state": "file_statistics",
    "op_counts": "file_statistics",
    "op_macs": "macs",
    "op_metrics": "file_statistics",
    "read_tflite": "reader",
    "sparsity": "file_statistics",
    "tensor_dtypes": "file_statistics",
    "to_json": "listing",
    "weight_tensors": "file_statistics",
}
__all__ = [*_HOMES]
if not TYPE_CHECKING:  # which would take any name for one that is here
    __getattr__ = public_names.lazy(__name__, _HOMES)
