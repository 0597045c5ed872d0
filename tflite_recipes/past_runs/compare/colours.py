"""How runs are drawn, the same on the page and in the picture."""

from __future__ import annotations

from tflite_recipes.past_runs.compare.comparison import ComparedRun

PASSED, MISSED, OTHER = "#11734b", "#b3261e", "#2f7fb8"
LEGEND = ((PASSED, "gates passed"), (MISSED, "a gate said no"), (OTHER, "no gate"))
NAMES = {PASSED: "green", MISSED: "red", OTHER: "blue"}


def colour(run: ComparedRun) -> str:
    """By what the gates said."""
    if not run.gates:
        return OTHER
    return MISSED if any(answer.endswith("FAILED") for answer in run.gates.values()) else PASSED
