"""The ops of a SavedModel that reach beyond tensors: files, other processes, Python. Read without TensorFlow.

What is allowed is a list (`allowed_names.tensorflow_ops`). Reading a file is allowed where the loader chooses the file:
variables of the folder, and assets of tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from tflite_recipes.core import regular_files
from tflite_recipes.core.errors import Problem
from tflite_recipes.files.models import allowed_names, graph_file_names
from tflite_recipes.files.models.protos import message_class
from tflite_recipes.files.models.refusals import GRAPH_FILE, MOST_GRAPH, damaged, listed

# Maps are, in the bytes, pairs. An attribute is read where it names functions, or a text.
_MESSAGES = {
    "SavedModel": "MetaGraphDef[] meta_graphs 2",
    "MetaGraphDef": (
        "GraphDef graph 2, SaverDef saver 3, Collection[] collections 4, Signature[] signatures 5, Asset[] assets 6, "
        "Objects objects 7"
    ),
    "GraphDef": "Node[] nodes 1, Library library 2",
    "Library": "Function[] functions 1",
    "Function": "OpDef signature 1, Node[] nodes 3",
    "OpDef": "string name 1, Argument[] inputs 2",
    "Argument": "string name 1",
    "Node": "string name 1, string op 2, string[] inputs 3, Attribute[] attributes 5",
    "Attribute": "string key 1, AttrValue value 2",
    "AttrValue": "FunctionList list 1, bytes s 2, int32 type 6, FunctionName func 10",
    "FunctionList": "FunctionName[] func 9",
    "FunctionName": "string name 1",
    "SaverDef": "string filename 1, string save 2, string restore 3",
    "Collection": "string key 1, CollectionDef value 2",
    "CollectionDef": "NodeList nodes 1, AnyList any 5",
    "AnyList": "Any[] value 1",
    "Any": "string url 1, bytes value 2",
    "NodeList": "string[] value 1",
    "Signature": "string key 1, SignatureDef value 2",
    "SignatureDef": "Tensor[] inputs 1, Tensor[] outputs 2",
    "Tensor": "string key 1, TensorInfo value 2",
    "TensorInfo": "string name 1",
    "Asset": "TensorInfo tensor 1, string filename 2",
    "Objects": "Object[] nodes 1, Concrete[] concrete 2",
    "Object": "AssetObject asset 5",
    "AssetObject": "int32 index 1",
    "Concrete": "string key 1, Captures value 2",
    "Captures": "int32[] bound 2",
}
_PACKAGE = "tflite_recipes_graph_ops"
# Where TensorFlow 1 keeps the assets.
_ASSETS = "saved_model_assets"
# Every SavedModel has these, in what saves it again, which nothing runs.
_SAVING = re.compile(r"Save(V\d+|Slices)?|MergeV2Checkpoints")
_PRINTING, _STREAMS = ("Print", "PrintV2"), (b"stdout", b"stderr", b"log(info)", b"log(warning)", b"log(error)", b"")


# The same model in chunks, which another loader may prefer.
_CHUNKS = "saved_model.cpb"


def reaching_ops(folder: Path) -> tuple[str, ...]:
    """The names of the ops in a SavedModel by which it could read or write files, reach other processes or call Python,
    in any of its graphs and functions. Saving counts where anything but the saving itself could run it, and reading
    where the graph names the file. Assets outside of the folder count by their names.

    Errors: RequestError where the graph cannot be read.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]

    path = folder / GRAPH_FILE
    saved = message_class(_PACKAGE, _MESSAGES, "SavedModel")()
    try:
        saved.ParseFromString(regular_files.read_bytes(path, MOST_GRAPH))
        found = {op for graph in saved.meta_graphs for op in _of(graph)}
    except (DecodeError, OSError) as error:
        raise damaged(path, error) from error
    return tuple(sorted(found | ({_CHUNKS} if (folder / _CHUNKS).exists() else set())))


def trust_problem(folder: Path, where: str = "source.trust") -> Problem | None:
    """Return the problem that a SavedModel's graph does more than calculate, which `where=true` solves; else None.

    Errors: RequestError where the graph cannot be read.
    """
    ops = reaching_ops(folder)
    if not ops:
        return None
    what = f"{folder} has ops that reach files, processes or Python, or are unknown: {listed(ops)}"
    return Problem(what, where, f"{where}=true")


def _of(meta: Any) -> Iterator[str]:
    functions = {function.signature.name: list(function.nodes) for function in meta.graph.library.functions}
    allowed = allowed_names.tensorflow_ops() | functions.keys() | graph_file_names.READING.keys()
    for node in (node for nodes in (meta.graph.nodes, *functions.values()) for node in nodes):
        if _reaches(node, allowed):
            yield node.op
    saving = graph_file_names.calling(functions, lambda op: _SAVING.fullmatch(op) is not None)
    if saving & {concrete.key for concrete in meta.objects.concrete} or _is_run(meta, saving):
        yield "SaveV2"
    assets = _assets(meta)
    yield from graph_file_names.readers_of_other_files(meta, {asset.tensor.name for asset in assets})
    for asset in assets:
        if Path(asset.filename).is_absolute() or ".." in Path(asset.filename).parts:
            yield f"asset {asset.filename}"


def _assets(meta: Any) -> list[Any]:
    """Return the assets as the loader finds them: in their own field, or else in a collection. Errors: DecodeError."""
    if meta.assets:
        return list(meta.assets)
    packed = [item for pair in meta.collections if pair.key == _ASSETS for item in pair.value.any.value]
    return [message_class(_PACKAGE, _MESSAGES, "Asset").FromString(item.value) for item in packed]


def _reaches(node: Any, allowed: Set[str]) -> bool:
    if node.op in _PRINTING:
        streams = [pair.value.s for pair in node.attributes if pair.key == "output_stream"]
        return any(stream not in _STREAMS for stream in streams)
    return node.op not in allowed and not _SAVING.fullmatch(node.op)


def _is_run(meta: Any, saving: set[str]) -> bool:
    """Whether a signature, what initializes, or what restores the variables comes by a node that saves."""
    nodes = {node.name: node for node in meta.graph.nodes}
    signatures = (name for names in graph_file_names.signature_tensors(meta).values() for name in names)
    starts = [*signatures, *graph_file_names.initializers(meta), meta.saver.restore, meta.saver.filename]
    return any(
        _SAVING.fullmatch(node.op) or graph_file_names.called(node) & saving
        for node in graph_file_names.behind(starts, nodes)
    )
