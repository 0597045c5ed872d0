"""ai_edge_quantizer: a float `.tflite` → a quantized one.

It takes what TensorFlow's converter refuses: 16x8 of layer normalization, or of integer inputs.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.calibrator import Calibrator
from ai_edge_quantizer.qtyping import (
    ComputePrecision,
    OpQuantizationConfig,
    QuantGranularity,
    TensorDataType,
    TensorQuantizationConfig,
    TFLOperationName,
)
from ai_edge_quantizer.quantizer import Quantizer
from ai_edge_quantizer.recipe_manager import RecipeManager
from ai_edge_quantizer.utils.qsv_utils import min_max_update

from tflite_recipes import tflite_file
from tflite_recipes.backend.converter import Request
from tflite_recipes.backend.file_edits import without_dequantized_shapes
from tflite_recipes.diagnosis import open_sizes, sizes_given
from tflite_recipes.errors import Problem, StepError, gist
from tflite_recipes.events import Reporter
from tflite_recipes.tflite_file import Operator, Subgraph

_WHERE = "optimization.quantizer"
_ALL = TFLOperationName.ALL_SUPPORTED
_CONTROL = frozenset({"CALL", "IF", "STABLEHLO_CASE", "STABLEHLO_WHILE", "WHILE"})


def quantize(model: Path, signature: str, request: Request, reporter: Reporter, fix: str = "") -> bytes:
    """The quantized file's bytes. `fix` is what to advise where this quantizer cannot. Errors: StepError."""
    _refuse(model, request.scheme, fix)
    data = model.read_bytes()
    plan = _plan(request)
    try:
        ranges = _ranges(data, signature, plan, request, reporter) if plan.need_calibration() else None
        reporter.progress("quantizing", 0, 1)
        quantizer = Quantizer(bytearray(data), plan.get_quantization_recipe())
        result = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    except Exception as error:
        given, ways = sizes_given(open_sizes(request.inputs), request.sizes)
        ways = (given,) if given else ways
        raise StepError(Problem(f"ai_edge_quantizer refused: {gist(error)}", _WHERE, fix, ways)) from error
    reporter.progress("quantizing", 1, 1)
    return without_dequantized_shapes(bytes(result.quantized_model))


def _refuse(model: Path, scheme: str, fix: str) -> None:
    """What cannot be calibrated; weights alone can be quantized there. Errors: StepError."""
    if scheme in ("dynamic_range", "float16"):
        return
    weights_only = "optimization=dynamic_range"
    ways = (weights_only,) if fix != weights_only else ()
    graphs = tflite_file.read_tflite(model).subgraphs
    if found := sorted({op.name for graph in graphs for op in graph.operators if op.name in _CONTROL}):
        what = f"ai_edge_quantizer measures no ranges inside loops and branches, and the model has {', '.join(found)}"
        raise StepError(Problem(what, _WHERE, fix, ways))
    if unread := [f"{op.name} ({graph.tensors[i].name})" for graph in graphs for op, i in _unread(graph)]:
        what = f"ai_edge_quantizer cannot quantize an op with a result that nothing reads: {', '.join(unread[:5])}"
        raise StepError(Problem(what, _WHERE, fix, ways))


def _unread(graph: Subgraph) -> Iterator[tuple[Operator, int]]:
    """Parts of a split that are neither read nor an output. It would leave them float, which LiteRT does not load."""
    read = {index for op in graph.operators for index in op.inputs} | set(graph.outputs)
    for op in graph.operators:
        if op.name in ("SPLIT", "UNPACK"):
            yield from ((op, index) for index in op.outputs if index not in read)


def _plan(request: Request) -> RecipeManager:
    plan = RecipeManager()
    grain = QuantGranularity.CHANNELWISE if request.per_channel else QuantGranularity.TENSORWISE
    if request.scheme == "dynamic_range":
        plan.add_dynamic_config(".*", _ALL, 8, grain)
    elif request.scheme == "float16":
        plan.add_weight_only_config(".*", _ALL, 16, algorithm_key=AlgorithmName.FLOAT_CASTING)
    else:
        plan.add_static_config(".*", _ALL, 16 if request.scheme == "int16x8" else 8, 8, grain)
        _set_edge(plan, TFLOperationName.INPUT, request.input_type)
        _set_edge(plan, TFLOperationName.OUTPUT, request.output_type)
    return plan


def _set_edge(plan: RecipeManager, edge: TFLOperationName, kind: str) -> None:
    """Inputs or outputs in another type than the activations inside, which they have otherwise."""
    if kind == "float32":
        plan.add_quantization_config(".*", edge, None, AlgorithmName.NO_QUANTIZE)
    elif kind == "uint8":
        unsigned = TensorQuantizationConfig(num_bits=8, symmetric=False, dtype=TensorDataType.UINT)
        weights = TensorQuantizationConfig(num_bits=8, symmetric=True, granularity=QuantGranularity.CHANNELWISE)
        config = OpQuantizationConfig(unsigned, weights, compute_precision=ComputePrecision.INTEGER)
        plan.add_quantization_config(".*", edge, config)


def _ranges(data: bytes, signature: str, plan: RecipeManager, request: Request, reporter: Reporter) -> Any:
    """Each tensor's least and greatest value. The quantizer's own default, a moving average, would clip what it saw."""
    calibrator = Calibrator(data, num_threads=2, qsv_update_func=min_max_update)
    for sample, done, total in _samples(request):
        # One at a time, so that there is progress to tell; a bar for each would push all else out of the log.
        with contextlib.redirect_stderr(io.StringIO()):
            calibrator.calibrate({signature: [sample]}, plan)
        reporter.progress("calibration samples", done, total)
    return calibrator.get_model_qsvs()


def _samples(request: Request) -> Iterator[tuple[dict[str, Any], int, int]]:
    """Samples by input name, as many rows at a time as a fixed batch takes, and how many are done of how many."""
    assert request.samples is not None
    total = len(next(iter(request.samples.values())))
    for start in range(0, total, request.batch):
        first = min(start, total - request.batch)
        rows = slice(first, first + request.batch)
        yield {name: np.asarray(array[rows]) for name, array in request.samples.items()}, rows.stop, total
