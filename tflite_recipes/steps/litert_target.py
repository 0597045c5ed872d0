"""`.tflite` → fits or not, for what LiteRT runs: limits are gates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, unique
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tflite_recipes.core.analysis import kept
from tflite_recipes.core.errors import Problem, StepError, assignment
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.schema import NeedsTrust, within
from tflite_recipes.core.state import Gate, State
from tflite_recipes.steps.device_settings import RemoteRunner
from tflite_recipes.steps.hardware import Hardware, OpSet, limit, smaller_scheme, tell_pruning

if TYPE_CHECKING:
    from tflite_recipes.backend.measuring.latency import Settings

__all__ = ["Architecture", "CpuTarget", "GenericTarget", "OpSet", "Runner"]


_UNSHOWN = {"max_latency_ms": "the latency", "ram_kb": "the memory"}


@dataclass(frozen=True)
class GenericTarget(Hardware):
    """Any LiteRT runtime: nothing is measured, and `flash_kb` limits the file's size.

    model_name: what the file's metadata calls it; empty: what the source is called. description: what it says of it.
    """

    # Recipes that lack these keys are of runs that wrote neither.
    deploy: bool = False
    metadata: bool = False
    model_name: str = ""
    description: str = ""

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        yield from super().problems(steps)
        yield from self.label_problems(steps)
        yield from self._without_effect()
        for key, words in _UNSHOWN.items():
            if getattr(self, key) is not None:
                yield from self._unshown(f"target.{key}", words)

    def _unshown(self, key: str, words: str) -> Iterator[Problem]:
        """Limits of what is not measured."""
        limit = assignment(key, getattr(self, key.partition(".")[2]))
        what = f"{words} has a limit, and this target measures nothing"
        yield Problem(what, key, f"target=cpu {limit}", (assignment(key, None),))

    def _without_effect(self) -> Iterator[Problem]:
        """What is said of a file that nothing would say."""
        for key in ("labels", "model_name", "description"):
            if getattr(self, key) and not (self.metadata or self.deploy):
                what = "has no effect: neither metadata nor files for deployment are written"
                unset = assignment(f"target.{key}", None if key == "labels" else "")
                yield Problem(what, f"target.{key}", "target.metadata=true", (unset,))

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.steps import file_delivery

        said = (self.model_name, self.description, None if self.labels is None else Path(self.labels))
        if self.metadata:
            state = file_delivery.with_metadata(state, reporter, *said)
        self._judge(state, reporter)
        if self.deploy:
            file_delivery.deploy(state, reporter, *said, gpu=self.uses_gpu)
        return state

    def _judge(self, state: State, reporter: Reporter) -> None:
        with kept(reporter, "the measurement", "target", state=state):
            for gate in self._measured(state, reporter):
                reporter.judge(gate)

    @property
    def uses_gpu(self) -> bool:
        """Whether the application has to link the GPU delegate."""
        return False

    def _measured(self, state: State, reporter: Reporter) -> Iterator[Gate]:
        """Measure what there is to measure, and give the gates of it."""
        assert state.tflite is not None
        size = state.tflite.stat().st_size / 1024
        yield from limit("flash_kb", size, self.flash_kb, "KiB", fix=smaller_scheme(state, self.flash_kb))


@unique
class Runner(Enum):
    """Where a file is measured."""

    none = "nowhere: nothing is known of its speed"
    local = "on this machine"
    ssh = "on a device, over ssh"
    adb = "on a device, over adb"


@unique
class Architecture(Enum):
    """Instruction set of a target's processor."""

    any = "whichever it is measured on"
    x86_64 = "64-bit x86"
    arm64 = "64-bit Arm"


_MOST_THREADS = 256
_MACHINES = {
    **dict.fromkeys(("x86_64", "amd64"), Architecture.x86_64),
    **dict.fromkeys(("aarch64", "arm64"), Architecture.arm64),
}


@dataclass(frozen=True)
class CpuTarget(GenericTarget, RemoteRunner):
    """LiteRT on a CPU: latency of single invokes, in ms, after `warmup` of them, and memory.

    `runs` invokes are measured, and more until 0.3 s have gone by. `max_latency_ms` limits their median, `ram_kb` the
    peak memory of a process that loads and runs the file, beyond the runtime's own. `profile` times each op. `sweep`
    lists numbers of threads, each measured with and without XNNPACK. `runner` says where it is measured, and
    `RemoteRunner` how another device is reached; `architecture` what the target's processor is.
    """

    threads: Annotated[int, within(ge=1, le=_MOST_THREADS)] = 1
    xnnpack: bool = True
    warmup: Annotated[int, within(ge=0)] = 10
    runs: Annotated[int, within(ge=1)] = 100
    profile: bool = False  # recipes that lack it are of runs that did not time ops
    sweep: list[int] = field(default_factory=list)
    architecture: Architecture = Architecture.any
    runner: Annotated[Runner, NeedsTrust(("none",))] = Runner.local

    @property
    def measures_latency(self) -> bool:
        return self.runner is not Runner.none

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        """Those of every target; threads that there cannot be; and limits to what nobody measures."""
        yield from super().problems(steps)
        yield from self.remote_problems(self.runner.name)
        good = [threads for threads in self.sweep if 1 <= threads <= _MOST_THREADS]
        if bad := [threads for threads in self.sweep if threads not in good]:
            what = f"{bad[0]} is no number of threads: 1 to {_MOST_THREADS}"
            yield Problem(what, "target.sweep", assignment("target.sweep", good))

    def _unshown(self, key: str, words: str) -> Iterator[Problem]:
        if self.runner is Runner.none:
            what = f"{words} has a limit, and with target.runner=none it is not measured"
            ors = ("target.runner=local", assignment(key, None))
            yield Problem(what, key, "target.runner=ssh target.host=USER@DEVICE", ors)

    def _measured(self, state: State, reporter: Reporter) -> Iterator[Gate]:
        from tflite_recipes.backend.measuring import latency
        from tflite_recipes.backend.running import runtime

        yield from super()._measured(state, reporter)
        tell_pruning(state, reporter)
        if self.runner is Runner.none:
            there = "target.runner=ssh target.host=USER@DEVICE (or adb, or local)"
            reporter.warn(f"neither latency nor memory is measured: {there} would")
            return
        if not state.runnable:
            what = "latency cannot be measured: no runtime here can run a file with Flex or custom ops"
            raise StepError(Problem(what, "target", "target=generic"))
        if self.runner is Runner.local:
            result = latency.measure(state, self._settings(runtime.cores(), reporter), reporter)
        else:
            result = self._measured_there(state, reporter)
        if said := foreign(self.architecture, result["machine"]):
            reporter.warn(said)
        other, fix = bool(said), faster(result, self.max_latency_ms)
        yield from limit("max_latency_ms", result["p50_ms"], self.max_latency_ms, "ms", fix=fix, estimated=other)
        yield from limit("ram_kb", result["peak_memory_bytes"] / 1024, self.ram_kb, "KiB", estimated=other)

    def _measured_there(self, state: State, reporter: Reporter) -> dict[str, Any]:
        from tflite_recipes.backend.measuring.devices import remote_measurement

        settings = replace(self._settings(_MOST_THREADS, reporter), seconds=self.timeout_s)
        device = self.device(self.runner.name)
        return remote_measurement.measure(state, settings, device, reporter, self.python, self.remote_dir)

    def _settings(self, cores: int, reporter: Reporter) -> Settings:
        """What is asked for, as far as the machine has processors."""
        from tflite_recipes.backend.measuring.latency import Settings

        over = sorted({threads for threads in self.sweep if threads > cores})
        if over:
            counts = ", ".join(map(str, over))
            reporter.warn(f"target.sweep: {counts} threads are left out, the machine has {cores} processors")
        sweep = tuple((n, on) for n in dict.fromkeys(self.sweep) if n <= cores for on in (True, False))
        return Settings(self.threads, self.xnnpack, self.warmup, self.runs, self.profile, sweep)


def foreign(architecture: Architecture, machine: str) -> str:
    """What is to be said where the target is another kind of processor than the one that was measured, "" where it is
    the same. `machine` is what `uname -m` names it."""
    measured = _MACHINES.get(machine.lower())
    if architecture is Architecture.any or measured is architecture:
        return ""
    return f"latency was measured on {machine}, which says nothing of the target's {architecture.name}"


def faster(result: Mapping[str, Any], bound: float | None) -> str:
    """The setting of the sweep with the fewest threads whose median is within the bound, as overrides."""
    fits = [one for one in result["sweep"] if bound is not None and one.get("p50_ms", bound + 1.0) <= bound]
    if not fits:
        return ""
    best = min(fits, key=lambda one: (one["threads"], one["p50_ms"]))
    return f"target.threads={best['threads']} {assignment('target.xnnpack', best['xnnpack'])}"
