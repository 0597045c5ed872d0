"""The ops of a SavedModel that reach beyond tensors: files, other processes, Python. Read without TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tflite_recipes.files.models.protos import message_class
from tflite_recipes.files.models.refusals import GRAPH_FILE, damaged

# Maps are, in the bytes, pairs. An attribute is read where it names functions, or a text.
_MESSAGES = {
    "SavedModel": "MetaGraphDef[] meta_graphs 2",
    "MetaGraphDef": (
        "GraphDef graph 2, SaverDef saver 3, Collection[] collections 4, Signature[] signatures 5, Objects objects 7"
    ),
    "GraphDef": "Node[] nodes 1, Library library 2",
    "Library": "Function[] functions 1",
    "Function": "OpDef signature 1, Node[] nodes 3",
    "OpDef": "string name 1",
    "Node": "string name 1, string op 2, string[] inputs 3, Attribute[] attributes 5",
    "Attribute": "string key 1, AttrValue value 2",
    "AttrValue": "FunctionList list 1, bytes s 2, FunctionName func 10",
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
    "Objects": "Concrete[] concrete 2",
    "Concrete": "string key 1",
}
_REACHING = re.compile(
    r"(Read|Write|Append|Delete|Rename)File.*|MatchingFiles|.*PyFunc.*|.*Reader(V\d+)?|Reader(Read|Restore).*|"
    r".*Dataset(V\d+)?|.*Rpc.*|Debug(Identity|NaN|NumericSummary).*|Create?.*Summary\w*Writer|\w*SummaryWriter|"
    r"ImmutableConst|LoadAndRemapMatrix|GenerateVocabRemapping|_?(Host)?(Send|Recv)|Collective.*|DataService.*|"
    r"CreateSummary(File|Db)Writer|ImportEvent|DumpTensor.*|.*IteratorFromStringHandle.*"
)
# Every SavedModel has these, in what saves it again, which nothing runs.
_SAVING = re.compile(r"Save(V\d+|Slices)?|MergeV2Checkpoints")
_PRINTING, _STREAMS = ("Print", "PrintV2"), (b"stdout", b"stderr", b"log(info)", b"log(warning)", b"log(error)", b"")


def reaching_ops(folder: Path) -> tuple[str, ...]:
    """The names of the ops in a SavedModel by which it could read or write files, reach other processes or call Python,
    in any of its graphs and functions. Saving counts where anything but the saving itself could run it.

    Errors: RequestError where the graph cannot be read.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]

    path = folder / GRAPH_FILE
    saved = message_class("tflite_recipes_graph_ops", _MESSAGES, "SavedModel")()
    try:
        saved.ParseFromString(path.read_bytes())
    except (DecodeError, OSError) as error:
        raise damaged(path, error) from error
    return tuple(sorted({op for graph in saved.meta_graphs for op in _of(graph)}))


def _of(meta: Any) -> Iterator[str]:
    functions = {function.signature.name: list(function.nodes) for function in meta.graph.library.functions}
    for node in (node for nodes in (meta.graph.nodes, *functions.values()) for node in nodes):
        if _reaches(node):
            yield node.op
    saving = _saving(functions)
    if saving & {concrete.key for concrete in meta.objects.concrete} or _is_run(meta, saving):
        yield "SaveV2"


def _reaches(node: Any) -> bool:
    if node.op in _PRINTING:
        streams = [pair.value.s for pair in node.attributes if pair.key == "output_stream"]
        return any(stream not in _STREAMS for stream in streams)
    return _REACHING.fullmatch(node.op) is not None


def _called(node: Any) -> set[str]:
    """The functions that a node names: in attributes, or as its op."""
    names = {node.op}
    for pair in node.attributes:
        names |= {pair.value.func.name, *(each.name for each in pair.value.list.func)}
    return names


def _saving(functions: Mapping[str, list[Any]]) -> set[str]:
    """The functions that save, and those that call one of these."""
    found = {name for name, nodes in functions.items() if any(_SAVING.fullmatch(node.op) for node in nodes)}
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
