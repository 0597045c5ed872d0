"""How a run ended, in one word, and the tags that hold it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum, unique

# The tag with the outcome of a run, and the one with the verdict of `reproduce` on the file of another run.
OUTCOME = "tflite_recipes.outcome"
VERDICT = "tflite_recipes.verdict"
_GATE = "tflite_recipes.gate."
# What the verdict tag held before there was a tag for the outcome.
_FORMER_VERDICTS = ("passed", "gate failed", "failed")


@unique
class RunOutcome(StrEnum):
    """How a run ended."""

    passed = "passed"
    done = "done"
    gate_failed = "gate_failed"
    failed = "failed"
    killed = "killed"
    not_evaluated = "not_evaluated"

    @property
    def has_file(self) -> bool:
        """Whether the run delivers a `.tflite`."""
        return self not in (RunOutcome.failed, RunOutcome.killed)

    @property
    def is_good(self) -> bool:
        """Whether nothing speaks against the file."""
        return self in (RunOutcome.passed, RunOutcome.done)


def of_gates(answers: Iterable[bool]) -> RunOutcome:
    """Return the outcome of a run with a file, by what its gates answered. Without gates, it is done, not passed."""
    listed = list(answers)
    if not all(listed):
        return RunOutcome.gate_failed
    return RunOutcome.passed if listed else RunOutcome.done


def of_tags(tags: Mapping[str, str], status: str = "") -> str:
    """Return the outcome that tags of a run hold. A run from before the outcome tag has it in its verdict and gates.

    Args:
        tags: the tags, by tracking name.
        status: what MLflow has, for a run whose tags hold nothing; "" if that is unknown.
    """
    if OUTCOME in tags:
        return tags[OUTCOME]
    verdict = tags.get(VERDICT, "")
    if verdict == "gate failed":
        return RunOutcome.gate_failed
    if verdict == "failed":
        return RunOutcome.failed
    if verdict:
        return of_gates(not text.endswith("FAILED") for name, text in tags.items() if name.startswith(_GATE))
    return status.lower()


def verdict_of_tags(tags: Mapping[str, str]) -> str:
    """Return the verdict of `reproduce` that tags of a run hold; "" for any other run."""
    verdict = tags.get(VERDICT, "")
    return "" if verdict in _FORMER_VERDICTS else verdict
