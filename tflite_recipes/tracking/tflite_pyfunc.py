"""Loads a `.tflite` as an MLflow `python_function` model, and predicts with LiteRT.

This file is logged beside the model and loaded from there: it imports numpy and ai_edge_litert and nothing else,
neither TensorFlow nor this package.

`predict` takes arrays by input name (a dict; a DataFrame with a column for each input; a list of such rows; for a model
with one input also an array or a nested list) whose first axis is the samples, and gives a dict of arrays by output
name. Inputs and outputs that the file has as quantized integers are real numbers here, float32. What was done to the
raw data before the model saw it (scaling of pixels, say) is not done here.

params, all optional:
- quantize (true): false where the values fed are already the integers that the file stores.
- dequantize (true): false gives outputs as the file stores them.
- signature: another one of the file.

model_config, at load:
- signature, stateful: as the file has them.
- num_threads (1): of LiteRT.
- unsupported_ops (""): why LiteRT cannot run the file, in words; "" loads it all the same.

One model may be called from several threads: calls wait for each other. No call sees what another one left: variables
are reset for each sample, and of a model that keeps state by intent for each call, whose samples are steps in time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

# Rows at once where the batch is open: larger ones only take memory.
_MOST_ROWS = 256
_MOST_BYTES = 8 << 20


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> TFLiteModel:
    """What `mlflow.pyfunc.load_model` calls."""
    return TFLiteModel(path, **dict(model_config or {}))


class TFLiteModel:
    """A file ready to predict. Errors, of everything: ValueError that names the input, or the ops that cannot run."""

    def __init__(
        self, path: str, signature: str = "", stateful: bool = False, num_threads: int = 1, unsupported_ops: str = ""
    ) -> None:
        if unsupported_ops:
            raise ValueError(
                f"LiteRT cannot run this model: it has {unsupported_ops}, which only an application that registers "
                "them can run; take model.tflite from the model's folder"
            )
        self._path, self._stateful, self._threads = str(path), stateful, int(num_threads)
        self._lock = threading.Lock()
        self._made = self._interpreter()
        signatures = list(self._made.get_signature_list())
        if not signatures:
            raise ValueError("the file has no signature, so that its inputs and outputs have no names")
        self.signature = signature or signatures[0]

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Arrays by output name, first axis samples, for as many samples as there are."""
        chosen = dict(params or {})
        if unknown := sorted(set(chosen) - {"quantize", "dequantize", "signature"}):
            raise ValueError(f"unknown params: {', '.join(unknown)}; known: quantize, dequantize, signature")
        key = chosen.get("signature") or self.signature
        with self._lock:
            # Variables that are resources outlive a reset: state by intent starts anew in an interpreter of its own.
            made = self._interpreter() if self._stateful else self._made
            if key not in made.get_signature_list():
                raise ValueError(f"no signature {key!r}; the file has {', '.join(made.get_signature_list())}")
            runner = made.get_signature_runner(key)
            inputs = _in_order(runner.get_input_details(), made.get_input_details())
            outputs = _in_order(runner.get_output_details(), made.get_output_details())
            arrays = _arrays(model_input, inputs)
            fed = {
                name: quantized_input(name, arrays[name], inputs[name], chosen.get("quantize", True)) for name in inputs
            }
            parts = list(self._invoke(made, runner, fed, inputs))
        raw = {name: parts[0][name] if len(parts) == 1 else _joined(name, parts) for name in outputs}
        return {name: dequantized_output(raw[name], outputs[name], chosen.get("dequantize", True)) for name in outputs}

    def _interpreter(self) -> Any:
        from ai_edge_litert.interpreter import Interpreter

        try:
            made = Interpreter(model_path=self._path, num_threads=self._threads)
            # A file stores an open size as 1, at which a model need not work.
            if not any(-1 in details["shape_signature"][1:] for details in made.get_input_details()):
                made.allocate_tensors()
        except (RuntimeError, ValueError, KeyError) as error:
            raise ValueError(f"LiteRT cannot load the model: {str(error).splitlines()[0]}") from error
        return made

    def _invoke(
        self, made: Any, runner: Any, fed: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """The file's outputs, a batch at a time."""
        rows, batch = _batch(fed, inputs)
        for start in range(0, rows, batch) if batch else [0]:
            part = {name: values[start : start + batch] if batch else values for name, values in fed.items()}
            count = min(batch, rows - start)
            # A batch that is fixed takes so many rows and no other number: the last one fills it up.
            if count < batch and any(int(details["shape_signature"][0]) > 0 for details in inputs.values()):
                part = {name: np.concatenate([v, np.repeat(v[-1:], batch - count, axis=0)]) for name, v in part.items()}
            if not self._stateful:
                made.reset_all_variables()
            try:
                results = runner(**part)
            except (RuntimeError, ValueError) as error:
                shapes = ", ".join(f"{name} {values.shape}" for name, values in part.items())
                raise ValueError(f"LiteRT cannot run the model on {shapes}: {str(error).splitlines()[0]}") from error
            yield {name: v[:count] if batch and v.ndim and len(v) == batch else v for name, v in results.items()}


def _in_order(named: Mapping[str, Any], listed: list[Any]) -> dict[str, Any]:
    """By name, in the file's own order; a signature has them by the alphabet."""
    place = {int(details["index"]): number for number, details in enumerate(listed)}
    return dict(sorted(named.items(), key=lambda item: place.get(int(item[1]["index"]), len(place))))


def _arrays(model_input: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, as arrays by input name."""
    names = list(inputs)
    if hasattr(model_input, "columns"):  # a pandas DataFrame
        given: dict[str, Any] = {str(name): _column(str(name), model_input[name]) for name in model_input.columns}
    elif isinstance(model_input, Mapping):
        given = dict(model_input)
    elif isinstance(model_input, list) and model_input and all(isinstance(row, Mapping) for row in model_input):
        given = {name: [row[name] for row in model_input if name in row] for name in model_input[0]}
    elif len(names) == 1:
        given = {names[0]: model_input}
    else:
        raise ValueError(f"the model has the inputs {', '.join(names)}: feed a dict with an array for each")
    missing, unknown = [n for n in names if n not in given], [n for n in given if n not in inputs]
    if missing or unknown:
        found = ", ".join(map(str, given)) or "nothing"
        raise ValueError(f"the model takes {'; '.join(_told(n, inputs[n]) for n in names)}; there is {found}")
    return {name: _shaped(name, given[name], inputs[name]) for name in names}


def _column(name: str, column: Any) -> Any:
    """A column, whose cells are numbers, arrays or lists, as one array."""
    try:
        return np.stack([np.asarray(cell) for cell in column])
    except ValueError as error:
        raise ValueError(f"input {name!r}: the cells of the column differ in shape") from error


def _shaped(name: str, values: Any, details: Mapping[str, Any]) -> Any:
    try:
        array = np.asarray(values)
    except ValueError as error:  # numpy says it in terms of its own
        raise ValueError(f"input {name!r}: the nested lists are of different lengths") from error
    wanted = [int(size) for size in details["shape_signature"]]
    flat = array.ndim == 2 and len(wanted) > 2 and -1 not in wanted[1:] and array.shape[1] == np.prod(wanted[1:])
    if flat:  # as tables hold tensors
        array = array.reshape(-1, *wanted[1:])
    fits = array.ndim == len(wanted) and all(
        size in (-1, found) for size, found in zip(wanted[1:], array.shape[1:], strict=True)
    )
    if not fits:
        hint = "; one sample needs a first axis of 1" if array.ndim == len(wanted) - 1 else ""
        raise ValueError(f"input {name!r}: shape {array.shape}, where {_told(name, details)} is expected{hint}")
    if array.ndim and not len(array):
        raise ValueError(f"input {name!r}: there is no sample, the shape is {array.shape}")
    return array


def _told(name: str, details: Mapping[str, Any]) -> str:
    """Name, shape and dtype as users feed them."""
    sizes = ["samples", *("any" if size < 0 else str(size) for size in details["shape_signature"][1:])]
    kind = "float32" if _quantized(details) else np.dtype(details["dtype"]).name
    shape = ", ".join(sizes) if len(details["shape_signature"]) else ""
    return f"{name} ({shape}) {'text' if kind.startswith(('bytes', 'str')) else kind}"


def _batch(fed: Mapping[str, Any], inputs: Mapping[str, Any]) -> tuple[int, int]:
    """How many rows there are, and how many go in at once; 0 where the inputs have no axis of samples in common."""
    if not fed or any(not values.ndim for values in fed.values()):
        return 1, 0
    lengths = {name: len(values) for name, values in fed.items()}
    fixed = {name: int(inputs[name]["shape_signature"][0]) for name in fed}
    if all(length == fixed[name] for name, length in lengths.items()):
        return 1, 0
    if len(set(lengths.values())) > 1 or len({size for size in fixed.values() if size > 0}) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"the inputs have different numbers of samples: {said}")
    rows, sized = next(iter(lengths.values())), max(fixed.values())
    if sized > 0:
        return rows, sized
    row = sum(values[:1].nbytes for values in fed.values())
    return rows, max(1, min(rows, _MOST_ROWS, _MOST_BYTES // max(row, 1)))


def _joined(name: str, parts: list[dict[str, Any]]) -> Any:
    try:
        return np.concatenate([part[name] for part in parts])
    except ValueError as error:
        shapes = " and ".join(sorted({str(part[name].shape[1:]) for part in parts}))
        raise ValueError(f"output {name!r} has the shapes {shapes} for different samples: feed one by one") from error


def _quantized(details: Mapping[str, Any]) -> bool:
    return bool(details["quantization"][0]) and np.dtype(details["dtype"]).kind in "iu"


def quantized_input(name: str, values: Any, details: Mapping[str, Any], quantize: bool) -> Any:
    """Values as the file stores them: q = round(r / scale) + zero_point, ties to even, clipped to the type's range."""
    kind = np.dtype(details["dtype"])
    if kind.kind in "SUO":
        return _text(name, values)
    if values.dtype.kind not in "fiubc":
        raise ValueError(f"input {name!r}: {values.dtype}, where {_told(name, details)} is expected")
    if not (_quantized(details) and quantize):
        return _cast(name, values, kind, details)
    if values.dtype.kind == "c" or np.isnan(values).any():
        raise ValueError(f"input {name!r}: NaN or complex numbers, which the file's {kind} cannot stand for")
    scale, zero_point = details["quantization"]
    limits = np.iinfo(kind)
    whole = np.rint(values.astype("float64") / scale)
    # Clipped before the zero point is added, where nothing is too large to be exact.
    return (np.clip(whole, limits.min - zero_point, limits.max - zero_point) + zero_point).astype(kind)


def _cast(name: str, values: Any, kind: Any, details: Mapping[str, Any]) -> Any:
    """Values in the file's type; only floats may lose digits on the way."""
    with np.errstate(over="ignore", invalid="ignore"):
        cast = values.astype(kind)
    if kind.kind not in "fc" and not np.array_equal(cast.astype(values.dtype), values):
        raise ValueError(f"input {name!r}: {values.dtype} values that are no {kind}; expected {_told(name, details)}")
    return cast


def _text(name: str, values: Any) -> Any:
    """Text as bytes, which LiteRT takes."""
    if values.dtype.kind not in "SUO":
        raise ValueError(f"input {name!r}: {values.dtype}, where text is expected")
    encoded = [one if isinstance(one, bytes) else str(one).encode() for one in values.reshape(-1)]
    array = np.empty(len(encoded), object)
    array[:] = encoded
    return array.reshape(values.shape)


def dequantized_output(values: Any, details: Mapping[str, Any], dequantize: bool) -> Any:
    """Stored values as users take them: r = scale × (q − zero_point), text as str where it is UTF-8."""
    if np.dtype(details["dtype"]).kind in "SUO":
        array = np.empty(np.shape(values), object)
        array.reshape(-1)[:] = [_decoded(one) for one in np.reshape(values, -1)]
        return array
    if not (dequantize and _quantized(details)):
        return values
    scale, zero_point = details["quantization"]
    return (scale * (values.astype("float64") - zero_point)).astype("float32")


def _decoded(one: Any) -> Any:
    try:
        return one.decode() if isinstance(one, bytes) else one
    except UnicodeDecodeError:
        return one
