"""The main graph of a file as an accelerator's rules see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # which reads the format, and the rules alone need not
    from tflite_recipes.files.tflite import Tensor, TFLiteFile

# Longer constants are weights: no rule asks for their values.
_MOST_VALUES = 64
# As `ActivationFunctionType` of the file format numbers them.
NO_ACTIVATION, TANH, SIGN_BIT = 0, 4, 5


@dataclass(frozen=True)
class Op:
    """An operator with its tensors looked up; an input left out is None.

    options: by the names of the format's schema. values: of small integer constants, by position among the inputs.
    users: names of the ops that read its first output, each with the dtype of its own first output. fed_by: the name of
    the op that its first input comes from, "" for none.
    """

    index: int
    name: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    version: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    users: tuple[tuple[str, str], ...] = ()
    fed_by: str = ""

    @property
    def computed(self) -> tuple[Tensor, ...]:
        """The inputs that are no constants."""
        return tuple(tensor for tensor in self.inputs if tensor is not None and not tensor.is_constant)

    @property
    def constants(self) -> tuple[Tensor, ...]:
        """The inputs whose values stand in the file."""
        return tuple(tensor for tensor in self.inputs if tensor is not None and tensor.is_constant)

    @property
    def activation(self) -> int:
        """The fused activation, as the format numbers it."""
        return int(self.options.get("fusedActivationFunction", NO_ACTIVATION))

    def input(self, position: int) -> Tensor | None:
        """The input at a position, None where there is none."""
        return self.inputs[position] if position < len(self.inputs) else None


def shape(tensor: Tensor) -> tuple[int, ...]:
    """The shape as the runtime allocates it unless told otherwise: an open size is 1."""
    return tuple(1 if size is None else size for size in tensor.shape)


def main_graph(file: TFLiteFile) -> tuple[Op, ...]:
    """The operators of the first subgraph, in their order. RequestError for a damaged file."""
    from tflite_recipes.files.tflite.operators import operator_details

    graph = file.subgraphs[0]
    details = operator_details(file.path)
    made_by = {output: op for op in graph.operators for output in op.outputs}
    found = []
    for op in graph.operators:
        inputs = tuple(graph.tensors[i] if i >= 0 else None for i in op.inputs)
        outputs = tuple(graph.tensors[i] for i in op.outputs)
        readers = [other for other in graph.operators if op.outputs and op.outputs[0] in other.inputs]
        users = tuple((other.label, graph.tensors[other.outputs[0]].dtype) for other in readers if other.outputs)
        first = made_by.get(op.inputs[0]) if op.inputs else None
        detail = details[op.index]
        values = {at: _values(file, t) for at, t in enumerate(inputs) if t is not None and _is_small(t)}
        found.append(
            Op(
                op.index,
                op.label,
                inputs,
                outputs,
                detail.version,
                detail.options,
                values,
                users,
                first.label if first else "",
            )
        )
    return tuple(found)


def _is_small(tensor: Tensor) -> bool:
    whole = tensor.is_constant and not tensor.is_sparse
    return whole and tensor.dtype in ("int32", "int64") and tensor.buffer_bytes <= 8 * _MOST_VALUES


def _values(file: TFLiteFile, tensor: Tensor) -> tuple[int, ...]:
    from tflite_recipes.files.tflite import constant_array

    return tuple(int(value) for value in constant_array(file, tensor).ravel())


def without_unpacking(ops: tuple[Op, ...]) -> tuple[Op, ...]:
    """The ops without those that turn float16 constants to float32: delegates read the constants themselves.

    GraphPartitionHelper of LiteRT, `FP16GraphPartitionHelper` (tflite/delegates/utils.h).
    """
    folded: dict[int, Tensor] = {}
    for op in ops:
        origin = op.input(0)
        if op.name == "DEQUANTIZE" and origin is not None and origin.is_constant and origin.dtype == "float16":
            folded |= {output.index: origin for output in op.outputs}
    kept = (op for op in ops if not any(output.index in folded for output in op.outputs))
    return tuple(
        replace(op, inputs=tuple(folded.get(t.index, t) if t is not None else None for t in op.inputs)) for op in kept
    )
