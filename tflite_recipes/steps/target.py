"""`.tflite` → fits or not, for what LiteRT runs: limits are gates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tflite_recipes.deployment import label_list
from tflite_recipes.errors import Problem, RequestError, StepError, assignment
from tflite_recipes.events import Reporter
from tflite_recipes.schema import within
from tflite_recipes.state import Gate, State
from tflite_recipes.steps.hardware import Hardware, OpSet, limit
from tflite_recipes.steps.source import Source

__all__ = ["CpuTarget", "GenericTarget", "OpSet"]


@dataclass(frozen=True)
class GenericTarget(Hardware):
    """Any LiteRT runtime: nothing is measured, and `flash_kb` limits the file's size.

    model_name: what the file's metadata calls it; empty: what the source is called. description: what it says of it.
    """

    model_name: str = ""
    description: str = ""

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        yield from super().problems(steps)
        if self.labels is not None:
            yield from _label_problems(Path(self.labels), steps.get("source"))
        yield from self._without_effect()

    def _without_effect(self) -> Iterator[Problem]:
        """What is said of a file that nothing would say."""
        for key in ("labels", "model_name", "description"):
            if getattr(self, key) and not (self.metadata or self.deploy):
                what = "has no effect: neither metadata nor files for deployment are written"
                unset = assignment(f"target.{key}", None if key == "labels" else "")
                yield Problem(what, f"target.{key}", "target.metadata=true", (unset,))

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.steps import finishing

        said = (self.model_name, self.description, None if self.labels is None else Path(self.labels))
        if self.metadata:
            state = finishing.with_metadata(state, reporter, *said)
        for gate in self._measured(state, reporter):
            reporter.judge(gate)
        if self.deploy:
            finishing.deploy(state, reporter, *said)
        return state

    def _measured(self, state: State, reporter: Reporter) -> Iterator[Gate]:
        """Measure what there is to measure, and give the gates of it."""
        assert state.tflite is not None
        yield from limit("flash_kb", state.tflite.stat().st_size / 1024, self.flash_kb, "KiB")


def _label_problems(path: Path, source: Any) -> Iterable[Problem]:
    """What is wrong with the labels themselves, and beside the outputs of a source that tells them."""
    try:
        labels = label_list.read_labels(path)
    except RequestError as error:
        yield from error.problems
        return
    try:
        outputs = source.outputs() if isinstance(source, Source) else None
    except RequestError:
        return  # said by the source
    shapes = {spec.name: spec.shape for spec in outputs or ()}
    if shapes and all(shape and shape[-1] is not None for shape in shapes.values()):
        try:
            label_list.labelled_outputs(shapes, labels)
        except RequestError as error:
            yield from error.problems


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

    def _measured(self, state: State, reporter: Reporter) -> Iterator[Gate]:
        from tflite_recipes.backend import latency

        if not state.runnable:
            what = "latency cannot be measured: no runtime here can run a file with Flex or custom ops"
            raise StepError(Problem(what, "target", "target=generic"))
        measured = latency.measure(state, self.threads, self.xnnpack, self.warmup, self.runs, reporter)
        reporter.measure({"latency.p50_ms": measured.p50_ms, "latency.p90_ms": measured.p90_ms})
        yield from super()._measured(state, reporter)
        yield from limit("max_latency_ms", measured.p50_ms, self.max_latency_ms, "ms")
