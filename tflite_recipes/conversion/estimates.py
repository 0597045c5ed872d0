"""Which change of scheme would make a file small enough: estimates from the file at hand, without converting again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # which reads the format, and composing a recipe need not
    from tflite_recipes.files.tflite import Subgraph, Tensor, TFLiteFile

# The least change first: what keeps most of the model's precision and asks for least.
SCHEMES = ("none", "float16", "dynamic_range", "integer_only", "dynamic_range_int4")
_BIAS = 2  # its position among the inputs of a convolution or a Dense layer
_CALIBRATION = "calibration=npz calibration.path=FILE"
_BYTES = {"float16": 2, "int8": 1, "uint8": 1, "bool": 1, "int16": 2, "int64": 8}  # all else 4
_FLOAT = ("float32", "float16")
# TensorFlow's converter leaves smaller weights alone in dynamic range (its quantizer's `minimum_elements_for_weights`).
_LEAST_ELEMENTS = 1024
# Measured on conversions of two models (tests/conversion/test_estimates.py), with the file format's alignment: a scale
# (4 bytes) and a zero point (8) a channel; the table that holds them; the op and the tensor that unpack a float16
# constant.
_CHANNEL_BYTES, _QUANTIZATION_BYTES, _UNPACKING_BYTES = 12, 48, 160
_REQUANTIZED_BYTES = 8
# Twice the largest error of those estimates: what is named as fitting has to fit.
_MARGIN = 1.03


@dataclass(frozen=True)
class Option:
    """overrides: ready to paste. size: bytes of the file or of its activations, by estimate."""

    overrides: str
    size: int


@dataclass(frozen=True)
class _Constants:
    """Tensors of one kind each: weights of two dimensions and more, biases, other numbers. Some share their bytes.

    added: the length of the bias of each op that has one; ops share equal biases, but not their scales.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    others: tuple[Tensor, ...]
    added: tuple[int, ...]

    @property
    def every(self) -> tuple[Tensor, ...]:
        return (*self.weights, *self.biases, *self.others)


def estimated_bytes(file: TFLiteFile, scheme: str) -> int:
    """The size in bytes that the same model has in a scheme of `SCHEMES`: an estimate, from the file in another one."""
    found = _constants(file)
    total = _structure(file, found.every)
    total += sum(_count(tensor) * _weight_width(tensor, scheme) for tensor in _once(found.weights))
    total += sum(_count(tensor) * (2 if scheme == "float16" else 4) for tensor in _once(found.biases))
    other = {"float16": 2, "integer_only": 1}.get(scheme, 4)
    total += sum(_count(tensor) * other for tensor in _once(found.others))
    scaled = [_channels(tensor) for tensor in found.weights if _weight_width(tensor, scheme) <= 1]
    if scheme == "integer_only":
        scaled += [*found.added, *[1] * (len(found.others) + len(_computed(file)))]
    total += sum(_QUANTIZATION_BYTES + _CHANNEL_BYTES * channels for channels in scaled)
    return round(total + (_UNPACKING_BYTES * len(found.every) if scheme == "float16" else 0))


def smaller_file(
    file: TFLiteFile, scheme: str, limit: float, calibrated: bool, schemes: Sequence[str] = SCHEMES
) -> Option | None:
    """The least change of scheme by which the file would have at most `limit` bytes; None where none would.

    scheme: the one that the file has. calibrated: whether the recipe has a calibration. schemes: those that the target
    takes, the least change first. An estimate has to be 3 % below the limit, which is more than it errs by.
    """
    for name in schemes:
        if name != scheme and (size := estimated_bytes(file, name)) * _MARGIN <= limit:
            return Option(overrides(name, calibrated), size)
    return None


def activation_bytes(file: TFLiteFile, integer: bool = False) -> int:
    """The most bytes that computed tensors of the main graph take at once: each from the op that makes it to the last
    that reads it, in the order of the file, and inputs from the start. A lower bound of what an interpreter plans.

    integer: as if floating point were int8. An open size is taken as 1.
    """
    graph = file.subgraphs[0]
    first, last = _lives(graph)
    left_out = _unpacked(graph)
    first = {index: at for index, at in first.items() if index not in left_out}
    sizes = {index: _tensor_bytes(graph.tensors[index], integer) for index in first}
    moments = range(len(graph.operators) or 1)
    return max((sum(sizes[i] for i in first if first[i] <= at <= last[i]) for at in moments), default=0)


def smaller_activations(file: TFLiteFile, limit: float, calibrated: bool) -> Option | None:
    """The integer scheme, where its activations would take at most `limit` bytes and those of this file do not."""
    size = activation_bytes(file, integer=True)
    if size <= limit < activation_bytes(file):
        return Option(overrides("integer_only", calibrated), size)
    return None


def integer_arena_bytes(file: TFLiteFile, arena_bytes: int, wider: int) -> int:
    """TensorFlow Lite Micro's arena of the same model in int8, from that of this file: an estimate, rather too large.

    Activations shrink; what the interpreter keeps beside them does not, and grows by a multiplier and a shift (4 bytes
    each) for each output channel. wider: bytes of an activation of this file.
    """
    now, then = activation_bytes(file), activation_bytes(file, integer=True)
    then = then if then < now else now // wider
    return max(arena_bytes - now, 0) + then + _REQUANTIZED_BYTES * sum(map(_channels, _constants(file).weights))


def overrides(scheme: str, calibrated: bool) -> str:
    """What gives a scheme, with samples where the recipe has none."""
    needs = "" if calibrated or scheme != "integer_only" else f" {_CALIBRATION}"
    return f"optimization={scheme}{needs}"


def _weight_width(tensor: Tensor, scheme: str) -> float:
    """Bytes of one weight."""
    if scheme == "none" or (scheme == "dynamic_range" and _count(tensor) < _LEAST_ELEMENTS):
        return 4.0
    if scheme == "dynamic_range_int4":  # which depthwise convolutions do not take
        return 1.0 if _is_depthwise(tensor) else 0.5
    return 2.0 if scheme == "float16" else 1.0


def _channels(tensor: Tensor) -> int:
    """How many slices of a weight have a scale: its first axis, or the last of a depthwise one."""
    return (tensor.shape[-1] if _is_depthwise(tensor) else tensor.shape[0]) or 1


def _is_depthwise(tensor: Tensor) -> bool:
    return len(tensor.shape) == 4 and tensor.shape[0] == 1


def _once(tensors: Iterable[Tensor]) -> Iterable[Tensor]:
    """One tensor for each run of bytes in the file."""
    return {tensor.buffer_offset: tensor for tensor in tensors}.values()


def _count(tensor: Tensor) -> int:
    return prod(size or 1 for size in tensor.shape)


def _tensor_bytes(tensor: Tensor, integer: bool) -> int:
    return _count(tensor) * (1 if integer and tensor.dtype in _FLOAT else _BYTES.get(tensor.dtype, 4))


def _constants(file: TFLiteFile) -> _Constants:
    """Integers that are no weights and no biases, such as shapes, stay as they are and belong to no kind."""
    from tflite_recipes.files.tflite import WEIGHT_OPS, weight_tensors

    weighty = {tensor.buffer_offset for tensor in weight_tensors(file)}
    weights, biases, others, lengths = [], [], [], []
    for graph in file.subgraphs:
        origin = {op.outputs[0]: op.inputs[0] for op in graph.operators if op.name == "DEQUANTIZE"}
        read = [op.inputs[_BIAS] for op in graph.operators if op.name in WEIGHT_OPS and len(op.inputs) > _BIAS]
        added = [origin.get(index, index) for index in read if index >= 0]
        lengths += [_count(graph.tensors[index]) for index in added if graph.tensors[index].is_constant]
        for tensor in (tensor for tensor in graph.tensors if tensor.is_constant):
            if tensor.buffer_offset in weighty or tensor.dtype == "int4":
                weights.append(tensor)
            elif tensor.index in added and len(tensor.shape) == 1:
                biases.append(tensor)
            elif tensor.dtype in _FLOAT or tensor.scales:
                others.append(tensor)
    return _Constants(tuple(weights), tuple(biases), tuple(others), tuple(lengths))


def _structure(file: TFLiteFile, constants: Sequence[Tensor]) -> float:
    """Bytes of the file without these constants, and without what quantizing and unpacking them added."""
    size = float(file.size_bytes) - sum(tensor.buffer_bytes for tensor in _once(constants))
    scaled = [len(tensor.scales) for graph in file.subgraphs for tensor in graph.tensors if tensor.scales]
    size -= sum(_QUANTIZATION_BYTES + _CHANNEL_BYTES * channels for channels in scaled)
    return size - _UNPACKING_BYTES * sum(tensor.dtype == "float16" for tensor in constants)


def _computed(file: TFLiteFile) -> list[Tensor]:
    """What an integer scheme gives a scale besides the constants."""
    found = []
    for graph in file.subgraphs:
        left_out = _unpacked(graph)
        numbers = (tensor for tensor in graph.tensors if tensor.dtype in _FLOAT or tensor.scales)
        found += [tensor for tensor in numbers if not tensor.is_constant and tensor.index not in left_out]
    return found


def _unpacked(graph: Subgraph) -> set[int]:
    """Constants in another type than they are stored in: other schemes have no tensor for them."""
    unpacking = (op for op in graph.operators if op.name == "DEQUANTIZE" and graph.tensors[op.inputs[0]].is_constant)
    return {index for op in unpacking for index in op.outputs}


def _lives(graph: Subgraph) -> tuple[dict[int, int], dict[int, int]]:
    """The op, by position, that first has each computed tensor, and the last that needs it."""
    end = len(graph.operators) - 1
    first = dict.fromkeys(graph.inputs, 0)
    last = dict.fromkeys(graph.outputs, end)
    for position, op in enumerate(graph.operators):
        for index in op.outputs:
            first.setdefault(index, position)
            last.setdefault(index, position)
        for index in op.inputs:
            if index in first:
                last[index] = max(last.get(index, 0), position)
    for index in first:
        last.setdefault(index, 0)
    return first, last
