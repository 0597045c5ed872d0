"""The result of a run, and the names of the files that every run leaves in its output folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tflite_recipes.core.errors import ExitStatus, Problem
from tflite_recipes.core.outcome import RunOutcome
from tflite_recipes.core.state import Gate

SPOOL = "events.jsonl"
LOG = "converter.log"
MODEL = "model.tflite"
# The folder below a search's output folder that holds one run for each candidate.
CANDIDATES = "candidates"


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    path: the `.tflite`, None where there is none. metrics: by tracking name. gates: each limit and its answer.
    run_id: the MLflow run, None where the run is not tracked. problems: why it failed, empty where it did not.
    found: the recipe that a search found, None for any other run. outcome: how the run ended, as its tag has it.
    """

    recipe: str
    digest: str
    status: ExitStatus
    output_dir: Path
    path: Path | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    gates: tuple[Gate, ...] = ()
    warnings: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None
    problems: tuple[Problem, ...] = ()
    found: Path | None = None
    outcome: RunOutcome = RunOutcome.failed
