"""Whether a converted file is what was asked for, and what its users must know of its inputs and outputs."""

from __future__ import annotations

import math

from tflite_recipes.conversion.remedies import asked_together
from tflite_recipes.core.errors import Problem, StepError
from tflite_recipes.core.shapes import layer_of
from tflite_recipes.core.state import CALIBRATED, State, TensorSpec
from tflite_recipes.files.tflite import LSTMS, QUANTIZE_OPS, WEIGHT_OPS, Tensor, TFLiteFile

_FLOATS = ("float16", "float32", "float64")
# Blocks of such weights may have their scales in a tensor of their own.
_SMALL = ("int4", "int2", "uint4")


# Ops whose weights each quantizer makes smaller; the converter leaves weights of fewer elements float.
_CONVERTER_WEIGHT_OPS = WEIGHT_OPS - {"CONV_3D", "CONV_3D_TRANSPOSE"}
_LITERT_WEIGHT_OPS = _CONVERTER_WEIGHT_OPS - LSTMS - {"GATHER", "SVDF"}
_LEAST_ELEMENTS = 1024


def is_unchanged(file: TFLiteFile) -> bool:
    """Return whether no tensor of a file is quantized, so that it computes what the float file does."""
    tensors = [tensor for graph in file.subgraphs for tensor in graph.tensors]
    return not any((t.scales and t.dtype not in _FLOATS) or t.dtype in _SMALL or _is_half(t) for t in tensors)


def eligible(file: TFLiteFile, scheme: str, by_converter: bool) -> tuple[str, ...]:
    """Return the tensors of a float file that a scheme is for, by name: activations, or weights that an op reads.

    Args:
        file: The float file, or what came out if nothing changed.
        scheme: The scheme's name.
        by_converter: Whether TensorFlow's converter quantizes; else litert_quantizer does.
    """
    if scheme in CALIBRATED:
        return tuple(
            graph.tensors[index].name
            for graph in file.subgraphs
            for op in graph.operators
            if by_converter or op.name not in LSTMS
            for index in op.outputs
            if not op.custom_code and graph.tensors[index].dtype == "float32"
        )
    least = _LEAST_ELEMENTS if by_converter and scheme == "dynamic_range" else 1
    ops = _CONVERTER_WEIGHT_OPS if by_converter else _LITERT_WEIGHT_OPS
    return tuple(
        dict.fromkeys(
            graph.tensors[index].name
            for graph in file.subgraphs
            for op in graph.operators
            if op.name in ops
            for index in op.inputs
            if index >= 0 and _is_weight(graph.tensors[index], least)
        )
    )


def check_changed(file: TFLiteFile, scheme: str, by_converter: bool, fix: str) -> str:
    """Refuse a file of which a scheme changed nothing. Return the warning if no tensor was eligible, "" if all is well.

    Raises:
        StepError: Tensors were eligible. `fix` asks for the float file.
    """
    if scheme == "none" or not is_unchanged(file):
        return ""
    if not (names := eligible(file, scheme, by_converter)):
        return f"{scheme} was asked, and the model has no tensor for it: nothing is quantized"
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    what = f"{scheme} was asked, and no tensor was quantized: {', '.join(names[:5])}{more} stayed float32"
    raise StepError(Problem(what, "optimization", fix))


# Ops that an open size keeps in the file, or keeps from their integer kernel: with a fixed batch they may go away.
_OF_SIZES = frozenset(
    """
    WHILE IF CALL_ONCE FILL BROADCAST_TO BROADCAST_ARGS RANGE TILE CAST ZEROS_LIKE ONE_HOT SHAPE
    """.split()  # noqa: SIM905
)


def check(file: TFLiteFile, scheme: str, input_type: str, output_type: str, state: State) -> None:
    """Refuse a file that quietly came out in another scheme. Errors: StepError naming tensors."""
    problems = list(_io_problems(file, state.inputs, input_type, output_type))
    tensors = [tensor for subgraph in file.subgraphs for tensor in subgraph.tensors]
    floats = [tensor for tensor in tensors if tensor.dtype in _FLOATS]
    if scheme == "integer_only":
        asked_float = "float32" in (input_type, output_type)
        inner = [t for t in floats if not (asked_float and _at_the_edge(file, t))]
        if inner:
            what = f"integer only was asked, but {len(inner)} tensors are float: {_float_places(file, inner, state)}"
            # An op without an integer kernel lacks it at any batch.
            of_batch = ("fixed_batch",) if _kinds(file, inner) & _OF_SIZES else ()
            remedies = ("unroll", *of_batch, "conv_3d", "integer_ops", "full_integer")
            # A branch stays float in a full integer file too, and is wrong there.
            fix = asked_together(state.faults) if "branches" in state.faults else "optimization=full_integer"
            problems.append(Problem(what, "optimization", fix, (), remedies))
    idle = is_unchanged(file) and not eligible(file, scheme, by_converter=True)
    if scheme in ("full_integer", "integer_only") and not idle and not any(t.dtype == "int8" for t in tensors):
        problems.append(Problem("integer was asked, but no tensor came out int8", "optimization"))
    activations = [t for t in tensors if not t.is_constant]
    if scheme in ("int16x8", "int16x8_fallback") and not idle and not any(t.dtype == "int16" for t in activations):
        problems.append(Problem("16x8 was asked, but no activation came out int16", "optimization"))
    if scheme == "none" and any(t.dtype in ("int8", "float16") and t.is_constant and t.scales for t in tensors):
        problems.append(Problem("float32 was asked, but weights came out quantized", "optimization"))
    stored = sum(t.buffer_bytes for t in tensors if t.is_constant)
    if state.parameters >= 1024 and stored < 0.05 * state.parameters:
        what = f"{state.parameters} parameters went in, {stored} bytes of constants came out: the weights are missing"
        problems.append(Problem(what, "optimization"))
    problems += _uninitialised(file)
    if problems:
        raise StepError(problems)


def _is_half(tensor: Tensor) -> bool:
    return tensor.is_constant and tensor.dtype == "float16"


def _is_weight(tensor: Tensor, least: int) -> bool:
    size = math.prod(length or 0 for length in tensor.shape)
    return tensor.is_constant and tensor.dtype == "float32" and len(tensor.shape) >= 2 and size >= least


def _kinds(file: TFLiteFile, inner: list[Tensor]) -> set[str]:
    """The ops that take or give these tensors."""
    floats = {(t.name, t.index) for t in inner}
    return {
        op.name
        for graph in file.subgraphs
        for op in graph.operators
        for i in (*op.inputs, *op.outputs)
        if i >= 0 and (graph.tensors[i].name, graph.tensors[i].index) in floats
    }


def _float_places(file: TFLiteFile, inner: list[Tensor], state: State) -> str:
    """The ops that take or give them, each with its layer; the tensors themselves where none does."""
    floats = {(t.name, t.index) for t in inner}
    found: list[str] = []
    for graph in file.subgraphs:
        for op in graph.operators:
            touched = [graph.tensors[i] for i in (*op.inputs, *op.outputs) if i >= 0]
            if op.name not in QUANTIZE_OPS and any((t.name, t.index) in floats for t in touched):
                named = graph.tensors[op.outputs[0]] if op.outputs else touched[-1]
                layer = layer_of(named.name.partition(";")[0], state.layers)
                found.append(f"{op.label}{layer and f' in {layer}'}")
    places = list(dict.fromkeys(found)) or [f"{t.name} ({t.dtype})" for t in inner]
    return ", ".join(places[:5]) + (f" and {len(places) - 5} more" if len(places) > 5 else "")


def _uninitialised(file: TFLiteFile) -> list[Problem]:
    """Variables that are read and that nothing ever assigns: they hold zeros, whatever the model's weights were."""
    operators = [op for graph in file.subgraphs for op in graph.operators]
    reads = sum(op.name == "READ_VARIABLE" for op in operators)
    if not reads or any(op.name == "ASSIGN_VARIABLE" for op in operators):
        return []
    what = f"the file reads {reads} variables that nothing initialises: the weights are missing"
    return [Problem(what, "optimization", "freeze.variables=freeze")]


def left_float(file: TFLiteFile, scheme: str) -> str:
    """What to say of a file none of whose weights has the type that its scheme is for, else ""."""
    wanted = {"dynamic_range": "int8", "float16": "float16"}.get(scheme)
    constants = [t for graph in file.subgraphs for t in graph.tensors if t.is_constant]
    if wanted is None or any(tensor.dtype == wanted for tensor in constants):
        return ""
    reason = ": the converter leaves weights of fewer than 1,024 elements float" if scheme == "dynamic_range" else ""
    return f"{scheme} was asked, and no weight came out {wanted}{reason}"


def _at_the_edge(file: TFLiteFile, tensor: Tensor) -> bool:
    edges = [(graph.inputs, graph.outputs) for graph in file.subgraphs if tensor in graph.tensors]
    return any(tensor.index in inputs or tensor.index in outputs for inputs, outputs in edges)


def _io_problems(file: TFLiteFile, inputs: tuple[TensorSpec, ...], input_type: str, output_type: str) -> list[Problem]:
    declared = {spec.name: spec.dtype for spec in inputs}
    problems = []
    for signature in file.signatures:
        tensors = file.subgraphs[signature.subgraph].tensors
        for name, index in signature.inputs:
            wanted = input_type if declared.get(name, "float32") in _FLOATS else declared[name]
            if tensors[index].dtype != wanted:
                what = f"input {name!r} came out {tensors[index].dtype}, {wanted} was asked"
                problems.append(Problem(what, "optimization.input_type"))
        for name, index in signature.outputs:
            dtype = tensors[index].dtype
            if dtype != output_type and dtype not in ("bool", "int32", "int64", "string"):
                what = f"output {name!r} came out {dtype}, {output_type} was asked"
                problems.append(Problem(what, "optimization.output_type"))
    return problems
