"""Which layer of the source an op of a `.tflite` belongs to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tflite_recipes.core.shapes import layer_finder, layer_of

if TYPE_CHECKING:  # which reads the format, and composing a recipe need not
    from tflite_recipes.files.tflite import Subgraph, TFLiteFile

_PRODUCT = re.compile(r"/(MatMul|Conv\w*|convolution|depthwise|Einsum|Tensordot/MatMul)\w*$")


def layers_of_ops(file: TFLiteFile, graph: Subgraph, signature: str, layers: tuple[str, ...]) -> dict[int, str]:
    """The layer of each op by its position, by the names of its weights and outputs; an output's own name is the
    signature's."""
    from tflite_recipes.files.tflite import WEIGHT_OPS

    find = layer_finder((tensor.name for tensor in graph.tensors), layers)
    outputs = ends(file, signature)
    found = {}
    for op in graph.operators:
        weights = [graph.tensors[i] for i in op.inputs if i >= 0 and graph.tensors[i].is_constant]
        weighty = [t.name for t in weights if len(t.shape) > 1] if op.name in WEIGHT_OPS else []
        own = [graph.tensors[i].name for i in op.outputs]
        parts = [part for name in (*weighty, *own) for part in name.split(";")]
        if op.name in WEIGHT_OPS:  # the product itself first: what is folded into it has other layers' names
            parts.sort(key=lambda part: not _PRODUCT.search(part))
        layer = next((layer for part in parts if (layer := find(part))), "")
        named = [outputs[i] for i in op.outputs if i in outputs]
        found[op.index] = layer or next((name for name in named if name in layers), "")
    return found


def scopes_of_ops(file: TFLiteFile, graph: Subgraph, signature: str, layers: tuple[str, ...]) -> dict[int, str]:
    """The same; in a model without layers the scope of an op's first output stands for the layer."""
    owners = layers_of_ops(file, graph, signature, layers)
    if layers:
        return owners
    first = {op.index: graph.tensors[op.outputs[0]].name.partition(";")[0] for op in graph.operators if op.outputs}
    return {index: owner or layer_of(first.get(index, ""), ()) for index, owner in owners.items()}


def ends(file: TFLiteFile, signature: str) -> dict[int, str]:
    """Outputs by tensor, as the signature calls them."""
    return {index: name for s in file.signatures if s.key == signature for name, index in s.outputs}
