"""litert_quantizer: a float `.tflite` → a quantized one.

It takes what TensorFlow's converter refuses: 16x8 of layer normalization, or of integer inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from litert_quantizer.quantizer import Quantizer
from litert_quantizer.recipe_manager import RecipeManager

from tflite_recipes.backend.converting import block_weights, float_calibration, graph_outputs
from tflite_recipes.backend.converting.conversion_request import Request
from tflite_recipes.backend.converting.file_edits import without_dequantized_shapes
from tflite_recipes.backend.converting.quantization_plan import plan
from tflite_recipes.backend.converting.recent_results import once
from tflite_recipes.conversion.diagnosis import open_sizes, sizes_given
from tflite_recipes.conversion.ranges import Ranges
from tflite_recipes.conversion.rules import OpPlace, Resolved
from tflite_recipes.core.errors import Problem, StepError, gist
from tflite_recipes.core.events import Reporter
from tflite_recipes.files import tflite
from tflite_recipes.files.tflite import Operator, Subgraph

_WHERE = "optimization.quantizer"
_CONTROL = frozenset({"CALL", "IF", "STABLEHLO_CASE", "STABLEHLO_WHILE", "WHILE"})


@dataclass(frozen=True)
class Quantized:
    """The file's bytes, and the ranges that were measured, None where none were needed."""

    data: bytes
    ranges: Ranges | None = None


def quantize(
    model: Path,
    signature: str,
    request: Request,
    ops: Sequence[OpPlace],
    resolved: Resolved,
    reporter: Reporter,
    fix: str = "",
) -> Quantized:
    """Quantize a float file whose ops are `ops`. `fix` is what to advise where this quantizer cannot. Errors:
    StepError."""
    blocks = _blockwise(model, request, ops, resolved)
    if request.block_size is not None and not blocks:
        what = f"optimization.block_size={request.block_size} has no effect: no rows of weights are whole blocks"
        reporter.warn(f"{what}, so a row has one scale")
    made = plan(request, ops, resolved, frozenset(blocks))
    calibrated = made.need_calibration()
    _refuse(model, calibrated, fix)
    try:
        measured = _measure(model, signature, request, reporter) if calibrated else None
        limits = _limits(model, signature, request, measured, made, reporter) if measured is not None else None
        reporter.progress("quantizing", 0, 1)
        quantizer = Quantizer(bytearray(model.read_bytes()), made.get_quantization_recipe())
        result = quantizer.quantize(limits, enable_progress_bar=False, enable_progress_report=False)
    except Exception as error:
        given, ways = sizes_given(open_sizes(request.inputs), request.sizes)
        ways = (given,) if given else ways
        # LiteRT's reshape kernel: the file keeps a batch of another size than the samples'.
        helps = ("fixed_batch",) if "num_input_elements != num_output_elements" in str(error) else ()
        raise StepError(Problem(f"litert_quantizer refused: {gist(error)}", _WHERE, fix, ways, helps)) from error
    reporter.progress("quantizing", 1, 1)
    data = graph_outputs.corrected(bytes(result.quantized_model), request.output_type)
    data = without_dequantized_shapes(data)
    if request.scheme.startswith("weight_only") and request.block_size:
        bits = 4 if request.scheme == "weight_only_int4" else 8
        data = block_weights.with_blocks(data, blocks.values(), request.block_size, bits)
    return Quantized(data, measured)


def _blockwise(model: Path, request: Request, ops: Sequence[OpPlace], resolved: Resolved) -> dict[int, str]:
    """The ops whose weights come in whole blocks, by number, with the weights' names. One that a rule is about has the
    form that the rule says."""
    if request.block_size is None:
        return {}
    dynamic = request.scheme == "dynamic_range_int4"
    graph = tflite.read_tflite(model).subgraphs[0]
    found = {}
    for number, op in enumerate(graph.operators):
        at = block_weights.WEIGHTS.get(op.name)
        if at is None or resolved.schemes[number] is not None or (dynamic and op.name != "FULLY_CONNECTED"):
            continue
        weights = graph.tensors[op.inputs[at]]
        row = int(np.prod([size or 0 for size in weights.shape[1:]]))
        if weights.is_constant and weights.dtype == "float32" and row and row % request.block_size == 0:
            found[number] = weights.name
    return found


def _refuse(model: Path, calibrated: bool, fix: str) -> None:
    """What cannot be calibrated; weights alone can be quantized there. Errors: StepError."""
    if not calibrated:
        return
    weights_only = "optimization=dynamic_range"
    ways = (weights_only,) if fix != weights_only else ()
    graphs = tflite.read_tflite(model).subgraphs
    if found := sorted({op.name for graph in graphs for op in graph.operators if op.name in _CONTROL}):
        what = f"litert_quantizer measures no ranges inside loops and branches, and the model has {', '.join(found)}"
        raise StepError(Problem(what, _WHERE, fix, ways))
    if unread := [f"{op.name} ({graph.tensors[i].name})" for graph in graphs for op, i in _unread(graph)]:
        what = f"litert_quantizer cannot quantize an op with a result that nothing reads: {', '.join(unread[:5])}"
        raise StepError(Problem(what, _WHERE, fix, ways))


def _unread(graph: Subgraph) -> Iterator[tuple[Operator, int]]:
    """Parts of a split that are neither read nor an output. It would leave them float, which LiteRT does not load."""
    read = {index for op in graph.operators for index in op.inputs} | set(graph.outputs)
    for op in graph.operators:
        if op.name in ("SPLIT", "UNPACK"):
            yield from ((op, index) for index in op.outputs if index not in read)


# Of the last few float files with their samples: what was measured.
_measured: dict[str, Ranges] = {}


def _measure(model: Path, signature: str, request: Request, reporter: Reporter) -> Ranges:
    """Each activation's least and greatest value, once for a float file and its samples."""
    samples = request.samples
    assert samples is not None
    key = float_calibration.key(model, request.calibration_sha256)
    return once(
        _measured, key, lambda: float_calibration.measure(model, signature, samples, request.batch, _told(reporter))
    )


def _limits(
    model: Path, signature: str, request: Request, measured: Ranges, made: RecipeManager, reporter: Reporter
) -> dict[str, Any]:
    """The ranges as the quantizer takes them. Its own default, a moving average, would clip what it saw."""
    bits = 16 if request.scheme.startswith("int16x8") else 8
    assert request.samples is not None
    chosen = float_calibration.chosen(
        model, signature, request.samples, request.batch, measured, request.ranges, bits, _told(reporter)
    )
    (graph, *_) = tflite.read_tflite(model).subgraphs
    axes = {tensor.name: len(tensor.shape) for tensor in graph.tensors}
    return {
        name: {"min": _boxed(low, axes[name]), "max": _boxed(high, axes[name])} for name, (low, high) in chosen.items()
    }


def _boxed(value: float, axes: int) -> Any:
    return np.full((1,) * axes, value, np.float32)


def _told(reporter: Reporter) -> float_calibration.Tell:
    return lambda done, total: reporter.progress("calibration samples", done, total)
