"""What targets have in common whose accelerator is judged on the file, and not run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tflite_recipes.core.analysis import keep_written
from tflite_recipes.core.errors import Problem, assignment
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.state import Gate, State
from tflite_recipes.steps.hardware import tell_pruning
from tflite_recipes.steps.litert_target import GenericTarget

if TYPE_CHECKING:  # which reads the format, and composing a recipe need not
    from tflite_recipes.targets.accelerators.placement import Placement


@dataclass(frozen=True)
class AcceleratorTarget(GenericTarget):
    """LiteRT with an accelerator: what it takes of a file is judged, nothing is run."""

    def _unshown(self, key: str, words: str) -> Iterator[Problem]:
        what = f"{words} has a limit, and nothing here runs on the accelerator"
        yield Problem(what, key, assignment(key, None))

    def _measured(self, state: State, reporter: Reporter) -> Iterator[Gate]:
        tell_pruning(state, reporter)
        yield from super()._measured(state, reporter)


def gate(placement: Placement, percent: float | None, fix: str) -> Gate:
    """As many ops on the CPU as the accelerator's least share leaves: an estimate, for no accelerator was asked."""
    measured, most = len(placement.on_cpu), placement.most_on_cpu(percent)
    passed = measured <= most
    return Gate("target.cpu_ops", measured, most, passed, "ops", True, "" if passed else fix)


def keep(data: Mapping[str, Any], name: str, state: State, reporter: Reporter) -> None:
    """Keep what was found as an artifact."""
    text = json.dumps(data, indent=1) + "\n"
    keep_written(reporter, state.workdir / name, lambda path: path.write_text(text, encoding="utf-8"), "target")
