"""What running a file over samples costs beyond the bare invokes that it is made of.

    python benchmarks/evaluation_speed.py [--repeat 9] [--only digits mobilenet_v2]

Bare is a loop of `set_tensor`, `invoke` and `get_tensor` on values that are of the file's own types already, at
whichever batch and number of threads is quickest of those tried. Ours is `runtime.run`, as evaluation calls it: real
values in, real values out, interpreters loaded within the measured time. The two take turns; the ratio is that of
their best times, of the clock and of the processors. Only the latter means something where others use the machine.
Prints Markdown on standard output, what it is doing on standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from tflite_recipes.backend.running import runtime

BATCHES = (1, 4, 16, 64, 256)
LIMIT = 1.15


def digits(batch: int | None) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), batch_size=batch, name="image"),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def mobilenet_v2(batch: int | None) -> Any:
    image = keras.Input((224, 224, 3), batch_size=batch, name="image")
    return keras.applications.MobileNetV2(weights=None, input_tensor=image)


MODELS = {"digits": (digits, 20_000), "mobilenet_v2": (mobilenet_v2, 160)}


def convert(model: Any, integer: bool) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if integer:
        rng, shape = np.random.default_rng(0), (1, *model.inputs[0].shape[1:])
        samples = [rng.uniform(-1, 1, shape).astype("float32") for _ in range(4)]
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def now() -> Any:
    """Seconds of the clock, and of the processors in all threads."""
    return np.array([time.perf_counter(), time.process_time()])


def bare(made: list[Any], values: Any, batch: int) -> Any:
    """Seconds that the interpreters, each in a thread of its own, take for all rows, allocation not counted."""

    def loop(interpreter: Any, part: Any) -> None:
        source = interpreter.get_input_details()[0]["index"]
        result = interpreter.get_output_details()[0]["index"]
        for start in range(0, len(part), batch):
            interpreter.set_tensor(source, part[start : start + batch])
            interpreter.invoke()
            interpreter.get_tensor(result)

    shares = np.array_split(np.arange(len(values) // batch), len(made))
    parts = [values[share[0] * batch : (share[-1] + 1) * batch] for share in shares]
    threads = [threading.Thread(target=loop, args=pair) for pair in zip(made, parts, strict=True)]
    started = now()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (now() - started) * len(values) / sum(map(len, parts))


def prepared(path: Path, batch: int, count: int, threads: int) -> list[Any]:
    made = []
    for _ in range(count):
        interpreter = runtime.interpreter(path, threads)
        details = interpreter.get_input_details()[0]
        if details["shape"][0] != batch:
            interpreter.resize_tensor_input(details["index"], (batch, *details["shape"][1:]))
            interpreter.allocate_tensors()
        made.append(interpreter)
    return made


def measure(path: Path, samples: int, repeat: int) -> tuple[Any, Any, str]:
    """Best seconds of ours and of the bare loop, and which way of invoking that was by the clock."""
    interpreter = runtime.interpreter(path)
    details = interpreter.get_input_details()[0]
    name = next(iter(interpreter.get_signature_runner("serving_default").get_input_details()))
    real = np.random.default_rng(0).uniform(-1, 1, (samples, *details["shape"][1:])).astype("float32")
    stored = runtime.quantize(real, details)
    cores = runtime.cores()
    ways = {}
    for batch in BATCHES if details["shape_signature"][0] == -1 else (1,):
        for count, threads in {(1, 1), (1, cores), (cores, 1)}:
            if samples >= batch * count:
                made = prepared(path, batch, count, threads)
                bare(made, stored[: batch * count], batch)
                ways[f"batch {batch}, {count} × {threads} threads"] = (made, batch)
    first = {way: bare(made, stored, batch) for way, (made, batch) in ways.items()}
    candidates = sorted(first, key=lambda way: first[way][0])[:3]
    ours, plain = [], {way: [first[way]] for way in candidates}
    for _ in range(repeat):
        for way in candidates:
            plain[way].append(bare(*(ways[way][0], stored, ways[way][1])))
        started = now()
        runtime.run(path, "serving_default", {name: real}, lambda *_: None)
        ours.append(now() - started)
    least = {way: np.min(plain[way], axis=0) for way in candidates}
    best = min(candidates, key=lambda way: least[way][0])
    return np.min(ours, axis=0), least[best], best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS))
    arguments = parser.parse_args()
    head = ["model", "samples", "bare, µs a sample", "at best", "ours, µs a sample", "ours / bare", "processors"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    worst = np.zeros(2)
    with tempfile.TemporaryDirectory() as folder:
        for model in arguments.only:
            build, samples = MODELS[model]
            for batch in (None, 1):
                for integer in (False, True):
                    kind = f"{model}, {'int8' if integer else 'float32'}, {'batch 1' if batch else 'open batch'}"
                    print(kind, file=sys.stderr)
                    path = Path(folder) / "model.tflite"
                    keras.utils.set_random_seed(0)
                    with contextlib.redirect_stdout(sys.stderr):
                        path.write_bytes(convert(build(batch), integer))
                    ours, plain, way = measure(path, samples, arguments.repeat)
                    ratio = ours / plain
                    worst = np.maximum(worst, ratio)
                    micro = [f"{seconds[0] / samples * 1e6:.1f}" for seconds in (plain, ours)]
                    cells = [kind, str(samples), micro[0], way, micro[1], *(f"{value:.2f}" for value in ratio)]
                    print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\nworst ratio {worst[0]:.2f} (processors {worst[1]:.2f}), of {LIMIT} allowed")


if __name__ == "__main__":
    main()
