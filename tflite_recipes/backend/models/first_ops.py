"""What a model does to its inputs before anything else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tflite_recipes.files import tflite
from tflite_recipes.files.tflite.index_limits import index_limits

_PASSED = ("Identity", "Cast", "Reshape", "ExpandDims", "Squeeze", "Transpose", "StopGradient", "EnsureShape")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_NEUTRAL = {"Mul": 1.0, "RealDiv": 1.0, "Div": 1.0, "Sub": 0.0, "AddV2": 0.0, "Add": 0.0}
_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")


# Ops that look rows up, with the place of the input that says which.
_LOOKUPS = {"Gather": 1, "GatherV2": 1, "ResourceGather": 1, "OneHot": 0}


def scaled_inputs(saved_model: Path, signature: str) -> frozenset[str]:
    """The inputs whose values the graph first multiplies, divides or shifts by constants, or normalizes, to another
    scale, and those that it looks up in a table. A factor of 1 is none."""
    loaded = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    graph = loaded.meta_graphs[0]
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    found = graph.signature_def[signature].inputs
    nodes = list(graph.graph_def.node)
    tensors = {name: info.name.partition(":")[0] for name, info in found.items()}
    asked = (_scaled, _looked_up)
    return frozenset(name for name, tensor in tensors.items() if any(ask(tensor, nodes, functions) for ask in asked))


def has_lookups(saved_model: Path) -> bool:
    """Return whether anything in a SavedModel looks up rows of a table."""
    loaded = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    graph = loaded.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return any(node.op in (*_LOOKUPS, "GatherNd", "ResourceGatherNd") for node in nodes)


def scaled_inputs_of_file(path: Path, signature: str) -> frozenset[str]:
    """The same for a float `.tflite`, by the kinds of its ops alone: constants are not looked at."""
    file = tflite.read_tflite(path)
    (found,) = [entry for entry in file.signatures if entry.key == signature]
    operators = file.subgraphs[found.subgraph].operators
    kinds = {name: {op.name for op in operators if index in op.inputs} for name, index in found.inputs}
    scaled = {name for name, names in kinds.items() if names and names <= {"MUL", "DIV", "SUB", "ADD"}}
    return frozenset(scaled | set(index_limits(file, signature)))


def _scaled(tensor: str, nodes: Sequence[Any], functions: dict[str, Any]) -> bool:
    """Whether what reads this tensor scales it; all that reads it has to."""
    read_by = ((node, place, read) for node in nodes for place, read in enumerate(node.input))
    readers = [(node, place) for node, place, read in read_by if _base(read) == tensor]
    return bool(readers) and all(_scales(node, place, nodes, functions) for node, place in readers)


def _looked_up(tensor: str, nodes: Sequence[Any], functions: dict[str, Any]) -> bool:
    """Whether anything looks its values up; Keras' own lookup first mends those below 0, by a selection."""
    for node in nodes:
        for place in (place for place, read in enumerate(node.input) if _base(read) == tensor):
            if _LOOKUPS.get(node.op) == place:
                return True
            if node.op in _CALLS:
                called = functions[node.attr["f"].func.name]
                if _looked_up(called.signature.input_arg[place].name, called.node_def, functions):
                    return True
            elif node.op in (*_PASSED, "SelectV2", "Select") and _looked_up(node.name, nodes, functions):
                return True
    return False


def _scales(node: Any, place: int, nodes: Sequence[Any], functions: dict[str, Any]) -> bool:
    if node.op in _CALLS:
        called = functions[node.attr["f"].func.name]
        return _scaled(called.signature.input_arg[place].name, called.node_def, functions)
    if node.op in _NORMS:
        return True
    if node.op in _NEUTRAL:
        other = _constant(node.input[1 - place], nodes)
        if other is None:
            return False
        if not np.allclose(other, _NEUTRAL[node.op]):
            return True
    elif node.op not in _PASSED:
        return False
    return _scaled(node.name, nodes, functions)


def _constant(read: str, nodes: Sequence[Any]) -> Any:
    """The value of a constant; None for anything else."""
    node = next((node for node in nodes if node.name == _base(read)), None)
    if node is not None and node.op in ("Identity", "Cast", "Reshape", "ExpandDims"):
        return _constant(node.input[0], nodes)
    return tf.make_ndarray(node.attr["value"].tensor) if node is not None and node.op == "Const" else None


def _base(read: str) -> str:
    """The node that is read; what only waits for one (`^name`) reads none."""
    return read.partition(":")[0]
