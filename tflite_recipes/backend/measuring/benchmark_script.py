"""Measures a `.tflite` where it is run: `python benchmark_script.py FOLDER`, on this machine or on a device.

`FILES` stand beside each other there. They import the standard library, numpy and `ai_edge_litert`, and nothing of this
package: they are copied to devices, and need Python 3.9 there. FOLDER has

    model.tflite
    inputs.npz    arrays by input name of the signature, in the types and shapes that the file is fed
    job.json      {"signature", "threads", "xnnpack", "warmup", "runs", "profile", "sweep": [{"threads", "xnnpack"}, …]}
                  and, where not as in `DEFAULTS`, what stands there

and gets `result.json` (whole or not at all) and `outputs.npz`, what the first invoke gave (strings as bytes). Standard
output has lines of JSON: `{"progress": [done, total]}`; and where it fails, `{"error": "…"}` as the last one, with exit
status 1.

Every setting has a process of its own, which loads and runs this file and nothing else:

- load_ms: from the path to allocated tensors, delegates applied; first_invoke_ms; first_ms, both together.
- p50_ms, p90_ms, p99_ms, mean_ms: single invokes after `warmup`, at least `runs` of them, and more until `min_seconds`
  have gone by (`measured_runs` says how many). Inputs are set once; where the file has several signatures, a call of
  the signature is measured, which copies inputs and outputs.
- peak_memory_bytes: the most memory that the process held resident (VmHWM; ru_maxrss where there is no /proc) until
  the last invoke, less what it held (VmRSS; ru_maxrss) before it loaded the file: Python, numpy, the runtime's
  library and the inputs are not in it; the pages of the file that were read and those of the runtime's code that were
  first touched since, are.

A setting of the sweep has percentiles, or an `error` in words. `profile` is what `op_profiler.py` says, or null, and
`profile_error` why it is not there, or why it is not the runtime's own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

FILES = ("benchmark_script.py", "op_profiler.py")
# At least so long in all is measured, and at most so long for a setting of the sweep and for the profile.
DEFAULTS = {"min_seconds": 0.3, "sweep_seconds": 20.0, "profile_seconds": 30.0, "timeout_seconds": 1800.0}
_PERCENTILES = {"p50_ms": 50, "p90_ms": 90, "p99_ms": 99}
# Parts of the run that are functions of `op_profiler`.
_METHODS = {"c_profiler": "by_profiler", "delegated": "delegated", "prefix": "by_prefixes"}
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
    """Start the peak anew (proc(5), clear_refs) and give what is resident; where that cannot be, the peak so far."""
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
            self.invoke = self.outputs = lambda: runner(**arrays)
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


def timed(invoke, warmup, runs, least_seconds, most_seconds, tell):
    """Milliseconds of each invoke after `warmup`: `runs` and more for `least_seconds`, fewer after `most_seconds`."""
    for _ in range(warmup):
        invoke()
    times, clock = [], time.perf_counter
    began = told = clock()
    while True:
        started = clock()
        invoke()
        ended = clock()
        times.append((ended - started) * 1e3)
        spent, enough = ended - began, len(times) >= runs
        if (enough and spent >= least_seconds) or spent >= most_seconds or len(times) >= max(runs, _MOST_RUNS):
            return times
        if ended - told > _TELL_SECONDS:
            told = ended
            tell(min(len(times), runs), runs)


def as_plain(value):
    """A copy of an output; strings, which numpy holds as objects, as bytes of one length."""
    return value.astype("S") if value.dtype == object else np.array(value)


def description_of(value):
    """Return what two outputs are compared by: dtype, shape, and the SHA-256 of the bytes."""
    digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    return {"dtype": str(value.dtype), "shape": list(value.shape), "sha256": digest}


def sample(folder):
    """The arrays that the file is fed."""
    with np.load(folder / "inputs.npz") as stored:
        return {name: stored[name] for name in stored.files}


def measure_whole(folder, job):
    """The job's own setting: latency, memory and outputs."""
    arrays = sample(folder)
    import ai_edge_litert.interpreter  # noqa: F401  the runtime's library is there before the file

    before = forget_peak()
    loaded = Loaded(folder / "model.tflite", job["signature"], arrays, job["threads"], job["xnnpack"])
    started = time.perf_counter()
    loaded.invoke()
    first = (time.perf_counter() - started) * 1e3
    outputs = {name: as_plain(value) for name, value in loaded.outputs().items()}
    times = timed(loaded.invoke, job["warmup"], job["runs"], job["min_seconds"], float("inf"), _tell)
    peak = peak_memory()
    np.savez(folder / "outputs.npz", **outputs)
    return {
        **{"load_ms": loaded.load_ms, "first_invoke_ms": first, "first_ms": loaded.load_ms + first, **summary(times)},
        **{"measured_runs": len(times), "peak_memory_bytes": max(0, peak - before)},
        "outputs": {name: description_of(value) for name, value in outputs.items()},
    }


def measure_setting(folder, job, setting):
    """Latency in a setting of the sweep."""
    path, signature = folder / "model.tflite", job["signature"]
    invoke = Loaded(path, signature, sample(folder), setting["threads"], setting["xnnpack"]).invoke
    times = timed(invoke, job["warmup"], job["runs"], job["min_seconds"], job["sweep_seconds"], _tell)
    return {**summary(times), "measured_runs": len(times)}


def _tell(done, total):
    say(progress=[done, total])


# All of them, from a process that loads nothing.


class _Parts:
    """Runs parts of this script in processes of their own, one after the other, and tells how far they are."""

    def __init__(self, folder, scratch, seconds, total):
        self._folder, self._scratch, self._total, self._done, self._told = folder, scratch, total, 0, 0
        self._deadline = time.monotonic() + seconds
        say(progress=[0, 100 * total])

    def run(self, part):
        """The part's result. Errors: Failure."""
        answer, logged = self._scratch / "answer.json", self._scratch / "log"
        command = [sys.executable, os.path.abspath(__file__), str(self._folder), "--part", part, "--to", str(answer)]
        with open(logged, "w", encoding="utf-8") as log:
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, errors="replace")
        timer = threading.Timer(max(0.0, self._deadline - time.monotonic()), child.kill)
        timer.start()
        try:
            error = self._follow(child)
            status = child.wait()
        finally:
            timer.cancel()
            child.kill()
            child.stdout.close()
        if status == 0:
            return json.loads(answer.read_text(encoding="utf-8"))
        if time.monotonic() >= self._deadline:
            raise Failure("measuring took longer than it may")
        lines = logged.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing was said")
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        raise Failure(error or f"the process ended {how}: {last}")

    def next(self):
        """On to the next part."""
        self._done += 1
        self._say(100 * self._done)

    def _say(self, done):
        """How far all is. Where a method is tried after another it stands still: it never goes back."""
        if done > self._told:
            self._told = done
            say(progress=[done, 100 * self._total])

    def _follow(self, child):
        """Pass progress on until the child closes its output; the error that it told, if any."""
        error = ""
        for line in child.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if "progress" in said:
                done, total = said["progress"]
                self._say(round(100 * (self._done + done / total)))
            error = said.get("error", error)
        return error


def run(folder):
    """Measure all that the job asks for, and write `result.json`. Errors: Failure."""
    job = read_job(folder)
    total = 1 + len(job["sweep"]) + bool(job["profile"])
    with tempfile.TemporaryDirectory(prefix=".measuring_", dir=folder) as scratch:
        parts = _Parts(folder, Path(scratch), job["timeout_seconds"], total)
        result = {**about(), **{name: job[name] for name in ("threads", "xnnpack", "warmup", "runs")}}
        result.update(parts.run("whole"))
        result["sweep"] = []
        for number, setting in enumerate(job["sweep"]):
            parts.next()
            result["sweep"].append({**setting, **_setting(parts, number, setting, result)})
        result["profile"] = None
        if job["profile"]:
            parts.next()
            result.update(_profile(parts, job["xnnpack"]))
        write(folder / "result.json", result)
        parts.next()


def _setting(parts, number, setting, whole):
    """The job's own setting has been measured; any other is, or it says why not."""
    if all(setting[name] == whole[name] for name in ("threads", "xnnpack")):
        return {name: whole[name] for name in (*_PERCENTILES, "mean_ms", "measured_runs")}
    try:
        return parts.run(str(number))
    except Failure as error:
        return {"error": str(error)}


def _profile(parts, xnnpack):
    """By the runtime's profiler, else by prefixes. It is an extra: what fails there is told beside the rest."""
    found, errors = None, []
    for method in ("c_profiler", "prefix"):
        try:
            found = parts.run(method)
            break
        except Failure as error:
            errors.append(f"{method}: {error}")
    if found and found["method"] == "c_profiler" and xnnpack:
        try:
            found["delegated"] = parts.run("delegated")
        except Failure as error:
            errors.append(f"XNNPACK: {error}")
    return {"profile": found, **({"profile_error": "; ".join(errors)} if errors else {})}


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
    """What a process of its own does: `whole`, a method of op_profiler, or a setting by its place in the sweep."""
    job = read_job(folder)
    if name == "whole":
        return measure_whole(folder, job)
    if name not in _METHODS:
        return measure_setting(folder, job, job["sweep"][int(name)])
    import op_profiler  # beside this file

    with np.load(folder / "outputs.npz") as stored:
        outputs = {name: stored[name] for name in stored.files}
    return getattr(op_profiler, _METHODS[name])(folder / "model.tflite", job, sample(folder), outputs, _tell)


def main(arguments=None):
    """The command line. Exit status 1 with the error as the last line of output where it fails."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", help="for its own use")
    parser.add_argument("--to", type=Path, help="for its own use")
    given = parser.parse_args(arguments)
    try:
        if given.part:
            write(given.to, part(given.folder, given.part))
        else:
            run(given.folder)
    except Exception as error:
        say(error=str(error).strip().partition("\n")[0] or type(error).__name__)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
