"""What litert_quantizer is told: a configuration for all ops, and others for those that differ."""

from __future__ import annotations

import re
from collections.abc import Sequence

from litert_quantizer.algorithm_manager import AlgorithmName
from litert_quantizer.qtyping import (
    ComputePrecision,
    OpQuantizationConfig,
    QuantGranularity,
    TensorDataType,
    TensorQuantizationConfig,
    TFLOperationName,
)
from litert_quantizer.recipe_manager import RecipeManager

from tflite_recipes.backend.converting.conversion_request import Request
from tflite_recipes.conversion.rules import OpPlace, Resolved
from tflite_recipes.conversion.schemes import RuleScheme
from tflite_recipes.core.state import CALIBRATED

_ALL = TFLOperationName.ALL_SUPPORTED
_DENSE = "FULLY_CONNECTED"
# Whose weights the quantizer, and LiteRT's kernels, take in four bits.
_FOUR_BITS = frozenset({"BATCH_MATMUL", "CONV_2D", "EMBEDDING_LOOKUP", "FULLY_CONNECTED"})
_DYNAMIC_FOUR_BITS = _FOUR_BITS - {"BATCH_MATMUL"}
_NAMED_OTHERWISE = {"TRANSPOSE_CONV": TFLOperationName.CONV_2D_TRANSPOSE}


def plan(request: Request, ops: Sequence[OpPlace], resolved: Resolved, blockwise: frozenset[int]) -> RecipeManager:
    """The quantizer's own recipe for a file of these ops. `blockwise`: numbers of the ops whose weights get a scale for
    each block, here where activations are quantized dynamically; where they are not, these are left as they are."""
    made = RecipeManager()
    grain = QuantGranularity.CHANNELWISE if request.per_channel else QuantGranularity.TENSORWISE
    _add(made, ".*", _ALL, request.scheme, grain)
    if request.scheme in CALIBRATED:
        _set_edge(made, TFLOperationName.INPUT, request.input_type)
        _set_edge(made, TFLOperationName.OUTPUT, request.output_type)
    for number, (place, rule) in enumerate(zip(ops, resolved.schemes, strict=True)):
        known = _operation(place.op)
        if known is None or not place.outputs:
            continue
        scheme = rule.name if rule is not None else request.scheme
        own = grain
        if place.op == _DENSE and not request.per_channel_dense:
            own = QuantGranularity.TENSORWISE
        if number in blockwise:
            own = QuantGranularity[f"BLOCKWISE_{request.block_size}"]
            scheme = scheme if scheme == "dynamic_range_int4" else RuleScheme.float.name
        if rule is not None or own is not grain or scheme.endswith("_int4"):
            _add(made, f"^{re.escape(place.outputs[0])}(;|$)", known, _with_bits(scheme, place.op), own)
    return made


def _with_bits(scheme: str, op: str) -> str:
    """Eight bits for the weights of the ops that do not take four."""
    if scheme == "dynamic_range_int4" and op not in _DYNAMIC_FOUR_BITS:
        return "dynamic_range"
    if scheme == "weight_only_int4" and op not in _FOUR_BITS:
        return "weight_only_int8"
    return scheme


def _operation(op: str) -> TFLOperationName | None:
    return _NAMED_OTHERWISE.get(op) or TFLOperationName.__members__.get(op)


def _add(made: RecipeManager, names: str, op: TFLOperationName, scheme: str, grain: QuantGranularity) -> None:
    """A configuration for the ops of one type whose results have such names. What the quantizer has no form of is left
    to the configuration before it."""
    try:
        if scheme in ("dynamic_range", "dynamic_range_int4"):
            made.add_dynamic_config(names, op, 4 if scheme.endswith("4") and op is not _ALL else 8, grain)
        elif scheme in ("weight_only_int8", "weight_only_int4"):
            made.add_weight_only_config(names, op, 4 if scheme.endswith("4") and op is not _ALL else 8, grain)
        elif scheme == "float16":
            made.add_weight_only_config(names, op, 16, algorithm_key=AlgorithmName.FLOAT_CASTING)
        elif scheme == "float":
            made.add_quantization_config(names, op, None, AlgorithmName.NO_QUANTIZE)
        else:
            made.add_static_config(names, op, 16 if scheme.startswith("int16x8") else 8, 8, grain)
    except ValueError:  # not a form of this op: it stays float, which is counted and said of the finished file
        made.add_quantization_config(names, op, None, AlgorithmName.NO_QUANTIZE)


def _set_edge(made: RecipeManager, edge: TFLOperationName, kind: str) -> None:
    """Inputs or outputs in another type than the activations inside, which they have otherwise."""
    if kind == "float32":
        made.add_quantization_config(".*", edge, None, AlgorithmName.NO_QUANTIZE)
    elif kind == "uint8":
        unsigned = TensorQuantizationConfig(num_bits=8, symmetric=False, dtype=TensorDataType.UINT)
        weights = TensorQuantizationConfig(num_bits=8, symmetric=True, granularity=QuantGranularity.CHANNELWISE)
        config = OpQuantizationConfig(unsigned, weights, compute_precision=ComputePrecision.INTEGER)
        made.add_quantization_config(".*", edge, config)
