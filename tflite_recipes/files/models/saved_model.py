"""The signatures of a SavedModel, read with a description of our own of what matters in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tflite_recipes.core import regular_files
from tflite_recipes.core.state import TensorSpec
from tflite_recipes.files.models.protos import message_class
from tflite_recipes.files.models.refusals import GRAPH_FILE, MOST_GRAPH, damaged, no_saved_model

# By TensorFlow's DataType number; plus 100 is a reference to the same type, which only TensorFlow 1 graphs have.
_DTYPES = (
    "invalid float32 float64 int32 uint8 int16 int8 string complex64 int64 bool qint8 quint8 qint32 bfloat16 qint16 "
    "quint16 uint16 complex128 float16 resource variant uint32 uint64 float8_e5m2 float8_e4m3fn float8_e4m3fnuz "
    "float8_e4m3b11fnuz float8_e5m2fnuz int4 uint4 int2 uint2 float4_e2m1fn"
)
# What is read of saved_model.pb, with the field numbers of TensorFlow's protos. A map is, in the bytes, pairs.
_MESSAGES = {
    "SavedModel": "MetaGraphDef[] meta_graphs 2",
    "MetaGraphDef": "MetaInfoDef meta_info_def 1, Signature[] signature_def 5",
    "MetaInfoDef": "string[] tags 4",
    "Signature": "string key 1, SignatureDef value 2",
    "SignatureDef": "Tensor[] inputs 1, Tensor[] outputs 2",
    "Tensor": "string key 1, TensorInfo value 2",
    "TensorInfo": "int32 dtype 2, Shape tensor_shape 3",
    "Shape": "Dim[] dim 2, bool unknown_rank 3",
    "Dim": "int64 size 1",
}


@dataclass(frozen=True)
class SignatureInfo:
    """A signature of a SavedModel: its key, its inputs and its outputs, both ordered by name.

    unknown_rank: the inputs and outputs that may have any number of dimensions; their shape reads `()`.
    """

    key: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    unknown_rank: tuple[str, ...] = ()


def read_saved_model(path: Path) -> tuple[SignatureInfo, ...]:
    """The signatures of a SavedModel folder, ordered by key; () where it has none.

    Errors: RequestError where the folder is missing, is no SavedModel, or is damaged.
    """
    graph = path / GRAPH_FILE
    if not graph.is_file():
        raise no_saved_model(path)
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]

    saved = message_class("tflite_recipes_saved_model", _MESSAGES, "SavedModel")()
    try:
        saved.ParseFromString(regular_files.read_bytes(graph, MOST_GRAPH))
    except (DecodeError, OSError) as error:
        raise damaged(graph, error) from error
    if not saved.meta_graphs:
        raise damaged(graph, "it holds no graph")
    # A folder may hold one graph per purpose; the one tagged `serve` is what every loader takes.
    meta_graph = next((g for g in saved.meta_graphs if "serve" in g.meta_info_def.tags), saved.meta_graphs[0])
    # Initialization stands among the signatures, as if one could ask for it.
    signatures = {pair.key: pair.value for pair in meta_graph.signature_def if not pair.key.startswith("__saved_model")}
    return tuple(_signature(key, signatures[key]) for key in sorted(signatures))


def _signature(key: str, definition: Any) -> SignatureInfo:
    tensors = [*definition.inputs, *definition.outputs]
    unknown = {tensor.key for tensor in tensors if tensor.value.tensor_shape.unknown_rank}
    inputs, outputs = _tensor_specs(definition.inputs), _tensor_specs(definition.outputs)
    return SignatureInfo(key, inputs, outputs, tuple(sorted(unknown)))


def _tensor_specs(tensors: Any) -> tuple[TensorSpec, ...]:
    dtypes = dict(enumerate(_DTYPES.split()))
    specs = {}
    for tensor in tensors:
        shape = tuple(dim.size if dim.size >= 0 else None for dim in tensor.value.tensor_shape.dim)
        number = tensor.value.dtype
        dtype = dtypes.get(number - 100, dtypes.get(number, "unknown"))
        specs[tensor.key] = TensorSpec(tensor.key, shape, dtype)
    return tuple(specs[name] for name in sorted(specs))
