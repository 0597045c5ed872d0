"""How long single invokes of a file take, what memory it needs and which ops take the time: the folder that
`benchmark_script.py` works in, here or on a device, and what a run tells of its result."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tflite_recipes.backend.measuring import benchmark_script
from tflite_recipes.backend.running import runtime
from tflite_recipes.backend.running.random_rows import random_rows
from tflite_recipes.conversion.op_places import layers_of_ops
from tflite_recipes.core.analysis import keep_written
from tflite_recipes.core.errors import Problem, StepError
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.shapes import fixed_batch
from tflite_recipes.core.state import State
from tflite_recipes.files.samples import npz
from tflite_recipes.files.tflite import TFLiteFile, read_tflite
from tflite_recipes.targets import latency_result

SCRIPT = benchmark_script.FILES[0]
MODEL, INPUTS, JOB, RESULT, OUTPUTS = "model.tflite", "inputs.npz", "job.json", "result.json", "outputs.npz"
_SECONDS = 3600.0
METRICS = ("p50_ms", "p90_ms", "p99_ms", "load_ms", "first_invoke_ms", "first_ms", "peak_memory_bytes")
_INTEGERS = ("int8", "uint8", "int16", "int4")


@dataclass(frozen=True)
class Settings:
    """What is measured: `sweep` are pairs of threads and XNNPACK, besides the setting asked for."""

    threads: int
    xnnpack: bool
    warmup: int
    runs: int
    profile: bool = False
    sweep: tuple[tuple[int, bool], ...] = ()
    seconds: float = _SECONDS

    def job(self, signature: str) -> dict[str, Any]:
        """`job.json`."""
        return {
            **{"signature": signature, "threads": self.threads, "xnnpack": self.xnnpack, "warmup": self.warmup},
            **{"runs": self.runs, "profile": self.profile, "timeout_seconds": self.seconds},
            "sweep": [{"threads": threads, "xnnpack": xnnpack} for threads, xnnpack in self.sweep],
        }


def measure(state: State, settings: Settings, reporter: Reporter) -> dict[str, Any]:
    """The result of `benchmark_script.py` here; see `tell` for what stands in it besides. Errors: StepError."""
    folder, drawn = prepare(state, settings)
    try:
        run(folder, settings.seconds, reporter)
        return tell(state, folder, drawn, reporter)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def prepare(state: State, settings: Settings) -> tuple[Path, str]:
    """A folder with all that measuring takes, the scripts too, and where the sample in it is from, in words.

    It is the first calibration sample, as many as a fixed batch takes, else seeded random values. Errors: StepError.
    """
    assert state.tflite is not None
    folder = state.workdir / "measuring"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in benchmark_script.FILES:
        shutil.copyfile(Path(__file__).with_name(name), folder / name)
    try:
        os.link(state.tflite, folder / MODEL)
    except OSError:
        shutil.copyfile(state.tflite, folder / MODEL)
    arrays, drawn = _sample(state)
    details = runtime.interpreter(state.tflite, xnnpack=False).get_signature_runner(state.signature).get_input_details()
    stored = {name: runtime.quantize(arrays[name], about) for name, about in details.items()}
    np.savez(folder / INPUTS, **{name: _text(values) for name, values in stored.items()})
    (folder / JOB).write_text(json.dumps(settings.job(state.signature)), encoding="utf-8")
    return folder, drawn


def _sample(state: State) -> tuple[dict[str, Any], str]:
    rows = fixed_batch(state.inputs)
    if state.calibration is None:
        return random_rows(state, rows, 0), "seeded random values, 0 to 1"
    whole = npz.open_arrays(state.calibration)
    arrays = {spec.name: np.asarray(whole[spec.name][:rows]) for spec in state.inputs}
    return {name: runtime.padded(values, rows) for name, values in arrays.items()}, "the first calibration samples"


def _text(values: Any) -> Any:
    """Text, which numpy holds as objects, as bytes of one length."""
    return values.astype("S") if values.dtype == object else values


def run(folder: Path, seconds: float, reporter: Reporter) -> None:
    """Run the script of a folder in a process of its own, so that its memory is the file's. Errors: StepError."""
    command = [sys.executable, str(folder / SCRIPT), str(folder)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    # Its own limit comes first, and is told in words.
    timer = threading.Timer(seconds + 30, end_with_children, [child])
    timer.start()
    try:
        assert child.stdout is not None
        last = follow(child.stdout, reporter)
        status = child.wait()
    finally:
        timer.cancel()
        end_with_children(child)
    if status or not (folder / RESULT).exists():
        raise failed(last or f"the process ended with status {status}")


def follow(lines: Any, reporter: Reporter) -> str:
    """Tell the progress among a script's lines of output; the error that it told, else its last other line."""
    last, error = "", ""
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            last = line.strip() or last
        elif "progress" in said:
            done, total = said["progress"]
            reporter.progress("measuring latency, percent", round(100 * done / total), 100)
        error = said["error"] if isinstance(said, dict) and "error" in said else error
    return error or last


def failed(what: str) -> StepError:
    """The error of a measurement that failed."""
    return StepError(Problem(f"latency could not be measured: {what}", "target", "target=generic"))


def end_with_children(child: subprocess.Popen[str]) -> None:
    """End a process and those that it started."""
    if child.poll() is None:
        try:
            family = [*psutil.Process(child.pid).children(recursive=True), psutil.Process(child.pid)]
        except psutil.NoSuchProcess:
            return
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        child.wait()


def tell(state: State, folder: Path, drawn: str, reporter: Reporter) -> dict[str, Any]:
    """Metrics, warnings and artifacts of a folder's `result.json`; the result, with `sample`, in words, `integer`,
    whether the file computes in integers, and the source's `layer` of each op of the profile."""
    assert state.tflite is not None
    result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    file = read_tflite(state.tflite)
    result |= {"sample": drawn, "integer": _integer(file)}
    where = {"sample": drawn, "machine": result["machine"], "processors": result["cpus"], "runtime": result["runtime"]}
    reporter.note({f"latency.{key}": str(value)[:250] for key, value in where.items()})
    reporter.measure(metrics(result))
    for setting in result["sweep"]:
        if "error" in setting:
            how = latency_result.setting_name(setting)
            reporter.warn(f"latency with {how} could not be measured: {setting['error']}")
    if profile := result.get("profile"):
        _name_layers(profile["ops"], file, state)
        _keep_profile(state.workdir, profile["ops"], reporter)
    if "profile_error" in result:
        what = "the runtime's profiler could not be used for all" if profile else "the ops' times are not known"
        reporter.warn(f"{what}: {result['profile_error']}")
    page = state.workdir / latency_result.RESULT
    keep_written(reporter, page, lambda path: path.write_text(json.dumps(result, indent=1), encoding="utf-8"), "target")
    return dict(result)


def metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """By tracking name: the setting asked for, and medians of the others."""
    found = {f"latency.{name}": float(result[name]) for name in METRICS}
    for setting in result["sweep"]:
        if "p50_ms" in setting:
            without = "" if setting["xnnpack"] else "_without_xnnpack"
            found[f"latency.threads_{setting['threads']}{without}_p50_ms"] = float(setting["p50_ms"])
    return found


def _integer(file: TFLiteFile) -> bool:
    """Whether any op gives quantized integers."""
    made = (graph.tensors[i] for graph in file.subgraphs for op in graph.operators for i in op.outputs)
    return any(tensor.scales and tensor.dtype in _INTEGERS for tensor in made)


def _name_layers(rows: list[dict[str, Any]], file: TFLiteFile, state: State) -> None:
    number = next(signature.subgraph for signature in file.signatures if signature.key == state.signature)
    layers = layers_of_ops(file, file.subgraphs[number], state.signature, state.layers)
    for row in rows:
        row["layer"] = layers.get(row["index"], "")


def _keep_profile(workdir: Path, rows: list[dict[str, Any]], reporter: Reporter) -> None:
    """Keep the time of each op as `profile.csv`."""
    keep_written(reporter, workdir / latency_result.PROFILE, lambda path: _write_profile(path, rows), "target")


def _write_profile(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("index", "op", "layer", "ms", "share"))
        for row in rows:
            writer.writerow((row["index"], row["name"], row["layer"], f"{row['ms']:.6g}", f"{row['share']:.6g}"))
