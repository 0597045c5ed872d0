"""The report's section on TensorFlow Lite Micro: what was measured of the file, what is an estimate, and what of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tflite_recipes.report.bar_chart import bars, table

FILE = "micro.json"
_MOST_BARS = 20
_KINDS = ("steps", "relative")


def section(folder: Path) -> str:
    """HTML from `micro.json` in `folder`; "" where there is none."""
    path = folder / FILE
    if not path.exists():
        return ""
    found = json.loads(path.read_text(encoding="utf-8"))
    parts = ["<h2>TensorFlow Lite Micro</h2>", _lacking(found["unsupported_ops"]), table([], _facts(found))]
    if macs := _by_layer(found["macs"]["ops"]):
        parts.append(f"<h3>Multiplications with accumulation by layer</h3>{bars(macs, '')}")
    if kernels := found["flash"]["kernels"]:
        parts.append(f"<h3>Estimated flash of the kernels</h3>{bars(_most(kernels), 'B')}")
    return "".join(parts)


def _facts(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is known: its name, and the figure with how it came about."""
    if "arena" in found:
        arena = found["arena"]
        yield "arena, measured", f"{arena['bytes']:,} B: {arena['how']}"
    flash = found["flash"]
    code = (
        f"file {flash['file_bytes']:,} B, interpreter {flash['core_bytes']:,} B, kernels {flash['kernels_bytes']:,} B"
    )
    yield "flash, an estimate", f"{flash['total_bytes']:,} B: {code} ({flash['how']})"
    if guessed := flash["median_stands_for"]:
        yield "kernels of unknown size", f"{', '.join(guessed)}: the median stands for each"
    yield "multiplications with accumulation", f"{found['macs']['total']:,}"
    if "inference" in found:
        time = found["inference"]
        yield "inference, an estimate", f"{time['ms']:.3f} ms: {time['cycles_per_mac']:g} cycles for each of these"
    if "outputs" in found:
        yield "outputs", _outputs(found["outputs"])
    version = found.get("tflite_micro_version")
    yield "interpreter", f"tflite-micro {version}, on this machine" if version else "not run: ops judged by a table"


def _outputs(told: Mapping[str, Any]) -> str:
    """How far they are from LiteRT's, the worst of each kind."""
    steps, shares = ([one[kind] for one in told["differences"] if one[kind] is not None] for kind in _KINDS)
    worst = [f"{max(steps):g} quantization steps"] if steps else []
    worst += [f"{max(shares):.3g} of the range"] if shares else []
    return f"at most {' and '.join(worst) or 'nothing'} from {told['against']}, on {told['samples']} {told['data']}"


def _lacking(entries: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        (entry["op"], entry["layer"] or entry["output"] or f"op {entry['index']}", entry["why"] or "no kernel")
        for entry in entries
    ]
    return table(("op that does not run", "layer", ""), rows) if rows else "<p>It has a kernel for every op.</p>"


def _by_layer(ops: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """An op without a layer stands for itself."""
    sums: dict[str, float] = {}
    for op in ops:
        name = op["layer"] or f"{op['op']} {op['index']}"
        sums[name] = sums.get(name, 0.0) + op["macs"]
    return _most(sums)


def _most(values: Mapping[str, float]) -> dict[str, float]:
    """Most first; what does not fit is one bar."""
    first = sorted(values.items(), key=lambda item: -item[1])
    rest = {f"{len(first) - _MOST_BARS} others": sum(value for _, value in first[_MOST_BARS:])}
    return {**dict(first[:_MOST_BARS]), **(rest if len(first) > _MOST_BARS else {})}
