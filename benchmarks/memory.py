"""The peak memory and the time of a float run on a large model, against the plain script a user would write.

    python benchmarks/memory.py [--megabytes 281 1130] [--models embedding dense] [--folder FOLDER]

Prints Markdown on standard output, what it is doing on standard error. Works in a temporary folder below FOLDER.
Memory is the proportional set size (PSS) of a process and all that it started, from `/proc`. A process that leaves the
machine less than 1.5 GB is ended, and its row shows how far it came.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from run import TOOL, Failed, _ended, _machine, _row, _say, _tree

MB = 1000**2
SAMPLE_S = 0.1
RESERVE = 1.5 * 1000**3

# An embedding table with a small head, and one wide dense layer between two small ones.
PREPARE = {
    "embedding": """
import sys
import keras, numpy
keras.utils.set_random_seed(0)
rows = int(sys.argv[1]) // (4 * 256)
ids = keras.Input((16,), dtype="int32", name="ids")
pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(rows, 256, name="table")(ids))
keras.Model(ids, keras.layers.Dense(10, activation="softmax", name="scores")(pooled)).save("model.keras")
""",
    "dense": """
import sys
import keras, numpy
keras.utils.set_random_seed(0)
width = int((int(sys.argv[1]) / 8) ** 0.5)
x = inputs = keras.Input((64,), name="x")
for units in (width, width, width, 10):
    x = keras.layers.Dense(units, activation="relu")(x)
keras.Model(inputs, x).save("model.keras")
""",
}

PLAIN = """
import tensorflow as tf
model = tf.keras.models.load_model("../model.keras")
converter = tf.lite.TFLiteConverter.from_keras_model(model)
with open("model.tflite", "wb") as file:
    file.write(converter.convert())
"""

OURS = ("run", "convert", "source=keras", "source.path=../model.keras")


@dataclass
class Trace:
    """The memory of a process tree over time.

    samples: pairs of the time (as events have it) and the PSS in bytes. ended: whether it took too much.
    seconds, processor: wall time, and time of all processors.
    """

    samples: list[tuple[float, int]] = field(default_factory=list)
    ended: bool = False
    seconds: float = 0.0
    processor: float = 0.0

    @property
    def peak(self) -> int:
        return max((size for _, size in self.samples), default=0)

    def within(self, start: float, stop: float) -> int:
        """Return the peak between two times."""
        return max((size for at, size in self.samples if start <= at <= stop), default=0)


@dataclass(frozen=True)
class Result:
    """Both sides for one model. steps: by step, its seconds and its peak in bytes."""

    model: str
    weights: int
    plain: Trace
    ours: Trace
    steps: dict[str, tuple[float, int]]


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # either way of ending it cleans up
    results = []
    try:
        for megabytes in options.megabytes:
            for model in options.models:
                with tempfile.TemporaryDirectory(prefix="memory_benchmark_", dir=options.folder) as name:
                    results.append(_compare(model, megabytes, Path(name)))
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\n".join(_report(results)))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[281, 1130], metavar="N", help="sizes of weights")
    parser.add_argument("--models", nargs="+", choices=tuple(PREPARE), default=list(PREPARE), metavar="MODEL")
    parser.add_argument("--folder", default=None, help="where there is room for ten times the model (default: TMPDIR)")
    return parser.parse_args()


def _compare(model: str, megabytes: int, folder: Path) -> Result:
    _say(f"{model}: generating {megabytes} MB")
    _traced([sys.executable, "-c", PREPARE[model], str(megabytes * MB)], folder)
    sides = {}
    for side, command in {"plain": [sys.executable, "-c", PLAIN], "ours": [str(TOOL), *OURS]}.items():
        (folder / side).mkdir()
        trace = sides[side] = _traced(command, folder / side)
        note = " (ended: the machine has no more)" if trace.ended else ""
        _say(f"{model} {megabytes} MB: {side} {trace.seconds:.0f} s, {trace.peak / MB:.0f} MB{note}")
    steps = {}
    for path in (folder / "ours" / "outputs").rglob("events.jsonl"):
        steps = _steps(path, sides["ours"])
    return Result(model, megabytes, sides["plain"], sides["ours"], steps)


def _steps(path: Path, trace: Trace) -> dict[str, tuple[float, int]]:
    """Seconds and peak of each step, and of what lies between them."""
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found, before = {}, trace.samples[0][0]
    last = "the start"
    for event in events:
        if event["event"] == "StepStarted":
            found[f"after {last}" if found else last] = (event["at"] - before, trace.within(before, event["at"]))
            before = event["at"]
        elif event["event"] == "StepFinished":
            last = event["step"]
            found[last] = (event["at"] - before, trace.within(before, event["at"]))
            before = event["at"]
    end = trace.samples[-1][0]
    return {**found, "the end": (end - before, trace.within(before, end))}


def _traced(command: Sequence[str], folder: Path) -> Trace:
    """Run a command to its end, and trace its memory. Errors: Failed, with the last lines that it printed."""
    trace = Trace()
    before = _processor_time()
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        with _ended(process), _sampled(process.pid, trace):
            code = process.wait()
            trace.seconds = time.perf_counter() - started
            trace.processor = _processor_time() - before
        if code != 0 and not trace.ended:
            output.seek(0)
            tail = output.read().decode(errors="replace").splitlines()[-20:]
            raise Failed("\n".join([f"exit status {code}: {' '.join(command)}", *tail]))
    return trace


def _processor_time() -> float:
    """Return the seconds that ended children, and those below them, have taken of all processors."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def _sampled(pid: int, trace: Trace) -> Iterator[None]:
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_S):
            trace.samples.append((time.time(), sum(map(_pss, _tree(pid)))))
            if psutil.virtual_memory().available < RESERVE:
                trace.ended = True
                for member in _tree(pid):
                    with contextlib.suppress(psutil.Error):
                        member.kill()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _pss(process: psutil.Process) -> int:
    """Return the bytes of a process, where a page that several share counts in parts."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _report(results: list[Result]) -> Iterator[str]:
    yield f"{_machine()}; {psutil.virtual_memory().total / 1000**3:.1f} GB; load {os.getloadavg()[0]:.1f}.\n"
    yield "| model | weights, MB | plain script, MB | ours, MB | ours / plain | plain script, s (CPU) | ours, s (CPU) |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for result in results:
        sides = (result.plain, result.ours)
        peaks = [f"{'over ' if side.ended else ''}{side.peak / MB:.0f}" for side in sides]
        ratio = "" if any(side.ended for side in sides) else f"{result.ours.peak / result.plain.peak:.2f}"
        times = [f"{side.seconds:.0f} ({side.processor:.0f})" for side in sides]
        yield _row(result.model, str(result.weights), *peaks, ratio, *times)
    for result in results:
        yield f"\n| {result.model}, {result.weights} MB | s | peak MB |\n| --- | ---: | ---: |"
        yield from (_row(name, f"{s:.1f}", f"{peak / MB:.0f}") for name, (s, peak) in result.steps.items())


if __name__ == "__main__":
    sys.exit(main())
