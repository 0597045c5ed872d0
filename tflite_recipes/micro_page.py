"""The report's section on what TensorFlow Lite Micro made of the file: arena, flash, outputs, MACs by op."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tflite_recipes.page_bars import bars, table

FILE = "micro.json"
_MOST_BARS = 20


def section(folder: Path) -> str:
    """HTML from `micro.json` in `folder`; "" where there is none."""
    path = folder / FILE
    if not path.exists():
        return ""
    found = json.loads(path.read_text(encoding="utf-8"))
    parts = ["<h2>TensorFlow Lite Micro</h2>", table([], _facts(found))]
    if found["unsupported_ops"]:
        rows = (
            (op["op"], op["layer"] or op["output"] or str(op["index"]), op["why"] or "there is no kernel")
            for op in found["unsupported_ops"]
        )
        parts.append(f"<h3>Does not run</h3>{table(('op', 'layer', 'why'), rows)}")
    if found["macs"]["ops"]:
        parts.append(f"<h3>MACs by op</h3>{bars(_by_op(found['macs']['ops']), 'MACs')}")
    return "".join(parts)


def _facts(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    flash = found["flash"]
    code = flash["total_bytes"] - flash["file_bytes"]
    yield "flash, an estimate", f"{flash['file_bytes']:,} B of the file and {code:,} B of code ({flash['how']})"
    if "arena" in found:
        yield "arena", f"{found['arena']['bytes']:,} B: the {found['arena']['how']}"
    if "outputs" in found:
        outputs = found["outputs"]
        yield "outputs", f"compared with {outputs['against']} on {outputs['samples']} of {outputs['data']}"
        for one in outputs["differences"]:
            steps, relative = one["steps"], one["relative"]
            apart = f"{steps:g} quantization steps" if steps is not None else f"{relative:.2g} of their range"
            yield f"largest difference of {one['output']}", apart
    if "inference" in found:
        guess = found["inference"]
        yield "time, an estimate", f"{guess['ms']:.3f} ms at {guess['cycles_per_mac']:g} cycles a MAC"
    if "tflite_micro_version" in found:
        yield "interpreter", f"tflite-micro {found['tflite_micro_version']}"


def _by_op(ops: list[dict[str, Any]]) -> dict[str, float]:
    """The ops with most MACs; what does not fit is one bar."""
    most_first = sorted(ops, key=lambda op: -op["macs"])
    shown = {f"{op['index']} {op['layer'] or op['op']}"[:32]: float(op["macs"]) for op in most_first[:_MOST_BARS]}
    rest = most_first[_MOST_BARS:]
    return shown | ({f"{len(rest)} others": float(sum(op["macs"] for op in rest))} if rest else {})
