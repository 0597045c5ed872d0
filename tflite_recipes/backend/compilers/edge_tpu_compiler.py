"""Runs the Edge TPU's compiler, where the machine has it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from tflite_recipes.core.errors import Problem, StepError, assignment
from tflite_recipes.targets.accelerators.edge_tpu_log import CompilerLog, parse, telling_line


@dataclass(frozen=True)
class Compiled:
    """model: the compiled file. log: what the compiler printed. report: the same, read."""

    model: Path
    log: Path
    report: CompilerLog


def compiled(model: Path, folder: Path, program: str, timeout_s: float) -> Compiled:
    """Compile a file into an empty `folder`: `model_edgetpu.tflite`, `edgetpu_compiler.log`.

    Errors: StepError with the line that tells most where the compiler fails, makes no file, cannot be started, or is
    not done after `timeout_s`; nothing of it runs on.
    """
    folder.mkdir(parents=True)
    source, log = folder / "model.tflite", folder / "edgetpu_compiler.log"
    shutil.copyfile(model, source)
    # The same session as this process's, so that whoever ends this one ends the compiler too.
    try:
        with log.open("wb") as printed:
            process = subprocess.Popen(
                [program, "-s", "-o", str(folder), str(source)],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
            )
            status = process.wait(timeout_s)
    except OSError as error:
        raise StepError(Problem(f"cannot be started: {error.strerror or error}", program)) from error
    except subprocess.TimeoutExpired:
        _end(process)
        what = f"was not done after {timeout_s:g} s and has been ended"
        raise StepError(Problem(what, program, assignment("target.compiler_timeout_s", 2 * timeout_s))) from None
    made = folder / "model_edgetpu.tflite"
    _with_operations(log, folder / "model_edgetpu.log")
    text = log.read_text(encoding="utf-8", errors="replace")
    if status or not made.exists():
        what = telling_line(text) if status else f"made no file: {telling_line(text)}"
        raise StepError(Problem(what, program, assignment("target.compiler", None)))
    report = parse(text)
    if not report.total:
        raise StepError(Problem("its log lists no ops, so what it mapped is not known", program))
    return Compiled(made, log, report)


def _with_operations(log: Path, operations: Path) -> None:
    """Compilers that do not print the table of operations write it beside their file."""
    if operations.exists() and not parse(log.read_text(encoding="utf-8", errors="replace")).statuses:
        with log.open("ab") as both:
            both.write(b"\n" + operations.read_bytes())


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started, and wait for it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()
