"""The ops of a SavedModel that reach beyond tensors: files, other processes, Python. Read without TensorFlow.

What is allowed is a list (`allowed_names.tensorflow_ops`). Reading a file is allowed where the loader chooses the file:
variables of the folder, and assets of tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from tflite_recipes.core import regular_files
from tflite_recipes.core.errors import Problem
from tflite_recipes.files.models import allowed_names
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
    "OpDef": "string name 1",
    "Node": "string name 1, string op 2, string[] inputs 3, Attribute[] attributes 5",
    "Attribute": "string key 1, AttrValue value 2",
    "AttrValue": "FunctionList list 1, bytes s 2, int32 type 6, FunctionName func 10",
    "FunctionList": "FunctionName[] func 9",
    "FunctionName": "string name 1",
    "SaverDef": "string filename 1, string save 2, string restore 3",
    "Collection": "string key 1, CollectionDef value 2",
    "CollectionDef": "NodeList nodes 1",
    "NodeList": "string[] value 1",
    "Signature": "string key 1, SignatureDef value 2",
    "SignatureDef": "Tensor[] inputs 1, Tensor[] outputs 2",
    "Tensor": "string key 1, TensorInfo value 2",
    "TensorInfo": "string name 1",
    "Asset": "TensorInfo tensor 1, string filename 2",
    "Objects": "Object[] nodes 1, Concrete[] concrete 2",
    "Object": "Constant constant 9",
    "Constant": "string operation 1",
    "Concrete": "string key 1, Captures value 2",
    "Captures": "int32[] bound 2",
}
# Every SavedModel has these, in what saves it again, which nothing runs.
_SAVING = re.compile(r"Save(V\d+|Slices)?|MergeV2Checkpoints")
_PRINTING, _STREAMS = ("Print", "PrintV2"), (b"stdout", b"stderr", b"log(info)", b"log(warning)", b"log(error)", b"")


# Ops that read the file whose name is this input of theirs.
_FILE_INPUT = {
    "Restore": 0,
    "RestoreSlice": 0,
    "RestoreV2": 0,
    "InitializeTableFromTextFile": 1,
    "InitializeTableFromTextFileV2": 1,
}
_STRING = 7  # of DataType
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
    saved = message_class("tflite_recipes_graph_ops", _MESSAGES, "SavedModel")()
    try:
        saved.ParseFromString(regular_files.read_bytes(path, MOST_GRAPH))
    except (DecodeError, OSError) as error:
        raise damaged(path, error) from error
    found = {op for graph in saved.meta_graphs for op in _of(graph)}
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
    allowed = allowed_names.tensorflow_ops() | functions.keys() | _FILE_INPUT.keys()
    for node in (node for nodes in (meta.graph.nodes, *functions.values()) for node in nodes):
        if _reaches(node, allowed):
            yield node.op
    saving = _calling(functions, lambda node: _SAVING.fullmatch(node.op) is not None)
    if saving & {concrete.key for concrete in meta.objects.concrete} or _is_run(meta, saving):
        yield "SaveV2"
    yield from _files_of_the_graph(meta, functions)
    for asset in meta.assets:
        if Path(asset.filename).is_absolute() or ".." in Path(asset.filename).parts:
            yield f"asset {asset.filename}"


def _reaches(node: Any, allowed: Set[str]) -> bool:
    if node.op in _PRINTING:
        streams = [pair.value.s for pair in node.attributes if pair.key == "output_stream"]
        return any(stream not in _STREAMS for stream in streams)
    return node.op not in allowed and not _SAVING.fullmatch(node.op)


def _files_of_the_graph(meta: Any, functions: Mapping[str, list[Any]]) -> Iterator[str]:
    """Ops that read a file, or call a function that does, where the graph itself holds the file's name."""
    readers = _calling(functions, lambda node: node.op in _FILE_INPUT)
    # The loader puts other values in the place of these.
    chosen = {_bare(meta.saver.filename), *(_bare(asset.tensor.name) for asset in meta.assets)}
    for graph in (meta.graph.nodes, *functions.values()):
        nodes = {node.name: node for node in graph}
        for node in graph:
            index = _FILE_INPUT.get(node.op)
            names = (
                list(node.inputs)
                if _called(node) & readers
                else node.inputs[index : index + 1]
                if index is not None
                else ()
            )
            if any(_is_text(source) and source.name not in chosen for source in _sources(names, nodes)):
                yield node.op
    nodes = {node.name: node for node in meta.graph.nodes}
    objects = list(meta.objects.nodes)
    for concrete in (concrete for concrete in meta.objects.concrete if concrete.key in readers):
        for number in concrete.value.bound:
            name = objects[number].constant.operation if 0 <= number < len(objects) else ""
            if name in nodes and _is_text(nodes[name]) and name not in chosen:
                yield concrete.key


def _bare(name: str) -> str:
    return name.removeprefix("^").partition(":")[0]


def _is_text(node: Any) -> bool:
    return node.op in ("Const", "HostConst") and any(
        pair.key == "dtype" and pair.value.type == _STRING for pair in node.attributes
    )


def _sources(names: Iterable[str], nodes: Mapping[str, Any]) -> Iterator[Any]:
    """The nodes that these tensors are computed from, up to what a caller or the loader feeds."""
    todo = [name for name in names if not name.startswith("^")]
    seen: set[str] = set()
    while todo:
        name = _bare(todo.pop())
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        yield nodes[name]
        if not nodes[name].op.startswith("Placeholder"):
            todo += [given for given in nodes[name].inputs if not given.startswith("^")]


def _called(node: Any) -> set[str]:
    """The functions that a node names: in attributes, or as its op."""
    names = {node.op}
    for pair in node.attributes:
        names |= {pair.value.func.name, *(each.name for each in pair.value.list.func)}
    return names


def _calling(functions: Mapping[str, list[Any]], wanted: Callable[[Any], bool]) -> set[str]:
    """The functions that have such a node, and those that call one of these."""
    found = {name for name, nodes in functions.items() if any(map(wanted, nodes))}
    calls = {name: set().union(*map(_called, nodes)) for name, nodes in functions.items()}
    while more := {name for name, called in calls.items() if name not in found and called & found}:
        found |= more
    return found


def _is_run(meta: Any, saving: set[str]) -> bool:
    """Whether a signature, what initializes, or what restores the variables comes by a node that saves."""
    nodes = {node.name: node for node in meta.graph.nodes}
    starts = [
        tensor.value.name
        for pair in meta.signatures
        for side in (pair.value.inputs, pair.value.outputs)
        for tensor in side
    ]
    starts += [name for pair in meta.collections for name in pair.value.nodes.value]  # of which one initializes
    return any(
        _SAVING.fullmatch(node.op) or _called(node) & saving
        for node in _behind([*starts, meta.saver.restore, meta.saver.filename], nodes)
    )


def _behind(starts: Iterable[str], nodes: Mapping[str, Any]) -> Iterator[Any]:
    """The nodes of these names, and all that they take."""
    seen: set[str] = set()
    todo = list(starts)
    while todo:
        name = todo.pop().removeprefix("^").partition(":")[0]
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        yield nodes[name]
        todo += nodes[name].inputs
