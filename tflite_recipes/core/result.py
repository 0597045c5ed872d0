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
    """The result of a run.

    Attributes:
        recipe: name of the recipe.
        digest: digest of the recipe's settings.
        status: exit status of the command line.
        output_dir: folder of the run.
        path: the `.tflite` file; None if there is none.
        metrics: metrics by tracking name.
        gates: each limit with the measured value.
        warnings: texts of the warnings.
        tags: tags by tracking name.
        run_id: ID of the MLflow run; None if the run is not tracked.
        problems: why the run failed; () if it did not.
        found: recipe of the winner of a search; None for any other run.
        outcome: how the run ended, as in the tag `tflite_recipes.outcome`.
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
