"""Ops, and small `.tflite` files of them, for tests of what accelerators take."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from support.tflite_builders import buffer, operator, operator_code, pack, tensor, tensor_map
from tflite_recipes.files.tflite import Tensor
from tflite_recipes.targets.accelerators.accelerator_graph import Op


def value(index, shape=(1, 8, 8, 4), dtype="int8", constant=False):
    return Tensor(index, f"t{index}", shape, dtype, buffer_bytes=4 if constant else 0)


def op(name, *inputs, output=None, index=0, **values):
    """An op of int8 tensors of a picture, unless told otherwise."""
    given = inputs or (value(0),)
    return Op(index, name, given, (output or value(99),), **values)


def chain(*names):
    """Ops that feed one another, in that order."""
    return tuple(op(name, value(at), output=value(at + 1), index=at) for at, name in enumerate(names))


def write(
    path: Path, names: tuple[str, ...], dtype: str = "INT8", versions: dict[str, int] | None = None, graphs: int = 1
) -> Path:
    """A file whose ops feed one another on a 1 x 4 x 4 x 4 picture, with a constant that nothing reads.

    graphs: how many times the graph stands in it; those behind the first are as control flow would run them.
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.SubGraphT()
    graph.name = "main"
    quantized = {"scale": [0.5], "zeroPoint": [0]} if dtype == "INT8" else {}
    graph.tensors = [tensor(f"model/layer_{i}/y", [1, 4, 4, 4], dtype, **quantized) for i in range(len(names) + 1)]
    graph.tensors.append(tensor("unused", [3], "INT32", 1))
    kinds = tuple(dict.fromkeys(names))
    graph.operators = [operator(kinds.index(name), [at], [at + 1]) for at, name in enumerate(names)]
    graph.inputs, graph.outputs = [0], [len(names)]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs, signature.outputs = [tensor_map("x", 0)], [tensor_map("y", len(names))]
    model = schema.ModelT()
    model.version, model.description = 3, "chain"
    model.operatorCodes = [operator_code(name) for name in kinds]
    for code, name in zip(model.operatorCodes, kinds, strict=True):
        code.version = (versions or {}).get(name, 1)
    model.buffers = [buffer(), buffer(np.array([1, 2, 3], np.int32))]
    model.subgraphs, model.signatureDefs = [graph] * graphs, [signature]
    path.write_bytes(pack(model))
    return path
