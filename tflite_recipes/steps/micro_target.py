"""`.tflite` → fits a microcontroller or not: the file in TensorFlow Lite Micro's own interpreter, on this machine."""

from __future__ import annotations

import importlib.util
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from tflite_recipes.conversion import estimates
from tflite_recipes.conversion.schemes import Scheme
from tflite_recipes.core.analysis import keep_written, kept
from tflite_recipes.core.errors import Problem, StepError, assignment
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.number_format import estimated
from tflite_recipes.core.schema import within
from tflite_recipes.core.state import Gate, State
from tflite_recipes.steps.hardware import Hardware, Limit, OpSet, limit, smaller_scheme, tell_pruning

if TYPE_CHECKING:
    from tflite_recipes.backend.compilers.micro_interpreter import Simulation, Unsupported
    from tflite_recipes.files.tflite import TFLiteFile

_KIB = 1024
# Bytes of a weight and of an activation by scheme, where they are more than those of int8.
_WIDER = {
    **dict.fromkeys((Scheme.none.name, Scheme.weight_only_int8.name, Scheme.weight_only_int4.name), 4),
    **dict.fromkeys((Scheme.dynamic_range.name, Scheme.dynamic_range_int4.name, Scheme.float16.name), 4),
    **dict.fromkeys((Scheme.int16x8.name, Scheme.int16x8_fallback.name), 2),
}
_NAMED = 6
# The arena is a 64-bit host's, which a board's stands for.
_ESTIMATES = ("target.arena_bytes", "target.flash_bytes", "target.inference_ms")


@dataclass(frozen=True)
class MicroTarget(Hardware):
    """A microcontroller with TensorFlow Lite Micro: `ram_kb` limits the arena, `flash_kb` the file with its kernels.

    `interpreter`: run the file in the tflite-micro interpreter (an extra) on this machine, which measures the arena and
    compares the outputs with LiteRT's on `samples` samples; without it only ops are judged, by a table. Outputs may
    differ by `max_difference` quantization steps, float ones by `max_relative_difference` of their range; null for any.
    `cycles_per_mac`: what the processor takes for a multiplication with accumulation, kernels and all: with it
    `max_latency_ms` is judged, as an estimate. `timeout_s`: seconds that the interpreter gets.
    """

    dynamic_batch: bool = False
    op_sets: list[OpSet] = field(default_factory=lambda: [OpSet.builtin])
    metadata: bool = False
    interpreter: bool = True
    samples: Annotated[int, within(ge=1)] = 16
    max_difference: Annotated[float | None, within(ge=0)] = 1
    max_relative_difference: Annotated[float | None, within(ge=0)] = 1e-4
    cycles_per_mac: Limit = None
    timeout_s: Annotated[float, within(gt=0)] = 600

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        from tflite_recipes.steps import micro_checks

        yield from super().problems(steps)
        yield from (*self.unread_labels(), *self.label_problems(steps))
        if self.interpreter and importlib.util.find_spec("tflite_micro") is None:
            what = "the tflite-micro interpreter is not installed: pip install 'tflite_recipes[micro]'"
            yield Problem(what, "target.interpreter", "target.interpreter=false")
        for key, value in (("cycles_per_mac", self.cycles_per_mac), ("clock_mhz", self.clock_mhz)):
            if self.max_latency_ms is not None and value is None:
                what = f"latency on the board follows from target.{key}, which is not known: nothing here can show it"
                yield Problem(what, "target.max_latency_ms", "target.max_latency_ms=null", (f"target.{key}=NUMBER",))
        yield from micro_checks.op_problems(steps, OpSet.custom in self.op_sets)

    def __call__(self, state: State, reporter: Reporter) -> State:
        state = self.described(state, reporter)
        with kept(reporter, "the check for the microcontroller", "target", state=state):
            self._judge(state, reporter)
        return state

    def _judge(self, state: State, reporter: Reporter) -> None:
        """Measure what there is to measure, and answer its gates. Errors: StepError if that fails."""
        from tflite_recipes.files import tflite as tflite_file

        assert state.tflite is not None
        file = tflite_file.read_tflite(state.tflite)
        tell_pruning(state, reporter)
        simulation, lacking = self._asked(file, state, reporter)
        told = _Told(self, file, state, simulation, lacking)
        self._keep(told, reporter)
        metrics = told.metrics()
        reporter.measure(metrics)
        reporter.tag(estimated(name for name in _ESTIMATES if name in metrics))
        for text in told.warnings():
            reporter.warn(text)
        for gate in told.gates():
            reporter.judge(gate)
        if self.deploy:
            with kept(reporter, "the files for deployment", "target.deploy", judges=False, state=state):
                self._deliver(told, reporter)

    def _asked(
        self, file: TFLiteFile, state: State, reporter: Reporter
    ) -> tuple[Simulation | None, tuple[Unsupported, ...]]:
        """What the interpreter came to, None without it, and the ops that do not run."""
        from tflite_recipes.backend.compilers import micro_interpreter

        lacking = micro_interpreter.without_kernel(file, state)
        own = {op.label for graph in file.subgraphs for op in graph.operators if op.is_custom}
        registered = own & {entry.op for entry in lacking} if OpSet.custom in self.op_sets else set()
        if not self.interpreter:
            return None, tuple(entry for entry in lacking if entry.op not in registered)
        if registered:
            what = f"the interpreter on this machine has none of the application's custom ops: {', '.join(registered)}"
            raise StepError(Problem(what, "target.interpreter", "target.interpreter=false"))
        simulation = micro_interpreter.simulate(file, state, self.samples, self.timeout_s, reporter)
        reporter.tag({"tflite_recipes.tflite_micro_version": simulation.version})
        return simulation, simulation.unsupported

    def _deliver(self, told: _Told, reporter: Reporter) -> None:
        """The firmware's sources under `deploy/`. Errors: StepError where they cannot be written."""
        from tflite_recipes.steps import micro_deploy

        if told.lacking:
            reporter.warn("deploy/ is not written: TensorFlow Lite Micro does not run the file")
            return
        custom = {op.label for graph in told.file.subgraphs for op in graph.operators if op.is_custom}
        registered = custom if OpSet.custom in self.op_sets else ()
        arena_bytes = told.ran.arena_bytes if told.ran else None
        micro_deploy.deliver(told.state, told.file.path, arena_bytes, reporter, registered)

    def _keep(self, told: _Told, reporter: Reporter) -> None:
        text = json.dumps(told.to_json(), indent=2)
        path = told.state.workdir / "micro.json"
        keep_written(reporter, path, lambda path: path.write_text(text, encoding="utf-8"), "target")


@dataclass(frozen=True)
class _Told:
    """One file on one target, and all that follows from what was measured. `simulation`: None where there was none."""

    target: MicroTarget
    file: TFLiteFile
    state: State
    simulation: Simulation | None
    lacking: tuple[Unsupported, ...]

    @property
    def ran(self) -> Simulation | None:
        """What was measured of a file that runs."""
        return self.simulation if not self.lacking else None

    @property
    def macs(self) -> int:
        from tflite_recipes.files.tflite.macs import macs

        return macs(self.file)

    @property
    def flash_bytes(self) -> int:
        from tflite_recipes.targets.micro import code_sizes

        return self.file.size_bytes + code_sizes.code_bytes(self.file)

    @property
    def inference_ms(self) -> float | None:
        cycles, clock = self.target.cycles_per_mac, self.target.clock_mhz
        return None if cycles is None or clock is None else self.macs * cycles / (clock * 1e3)

    def _largest(self, kind: str) -> float | None:
        """The largest difference of an output: `steps` or `relative`. None where no output is told so."""
        found = [getattr(one, kind) for one in self.ran.differences] if self.ran else []
        return max((value for value in found if value is not None), default=None)

    def metrics(self) -> dict[str, float]:
        """Everything known by tracking name."""
        values = {
            "target.unsupported_ops": len(self.lacking),
            "target.macs": self.macs,
            "target.flash_bytes": self.flash_bytes,
            "target.inference_ms": self.inference_ms,
            "target.arena_bytes": self.ran.arena_bytes if self.ran else None,
            "target.max_difference_steps": self._largest("steps"),
            "target.max_relative_difference": self._largest("relative"),
        }
        return {name: float(value) for name, value in values.items() if value is not None}

    def gates(self) -> Iterator[Gate]:
        """Every limit that is set, and can be judged."""
        yield from limit("unsupported_ops", len(self.lacking), 0, fix=self._runs_instead())
        flash = self.flash_bytes
        code = flash - self.file.size_bytes
        flash_fix = smaller_scheme(self.state, self.target.flash_kb, code, ("integer_only",))
        yield from limit("flash_kb", flash / _KIB, self.target.flash_kb, "KiB", estimated=True, fix=flash_fix)
        if self.inference_ms is not None:
            bound = self.target.max_latency_ms
            yield from limit("max_latency_ms", self.inference_ms, bound, "ms", estimated=True)
        if self.ran is None:
            return
        arena = self.ran.arena_bytes
        fix = self._integer(estimates.integer_arena_bytes(self.file, arena, self._wider()), self.target.ram_kb)
        yield from limit("ram_kb", arena / _KIB, self.target.ram_kb, "KiB", estimated=True, fix=fix)
        for kind, name, unit in (
            ("steps", "max_difference", "quantization steps"),
            ("relative", "max_relative_difference", ""),
        ):
            if (largest := self._largest(kind)) is not None:
                fix = assignment(f"target.{name}", math.ceil(largest)) if unit and math.isfinite(largest) else ""
                yield from limit(name, largest, getattr(self.target, name), unit, fix=fix)

    def warnings(self) -> Iterator[str]:
        """What the user should know besides the gates."""
        for op in dict.fromkeys(entry.op for entry in self.lacking):
            entries = [entry for entry in self.lacking if entry.op == op]
            places = list(dict.fromkeys(entry.place for entry in entries))
            more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
            why = entries[0].why
            said = f"refuses it, and was not asked beyond it: {why}" if why else "has no kernel for it"
            yield f"{op} ({', '.join(places[:_NAMED])}{more}): TensorFlow Lite Micro {said}"
        if self.simulation is None:
            limits = " and ram_kb is not judged" if self.target.ram_kb is not None else ""
            yield f"target.interpreter=false: arena and outputs are not shown{limits}; ops are judged by a table alone"
        elif self.ran and self.ran.data != "calibration samples":
            yield f"TensorFlow Lite Micro and LiteRT were compared on {self.ran.data}: there are no calibration samples"
        if self.inference_ms is not None:
            yield from self._doubts()

    def _doubts(self) -> Iterator[str]:
        """What the estimate of the latency does not hold for."""
        from tflite_recipes.files.tflite.macs import op_macs

        ops = [(op, graph, op_macs(op, graph)) for graph in self.file.subgraphs for op in graph.operators]
        kinds = Counter[str]()
        for op, graph, count in ops:
            kinds[graph.tensors[op.inputs[0]].dtype if count else ""] += count
        other = {kind: count for kind, count in kinds.items() if count and kind != "int8"}
        if other:
            share = f"{sum(other.values()) / self.macs:.0%} of the MACs are in {' and '.join(sorted(other))}"
            yield f"target.inference_ms is too short: {share}, and the cycles_per_mac of a part is that of int8 kernels"
        idle = sum(not count for _, _, count in ops)
        if 2 * idle > len(ops):
            yield f"target.inference_ms is too short: {idle} of {len(ops)} ops have no MACs, and it counts these alone"

    def _wider(self) -> int:
        return _WIDER.get(self.state.scheme, 1)

    def _integer(self, would_be: float, limit_kb: float | None) -> str:
        """The overrides for int8 where that would fit: a file or an arena of so many bytes."""
        fits = limit_kb is not None and would_be <= limit_kb * _KIB
        return self._integers() if fits and self._wider() > 1 else ""

    def _integers(self) -> str:
        return estimates.overrides("integer_only", self.state.calibration is not None)

    def _runs_instead(self) -> str:
        """Kernels that refuse a type run int8; an op without a kernel needs another model, or another target."""
        refused = bool(self.lacking) and all(entry.why for entry in self.lacking)
        return self._integers() if refused and self._wider() == 4 else "target=generic"

    def to_json(self) -> dict[str, Any]:
        """What `micro.json` holds."""
        from tflite_recipes.targets.micro import code_sizes

        told: dict[str, Any] = {
            "unsupported_ops": [asdict(entry) for entry in self.lacking],
            "macs": {"total": self.macs, "ops": self._macs_by_op()},
            "flash": {
                "estimated": True,
                "total_bytes": self.flash_bytes,
                "file_bytes": self.file.size_bytes,
                **code_sizes.to_json(self.file),
            },
        }
        if self.inference_ms is not None:
            told["inference"] = {
                "estimated": True,
                "ms": self.inference_ms,
                "cycles_per_mac": self.target.cycles_per_mac,
            }
        if self.simulation is not None:
            told["tflite_micro_version"] = self.simulation.version
        if self.ran is not None:
            told["arena"] = {
                "bytes": self.ran.arena_bytes,
                "how": "smallest arena that allocates and invokes, found by bisection on a 64-bit host; a board's "
                "pointers have 32 bits, and its optimized kernels ask for scratch memory of their own",
                "recorded_bytes": self.ran.recorded_bytes,
            }
            told["outputs"] = {
                "against": "LiteRT without delegates",
                "samples": self.ran.samples,
                "data": self.ran.data,
                "differences": [asdict(one) for one in self.ran.differences],
            }
        return told

    def _macs_by_op(self) -> list[dict[str, Any]]:
        from tflite_recipes.conversion.op_places import layers_of_ops
        from tflite_recipes.files.tflite.macs import op_macs

        found = []
        for number, graph in enumerate(self.file.subgraphs):
            layers = layers_of_ops(self.file, graph, self.state.signature, self.state.layers)
            for op in graph.operators:
                if count := op_macs(op, graph):
                    place = {"subgraph": number, "index": op.index, "op": op.label, "layer": layers.get(op.index, "")}
                    found.append({**place, "macs": count})
        return found
