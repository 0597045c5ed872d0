"""`.tflite` → what Coral's Edge TPU would run of it, and the compiled file where its compiler is at hand."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from tflite_recipes.core.errors import Problem
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.schema import NeedsTrust, within
from tflite_recipes.core.state import Gate, State
from tflite_recipes.steps.accelerator_target import AcceleratorTarget, gate, keep
from tflite_recipes.steps.hardware import integer_only

if TYPE_CHECKING:
    from tflite_recipes.targets.accelerators.edge_tpu_log import CompilerLog
    from tflite_recipes.targets.accelerators.placement import Placement

_INTEGER = ("integer_only", "full_integer")
_TAG = "tflite_recipes.edge_tpu"


@dataclass(frozen=True)
class EdgeTpuTarget(AcceleratorTarget):
    """LiteRT with Coral's Edge TPU: which ops it runs, by its compiler; without it, by the compiler's documentation
    (`targets.accelerators.edge_tpu`).

    `min_edge_tpu_op_percent` is the least share of ops on the Edge TPU, null: one op. `compiler` is the compiler's name
    on PATH, or its path; null: the documentation alone. It may take `compiler_timeout_s` seconds.
    """

    min_edge_tpu_op_percent: Annotated[float | None, within(gt=0, le=100)] = None
    compiler: Annotated[str | None, NeedsTrust()] = "edgetpu_compiler"
    compiler_timeout_s: Annotated[float, within(gt=0)] = 300.0

    def problems(self, steps: Mapping[str, Any]) -> Iterable[Problem]:
        """Also schemes that are not integer."""
        yield from super().problems(steps)
        scheme = getattr(steps.get("optimization"), "scheme", None)
        if scheme is not None and scheme.name not in _INTEGER:
            what = f"the Edge TPU computes in 8-bit integers only, and {scheme.name} does not"
            yield Problem(what, "optimization", integer_only(steps), ("target=generic",))

    def _measured(self, state: State, reporter: Reporter) -> Iterator[Gate]:
        from tflite_recipes.backend.compilers import op_placement

        yield from super()._measured(state, reporter)
        placement = op_placement.on_edge_tpu(state)
        program = shutil.which(self.compiler) if self.compiler else None
        if program is None:
            yield self._by_rules(placement, state, reporter)
        else:
            yield self._compiled(program, placement, state, reporter)

    def _by_rules(self, placement: Placement, state: State, reporter: Reporter) -> Gate:
        from tflite_recipes.backend.compilers import op_placement
        from tflite_recipes.targets.accelerators.edge_tpu import PARAMETER_CACHE_BYTES

        parameters = op_placement.parameter_bytes(state)
        absent = f"{self.compiler} is not on PATH" if self.compiler else "no compiler was asked for (target.compiler)"
        reporter.warn(f"{absent}: judged by {placement.rules} alone, and no file for the Edge TPU was made")
        for text in (*placement.warnings(), *placement.notes):
            reporter.warn(text)
        if parameters > PARAMETER_CACHE_BYTES:
            what = f"{parameters / 1024**2:.1f} MiB of parameters do not fit into the Edge TPU's 8 MiB"
            reporter.warn(f"{what}: the rest is fetched at each invoke, which takes longer")
        reporter.measure({"target.edge_tpu_op_percent": placement.percent})
        reporter.tag({_TAG: "documentation's rules only, not compiled"})
        keep(placement.to_json(), "edge_tpu.json", state, reporter)
        return gate(placement, self.min_edge_tpu_op_percent, _fix(state))

    def _compiled(self, program: str, placement: Placement, state: State, reporter: Reporter) -> Gate:
        from tflite_recipes.backend.compilers import edge_tpu_compiler

        assert state.tflite is not None
        folder = state.workdir / "edge_tpu"
        made = edge_tpu_compiler.compiled(state.tflite, folder, program, self.compiler_timeout_s)
        report = made.report
        for text in _refused(report, placement):
            reporter.warn(text)
        if report.off_chip:
            what = f"{report.off_chip:,} bytes of parameters do not fit on the chip"
            reporter.warn(f"{what}: they are fetched at each invoke, which takes longer")
        reporter.measure({name: value for name, value in _metrics(report).items() if value is not None})
        reporter.tag({_TAG: f"compiled by Edge TPU Compiler {report.version}"})
        keep({"compiler": _as_json(report), **placement.to_json()}, "edge_tpu.json", state, reporter)
        for path in (made.model, made.log):
            reporter.keep(str(path), "deploy")
        return self._compiled_gate(report, _fix(state))

    def _compiled_gate(self, report: CompilerLog, fix: str) -> Gate:
        needed = (
            1 if self.min_edge_tpu_op_percent is None else -int(-report.total * self.min_edge_tpu_op_percent // 100)
        )
        measured, most = report.total - report.mapped, max(report.total - needed, 0)
        return Gate("target.cpu_ops", measured, most, measured <= most, "ops", fix="" if measured <= most else fix)


def _fix(state: State) -> str:
    """No op in floating point, where some are."""
    return "optimization=integer_only" if state.scheme == "full_integer" else ""


def _metrics(report: CompilerLog) -> dict[str, float | None]:
    return {
        "target.edge_tpu_op_percent": 100.0 * report.mapped / report.total,
        "target.edge_tpu_subgraphs": report.subgraphs,
        "target.edge_tpu_on_chip_bytes": report.on_chip,
        "target.edge_tpu_off_chip_bytes": report.off_chip,
    }


def _as_json(report: CompilerLog) -> dict[str, Any]:
    statuses = [{"op": op, "count": count, "status": status} for op, count, status in report.statuses]
    figures = {name.removeprefix("target.edge_tpu_"): value for name, value in _metrics(report).items()}
    return {"version": report.version, **figures, "left_on_chip_bytes": report.left, "statuses": statuses}


def _refused(report: CompilerLog, placement: Placement) -> Iterator[str]:
    """What the compiler did not map. It counts ops of a kind, so their layers are known where it is all of them."""
    from tflite_recipes.targets.accelerators.edge_tpu_log import MAPPED

    of_kind = Counter(place.op for place in placement.places)
    for op, count, status in report.statuses:
        if status != MAPPED:
            layers = dict.fromkeys(place.layer for place in placement.places if place.op == op and place.layer)
            named = f" of {', '.join(layers)}" if layers and count == of_kind[op] else ""
            yield f"{op}{f' ({count} of them)' if count > 1 else ''}{named} stays on the CPU: {status}"
