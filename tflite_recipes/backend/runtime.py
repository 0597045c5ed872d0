"""LiteRT: a `.tflite` run by signature and input name, whatever its types and batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tflite_recipes.errors import Problem, StepError

_BATCH = 32


def interpreter(path: Path, threads: int = 1, xnnpack: bool = True) -> Any:
    """An interpreter, its tensors allocated where no size besides the batch is open.

    Errors: StepError when the runtime cannot take the file.
    """
    kind = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        made = Interpreter(model_path=str(path), num_threads=threads, experimental_op_resolver_type=kind)
        # A file stores an open size as 1, at which a model need not work; who runs it gives sizes of its own.
        if not any(-1 in details["shape_signature"][1:] for details in made.get_input_details()):
            made.allocate_tensors()
    except (RuntimeError, ValueError, KeyError) as error:
        raise StepError(Problem(f"LiteRT cannot load the file: {str(error).splitlines()[0]}", "target")) from error
    return made


def quantize(values: Any, details: Mapping[str, Any]) -> Any:
    """Real values as the tensor stores them: q = round(r / scale) + zero_point, clipped to the type's range."""
    dtype = np.dtype(details["dtype"])
    scale, zero_point = details["quantization"]
    if dtype.kind not in "iu" or not scale:
        return np.asarray(values).astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(np.asarray(values, "float64") / scale) + zero_point, limits.min, limits.max).astype(dtype)


def dequantize(values: Any, details: Mapping[str, Any]) -> Any:
    """Stored values as real ones: r = scale × (q − zero_point)."""
    scale, zero_point = details["quantization"]
    if not scale:
        return values
    return (scale * (values.astype("float64") - zero_point)).astype("float32")


def run(
    path: Path,
    signature: str,
    arrays: Mapping[str, Any],
    tell: Callable[[int, int], None],
    xnnpack: bool = True,
    threads: int = 2,
    stateful: bool = False,
) -> dict[str, Any]:
    """Real-valued outputs by name, first axis samples, for arrays by input name. Errors: StepError.

    A fused LSTM keeps its state between invokes, though its source does not: unless the source is `stateful` itself,
    the state is reset before each invoke.
    """
    made = interpreter(path, threads, xnnpack)
    runner = made.get_signature_runner(signature)
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    ready = {name: quantize(arrays[name], details) for name, details in inputs.items()}
    total = len(next(iter(arrays.values())))
    fixed = [int(d["shape_signature"][0]) for d in inputs.values() if len(d["shape_signature"])]
    batch = max([size for size in fixed if size > 0], default=_BATCH)
    rows: dict[str, list[Any]] = {name: [] for name in outputs}
    for start in range(0, total, batch):
        part = {name: values[start : start + batch] for name, values in ready.items()}
        count = len(next(iter(part.values())))
        if count < batch and any(size > 0 for size in fixed):
            part = {name: padded(values, batch) for name, values in part.items()}
        try:
            if not stateful:
                made.reset_all_variables()
            results = runner(**part)
        except (RuntimeError, ValueError) as error:
            raise StepError(Problem(f"LiteRT cannot run the file: {str(error).splitlines()[0]}", "target")) from error
        for name, values in results.items():
            rows[name].append(dequantize(np.array(values[:count]), outputs[name]))
        tell(min(start + batch, total), total)
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def padded(values: Any, batch: int) -> Any:
    """Rows up to a fixed batch, the last one repeated; the caller drops what comes of the added ones."""
    return np.concatenate([values, np.repeat(values[-1:], batch - len(values), axis=0)])
