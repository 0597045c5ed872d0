"""Measures a `.tflite` where it is run: `python measuring.py FOLDER`, on this machine or on a device.

It imports the standard library, numpy and `ai_edge_litert`, and nothing of this package: it is copied to devices, and
needs Python 3.9 there. FOLDER has

    model.tflite
    inputs.npz    arrays by input name of the signature, in the types and shapes that the file is fed
    job.json      {"signature", "threads", "xnnpack", "warmup", "runs", "profile", "sweep": [{"threads", "xnnpack"}, …]}
                  and, where not as in `DEFAULTS`, what stands there

and gets `result.json` (whole or not at all) and `outputs.npz`, what the first invoke gave. Standard output has lines of
JSON: `{"progress": [done, total]}`; and where it fails, `{"error": "…"}` as the last one, with exit status 1.

Every setting has a process of its own, which loads and runs this file and nothing else:

- load_ms: from the path to allocated tensors, delegates applied; first_invoke_ms; first_ms, both together.
- p50_ms, p90_ms, p99_ms, mean_ms: single invokes after `warmup`, at least `runs` of them, and more until `min_seconds`
  have gone by (`measured_runs` says how many). Inputs are set once; where the file has several signatures, a call of
  the signature is measured, which copies inputs and outputs.
- peak_memory_bytes: the most memory that the process held resident (VmHWM; ru_maxrss where there is no /proc) until
  the last invoke, less what it held (VmRSS; ru_maxrss) before it loaded the file: Python, numpy, the runtime's
  library and the inputs are not in it; the pages of the file that were read and those of the runtime's code that were
  first touched since, are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

DEFAULTS = {"min_seconds": 0.3, "profile_seconds": 30.0, "timeout_seconds": 1800.0}
_PERCENTILES = {"p50_ms": 50, "p90_ms": 90, "p99_ms": 99}
_MOST_RUNS = 100_000
_TELL_SECONDS = 0.25


class Failure(Exception):
    """What cannot be measured, in words."""


def say(**line):
    """One line of JSON for whoever started this."""
    print(json.dumps(line), flush=True)


def write(path, data):
    """JSON to a file that is whole or not there."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(json.dumps(data, indent=1), encoding="utf-8")
    os.replace(new, path)


def summary(times_ms):
    """Percentiles (linear interpolation between neighbours) and mean of single invokes, in ms."""
    found = {name: float(np.percentile(times_ms, share)) for name, share in _PERCENTILES.items()}
    return {**found, "mean_ms": float(np.mean(times_ms))}


# Memory, in bytes.


def _status(name):
    """A figure of /proc/self/status, None where there is none."""
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":")), None)
    except OSError:
        return None


def peak_memory():
    """The most that was resident since the process began, or since `forget_peak` where that can be."""
    if (peak := _status("VmHWM")) is not None:
        return peak
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak():
    """Start the peak anew (proc(5), clear_refs) and give what is resident now; where that cannot be, the peak so far."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return peak_memory()
    return _status("VmRSS") or peak_memory()


# One setting, in a process of its own.


class Loaded:
    """A file with its sample set. `invoke` runs it once."""

    def __init__(self, path, signature, arrays, threads, xnnpack):
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        kind = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        started = time.perf_counter()
        made = Interpreter(model_path=str(path), num_threads=threads, experimental_op_resolver_type=kind)
        runner = made.get_signature_runner(signature)
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        if sorted(inputs) != sorted(arrays):
            raise Failure(f"the signature {signature} takes {sorted(inputs)}, and there is {sorted(arrays)}")
        # Tensors by number are those of the first subgraph, which is the signature's where there is only one.
        if len(made.get_signature_list()) > 1:
            self.invoke, self.outputs = lambda: runner(**arrays), lambda: runner(**arrays)
        else:
            del runner
            for name, details in inputs.items():
                if list(details["shape"]) != list(arrays[name].shape):
                    made.resize_tensor_input(details["index"], arrays[name].shape)
            made.allocate_tensors()
            for name, details in inputs.items():
                made.set_tensor(details["index"], arrays[name])
            self.invoke = made.invoke
            self.outputs = lambda: {name: made.get_tensor(details["index"]) for name, details in outputs.items()}
        self.load_ms = (time.perf_counter() - started) * 1e3


def timed(invoke, warmup, runs, min_seconds, tell):
    """Milliseconds of each invoke after `warmup`, at least `runs`, and for `min_seconds`."""
    for _ in range(warmup):
        invoke()
    times, clock = [], time.perf_counter
    began = told = clock()
    while True:
        started = clock()
        invoke()
        ended = clock()
        times.append((ended - started) * 1e3)
        if len(times) >= _MOST_RUNS or (len(times) >= runs and ended - began >= min_seconds):
            return times
        if ended - told > _TELL_SECONDS:
            told = ended
            tell(min(len(times), runs), runs)


def _described(value):
    return {
        "dtype": str(value.dtype),
        "shape": list(value.shape),
        "sha256": hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest(),
    }


def measure(folder, job, setting):
    """What one setting gives. The setting that says `whole` also gives memory and the outputs."""
    with np.load(folder / "inputs.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    import ai_edge_litert.interpreter  # noqa: F401  its pages are there before the file's

    before = forget_peak()
    loaded = Loaded(folder / "model.tflite", job["signature"], arrays, setting["threads"], setting["xnnpack"])
    started = time.perf_counter()
    loaded.invoke()
    first = (time.perf_counter() - started) * 1e3
    outputs = {name: np.array(value) for name, value in loaded.outputs().items()} if setting.get("whole") else {}
    times = timed(loaded.invoke, job["warmup"], job["runs"], job["min_seconds"], lambda a, b: say(progress=[a, b]))
    peak = peak_memory()
    found = {"load_ms": loaded.load_ms, "first_invoke_ms": first, "first_ms": loaded.load_ms + first, **summary(times)}
    found["measured_runs"] = len(times)
    if outputs:
        found["peak_memory_bytes"] = max(0, peak - before)
        found["outputs"] = {name: _described(value) for name, value in outputs.items()}
        np.savez(folder / "outputs.npz", **outputs)
    return found


# All of them, from a process that loads nothing.


def _child(folder, part, deadline, done, total):
    """Run one part of this script in a process of its own and give its result; progress is passed on as `done`…
    `done` + 1 of `total` parts. Errors: Failure."""
    answer = folder / f"part_{part}.json"
    command = [sys.executable, os.path.abspath(__file__), str(folder), "--part", part]
    with open(folder / f"part_{part}.log", "w+", encoding="utf-8", errors="replace") as log:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, errors="replace")
        try:
            error = _follow(child, done, total)
            child.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Failure(f"{part} took longer than it may") from None
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
            child.stdout.close()
        if child.returncode == 0:
            return json.loads(answer.read_text(encoding="utf-8"))
        log.seek(0)
        last = next((line.strip() for line in reversed(log.read().splitlines()) if line.strip()), "")
    how = f"by signal {-child.returncode}" if child.returncode < 0 else f"with status {child.returncode}"
    raise Failure(error or f"{part} ended {how}: {last}")


def _follow(child, done, total):
    """Pass progress on until the child closes its output; the error that it told, if any."""
    error = ""
    for line in child.stdout:
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if "progress" in said:
            say(progress=[round(100 * (done + said["progress"][0] / said["progress"][1])), 100 * total])
        error = said.get("error", error)
    return error


def run(folder):
    """Measure all that the job asks for, and write `result.json`. Errors: Failure."""
    job = read_job(folder)
    deadline, total = time.monotonic() + job["timeout_seconds"], 1 + len(job["sweep"]) + bool(job["profile"])
    say(progress=[0, 100 * total])
    result = {**about(), "threads": job["threads"], "xnnpack": job["xnnpack"], "warmup": job["warmup"]}
    result.update(_child(folder, "whole", deadline, 0, total))
    result["sweep"] = []
    for number, setting in enumerate(job["sweep"]):
        found = _child(folder, str(number), deadline, 1 + number, total)
        result["sweep"].append({**setting, **found})
        say(progress=[100 * (2 + number), 100 * total])
    result["profile"] = None
    write(folder / "result.json", result)
    say(progress=[100 * total, 100 * total])


def read_job(folder):
    """The job with what it leaves out."""
    return {"sweep": [], "profile": False, **DEFAULTS, **json.loads((folder / "job.json").read_text(encoding="utf-8"))}


def about():
    """The runtime and the machine."""
    from importlib.metadata import version

    return {
        "runtime": f"ai-edge-litert {version('ai-edge-litert')}",
        "machine": platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    }


def part(folder, name):
    """What a process of its own does: one setting, by its place in the sweep or `whole`."""
    job = read_job(folder)
    setting = {**job, "whole": True} if name == "whole" else job["sweep"][int(name)]
    write(folder / f"part_{name}.json", measure(folder, job, setting))


def main(arguments=None):
    """The command line. Exit status 1 with the error as the last line of output where it fails."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", help="for its own use")
    given = parser.parse_args(arguments)
    try:
        part(given.folder, given.part) if given.part else run(given.folder)
    except Exception as error:
        say(error=str(error).strip().partition("\n")[0] or type(error).__name__)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
