"""Which layer of the source an op of a `.tflite` belongs to."""

from __future__ import annotations

import re

from tflite_recipes.quantization_rules import OpPlace
from tflite_recipes.shapes import layer_finder, layer_of
from tflite_recipes.tflite_file import WEIGHT_OPS, Subgraph, TFLiteFile

_PRODUCT = re.compile(r"/(MatMul|Conv\w*|convolution|depthwise|Einsum|Tensordot/MatMul)\w*$")


def layers_of_ops(file: TFLiteFile, graph: Subgraph, signature: str, layers: tuple[str, ...]) -> dict[int, str]:
    """The layer of each op by its position, by the names of its weights and outputs; an output's own name is the
    signature's."""
    find = layer_finder((tensor.name for tensor in graph.tensors), layers)
    outputs = _ends(file, signature)
    found = {}
    for op in graph.operators:
        weights = [graph.tensors[i] for i in op.inputs if i >= 0 and graph.tensors[i].is_constant]
        weighty = [t.name for t in weights if len(t.shape) > 1] if op.name in WEIGHT_OPS else []
        own = [graph.tensors[i].name for i in op.outputs]
        parts = [part for name in (*weighty, *own) for part in name.split(";")]
        if op.name in WEIGHT_OPS:  # the product itself first: what is folded into it has other layers' names
            parts.sort(key=lambda part: not _PRODUCT.search(part))
        layer = next((layer for part in parts if (layer := find(part))), "")
        ends = [outputs[i] for i in op.outputs if i in outputs]
        found[op.index] = layer or next((name for name in ends if name in layers), "")
    return found


def places(file: TFLiteFile, graph: Subgraph, signature: str, layers: tuple[str, ...]) -> list[OpPlace]:
    """The ops of a graph as rules see them; in a model without layers their scope stands for the layer."""
    owners, ends = layers_of_ops(file, graph, signature, layers), _ends(file, signature)
    found = []
    for op in graph.operators:
        outputs = tuple(graph.tensors[index].name for index in op.outputs)
        scope = layer_of(outputs[0].partition(";")[0], ()) if outputs and not layers else ""
        named = tuple(ends[index] for index in op.outputs if index in ends)
        found.append(OpPlace(op.label, outputs, owners[op.index] or scope, named))
    return found


def _ends(file: TFLiteFile, signature: str) -> dict[int, str]:
    """Outputs by tensor, as the signature calls them."""
    return {index: name for s in file.signatures if s.key == signature for name, index in s.outputs}
