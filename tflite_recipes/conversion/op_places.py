"""The ops of a `.tflite` as rules see them."""

from __future__ import annotations

from tflite_recipes.conversion.rules import OpPlace
from tflite_recipes.files.tflite import Subgraph, TFLiteFile
from tflite_recipes.files.tflite.op_layers import ends, layers_of_ops, scopes_of_ops

__all__ = ["layers_of_ops", "places"]


def places(file: TFLiteFile, graph: Subgraph, signature: str, layers: tuple[str, ...]) -> list[OpPlace]:
    """The ops of a graph as rules see them; in a model without layers their scope stands for the layer."""
    owners, named = scopes_of_ops(file, graph, signature, layers), ends(file, signature)
    found = []
    for op in graph.operators:
        outputs = tuple(graph.tensors[index].name for index in op.outputs)
        called = tuple(named[index] for index in op.outputs if index in named)
        found.append(OpPlace(op.label, outputs, owners[op.index], called))
    return found
