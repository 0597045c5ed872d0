"""`.tflite` → fits or not: limits are gates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Annotated

from tflite_recipes.errors import Problem, StepError
from tflite_recipes.events import Reporter
from tflite_recipes.schema import within
from tflite_recipes.state import Gate, State


@unique
class OpSet(Enum):
    """Kinds of ops that a target's runtime may take."""

    builtin = "LiteRT's own"
    select_tf = "TensorFlow's, through the Flex delegate"
    custom = "those that the application registers"


def _limit(name: str, measured: float, limit: float | None) -> Iterator[Gate]:
    if limit is not None:
        yield Gate(name, measured, limit, measured <= limit)


def _flash_gate(state: State, limit: float | None) -> Iterator[Gate]:
    assert state.tflite is not None
    yield from _limit("target.flash_kb", state.tflite.stat().st_size / 1024, limit)


@dataclass(frozen=True)
class GenericTarget:
    """Any LiteRT runtime. `flash_kb` limits the file's size in KiB (1024 bytes)."""

    flash_kb: Annotated[float | None, within(gt=0)]
    dynamic_batch: bool = True
    op_sets: list[OpSet] = field(default_factory=lambda: list(OpSet))

    def __call__(self, state: State, reporter: Reporter) -> State:
        for gate in _flash_gate(state, self.flash_kb):
            reporter.judge(gate)
        return state


@dataclass(frozen=True)
class CpuTarget:
    """LiteRT on the CPU of this machine: latency of single invokes, in ms, after `warmup` invokes."""

    threads: Annotated[int, within(ge=1, le=256)]
    xnnpack: bool
    warmup: Annotated[int, within(ge=0)]
    runs: Annotated[int, within(ge=1)]
    flash_kb: Annotated[float | None, within(gt=0)]
    max_latency_ms: Annotated[float | None, within(gt=0)]
    dynamic_batch: bool = True
    op_sets: list[OpSet] = field(default_factory=lambda: list(OpSet))

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.backend import latency

        assert state.tflite is not None
        if not state.runnable:
            what = "latency cannot be measured: no runtime here can run a file with Flex or custom ops"
            raise StepError(Problem(what, "target", "target=generic"))
        measured = latency.measure(state, self.threads, self.xnnpack, self.warmup, self.runs, reporter)
        reporter.measure({"latency.p50_ms": measured.p50_ms, "latency.p90_ms": measured.p90_ms})
        gates = [
            *_flash_gate(state, self.flash_kb),
            *_limit("target.max_latency_ms", measured.p50_ms, self.max_latency_ms),
        ]
        for gate in gates:
            reporter.judge(gate)
        return state
