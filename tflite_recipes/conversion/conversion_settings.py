"""The section `conversion`: what is the converter's whatever the scheme."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Any

from tflite_recipes.conversion.remedies import Remedy
from tflite_recipes.core.errors import Problem, assignment

# Remedies that need the target to take such ops: the name in `target.op_sets`.
OP_SETS = {"select_tf_ops": "select_tf", "allow_custom_ops": "custom"}
# What only TensorFlow's converter does, and the value that leaves it out.
_WHILE_CONVERTING = {"select_user_tf_ops": "[]", "unfold_batchmatmul": "false", "exclude_conversion_metadata": "false"}


@unique
class OnWrongFile(Enum):
    """What a run does if its float file computes something else than its source, or fails at a batch of 1."""

    warn = "warn with the reason, and go on"
    fail = "try a remedy that helps, else fail with the reason"


@dataclass(frozen=True)
class Conversion:
    """Which ops besides LiteRT's own may be in the file, and what may be done when a model does not convert.

    fallback: remedies in the order in which they are tried; [] for none. select_user_tf_ops: TensorFlow ops that the
    application links into the Flex delegate itself. on_wrong_file: what a run does if the float file behind a quantized
    one is wrong, or if a file with an open batch fails at a batch of 1.
    """

    # The first recipes were written down without this section, by runs that took no remedies.
    fallback: list[Remedy] = field(default_factory=list)
    select_tf_ops: bool = False
    allow_custom_ops: bool = False
    select_user_tf_ops: list[str] = field(default_factory=list)
    unfold_batchmatmul: bool = False
    exclude_conversion_metadata: bool = False
    # Runs did not check this before the key existed.
    on_wrong_file: OnWrongFile = OnWrongFile.warn

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        """What the target does not take, and what would have no effect."""
        yield from self._refused_ops(steps)
        if self.select_user_tf_ops and not self.select_tf_ops:
            what = "these ops are the Flex delegate's, which the file is not to need"
            ors = ("conversion.select_user_tf_ops=[]",)
            yield Problem(what, "conversion.select_user_tf_ops", "conversion.select_tf_ops=true", ors)
        if type(steps.get("source")).__name__ == "TFLiteSource":
            for key, without in _WHILE_CONVERTING.items():
                if getattr(self, key):
                    what = "this is done while a model is converted, and a .tflite file is that already"
                    yield Problem(what, f"conversion.{key}", f"conversion.{key}={without}")

    def _refused_ops(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
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
