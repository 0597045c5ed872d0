"""`.tflite` → compiled by Vela for an Arm Ethos-U NPU: what runs there, in how many cycles, in how much memory."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

from tflite_recipes.conversion import estimates
from tflite_recipes.core.analysis import kept
from tflite_recipes.core.errors import Problem, StepError, assignment
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.number_format import estimated
from tflite_recipes.core.state import Gate, State
from tflite_recipes.steps import ethos_u_checks, micro_deploy
from tflite_recipes.steps.ethos_u_settings import Accelerator as Accelerator
from tflite_recipes.steps.ethos_u_settings import EthosUSettings, Strategy
from tflite_recipes.steps.hardware import least, limit
from tflite_recipes.targets.vela import config as vela_config

if TYPE_CHECKING:
    from tflite_recipes.backend.compilers.npu_placement import Share
    from tflite_recipes.backend.compilers.vela import Compiled, Options

_DEPLOY = "deploy"
# Other options are compiled for a gate that failed, as long as this takes.
_OTHERS_S = 20.0
# Vela's, of which no NPU has been asked.
_ESTIMATES = ("target.cycles", "target.inference_ms", "target.sram_bytes", "target.dram_bytes")


@dataclass(frozen=True)
class EthosUTarget(EthosUSettings):
    """Compiles the file for an Ethos-U NPU beside a Cortex-M or Cortex-A, and judges what Vela estimates."""

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        """Also: Vela is missing; a system or memory mode cannot be had; nothing would run on the NPU."""
        yield from ethos_u_checks.vela_problems(self)
        schemes = list(ethos_u_checks.scheme_problems(steps))
        yield from schemes or super().problems(steps)
        yield from (*self.unread_labels(), *self.label_problems(steps))

    def __call__(self, state: State, reporter: Reporter) -> State:
        state = self.described(state, reporter)
        with kept(reporter, "the compilation by Vela", "target", state=state):
            self._compile(state, reporter)
        return state

    def _compile(self, state: State, reporter: Reporter) -> None:
        """Compile the file, and answer the gates. Errors: StepError if Vela does not compile it."""
        from tflite_recipes.backend.compilers import npu_placement, vela

        assert state.tflite is not None
        folder = state.workdir / "vela"
        try:
            compiled = vela.compile_file(state.tflite, self._options(), folder)
        finally:
            if (folder / vela.LOG).exists():
                reporter.keep(str(folder / vela.LOG), _DEPLOY)
        share = npu_placement.share(state, compiled)
        metrics = self._metrics(compiled, share)
        reporter.measure(metrics)
        reporter.tag({"tflite_recipes.compiled_verified": "false"})
        if share.on_npu:
            reporter.tag(estimated(_ESTIMATES))
        self._warn(state, compiled, share, reporter)
        for gate in self._gates(state, compiled, share):
            reporter.judge(gate)
        with kept(reporter, "the files of Vela", "target.deploy", judges=False, state=state):
            self._keep(state, compiled, share, reporter)

    def _options(self) -> Options:
        from tflite_recipes.backend.compilers.vela import Options

        cache = None if self.arena_cache_size_kb is None else round(self.arena_cache_size_kb * 1024)
        names = (self.system_config, self.memory_mode, self.optimise.name)
        return Options(self.accelerator.value, self.ini(), *names, cache)

    def _milliseconds(self, compiled: Compiled) -> float:
        """Vela's cycles at the target's clock."""
        return compiled.summary.cycles / (self._clock(compiled) * 1e3)

    def _clock(self, compiled: Compiled) -> float:
        return self.clock_mhz or compiled.summary.core_clock_hz / 1e6

    def _sram(self, compiled: Compiled) -> int:
        """Bytes of SRAM, with the constants where the memory mode keeps them there."""
        config, summary = self.vela_config(), compiled.summary
        both = vela_config.constants_in_sram(config.systems[self.system_config], config.modes[self.memory_mode])
        return summary.sram_bytes + (summary.on_chip_flash_bytes if both else 0)

    def _metrics(self, compiled: Compiled, share: Share) -> dict[str, float]:
        summary = compiled.summary
        found: dict[str, float] = {
            "target.npu_op_percent": share.npu_op_percent,
            "target.cpu_ops": len(share.cpu),
            "target.flash_bytes": compiled.tflite.stat().st_size,
        }
        if share.npu_mac_percent is not None:
            found["target.npu_mac_percent"] = share.npu_mac_percent
        if share.on_npu:
            found |= {
                "target.cycles": summary.cycles,
                "target.inference_ms": self._milliseconds(compiled),
                "target.sram_bytes": self._sram(compiled),
                "target.dram_bytes": summary.dram_bytes,
                "target.weight_bytes": summary.weight_bytes,
                "target.encoded_weight_bytes": summary.encoded_weight_bytes,
            }
        return found

    def _warn(self, state: State, compiled: Compiled, share: Share, reporter: Reporter) -> None:
        from tflite_recipes.backend.compilers import npu_placement

        for line in npu_placement.told(share.cpu):
            reporter.warn(line)
        for op in npu_placement.without_kernel(share.cpu):
            reporter.warn(
                f"{op}: TensorFlow Lite Micro has no kernel for it, so that a Cortex-M does not run it either"
            )
        for name in share.open_batches:
            reporter.warn(
                f"the batch of input {name!r} is open, and Vela takes it for 1: the compiled file takes one sample "
                "at a time, as with target.dynamic_batch=false"
            )
        if not share.on_npu:
            reporter.warn("nothing of the file runs on the NPU: limits on SRAM and time have nothing to be judged by")
            return
        if share.cpu:
            reporter.warn("Vela's cycles are the NPU's alone: the time that the CPU takes for its ops comes on top")
        summary = compiled.summary
        core = summary.core_clock_hz / 1e6
        if abs(core - self._clock(compiled)) > 1e-6 * core:
            fix = assignment("target.clock_mhz", None)
            reporter.warn(
                f"{self.system_config} has a clock of {core:g} MHz and the target {self._clock(compiled):g}: the time "
                f"is that of Vela's cycles at the target's clock, as if its memories kept pace ({fix} takes Vela's)"
            )
        # Encoding alone may save some, or cost some, of weights without a zero.
        if state.intent.pruned and summary.encoded_weight_bytes > 0.95 * summary.weight_bytes:
            reporter.warn(
                f"pruning gives this target nothing: Vela encodes {summary.weight_bytes:,} B of weights in "
                f"{summary.encoded_weight_bytes:,} B; more zeros would shrink that"
            )

    def _gates(self, state: State, compiled: Compiled, share: Share) -> Iterator[Gate]:
        from tflite_recipes.backend.compilers import npu_placement

        fix = _integer_fix(state, share)
        yield least("npu_op_percent", share.npu_op_percent, self.min_npu_op_percent, "%", fix=fix)
        lacking = npu_placement.without_kernel(share.cpu)
        # The others are also built with a Cortex-A, where LiteRT runs them.
        if lacking and vela_config.family(self.accelerator.value) == "u55":
            yield from limit("unsupported_ops", len(lacking), 0, fix="target=generic")
        gates = list(self._limits(compiled, share.on_npu))
        if all(gate.passed for gate in gates):
            yield from gates
        else:
            yield from self._limits(compiled, share.on_npu, self._fitting(state, compiled, share))

    def _limits(self, compiled: Compiled, on_npu: bool, fix: str = "") -> Iterator[Gate]:
        flash = compiled.tflite.stat().st_size / 1024
        yield from limit("flash_kb", flash, self.flash_kb, "KiB", fix=fix)
        if on_npu:
            sram, time_ms = self._sram(compiled) / 1024, self._milliseconds(compiled)
            yield from limit("ram_kb", sram, self.ram_kb, "KiB", fix=fix, estimated=True)
            yield from limit("max_latency_ms", time_ms, self.max_latency_ms, "ms", fix=fix, estimated=True)

    def _fitting(self, state: State, compiled: Compiled, share: Share) -> str:
        """The override with which the same accelerator fits all limits, the quickest of those compiled; "" for none."""
        from tflite_recipes.backend.compilers import vela

        assert state.tflite is not None
        ends = time.monotonic() + _OTHERS_S
        found: list[tuple[float, str]] = []
        for number, other in enumerate(self._others() if share.on_npu else ()):
            if time.monotonic() + compiled.seconds > ends:
                break
            try:
                made = vela.compile_file(state.tflite, other._options(), state.workdir / "vela" / f"other{number}")
            except StepError:  # what Vela cannot compile is no way out
                continue
            if all(gate.passed for gate in other._limits(made, True)):
                found.append((other._milliseconds(made), self._changes(other)))
        return min(found, default=(0.0, ""))[1]

    def _others(self) -> list[EthosUTarget]:
        """The same accelerator and system in other ways, the nearest first."""
        modes = ethos_u_checks.fitting_modes(self.vela_config(), self.system_config, self.accelerator.value)
        found = [replace(self, memory_mode=mode, optimise=strategy) for mode in modes for strategy in Strategy]
        if self.ram_kb is not None and self.arena_cache_size_kb is None:
            found.append(replace(self, optimise=Strategy.Performance, arena_cache_size_kb=self.ram_kb))
        own = (self.memory_mode, self.optimise)
        others = [other for other in found if other != self]
        return sorted(others, key=lambda other: (other.memory_mode != own[0], other.optimise is not own[1]))

    def _changes(self, other: EthosUTarget) -> str:
        """The overrides that make another of this."""
        asked = {
            "memory_mode": (self.memory_mode, other.memory_mode),
            "optimise": (self.optimise.name, other.optimise.name),
            "arena_cache_size_kb": (self.arena_cache_size_kb, other.arena_cache_size_kb),
        }
        changed = {f"target.{key}": new for key, (old, new) in asked.items() if new != old}
        plain = {key: int(new) if isinstance(new, float) and new.is_integer() else new for key, new in changed.items()}
        return " ".join(assignment(key, new) for key, new in plain.items())

    def _keep(self, state: State, compiled: Compiled, share: Share, reporter: Reporter) -> None:
        found = self._described(compiled, share)
        path = state.workdir / "vela.json"
        path.write_text(json.dumps(found, indent=1), encoding="utf-8")
        reporter.keep(str(path))
        if self.deploy:
            self._firmware(state, compiled, reporter)
            for made in (compiled.tflite, compiled.summary_csv, compiled.layers_csv):
                reporter.keep(str(made), _DEPLOY)

    def _firmware(self, state: State, compiled: Compiled, reporter: Reporter) -> None:
        """Sources for TensorFlow Lite Micro; what it cannot take is no reason to withhold what Vela made."""
        try:
            micro_deploy.deliver(state, compiled.tflite, None, reporter)
        except StepError as error:
            for problem in error.problems:
                place = f"{problem.where}: " if problem.where not in ("", "target") else ""
                reporter.warn(f"deploy/ has no sources for firmware: {place}{problem.what}")

    def _described(self, compiled: Compiled, share: Share) -> dict[str, Any]:
        """What `vela.json` holds: sizes in bytes, clocks in MHz; cycles and times are Vela's estimates."""
        summary = compiled.summary
        return {
            "vela": metadata.version("ethos-u-vela"),
            "accelerator": self.accelerator.value,
            "config": self.config or "Arm/vela.ini",
            "config_sha256": hashlib.sha256(self.ini().read_bytes()).hexdigest(),
            "system_config": summary.system_config,
            "memory_mode": summary.memory_mode,
            "optimise": self.optimise.name,
            "core_clock_mhz": summary.core_clock_hz / 1e6,
            "clock_mhz": self._clock(compiled),
            "cycles": summary.cycles if share.on_npu else None,
            "inference_ms": self._milliseconds(compiled) if share.on_npu else None,
            "macs": summary.macs,
            "memory": {
                "sram_bytes": self._sram(compiled),
                "dram_bytes": summary.dram_bytes,
                "on_chip_flash_bytes": summary.on_chip_flash_bytes,
                "off_chip_flash_bytes": summary.off_chip_flash_bytes,
                "flash_bytes": compiled.tflite.stat().st_size,
            },
            "weights": {"bytes": summary.weight_bytes, "encoded_bytes": summary.encoded_weight_bytes},
            "npu": {
                "ops": share.ops,
                "op_percent": share.npu_op_percent,
                "mac_percent": share.npu_mac_percent,
                "counted_by_vela": compiled.counts,
            },
            "cpu": [op.to_json() for op in share.cpu],
            "layers": list(share.cycles),
            "compiled_verified": False,
        }


def _integer_fix(state: State, share: Share) -> str:
    """The overrides that would bring ops to the NPU, where they are known."""
    advised = {op.advice.partition(",")[0] for op in share.cpu if op.advice.startswith("optimization")}
    if not any(advice.startswith("optimization=") for advice in advised):
        return " ".join(sorted(advised))
    if state.intent.scheme == "integer_only":
        return ""
    return estimates.overrides("integer_only", state.calibration is not None)
