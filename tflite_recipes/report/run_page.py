"""`report.html`: what a run was and what it came to, in one self-contained page. No scripts, nothing loaded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tflite_recipes.config.recipe import Recipe
from tflite_recipes.core.errors import Problem
from tflite_recipes.core.number_format import labelled, tensor_kind
from tflite_recipes.core.state import Gate
from tflite_recipes.report.bar_chart import bars, columns, table
from tflite_recipes.report.html_page import document, folded, section
from tflite_recipes.report.sections import latency, origins, quantization, scores, size, summary
from tflite_recipes.report.sections.accelerators import section as accelerator_section
from tflite_recipes.report.sections.micro import section as micro_section
from tflite_recipes.report.sections.vela import section as vela_section

__all__ = ["REPORT", "document", "render"]

REPORT = "report.html"


def render(
    recipe: Recipe,
    metrics: Mapping[str, float],
    gates: Sequence[Gate],
    warnings: Sequence[str],
    tags: Mapping[str, str],
    output_dir: Path,
    notes: Mapping[str, str] | None = None,
    problems: Sequence[Problem] = (),
    log_tail: str = "",
) -> str:
    """The page of a run, from what was told of it and the files in `output_dir`; what is not there has no section, so
    it is also that of a run that failed. notes: its own parameters. problems: why it failed. log_tail: the last lines
    of the converter's log. The answer stands first, then what it is made of, then where it came from."""
    notes = notes or {}
    contract, ops = (_read(output_dir / name) for name in ("io_contract.json", "ops.json"))
    figures = ((name, labelled(name, value, tags)) for name, value in sorted(metrics.items()))
    parts = [
        summary.head(recipe, tags, problems),
        summary.results(gates, metrics, notes, tags),
        summary.warnings(warnings),
        section("Last lines of the log", f"<pre>{escape(log_tail)}</pre>" if log_tail else ""),
        scores.by_class(output_dir),
        scores.by_output(output_dir, notes),
        size.compression(metrics, tags),
        size.by_layer(output_dir),
        latency.section(output_dir),
        micro_section(output_dir),
        vela_section(output_dir),
        accelerator_section(output_dir),
        section("Inputs and outputs", _contract(contract)),
        section(
            "Changed so that it converts", summary.listed(contract["remedies"]) if contract.get("remedies") else ""
        ),
        section("Ops", _bars(ops.get("op_counts", {}), "")),
        section("Tensor types", _bars(ops.get("tensor_dtypes", {}), "")),
        quantization.errors(output_dir),
        quantization.calibration(output_dir),
        section("All figures", folded("metrics by their names", table((), figures, "n")) if metrics else ""),
        section("Time by step", _bars(_times(metrics), "s")),
        origins.started_from(output_dir, tags),
        origins.ran_on(output_dir),
        origins.again(recipe, repeated=tags.get(summary.REPRODUCES, "")),
        origins.resolved(recipe),
    ]
    return document(recipe.name, parts)


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _bars(values: Mapping[str, float], unit: str) -> str:
    return bars(values, unit) if values else ""


def _times(metrics: Mapping[str, float]) -> dict[str, float]:
    names = [name for name in metrics if name.startswith("time.") and name != "time.total_s"]
    return {name.removeprefix("time.").removesuffix("_s"): metrics[name] for name in names}


def _contract(contract: Mapping[str, Any]) -> str:
    rows = [_port(side[:-1], entry) for side in ("inputs", "outputs") for entry in contract.get(side, ())]
    head = ("", "name", "source", ".tflite", "scale", "zero point")
    return columns(head, rows, ("", "long", "", "", "n", "n")) if rows else ""


def _port(side: str, entry: Mapping[str, Any]) -> Iterable[str]:
    tflite = entry["tflite"]
    kinds = (tensor_kind(entry["source"]), tensor_kind(tflite))
    scale = f"{tflite['scale']:.6g}" if "scale" in tflite else ""
    return (side, entry["name"], *kinds, scale, str(tflite.get("zero_point", "")))
