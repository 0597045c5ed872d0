"""How long single invokes take on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from tflite_recipes import datasets
from tflite_recipes.backend import runtime
from tflite_recipes.events import Reporter
from tflite_recipes.state import State

_TELL_EVERY = 10


@dataclass(frozen=True)
class Latency:
    """Median and 90th percentile of single invokes, in milliseconds."""

    p50_ms: float
    p90_ms: float


def measure(state: State, threads: int, xnnpack: bool, warmup: int, runs: int, reporter: Reporter) -> Latency:
    """Invoke the file `warmup` + `runs` times on one seeded random sample; a dynamic batch is taken as 1."""
    assert state.tflite is not None
    interpreter = runtime.interpreter(state.tflite, threads, xnnpack)
    rows = max([spec.shape[0] or 1 for spec in state.inputs if spec.shape], default=1)
    arrays = datasets.random_arrays(state.inputs, rows, 0, 0.0, 1.0)
    names = interpreter.get_signature_runner(state.signature).get_input_details()
    for name, details in names.items():
        if list(details["shape"]) != list(arrays[name].shape):
            interpreter.resize_tensor_input(details["index"], arrays[name].shape)
    interpreter.allocate_tensors()
    for name, details in names.items():
        interpreter.set_tensor(details["index"], runtime.quantize(arrays[name], details))
    times = []
    for done in range(warmup + runs):
        started = time.perf_counter()
        interpreter.invoke()
        times.append((time.perf_counter() - started) * 1e3)
        if done % _TELL_EVERY == 0 or done + 1 == warmup + runs:
            reporter.progress("latency invokes", done + 1, warmup + runs)
    return Latency(float(np.percentile(times[warmup:], 50)), float(np.percentile(times[warmup:], 90)))
