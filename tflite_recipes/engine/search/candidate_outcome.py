"""What a candidate came to, as far as the search decides by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tflite_recipes.core import pareto
from tflite_recipes.core.state import Gate
from tflite_recipes.engine.search.candidates import Candidate

DROP_GATE = "evaluation.max_drop"
PASSED, DONE, MISSED, REFUSED, FAILED, UNTRIED = "passed", "done", "missed", "refused", "failed", "not tried"
# There is a file, and its evaluation failed.
UNJUDGED = "not_evaluated"


@dataclass(frozen=True)
class Head:
    """An output of the file: the op that ends it (SOFTMAX, LOGISTIC; "" where it is none of these), and the last op
    with weights before it. Each by the name of the tensor that it gives."""

    activation: str
    weighted: str


@dataclass(frozen=True)
class Outcome:
    """number: from 1, in the order of trying. outcome: passed; done (no gate was set); missed (a gate said
    no); refused (cannot be had); failed (a step failed); not_evaluated (there is a file, and its
    evaluation failed); not tried, with number 0.

    ran: False where the recipe alone showed that it cannot be had. size: bytes; latency: ms, None where nothing
    measures it. score, drop: the metric of the file, and what the gate on its drop measured. ops: names of tensors
    that ops give, the op that loses most first; heads: the file's outputs.
    """

    number: int
    candidate: Candidate
    outcome: str
    ran: bool = True
    size: float | None = None
    latency: float | None = None
    source_score: float | None = None
    score: float | None = None
    drop: float | None = None
    gates: tuple[Gate, ...] = ()
    reason: str = ""
    run_id: str | None = None
    folder: Path | None = None
    ops: tuple[str, ...] = ()
    heads: tuple[Head, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no gate speaks against it."""
        return self.outcome in (PASSED, DONE)

    @property
    def has_file(self) -> bool:
        return self.passed or self.outcome == MISSED

    @property
    def only_lost_quality(self) -> bool:
        """Whether nothing but the evaluation stood against it, which is what the rescues are for."""
        failed = [gate.name for gate in self.gates if not gate.passed]
        return self.outcome == MISSED and all(name.startswith("evaluation.") for name in failed)

    def value(self, objective: str) -> float:
        """What the best has least of; infinite where it was not measured."""
        measured = self.latency if objective == "latency" else self.size
        return float("inf") if measured is None else measured


def best(outcomes: Sequence[Outcome], objective: str) -> Outcome | None:
    """The best of those that pass, or of none does, the one with the smallest drop; None where there is no file."""
    passed = [outcome for outcome in outcomes if outcome.passed]
    if passed:
        return min(passed, key=lambda one: (one.value(objective), _drop(one), one.number))
    files = [outcome for outcome in outcomes if outcome.has_file]
    files = files or [outcome for outcome in outcomes if outcome.outcome == UNJUDGED]
    return min(files, key=lambda one: (_drop(one), one.value(objective), one.number), default=None)


def best_of_each(schemes: Sequence[str], outcomes: Sequence[Outcome], objective: str) -> list[Outcome]:
    """For every scheme its best, in the order given; of one without a file the last that was tried."""
    found = []
    for scheme in schemes:
        own = [outcome for outcome in outcomes if outcome.candidate.scheme == scheme]
        untried = Outcome(0, Candidate(scheme, ""), UNTRIED, ran=False)
        found.append(best(own, objective) or (own[-1] if own else untried))
    return found


def _drop(outcome: Outcome) -> float:
    return float("inf") if outcome.drop is None else outcome.drop


def front(outcomes: Sequence[Outcome], objective: str) -> list[Outcome]:
    """Of those with a file and a drop, each that no other beats in both objective and drop; by the objective."""
    plotted = [outcome for outcome in outcomes if outcome.has_file and outcome.drop is not None]
    return [plotted[place] for place in pareto.front([(one.value(objective), _drop(one)) for one in plotted])]
