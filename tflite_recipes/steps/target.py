"""`.tflite` → fits or not, for what LiteRT runs: limits are gates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from tflite_recipes.errors import Problem, StepError
from tflite_recipes.events import Reporter
from tflite_recipes.schema import within
from tflite_recipes.state import Gate, State
from tflite_recipes.steps.hardware import Hardware, OpSet, limit

__all__ = ["CpuTarget", "GenericTarget", "OpSet"]


@dataclass(frozen=True)
class GenericTarget(Hardware):
    """Any LiteRT runtime: nothing is measured, and `flash_kb` limits the file's size."""

    def __call__(self, state: State, reporter: Reporter) -> State:
        for gate in self._flash(state):
            reporter.judge(gate)
        return state

    def _flash(self, state: State) -> Iterator[Gate]:
        assert state.tflite is not None
        yield from limit("flash_kb", state.tflite.stat().st_size / 1024, self.flash_kb, "KiB")


@dataclass(frozen=True)
class CpuTarget(GenericTarget):
    """LiteRT on the CPU of this machine: latency of single invokes, in ms, after `warmup` invokes."""

    threads: Annotated[int, within(ge=1, le=256)] = 1
    xnnpack: bool = True
    warmup: Annotated[int, within(ge=0)] = 10
    runs: Annotated[int, within(ge=1)] = 100

    @property
    def measures_latency(self) -> bool:
        return True

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.backend import latency

        assert state.tflite is not None
        if not state.runnable:
            what = "latency cannot be measured: no runtime here can run a file with Flex or custom ops"
            raise StepError(Problem(what, "target", "target=generic"))
        measured = latency.measure(state, self.threads, self.xnnpack, self.warmup, self.runs, reporter)
        reporter.measure({"latency.p50_ms": measured.p50_ms, "latency.p90_ms": measured.p90_ms})
        for gate in (*self._flash(state), *limit("max_latency_ms", measured.p50_ms, self.max_latency_ms, "ms")):
            reporter.judge(gate)
        return state
