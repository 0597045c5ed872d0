"""What a search may try: `optimization=auto`. No step: the search makes a recipe of each candidate, and runs that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Annotated, Any

from tflite_recipes.conversion.schemes import IO_TYPES, IOType, Quantizer, Scheme, needs_samples, takes
from tflite_recipes.core.errors import Problem, assignment
from tflite_recipes.core.schema import within

_TYPE_KEYS = ("input_type", "output_type")
# By name, because a default stays what it was when there are more of them.
_SCHEMES = (
    *(Scheme.none, Scheme.dynamic_range, Scheme.dynamic_range_int4, Scheme.weight_only_int8, Scheme.weight_only_int4),
    *(Scheme.float16, Scheme.full_integer, Scheme.integer_only, Scheme.int16x8, Scheme.int16x8_fallback),
)
_QUANTIZERS = (Quantizer.tflite_converter, Quantizer.litert_quantizer)


@unique
class Objective(Enum):
    """What the best of the candidates that pass has least of."""

    size = "bytes of the file"
    latency = "milliseconds of an invoke, the median that the target measures"


@dataclass(frozen=True)
class AutoOptimization:
    """The schemes and quantizers that a search may try, at most `max_runs` candidates, the best by `objective`.

    What passes is what all gates of the recipe pass: the drop in quality that `evaluation.max_drop` allows, and the
    target's limits. `input_type` and `output_type` bind every candidate; null leaves them at the scheme's own.
    """

    schemes: list[Scheme] = field(default_factory=lambda: [*_SCHEMES])
    objective: Objective = Objective.size
    max_runs: Annotated[int, within(ge=1)] = 30
    input_type: IOType | None = None
    output_type: IOType | None = None
    quantizers: list[Quantizer] = field(default_factory=lambda: [*_QUANTIZERS])

    def types(self) -> dict[str, str]:
        """The types that are asked for, by key."""
        return {key: getattr(self, key).name for key in _TYPE_KEYS if getattr(self, key) is not None}

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        for key, members in (("schemes", Scheme), ("quantizers", Quantizer)):
            if not getattr(self, key):
                fix = assignment(f"optimization.{key}", [member.name for member in members])
                yield Problem("nothing may be tried", f"optimization.{key}", fix)
        yield from self._gate_problems(steps)
        yield from self._target_problems(steps.get("target"))
        yield from self._data_problems(steps)
        yield from self._type_problems()

    def _gate_problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        """A user's own evaluation, and one with problems of its own, is there as None: nothing is known of it."""
        evaluation = steps.get("evaluation")
        limits = (getattr(evaluation, key, None) for key in ("max_drop", "min_score"))
        if ("evaluation" in steps and evaluation is None) or any(limit is not None for limit in limits):
            return
        what = "the search has no limit to the drop in quality: the smallest file would win however wrong it is"
        if hasattr(evaluation, "max_drop"):
            yield Problem(what, "evaluation.max_drop", "evaluation.max_drop=0.01")
        elif type(steps.get("source")).__name__ == "DigitsSource":
            yield Problem(what, "evaluation", "evaluation=digits")
        else:
            yield Problem(what, "evaluation", "evaluation=npz evaluation.path=FILE evaluation.max_drop=0.01")

    def _target_problems(self, target: Any) -> Iterable[Problem]:
        if (
            self.objective is Objective.latency
            and target is not None
            and not getattr(target, "measures_latency", False)
        ):
            what = "the fastest file is looked for, and this target measures no latency"
            # A runner that was taken away on the command line would stay with target=cpu.
            fix = "target=cpu" if getattr(target, "runner", None) is None else "target=cpu target.runner=local"
            yield Problem(what, "target", fix, ("optimization.objective=size",))

    def _data_problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        needy = [scheme.name for scheme in self.schemes if needs_samples(scheme)]
        carries = getattr(steps.get("source"), "carries_ranges", None)
        if not needy or "calibration" in steps or (carries is not None and carries()):
            return
        what = f"{', '.join(needy)} need representative data to set their ranges, and there is none"
        fix = "calibration=npz calibration.path=FILE"
        if type(steps.get("source")).__name__ == "DigitsSource":
            fix = "calibration=digits"
        others = [scheme.name for scheme in self.schemes if not needs_samples(scheme)]
        ors = (assignment("optimization.schemes", others),) if others else ()
        yield Problem(what, "calibration", fix, ors)

    def _type_problems(self) -> Iterable[Problem]:
        if not self.schemes or not self.quantizers or any(map(self._gives_types, self.schemes)):
            return
        if not self.types():
            what = f"none of the quantizers makes {', '.join(scheme.name for scheme in self.schemes)}"
            every = assignment("optimization.quantizers", [quantizer.name for quantizer in Quantizer])
            yield Problem(what, "optimization.quantizers", every)
            return
        asked = ", ".join(f"{key} {value}" for key, value in self.types().items())
        fix = " ".join(f"optimization.{key}=null" for key in self.types())
        able = [scheme.name for scheme in Scheme if self._gives_types(scheme)]
        where = f"optimization.{next(iter(self.types()))}"
        what = f"none of the schemes gives {asked}"
        if able:
            yield Problem(what, where, assignment("optimization.schemes", able), (fix,))
        else:
            yield Problem(what, where, fix)

    def _gives_types(self, scheme: Scheme) -> bool:
        """Whether a scheme can have the types that are asked for, and one of the quantizers makes it."""
        made = any(takes(quantizer, scheme) for quantizer in self.quantizers)
        return made and all(IOType[name] in IO_TYPES[scheme] for name in self.types().values())
