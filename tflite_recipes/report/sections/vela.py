"""The report's section on what Vela made of the file: cycles by layer, memory, and what is left to the CPU."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from tflite_recipes.report.bar_chart import bars, table

FILE = "vela.json"
_MOST_BARS = 20
_ESTIMATE = (
    "Cycles are Vela's estimate from a model of the NPU and its memories, not a measurement. The compiled file was not "
    "run: nothing here has the NPU. Accuracy and parity are those of the file before it was compiled."
)


def section(folder: Path) -> str:
    """HTML from `vela.json` in `folder`; "" where there is none."""
    path = folder / FILE
    if not path.exists():
        return ""
    found = json.loads(path.read_text(encoding="utf-8"))
    parts = [f"<h2>{escape(found['accelerator'])}</h2><p class='muted'>{escape(_ESTIMATE)}</p>", _facts(found)]
    if found["layers"]:
        parts.append(f"<h3>Estimated cycles by layer</h3>{bars(_by_layer(found['layers']), 'cycles')}")
    parts.append(_left(found["cpu"]))
    return "".join(parts)


def _facts(found: Mapping[str, Any]) -> str:
    memory, weights, npu = found["memory"], found["weights"], found["npu"]
    rows = {
        "system configuration": f"{found['system_config']}, {found['core_clock_mhz']:g} MHz",
        "memory mode, strategy": f"{found['memory_mode']}, {found['optimise']}",
        "ops on the NPU": f"{npu['op_percent']:.1f} % of {npu['ops']}",
        "SRAM": f"{memory['sram_bytes']:,} B",
        "DRAM": f"{memory['dram_bytes']:,} B",
        "compiled file": f"{memory['flash_bytes']:,} B",
        "weights": f"{weights['bytes']:,} B, encoded {weights['encoded_bytes']:,} B",
    }
    if npu["mac_percent"] is not None:
        rows["MACs on the NPU"] = f"{npu['mac_percent']:.1f} %"
    if found["inference_ms"] is not None:
        clock = f"{found['clock_mhz']:g} MHz"
        rows["estimated time"] = f"{found['cycles']:,} cycles, {found['inference_ms']:.3f} ms at {clock}"
    return table([], rows.items())


def _by_layer(ops: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Cycles by layer, most first; an op without one stands for itself. What does not fit is one bar."""
    sums: dict[str, float] = {}
    for op in ops:
        name = op["layer"] or (op["op"] if op["index"] is None else f"{op['op']} {op['index']}")
        sums[name] = sums.get(name, 0.0) + op["cycles"]
    most_first = sorted(sums.items(), key=lambda item: -item[1])
    shown, rest = most_first[:_MOST_BARS], most_first[_MOST_BARS:]
    if rest:
        shown.append((f"{len(rest)} others", sum(cycles for _, cycles in rest)))
    return {name if len(name) <= 32 else f"…{name[-31:]}": cycles for name, cycles in shown}


def _left(ops: Iterable[Mapping[str, Any]]) -> str:
    rows = [(op["op"], op["layer"] or op["output"], op["reason"], op["advice"]) for op in ops]
    if not rows:
        return "<p>Every op runs on the NPU.</p>"
    return f"<h3>Left to the CPU</h3>{table(('op', 'layer', 'why, as Vela says', 'what would help'), rows)}"
