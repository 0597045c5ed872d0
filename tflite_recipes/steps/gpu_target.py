"""`.tflite` → what LiteRT's GPU delegate would take of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from tflite_recipes.core.errors import Problem, assignment
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.schema import within
from tflite_recipes.core.state import Gate, State
from tflite_recipes.steps.accelerator_target import AcceleratorTarget, gate, keep

if TYPE_CHECKING:
    from tflite_recipes.targets.accelerators.placement import Placement

_INT16 = ("int16x8", "int16x8_fallback")


@dataclass(frozen=True)
class GpuTarget(AcceleratorTarget):
    """LiteRT with its GPU delegate: which ops it takes, by its own rules (`targets.accelerators.gpu`); no GPU is asked.

    `min_gpu_op_percent` is the least share of ops on the GPU, null: one op. `max_delegated_partitions` is the
    delegate's option of that name: how many groups of ops the application lets it take over, the largest first.
    """

    min_gpu_op_percent: Annotated[float | None, within(gt=0, le=100)] = None
    max_delegated_partitions: Annotated[int, within(ge=1)] = 1

    @property
    def uses_gpu(self) -> bool:
        return True

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        """Also schemes whose tensors the delegate has no type for."""
        yield from super().problems(steps)
        scheme = getattr(steps.get("optimization"), "scheme", None)
        if scheme is not None and scheme.name in _INT16:
            yield Problem("the GPU delegate takes no int16", "optimization", "optimization=float16")

    def _measured(self, state: State, reporter: Reporter) -> Iterator[Gate]:
        from tflite_recipes.backend.compilers import op_placement

        yield from super()._measured(state, reporter)
        placement = op_placement.on_gpu(state, self.max_delegated_partitions)
        for text in (*placement.warnings(), *placement.notes):
            reporter.warn(text)
        reporter.measure({"target.gpu_op_percent": placement.percent, "target.gpu_partitions": placement.parts})
        keep(placement.to_json(), "gpu.json", state, reporter)
        yield gate(placement, self.min_gpu_op_percent, self._fix(state, placement))

    def _fix(self, state: State, placement: Placement) -> str:
        """More groups, where the delegate could take them; else weights that it reads in every version of an op."""
        from tflite_recipes.backend.compilers import op_placement

        more = (
            op_placement.on_gpu(state, placement.parts)
            if placement.parts > self.max_delegated_partitions
            else placement
        )
        if len(more.on_cpu) <= more.most_on_cpu(self.min_gpu_op_percent):
            return assignment("target.max_delegated_partitions", placement.parts)
        return "" if state.scheme in ("none", "float16", "") else "optimization=float16"
