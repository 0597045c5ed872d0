"""Plots of a run's tables, kept beside them."""

from __future__ import annotations

import json
from pathlib import Path

from tflite_recipes.conversion.quality.tensor_errors import TABLE, read_csv
from tflite_recipes.report.sections import latency, tensor_error_plot
from tflite_recipes.targets.latency_result import RESULT


def write(folder: Path) -> list[Path]:
    """Write the plots of the tables in a run's output folder, and return their paths.

    `quantization_error.svg` shows the tensors that lost most, `profile.svg` the ops that take longest. Each needs its
    table.
    """
    plots = {tensor_error_plot.PLOT: _tensor_errors(folder / TABLE), latency.PLOT: _profile(folder / RESULT)}
    written = [folder / name for name, plot in plots.items() if plot]
    for path in written:
        path.write_text(plots[path.name], encoding="utf-8")
    return written


def _tensor_errors(table: Path) -> str:
    return tensor_error_plot.plot(read_csv(table)) if table.exists() else ""


def _profile(result: Path) -> str:
    profile = json.loads(result.read_text(encoding="utf-8")).get("profile") if result.exists() else None
    return latency.plot(profile["ops"]) if profile else ""
