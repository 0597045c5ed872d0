"""A file measured on a device: what is measured here, done there, and its outputs held against those of LiteRT here."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tflite_recipes.backend.measuring import benchmark_script, latency
from tflite_recipes.backend.measuring.devices import channel, device_results
from tflite_recipes.backend.measuring.devices.output_check import differences
from tflite_recipes.core.errors import Problem, StepError
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.state import State
from tflite_recipes.files.tflite import read_tflite

_RESULTS = (latency.RESULT, latency.OUTPUTS)


def measure(
    state: State,
    settings: latency.Settings,
    device: channel.Device,
    reporter: Reporter,
    python: str = "python3",
    directory: str | None = None,
) -> dict[str, Any]:
    """As `latency.measure`, on the device; `settings.seconds` is the time for all of it. Params `latency.device`,
    `.machine`, `.processors` and `.runtime` say where; metric `target.device_max_difference` is the largest difference
    of any output from what LiteRT gives here, in the outputs' own unit. Errors: StepError."""
    folder, drawn = latency.prepare(state, settings)
    try:
        asked = channel.Request(folder, latency.SCRIPT, _RESULTS, python, directory, settings.seconds)
        found = channel.run(device, asked, _Progress(device.name, reporter))
        for warning in found.warnings:
            reporter.warn(warning)
        for name in _RESULTS:
            if not (folder / name).is_file():
                raise StepError(Problem(f"the measurement on {device.name} left no {name}", "target"))
        try:
            device_results.checked(folder / latency.RESULT, settings)
            result = latency.tell(state, folder, drawn, reporter)
            there = device_results.arrays(folder / latency.OUTPUTS)
        except (ValueError, OSError) as error:
            what = f"{device.name} sent what is no result: {channel.shown(error)}"
            raise StepError(Problem(what, "target")) from error
        _note(found, result, settings, device.name, reporter)
        _compare(state, settings, folder, there, device.name, reporter)
        return result
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Progress:
    """Of the script there, told as percents."""

    def __init__(self, name: str, reporter: Reporter) -> None:
        self._what, self._reporter = f"measuring latency on {name}, percent", reporter

    def __call__(self, done: int, total: int) -> None:
        self._reporter.progress(self._what, round(100 * done / max(total, 1)), 100)


def _note(
    found: channel.Found, result: Mapping[str, Any], settings: latency.Settings, name: str, reporter: Reporter
) -> None:
    reporter.note({"latency.device": str(found.device)[:250]})
    threads = max([settings.threads, *(threads for threads, _ in settings.sweep)])
    if threads > int(result["cpus"]):
        reporter.warn(f"{threads} threads were measured on {name}, which has {result['cpus']} processors")


def _compare(
    state: State,
    settings: latency.Settings,
    folder: Path,
    there: Mapping[str, Any],
    name: str,
    reporter: Reporter,
) -> None:
    if state.random:
        reporter.warn(f"outputs of {name} are not compared with those here: the model draws random numbers")
        return
    assert state.tflite is not None
    here = _here(state, settings, folder)
    try:
        found = differences(read_tflite(state.tflite), state.signature, here, there)
    except ValueError as error:
        raise StepError(Problem(f"{name} does not compute what LiteRT does here: {error}", "target")) from error
    reporter.measure({"target.device_max_difference": max((one.largest for one in found), default=0.0)})
    for one in found:
        for warning in one.warnings:
            reporter.warn(f"{name}: {warning}")


def _here(state: State, settings: latency.Settings, folder: Path) -> dict[str, Any]:
    """What one invoke of the same inputs gives on this machine."""
    beside = folder.with_name(f"{folder.name}_here")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        for name in (*benchmark_script.FILES, latency.MODEL, latency.INPUTS):
            os.link(folder / name, beside / name)
        once = replace(settings, warmup=0, runs=1, profile=False, sweep=())
        job = {**once.job(state.signature), "min_seconds": 0.0}
        (beside / latency.JOB).write_text(json.dumps(job), encoding="utf-8")
        latency.run(beside, settings.seconds, _Unheard())
        return device_results.arrays(beside / latency.OUTPUTS)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


class _Unheard:
    """Takes the progress of what takes a moment."""

    def progress(self, what: str, done: int, total: int, detail: str = "") -> None:
        """Nothing is told."""
