"""Correct the outputs of a file from litert_quantizer where an op also reads an output in another scale.

litert_quantizer 0.11 inserts a QUANTIZE before such an op (CONCATENATION and PACK want one scale for all inputs), and
makes its result the graph's output as well (transformations/quant_insert.py). The signature keeps the former tensor,
whose memory LiteRT has reused by then: "Tensor data is null".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from ai_edge_litert import schema_py_generated as schema

_OP, _TYPES = schema.BuiltinOperator, schema.TensorType
_CONVERTING = (_OP.QUANTIZE, _OP.DEQUANTIZE)
# What litert_quantizer adds to the name of a tensor that it quantizes.
_SUFFIX = b"_quantized"
# Field of the table TensorMap in LiteRT's schema.fbs, as an offset into its vtable.
_TENSOR_INDEX = 6


def corrected(data: bytes, output_type: str) -> bytes:
    """Return the file with its computed outputs in `output_type`, each in the scale that it was calibrated to.

    Only tensor indices change, in place, so nothing else of the file moves.
    """
    buffer = bytearray(data)
    model: Any = schema.Model.GetRootAs(buffer, 0)
    kind = getattr(_TYPES, output_type.upper())
    for signature in map(model.SignatureDefs, range(model.SignatureDefsLength())):
        graph = model.Subgraphs(signature.SubgraphIndex())
        for position, former, right in _replacements(model, graph, kind):
            ports = [port for port in _ports(signature) if port.TensorIndex() in former]
            places = [
                port._tab.Offset(_TENSOR_INDEX) and port._tab.Pos + port._tab.Offset(_TENSOR_INDEX) for port in ports
            ]
            if all(places):  # an index of 0 has no place in the file
                graph.OutputsAsNumpy()[position] = right
                for place in places:
                    struct.pack_into("<I", buffer, place, right)
    return bytes(buffer)


def _is(graph: Any, ports: list[Any], kind: int) -> bool:
    return all(graph.Tensors(port.TensorIndex()).Type() == kind for port in ports)


def _replacements(model: Any, graph: Any, kind: int) -> Iterator[tuple[int, frozenset[int], int]]:
    """Yield the position of each wrong output, the tensors that its signature may name, and the right tensor."""
    converted = list(_conversions(model, graph))
    origin = {result: source for source, result in converted}
    for position in range(graph.OutputsLength()):
        output = graph.Outputs(position)
        source = origin.get(output)
        if source is None or graph.Tensors(output).Name() != (graph.Tensors(source).Name() or b"") + _SUFFIX:
            continue
        others = (result for start, result in converted if start == source and result != output)
        candidates = [index for index in (source, *others) if graph.Tensors(index).Type() == kind]
        if candidates:
            yield position, frozenset((output, source)), candidates[0]


def _conversions(model: Any, graph: Any) -> Iterator[tuple[int, int]]:
    """Yield the input and the output of each QUANTIZE and DEQUANTIZE."""
    for op in map(graph.Operators, range(graph.OperatorsLength())):
        code = model.OperatorCodes(op.OpcodeIndex())
        if max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) in _CONVERTING:
            yield op.Inputs(0), op.Outputs(0)


def _ports(signature: Any) -> list[Any]:
    return [signature.Outputs(index) for index in range(signature.OutputsLength())]
