"""Puts a file's inputs and outputs in the source's own order, which the converter does not keep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tflite_recipes.files.tflite.mapped import mapped


def in_order(path: Path, signature: str, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """List the tensors of the graph of a file's signature in the order of these names, in the file itself.

    Only the two lists of tensor indices change, in place, so nothing else of the file moves. Names that the
    signature lacks are passed over, and tensors that it does not name keep to the end.
    """
    model: Any = schema.Model.GetRootAs(mapped(path, write=True), 0)
    for position in range(model.SignatureDefsLength()):
        found = model.SignatureDefs(position)
        if found.SignatureKey().decode() != signature:
            continue
        graph = model.Subgraphs(found.SubgraphIndex())
        _reorder(graph.InputsAsNumpy(), inputs, [found.Inputs(i) for i in range(found.InputsLength())])
        _reorder(graph.OutputsAsNumpy(), outputs, [found.Outputs(i) for i in range(found.OutputsLength())])


def _reorder(indices: Any, names: Sequence[str], entries: Sequence[Any]) -> None:
    """`indices` is a view of the file's own bytes; `entries` are the signature's pairs of name and tensor index."""
    by_name = {entry.Name().decode(): entry.TensorIndex() for entry in entries}
    wanted = [by_name[name] for name in names if name in by_name]
    if isinstance(indices, int):  # flatbuffers' word for an empty list
        return
    rest = list(map(int, indices))
    for index in wanted:
        if index not in rest:
            return  # the signature names a tensor that is no output of the graph: leave it as it is
        rest.remove(index)
    indices[:] = [*wanted, *rest]
