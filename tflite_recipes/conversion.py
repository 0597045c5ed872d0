"""The section `conversion`: what is the converter's whatever the scheme."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tflite_recipes.errors import Problem, assignment
from tflite_recipes.remedies import Remedy

# Remedies that need the target to take such ops: the name in `target.op_sets`.
OP_SETS = {"select_tf_ops": "select_tf", "allow_custom_ops": "custom"}


@dataclass(frozen=True)
class Conversion:
    """Which ops besides LiteRT's own may be in the file, and what may be done when a model does not convert.

    fallback: remedies in the order in which they are tried; [] for none.
    """

    fallback: list[Remedy]
    select_tf_ops: bool
    allow_custom_ops: bool

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        """What the target does not take."""
        allowed = [member.name for member in getattr(steps.get("target"), "op_sets", ())]
        if not allowed:
            return
        for key, op_set in OP_SETS.items():
            if op_set in allowed:
                continue
            if getattr(self, key):
                what = f"the target takes {', '.join(allowed)} ops only"
                ors = (assignment("target.op_sets", [*allowed, op_set]),)
                yield Problem(what, f"conversion.{key}", f"conversion.{key}=false", ors)
            if any(remedy.name == key for remedy in self.fallback):
                rest = [remedy.name for remedy in self.fallback if remedy.name != key]
                what = f"{key} is no remedy for a target that takes {', '.join(allowed)} ops only"
                yield Problem(what, "conversion.fallback", assignment("conversion.fallback", rest))
