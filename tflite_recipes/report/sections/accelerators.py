"""What an accelerator takes of a file, for the report's page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from tflite_recipes.report.bar_chart import table

FILES = ("gpu.json", "edge_tpu.json")


def section(folder: Path) -> str:
    """HTML on what runs where, from the file of `FILES` in a run's output folder; "" where there is none."""
    found = next((folder / name for name in FILES if (folder / name).exists()), None)
    return _html(json.loads(found.read_text(encoding="utf-8"))) if found else ""


def _html(data: Mapping[str, Any]) -> str:
    name = data["accelerator"]
    compiler = data.get("compiler")
    share = f"{data['accelerated_ops']} of {data['ops']} ops on the {name}, by {data['rules']}; nothing was run on one"
    lines = [f"<p>{escape(share)}.</p>"]
    if compiler:
        lines.append(f"<p>Compiler {escape(compiler['version'])}:</p>")
        rows = ((one["op"], str(one["count"]), one["status"]) for one in compiler["statuses"])
        lines.append(table(("op", "count", "status"), rows, ""))
    on_cpu = [(str(p["index"]), p["op"], p["layer"], p["reason"]) for p in data["places"] if p["reason"]]
    lines.append(table(("number", "op", "layer", "stays on the CPU because"), on_cpu, "") if on_cpu else "")
    lines += [f"<p class='muted'>{escape(note)}</p>" for note in data["notes"]]
    return f"<h2>{escape(name)}</h2>{''.join(lines)}"
