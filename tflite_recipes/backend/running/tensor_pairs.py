"""Which tensor of a quantized file stands for which of its float file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tflite_recipes.conversion.op_places import layers_of_ops
from tflite_recipes.conversion.quality.tensor_errors import INPUT
from tflite_recipes.core.errors import Problem, StepError
from tflite_recipes.files.tflite import QUANTIZE_OPS, Operator, Subgraph, Tensor, TFLiteFile


@dataclass(frozen=True)
class Pair:
    """A tensor of the float file, and the one of the quantized file that holds the same; with the op that makes it in
    the float file (INPUT for none), that op's first output, and its layer."""

    float: Tensor
    quantized: Tensor
    op: str
    output: str
    layer: str


@dataclass(frozen=True)
class Pairs:
    """The activations of one signature's graph by index in the float file.

    graphs: numbers of the subgraphs in both files. makers: the float ops by the tensors they make. unmatched: names of
    quantized activations that the float file lacks. quantized: whether any activation is. layers: of the float ops by
    position.
    """

    graphs: tuple[int, int]
    sides: tuple[Subgraph, Subgraph]
    activations: Mapping[int, Pair]
    makers: Mapping[int, Operator]
    layers: Mapping[int, str]
    unmatched: list[str] = field(default_factory=list)

    @property
    def quantized(self) -> bool:
        return any(pair.quantized.scales for pair in self.activations.values())

    def told(self, pair: Pair) -> bool:
        """Whether the table shows it: what is quantized, or the outputs where nothing is."""
        return bool(pair.quantized.scales) or (not self.quantized and pair.float.index in self.sides[0].outputs)

    def inputs_of(self, index: int) -> list[int]:
        """The float activations that the op which makes this tensor takes."""
        op, tensors = self.makers.get(index), self.sides[0].tensors
        found = (i for i in op.inputs if i >= 0) if op else ()
        return [i for i in found if not tensors[i].is_constant and tensors[i].dtype == "float32"]

    def name(self, index: int) -> str:
        """A float tensor's name."""
        return self.sides[0].tensors[index].name


def pair_up(float_file: TFLiteFile, quantized_file: TFLiteFile, signature: str, layers: tuple[str, ...]) -> Pairs:
    """Match by name and op; then through QUANTIZE and DEQUANTIZE, on both sides of which the same values stand.

    TensorFlow's converter keeps names, but for an output that it dequantizes and for `tfl.quantize`;
    litert_quantizer keeps all and adds `NAME_quantized` and `NAME_dequant`. Errors: StepError for no such signature.
    """
    numbers = tuple(_graph_of(file, signature) for file in (float_file, quantized_file))
    ours, theirs = (file.subgraphs[n] for file, n in zip((float_file, quantized_file), numbers, strict=True))
    makers = _makers(ours)
    names = {ours.tensors[i].name: i for i in (*ours.inputs, *makers) if ours.tensors[i].dtype == "float32"}
    counterparts = _counterparts(names, makers, ours, theirs)
    computed = {index for op in theirs.operators if op.name not in QUANTIZE_OPS for index in op.outputs}
    best: dict[int, Tensor] = {}
    for index, other in counterparts.items():
        found = theirs.tensors[index]
        if other not in best or _rank(found, computed) > _rank(best[other], computed):
            best[other] = found
    layer_by_op = layers_of_ops(float_file, ours, signature, layers)
    pairs = {}
    for index, found in best.items():
        op = makers.get(index)
        output = ours.tensors[op.outputs[0]].name if op else ""
        layer = layer_by_op[op.index] if op else ""
        pairs[index] = Pair(ours.tensors[index], found, op.label if op else INPUT, output, layer)
    lost = (theirs.tensors[index] for index in sorted(computed - counterparts.keys()))
    left = [tensor.name for tensor in lost if _is_activation(tensor)]
    return Pairs((numbers[0], numbers[1]), (ours, theirs), pairs, makers, layer_by_op, left)


def _graph_of(file: TFLiteFile, signature: str) -> int:
    for found in file.signatures:
        if found.key == signature:
            return found.subgraph
    raise StepError(Problem(f"{file.path.name} has no signature {signature!r}", "optimization"))


def _makers(graph: Subgraph) -> dict[int, Operator]:
    return {index: op for op in graph.operators for index in op.outputs}


def _is_activation(tensor: Tensor) -> bool:
    return bool(tensor.scales) and tensor.dtype in ("int8", "uint8", "int16") and not tensor.is_variable


def _counterparts(
    names: Mapping[str, int], makers: Mapping[int, Operator], ours: Subgraph, theirs: Subgraph
) -> dict[int, int]:
    """Index in the float graph by index in the quantized one."""
    takers: dict[int, list[Operator]] = {}
    for op in ours.operators:
        for index in set(op.inputs):
            takers.setdefault(index, []).append(op)
    found = {index: names[name] for index in theirs.inputs if (name := theirs.tensors[index].name) in names}
    for op in theirs.operators:
        if op.name in QUANTIZE_OPS:
            other = found.get(op.inputs[0], names.get(theirs.tensors[op.outputs[0]].name))
            if other is not None and not theirs.tensors[op.inputs[0]].is_constant:
                found[op.outputs[0]] = other
            continue
        named = [makers.get(names.get(theirs.tensors[index].name, -1)) for index in op.outputs]
        if (mate := _mate(op, named, {found[index] for index in op.inputs if index in found}, takers)) is not None:
            pairs = zip(op.outputs, mate.outputs, strict=True)
            found.update({index: other for index, other in pairs if _is_value(theirs.tensors[index])})
    for op in reversed(theirs.operators):  # a dequantized output's name stands behind it
        if op.name in QUANTIZE_OPS and op.outputs[0] in found:
            found.setdefault(op.inputs[0], found[op.outputs[0]])
    return {index: other for index, other in found.items() if _axes(theirs, index) == _axes(ours, other)}


def _axes(graph: Subgraph, index: int) -> int:
    return len(graph.tensors[index].shape)


def _is_value(tensor: Tensor) -> bool:
    return tensor.dtype == "float32" or _is_activation(tensor)


def _mate(
    op: Operator, named: Sequence[Operator | None], taken: set[int], takers: Mapping[int, list[Operator]]
) -> Operator | None:
    """The op of the float graph that does the same: the one whose outputs have these names, unless another alone
    takes the same tensors. Names of several outputs, and of several products in one scope, are numbered in each file
    anew."""

    def alike(other: Operator | None) -> bool:
        return other is not None and other.label == op.label and len(other.outputs) == len(op.outputs)

    around = takers.get(next(iter(taken)), []) if taken else []
    fed = [mate for mate in around if alike(mate) and taken <= set(mate.inputs)]
    same = next((mate for mate in named if alike(mate)), None)
    if same is not None and (same in fed or len(fed) != 1):
        return same
    return fed[0] if len(fed) == 1 else None


def _rank(tensor: Tensor, computed: set[int]) -> tuple[bool, bool]:
    """Of several that hold the same, the one that the op itself gives; of a float op, the float one."""
    return tensor.index in computed, _is_activation(tensor)
