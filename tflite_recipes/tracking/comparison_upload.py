"""Files about several runs, kept with the run that they are below."""

from __future__ import annotations

from pathlib import Path

from tflite_recipes.tracking.client import client, first_line
from tflite_recipes.tracking.patience import Patience, limited

FOLDER = "compare"
_MOST_S = 60.0


def log_comparison(uri: str, parent_run_id: str, files: Path, part: str = "") -> str | None:
    """Log the files of a folder under `compare/` (`compare/PART/`) of a run. Gives what went wrong, None if nothing."""
    try:
        with limited(Patience.within(_MOST_S)):
            client(uri).log_artifacts(parent_run_id, str(files), f"{FOLDER}/{part}" if part else FOLDER)
    except Exception as error:  # whatever MLflow raises: the comparison itself is there
        return first_line(error, uri)
    return None
