"""Convert hard models by every scheme, paste the fixes that are printed, and judge each file by running it.

    python benchmarks/gauntlet.py SCRIPTS [--cases NAME ...] [--schemes NAME ...] [--results FILE] [--table FILE]

SCRIPTS is a folder of scripts that write models (see `gauntlet_models.py`). Each result is a line of the results file,
and what is there already is not run again. Prints a page with the table,
or writes it to a file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import selectors
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gauntlet_models
from gauntlet_table import page

SCHEMES = {"float": "none", "integer_only": "integer_only", "int16x8": "int16x8"}
# The largest error as a share of an output's range, and why it may be as large.
LIMITS = {
    "float": (0.001, "float32 has seven digits: only the order of sums differs"),
    "integer_only": (0.12, "256 values for each tensor: a step is 0.4 % of the range, and errors of layers add up"),
    "int16x8": (0.03, "activations lose nothing that shows, weights are rounded to eight bits"),
}
# Points of accuracy that a file of a labelled case may lose; one standard error of 360 samples.
_MOST_DROP = 0.02
# An invoke must not depend on the one before.
_MOST_DIFFERENCE = 1e-5
_MOST_FIXES = 4
# An error that no code expected.
_UNEXPECTED = re.compile(r"[A-Z]\w*(Error|Exception): |.*\ba fault of this version, ")
# A name that the user fills in: such a fix asks for data, and cannot be pasted as it is.
_TO_FILL_IN = re.compile(r"=(FILE|OTHER\.npz)\b")
# How the product warns of the outputs of a finished file.
_OF_OUTPUTS = re.compile(r"^(the outputs of the file are far from the source's|output \S+: )")
# How the product reports that a library ended its worker.
_DEATH = "the process that owns TensorFlow"
# What a case may leave, and the source that a user names for it.
_FILES = {
    **{"model.keras": "keras", "model.h5": "keras", "only.weights.h5": "keras"},
    **{"saved_model": "saved_model", "frozen.pb": "saved_model"},
}
_BENCHMARKS = Path(__file__).resolve().parent


class Runner:
    """A process that runs requests, in a group of its own. A hanging one is killed with all that it started."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s, self._process = limit_s, None

    def run(self, folder: Path, output: Path, overrides: Sequence[str]) -> dict[str, Any]:
        """Return the status, the problems and the file of a run in this folder; {"timeout": true} after the limit."""
        if self._process is None:
            command = [sys.executable, str(_BENCHMARKS / "gauntlet_runner.py")]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
        words = [*overrides, "tracking=none", f"worker.timeout_s={self._limit_s:g}"]
        request = {"folder": str(folder), "output": str(output), "overrides": words}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(1.5 * self._limit_s + 30.0):
                self.close()
                return {"timeout": True}
        line = self._process.stdout.readline()
        if not line:
            self.close()
            return {"exception": "the process of the run ended"}
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.stdin.close()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            self._process = None


def overrides_of(folder: Path, scheme: str) -> list[str]:
    """Return the overrides that a user gives who stands in the folder of the case."""
    file = next(name for name in _FILES if (folder / name).exists())
    source = [f"source={_FILES[file]}", f"source.path={file}"]
    given = json.loads((folder / gauntlet_models.SETTINGS).read_text(encoding="utf-8"))["overrides"]
    samples = scheme != "float" and (folder / "calibration.npz").exists()
    data = ["calibration=npz", "calibration.path=calibration.npz"] if samples else []
    return [*source, *given, *data, f"optimization={SCHEMES[scheme]}"]


def outcome(runner: Runner, folder: Path, scheme: str, work: Path) -> dict[str, Any]:
    """Run one case by one scheme, paste fixes, and return its row of the results."""
    started, fixes, row = time.perf_counter(), list[str](), dict[str, Any]()
    for attempt in range(_MOST_FIXES + 1):
        output = work / f"attempt_{attempt}"
        pasted = [word for fix in fixes for word in shlex.split(fix)]
        answer = runner.run(folder, output, [*overrides_of(folder, scheme), *pasted])
        row = {"class": _class_of(answer, fixes), "problems": answer.get("problems", [])}
        if row["class"] == "file":
            row |= _judged(answer, folder, _judged_as(scheme, pasted), bool(fixes))
            row["warnings"] = answer["warnings"]
        if row["class"] != "fix":
            break
        fixes.append(_offered(answer["problems"]))
    else:
        row["class"] = "no end of fixes"
    if "exception" in answer:
        row["exception"] = answer["exception"]
    seconds = round(time.perf_counter() - started, 1)
    return {"case": folder.name, "scheme": scheme, **row, "fixes": fixes, "seconds": seconds}


def _class_of(answer: Mapping[str, Any], fixes: Sequence[str]) -> str:
    problems = answer.get("problems", [])
    if answer.get("timeout") or any(one["where"] == "worker.timeout_s" for one in problems):
        return "timeout"
    if "exception" in answer or any(_DEATH in one["what"] or _UNEXPECTED.match(one["what"]) for one in problems):
        return "crash"
    if answer["status"] == 0:
        return "file"
    offered = _offered(problems)
    if not offered or _TO_FILL_IN.search(offered):
        return "refused"
    return "no end of fixes" if offered in fixes else "fix"


def _offered(problems: Sequence[Mapping[str, Any]]) -> str:
    return " ".join(dict.fromkeys(one["fix"] for one in problems if one["fix"]))


def _judged_as(scheme: str, pasted: Sequence[str]) -> str:
    """The scheme whose limits hold: that of the pasted fix, if it asks for another one."""
    asked = [word.partition("=")[2] for word in pasted if word.startswith("optimization=")]
    if not asked:
        return scheme
    return next((name for name, option in SCHEMES.items() if option == asked[-1]), "integer_only")


def _judged(answer: Mapping[str, Any], folder: Path, scheme: str, mended: bool) -> dict[str, Any]:
    """Return the class of a finished file, and the figures behind it."""
    has_flex = answer["tags"].get("tflite_recipes.verified") == "false"
    command = [sys.executable, str(_BENCHMARKS / "gauntlet_judge.py"), answer["path"], str(folder)]
    command += ["--op-by-op"] if has_flex else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode and has_flex:
        return {"class": "not verified", "reason": f"op by op: {' '.join(done.stderr.split()[-40:])}"}
    if done.returncode:
        return {"class": "WRONG", "reason": f"does not run: {' '.join(done.stderr.split()[-40:])}"}
    figures = json.loads(done.stdout)
    close = figures["drop"] <= _MOST_DROP if "drop" in figures else figures["error"] <= LIMITS[scheme][0]
    if close and figures["repeated"] <= _MOST_DIFFERENCE:
        return {"class": "right after a fix" if mended else "right", **figures}
    # Quantization costs what it costs. A file is wrong if the run's own figures, on other samples, do not show it, or
    # if the run does not warn of the outputs.
    metrics = answer["metrics"]
    largest = metrics.get("parity.max_abs_error", 0.0)
    shown = largest * figures["error"] / figures["absolute"] if figures["absolute"] else 0.0
    float_error = metrics.get("parity.float_relative_error", 1.0)
    honest = scheme != "float" and float_error <= LIMITS["float"][0] and shown > LIMITS[scheme][0]
    honest = honest and any(_OF_OUTPUTS.search(text) for text in answer["warnings"])
    return {"class": "inexact" if honest else "WRONG", **figures, "shown": shown}


def sweep(scripts: Path, folder: Path, wanted: Iterable[tuple[str, str]], results: Path, limit_s: float) -> None:
    """Run what the results file lacks, and append a line for each case and scheme."""
    done = {(row["case"], row["scheme"]) for row in read(results)}
    missing = [one for one in wanted if one not in done]
    gauntlet_models.build(scripts, folder, list(dict.fromkeys(case for case, _ in missing)))
    runner = Runner(limit_s)
    try:
        for case, scheme in missing:
            with tempfile.TemporaryDirectory(prefix="gauntlet_") as work:
                row = outcome(runner, folder / case, scheme, Path(work))
            with results.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
            print(f"{case} {scheme}: {row['class']} in {row['seconds']} s", file=sys.stderr, flush=True)
    finally:
        runner.close()


def read(results: Path) -> list[dict[str, Any]]:
    """Return the rows of a results file, none if it is missing."""
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", type=Path, metavar="SCRIPTS", help="the folder of scripts that write models")
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="these cases only")
    parser.add_argument("--schemes", nargs="+", choices=SCHEMES, default=list(SCHEMES))
    parser.add_argument("--results", type=Path, metavar="FILE", help="append results here, and continue from them")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the page here instead of printing it")
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="build the models here, and leave them")
    parser.add_argument("--limit", type=float, default=300.0, metavar="SECONDS", help="the time limit of a run")
    options = parser.parse_args()
    known = gauntlet_models.cases(options.scripts)
    names = options.cases or list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"unknown cases: {', '.join(unknown)}")
    with tempfile.TemporaryDirectory(prefix="gauntlet_") as scratch:
        results = (options.results or Path(scratch) / "results.jsonl").resolve()
        folder = (options.models or Path(scratch) / "models").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        wanted = [(case, scheme) for scheme in options.schemes for case in names]
        sweep(options.scripts.resolve(), folder, wanted, results, options.limit)
        rows = {(row["case"], row["scheme"]): row for row in read(results)}
    limits = {scheme: LIMITS[scheme] for scheme in options.schemes}
    text = page([rows[one] for one in wanted], limits, _MOST_DROP)
    if options.table:
        options.table.write_text(text, encoding="utf-8")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
