"""What a measurement came to, as a section of the report: percentiles, the sweep, and the ops that take longest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tflite_recipes.core.number_format import figure
from tflite_recipes.report.bar_chart import columns, table
from tflite_recipes.targets.latency_result import PROFILE, RESULT, setting_name

PLOT = "profile.svg"
_ROWS = (
    ("median (p50)", "p50_ms"),
    ("p90", "p90_ms"),
    ("p99", "p99_ms"),
    ("mean", "mean_ms"),
    ("loading: file to allocated tensors", "load_ms"),
    ("first invoke", "first_invoke_ms"),
    ("from the file to its first answer", "first_ms"),
    ("peak memory of the process beyond the runtime's own", "peak_memory_bytes"),
)
_X86 = ("x86_64", "amd64", "i686", "i386")
_NOT_ARM = (
    "This machine is an x86, and the file computes in integers: these times say nothing of Arm, whose integer kernels "
    "are others. Measure on the device itself."
)
_METHODS = {
    "c_profiler": "By the runtime's own profiler, in whole microseconds an invoke",
    "prefix": "By differences of the file cut after each op: rough where an op is quick",
}
_TOP = 10


def section(folder: Path) -> str:
    """HTML of the `latency.json` in a run's output folder, "" where there is none."""
    path = folder / RESULT
    if not path.exists():
        return ""
    result = json.loads(path.read_text(encoding="utf-8"))
    parts = [f"<h2>Latency</h2><p class='muted'>{escape(_conditions(result))}</p>"]
    if says_nothing_of_arm(result):
        parts.append(f"<p><b>{_NOT_ARM}</b></p>")
    parts.append(table((), [(title, figure(name, result[name])) for title, name in _ROWS], "n"))
    if result["sweep"]:
        parts.append(f"<h3>By threads and XNNPACK</h3>{_sweep(result['sweep'])}")
    return "".join([*parts, _profile(result)])


def says_nothing_of_arm(result: Mapping[str, Any]) -> bool:
    """Whether an x86 measured integer kernels."""
    return bool(result["integer"]) and str(result["machine"]).lower() in _X86


def _conditions(result: Mapping[str, Any]) -> str:
    machine = f"{result['runtime']} on {result['machine']}, {result['cpus']} processors, {result['system']}"
    invokes = f"{result['measured_runs']} single invokes after {result['warmup']}"
    return f"{machine}; {setting_name(result)}; {invokes}, on {result['sample']}"


def _sweep(settings: Sequence[Mapping[str, Any]]) -> str:
    head = ("", "p50", "p90", "p99", "invokes")
    rows = []
    for one in settings:
        found = [figure(name, one[name]) for name in ("p50_ms", "p90_ms", "p99_ms")] if "p50_ms" in one else []
        rows.append((setting_name(one), *(found or ("not measured", "", "")), str(one.get("measured_runs", ""))))
    return table(head, rows, "n")


def _profile(result: Mapping[str, Any]) -> str:
    profile = result.get("profile")
    why = f"<p class='muted'>{escape(result['profile_error'])}</p>" if "profile_error" in result else ""
    if not profile:
        return why
    total = figure("total_ms", profile["total_ms"])
    about = f"{_METHODS[profile['method']]}, without delegates: {total} in all, {profile['runs']} invokes."
    parts = [f"<h3>Ops that take longest</h3><p>{about} All ops: <code>{PROFILE}</code></p>{why}{plot(profile['ops'])}"]
    parts.append(_ops(profile["ops"]))
    if delegated := profile.get("delegated"):
        total = figure("total_ms", delegated["total_ms"])
        parts.append(f"<h3>With XNNPACK</h3><p>XNNPACK's own ops, as it names them: {total} in all.</p>")
        parts.append(_ops(delegated["ops"]))
    return "".join(parts)


def _ops(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ("op", "layer" if any("layer" in row for row in rows) else "run by", "place", "ms", "share")
    lines = [
        (row["name"], row.get("layer", row.get("by", "")), str(row["index"]), f"{row['ms']:.4f}", f"{row['share']:.1%}")
        for row in longest(rows)[:_TOP]
    ]
    return columns(head, lines, ("long", "long", "n", "n", "n"))


def longest(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """By time, ties in the file's order."""
    return sorted(rows, key=lambda row: (-row["ms"], row["index"]))


# The plot

_PLOTTED = 20
_LABEL, _BAR, _LINE = 330, 400, 22
_OTHER = "#9aa5af"
_COLOURS = ("#2f7fb8", "#c9662b", "#4b9a5f", "#8a63b0", "#b8a02f", "#c2527a")


def plot(rows: Iterable[Mapping[str, Any]], count: int = _PLOTTED) -> str:
    """The ops that take longest as a self-contained SVG: a bar for each, one colour for each kind of op."""
    shown = longest(rows)[:count]
    colours = _colours(shown)
    named = [*colours.items(), *([("other", _OTHER)] if len({row["name"] for row in shown}) > len(colours) else [])]
    most = max((row["ms"] for row in shown), default=0.0) or 1.0
    keys, head = _legend(named)
    width, height = _LABEL + _BAR + 130, head + _LINE * len(shown) + 6
    bars = "".join(
        _bar(row, head + place * _LINE, most, colours.get(row["name"], _OTHER)) for place, row in enumerate(shown)
    )
    tag = f"<svg xmlns='http://www.w3.org/2000/svg' role='img' width='{width}' height='{height}'"
    style = "style='font: 13px system-ui, sans-serif; background: #fff' fill='#1c2733'"
    return f"{tag} viewBox='0 0 {width} {height}' {style}>{keys}{bars}</svg>"


def _legend(named: Iterable[tuple[str, str]]) -> tuple[str, int]:
    """The kinds beside their colours, on as many lines as they take, and where the bars begin."""
    parts, left, top = [], 0, 6
    for kind, colour in named:
        width = 34 + 9 * len(kind)
        if left and left + width > _LABEL + _BAR + 130:
            left, top = 0, top + _LINE
        parts.append(f"<rect x='{left}' y='{top}' width='12' height='12' fill='{colour}'/>")
        parts.append(f"<text x='{left + 18}' y='{top + 11}'>{escape(kind)}</text>")
        left += width
    return "".join(parts), top + 34


def _colours(shown: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """A colour for each of the kinds that take most."""
    total: dict[str, float] = {}
    for row in shown:
        total[row["name"]] = total.get(row["name"], 0.0) + row["ms"]
    kinds = sorted(total, key=lambda name: (-total[name], name))
    return dict(zip(kinds, _COLOURS, strict=False))


def _bar(row: Mapping[str, Any], top: int, most: float, colour: str) -> str:
    width = max(1.0, _BAR * row["ms"] / most)
    label = _short(f"{row['index']}  {row.get('layer') or row['name']}", 44)
    return (
        f"<g><title>{escape(row['name'])}</title><text x='0' y='{top + 14}'>{escape(label)}</text>"
        f"<rect x='{_LABEL}' y='{top + 3}' width='{width:.1f}' height='{_LINE - 7}' fill='{colour}'/>"
        f"<text x='{_LABEL + width + 6:.1f}' y='{top + 14}'>{row['ms']:.4f} ms, {row['share']:.1%}</text></g>"
    )


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
