"""Our whole tracked `run` against the plain script a user would write, and the commands that need no TensorFlow.

    python benchmarks/run.py [--repeat 3] [--quick] [--only float integer_only commands]

Prints Markdown on standard output, what it is doing on standard error. Works in a temporary folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

JOBS = ("float", "integer_only")
TOOL = Path(sys.executable).with_name("tflite-recipes")
MIB = 1024**2
SAMPLE_S = 0.05
SIZE_TOLERANCE = 0.02

# Loads what the measured processes load, too, so that none of them is the first to read it from the disk.
PREPARE = """
import keras, numpy, mlflow, ai_edge_litert.interpreter
keras.utils.set_random_seed(0)
model = keras.applications.MobileNetV2(weights=None, input_tensor=keras.Input((224, 224, 3), name="image"))
model.save("model.keras")
images = numpy.random.default_rng(0).uniform(-1, 1, (100, 224, 224, 3)).astype("float32")
numpy.savez("cal.npz", image=images)
"""

PLAIN = {
    "float": """
import tensorflow as tf
model = tf.keras.models.load_model("../model.keras")
converter = tf.lite.TFLiteConverter.from_keras_model(model)
with open("model.tflite", "wb") as file:
    file.write(converter.convert())
""",
    "integer_only": """
import numpy as np
import tensorflow as tf
model = tf.keras.models.load_model("../model.keras")
(images,) = np.load("../cal.npz").values()

def representative_dataset():
    for image in images:
        yield [image[np.newaxis]]

converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = representative_dataset
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.inference_input_type = tf.int8
converter.inference_output_type = tf.int8
with open("model.tflite", "wb") as file:
    file.write(converter.convert())
""",
}

_CALIBRATED = ("optimization=integer_only", "calibration=npz", "calibration.path=../cal.npz")
OURS = {
    "float": ("run", "convert", "source=keras", "source.path=../model.keras"),
    "integer_only": ("run", "convert", "source=keras", "source.path=../model.keras", *_CALIBRATED),
}

# Each command, and the exit status that it has to give.
COMMANDS = {
    "--help": (("--help",), 0),
    "ls": (("ls",), 0),
    "show": (("show", "digits_integer_only"), 0),
    "check": (("check", *OURS["integer_only"][1:]), 0),
    "a refused request": (("run", "convert", "source=kears", "optimization=integer_only", "calibration.sampels=9"), 2),
}


class Failed(Exception):
    """A measured command did not do what it should."""


@dataclass(frozen=True)
class Measured:
    """Wall time in seconds, and the largest sum of resident memory over a process and all below it."""

    seconds: float
    peak_mib: float


@dataclass(frozen=True)
class Pair:
    """Both sides of one repetition."""

    ours: Measured
    plain: Measured
    steps: dict[str, float]

    @property
    def ratio(self) -> float:
        """Ours over the plain script's: less is faster."""
        return self.ours.seconds / self.plain.seconds


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # either way of ending it cleans up
    if not TOOL.exists():
        print(f"there is no {TOOL}: pip install -e . in this environment first", file=sys.stderr)
        return 1
    jobs = [job for job in JOBS if job in options.only]
    pairs: dict[str, list[Pair]] = {job: [] for job in jobs}
    commands: dict[str, float] = {}
    load = os.getloadavg()[0]
    try:
        with tempfile.TemporaryDirectory(prefix="tflite_recipes_benchmark_") as name:
            folder = Path(name)
            _say("making MobileNetV2 and 100 samples")
            measure([sys.executable, "-c", PREPARE], folder)
            for number in range(options.repeat):
                for job in jobs:
                    pairs[job].append(_pair(job, number, folder))
            if "commands" in options.only:
                commands = _commands(folder, 1 if options.quick else 10)
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\n".join(_report(pairs, commands, load)))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="repetitions of each pair (default 3)")
    parser.add_argument("--quick", action="store_true", help="one repetition of everything")
    parts = (*JOBS, "commands")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, metavar="PART", help=", ".join(parts))
    options = parser.parse_args()
    if options.quick:
        options.repeat = 1
    if options.repeat < 1:
        parser.error("--repeat must be at least 1")
    return options


def _pair(job: str, number: int, folder: Path) -> Pair:
    """Both sides, one after the other, each in a fresh folder (and so with a fresh mlflow.db)."""
    places = {side: folder / f"{job}_{number}_{side}" for side in ("ours", "plain")}
    words = {"ours": [str(TOOL), *OURS[job]], "plain": [sys.executable, "-c", PLAIN[job]]}
    found: dict[str, Measured] = {}
    # Who goes first changes, so that neither always meets the warmer machine.
    for side in sorted(places, reverse=bool(number % 2)):
        places[side].mkdir()
        found[side] = measure(words[side], places[side])
        _say(f"{job} {number + 1}: {side} {found[side].seconds:.1f} s, {found[side].peak_mib:.0f} MiB")
    _compare_sizes(job, places["ours"], places["plain"])
    (events,) = (places["ours"] / "outputs").rglob("events.jsonl")
    return Pair(found["ours"], found["plain"], _step_times(events))


def _compare_sizes(job: str, ours: Path, plain: Path) -> None:
    (model,) = (ours / "outputs").rglob("model.tflite")
    sizes = model.stat().st_size, (plain / "model.tflite").stat().st_size
    _say(f"{job}: {sizes[0]:,} bytes against {sizes[1]:,}")
    if abs(sizes[0] / sizes[1] - 1) > SIZE_TOLERANCE:
        raise Failed(f"{job}: the files differ in size, ours {sizes[0]:,} bytes, the plain script's {sizes[1]:,}")


def _step_times(path: Path) -> dict[str, float]:
    """Seconds of each step of a run, and of what lies outside the steps."""
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    steps = {event["step"]: event["seconds"] for event in events if event["event"] == "StepFinished"}
    started = next(event["at"] for event in events if event["event"] == "RunStarted")
    first = next(event["at"] for event in events if event["event"] == "StepStarted")
    finished = next(event["at"] for event in events if event["event"] == "RunFinished")
    between = finished - first - sum(steps.values())
    return {"until the first step": first - started, **steps, "between and after the steps": between}


def _commands(folder: Path, times: int) -> dict[str, float]:
    """Median seconds of each command, taken in turns."""
    place = folder / "commands"
    place.mkdir()
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(times):
        for name, (arguments, status) in COMMANDS.items():
            found[name].append(measure([str(TOOL), *arguments], place, status, sampled=False).seconds)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def measure(command: Sequence[str], folder: Path, status: int = 0, sampled: bool = True) -> Measured:
    """Run a command to its end. Errors: Failed, with the last lines that it printed."""
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        with _ended(process), _peak(process.pid, sampled) as peak:
            code = process.wait()
            seconds = time.perf_counter() - started
        if code != status:
            output.seek(0)
            tail = output.read().decode(errors="replace").splitlines()[-20:]
            raise Failed("\n".join([f"exit status {code}, not {status}: {' '.join(command)}", *tail]))
    return Measured(seconds, peak[0] / MIB)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Whatever happens, the process and those that it started are gone afterwards."""
    try:
        yield
    finally:
        if process.poll() is None:
            tree = _tree(process.pid)
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            for member in tree:
                with contextlib.suppress(psutil.Error):
                    member.kill()
            process.wait()


@contextlib.contextmanager
def _peak(pid: int, sampled: bool) -> Iterator[list[int]]:
    """The largest memory of the process tree while the context is open, in a list of one."""
    peak, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_S):
            peak[0] = max(peak[0], _memory(pid))

    watcher = threading.Thread(target=watch)
    if sampled:
        watcher.start()
    try:
        yield peak
    finally:
        over.set()
        if sampled:
            watcher.join()


def _memory(pid: int) -> int:
    total = 0
    for member in _tree(pid):
        with contextlib.suppress(psutil.Error):
            total += member.memory_info().rss
    return total


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _report(pairs: dict[str, list[Pair]], commands: dict[str, float], load: float) -> Iterator[str]:
    yield f"{_machine()}; load when it began {load:.1f}."
    if pairs:
        yield f"\nMobileNetV2 224, medians of {len(next(iter(pairs.values())))}:\n"
        yield "| job | ours, s | plain script, s | ours / plain | ours, peak MiB | plain script, peak MiB |"
        yield "| --- | ---: | ---: | ---: | ---: | ---: |"
        for job, found in pairs.items():
            sides = [[pair.ours for pair in found], [pair.plain for pair in found]]
            seconds = [f"{statistics.median(m.seconds for m in side):.1f}" for side in sides]
            memory = [f"{statistics.median(m.peak_mib for m in side):.0f}" for side in sides]
            ratio = f"{statistics.median(pair.ratio for pair in found):.2f}"
            yield _row(job, *seconds, ratio, *memory)
        yield from _steps(pairs)
    if commands:
        yield "\n| command without TensorFlow | s |\n| --- | ---: |"
        yield from (_row(name, f"{seconds:.2f}") for name, seconds in commands.items())


def _steps(pairs: dict[str, list[Pair]]) -> Iterator[str]:
    yield f"\n| where ours spends it, s | {' | '.join(pairs)} |"
    yield f"| --- |{' ---: |' * len(pairs)}"
    runs = [pair.steps for found in pairs.values() for pair in found]
    for name in dict.fromkeys(name for steps in sorted(runs, key=len, reverse=True) for name in steps):
        times = [[pair.steps[name] for pair in found if name in pair.steps] for found in pairs.values()]
        yield _row(name, *(f"{statistics.median(seconds):.1f}" if seconds else "" for seconds in times))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    packages = ("tflite_recipes", "tensorflow", "keras", "mlflow")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"{cores} cores, {name}; Python {platform.python_version()}, {versions}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
