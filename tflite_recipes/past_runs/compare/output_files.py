"""The files of a comparison: page, picture, JSON, CSV."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.past_runs.compare import comparison_page, pareto_plot
from tflite_recipes.past_runs.compare.comparison import Comparison
from tflite_recipes.past_runs.compare.serialization import comparison_csv, comparison_json

PAGE, PICTURE, DATA, TABLE = "compare.html", "pareto.png", "compare.json", "compare.csv"


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write them, each whole or not at all; no picture where nothing can be plotted. Errors: RequestError where the
    folder cannot be written to."""
    texts = {
        PAGE: comparison_page.render(comparison),
        DATA: json.dumps(comparison_json(comparison), indent=2) + "\n",
        TABLE: comparison_csv(comparison),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = [_text(folder / name, text) for name, text in texts.items()]
        beside = folder / f".{PICTURE}"
        if pareto_plot.write(comparison, beside):
            os.replace(beside, folder / PICTURE)
            written.append(folder / PICTURE)
        else:  # that of another comparison is not to stand beside this one's page
            (folder / PICTURE).unlink(missing_ok=True)
    except OSError as error:
        what = f"{folder} cannot be written to: {error.strerror or error}"
        raise RequestError(Problem(what, "--output", "--output compare")) from error
    return written


def _text(path: Path, text: str) -> Path:
    beside = path.with_name(f".{path.name}")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
    return path
