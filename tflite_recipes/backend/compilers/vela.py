"""Runs Vela, Arm's compiler for the Ethos-U NPUs, in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tflite_recipes.core.errors import Problem, StepError
from tflite_recipes.targets.vela import output

TIMEOUT_S = 900.0
LOG = "vela.log"
_STEM = "model"


@dataclass(frozen=True)
class Options:
    """What Vela is asked.

    accelerator: by Vela's name ("ethos-u55-128"). arena_cache_bytes: None for the memory mode's own.
    """

    accelerator: str
    config: Path
    system_config: str
    memory_mode: str
    optimise: str = "Performance"
    arena_cache_bytes: int | None = None

    def arguments(self) -> list[str]:
        """As the command takes them. The path is whole: Vela looks for a short one among its own files."""
        asked = {
            "--accelerator-config": self.accelerator,
            "--config": str(self.config.resolve()),
            "--system-config": self.system_config,
            "--memory-mode": self.memory_mode,
            "--optimise": self.optimise,
        }
        if self.arena_cache_bytes is not None:
            asked["--arena-cache-size"] = str(self.arena_cache_bytes)
        return [part for pair in asked.items() for part in pair]


@dataclass(frozen=True)
class Compiled:
    """A compiled file, what Vela wrote beside it, and what that says. `seconds` that it took."""

    tflite: Path
    summary_csv: Path
    layers_csv: Path
    log: Path
    summary: output.Summary
    rows: tuple[output.Row, ...]
    reasons: dict[str, str]
    counts: dict[str, int]
    seconds: float


def compile_file(tflite: Path, options: Options, folder: Path, timeout_s: float = TIMEOUT_S) -> Compiled:
    """Compile a file into `folder`, which is made. StepError where Vela fails, dies or does not end in time; its
    output is in `vela.log` there all the same."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"{_STEM}.tflite"
    shutil.copyfile(tflite, source)
    started = time.monotonic()
    status = _run(options, source, folder, timeout_s)
    text = (folder / LOG).read_text(encoding="utf-8", errors="replace")
    if status != 0:
        raise _failed(output.failure(text) if status > 0 else f"it died of signal {-status}")
    seconds = time.monotonic() - started
    compiled = folder / f"{_STEM}_vela.tflite"
    summary_csv = folder / f"{_STEM}_summary_{options.system_config}.csv"
    layers_csv = folder / f"{_STEM}_per-layer.csv"
    missing = [path.name for path in (compiled, summary_csv, layers_csv) if not path.is_file()]
    if missing:
        raise _failed(f"it wrote no {missing[0]}")
    try:
        summary = output.read_summary(summary_csv.read_text(encoding="utf-8"))
        rows = output.read_rows(layers_csv.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _failed(f"what it wrote is not what Vela 5.2 writes: {error}") from error
    said = (output.read_reasons(text), output.read_counts(text))
    return Compiled(compiled, summary_csv, layers_csv, folder / LOG, summary, rows, *said, seconds)


def _run(options: Options, source: Path, folder: Path, timeout_s: float) -> int:
    """The exit status. Everything is printed to the log."""
    shown = ["--verbose-performance", "--verbose-weights", "--show-cpu-operations", "--output-dir", str(folder)]
    command = [sys.executable, "-m", "ethosu.vela", str(source), *options.arguments(), *shown]
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
    with (folder / LOG).open("wb") as log:
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise _failed(f"it did not end within {timeout_s:g} s") from error
    return done.returncode


def _failed(why: str) -> StepError:
    what = f"Vela did not compile the file: {why}; all that it said is in deploy/{LOG}"
    return StepError(Problem(what, "target", "", ("target=generic",)))
