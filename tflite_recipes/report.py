"""`report.html`: what a run was and what it came to, in one self-contained page. No scripts, nothing loaded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tflite_recipes import latency_page
from tflite_recipes.accelerators.section import section as accelerator_section
from tflite_recipes.figures import figure, labelled, tensor_kind
from tflite_recipes.micro_page import section as micro_section
from tflite_recipes.page_bars import bars, table
from tflite_recipes.quantization_error import TABLE, plot, read_csv, worst_first
from tflite_recipes.recipe import Recipe
from tflite_recipes.state import Gate
from tflite_recipes.vela_page import section as vela_section

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1c2733; overflow-wrap: break-word; }
h1 { margin-bottom: 0; } h2 { margin-top: 2rem; border-bottom: 1px solid #d5dce3; }
table { border-collapse: collapse; } td, th { padding: .2rem 1rem .2rem 0; text-align: left; vertical-align: top; }
th { white-space: nowrap; } td.long { overflow-wrap: anywhere; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.passed { color: #11734b; } .failed { color: #b3261e; }
pre { background: #f3f6f8; padding: .8rem; overflow-x: auto; } .muted { color: #62707d; }
svg text { font: 13px system-ui; }
"""
_AGAIN = "<p>Save as <code>recipe.yaml</code>, then <code>tflite-recipes run recipe.yaml</code></p>"
_RULES = f"<p>All tensors: <code>{TABLE}</code>; <code>tflite-recipes rules {TABLE}</code> makes rules of it.</p>"
_WORST = 10
_SIZES = (
    "size.float_bytes",
    "size.tflite_bytes",
    "size.gzip_bytes",
    "target.weight_bytes",
    "target.encoded_weight_bytes",
)
# What smaller weights are for: beside the sizes, so that neither is taken for the other; and what it is beside a
# measurement.
_GAINED = ("sparsity.overall", "latency.p50_ms", "target.inference_ms")


def render(
    recipe: Recipe,
    metrics: Mapping[str, float],
    gates: Sequence[Gate],
    warnings: Sequence[str],
    tags: Mapping[str, str],
    output_dir: Path,
) -> str:
    """The page for a run whose `ops.json` and `io_contract.json` lie in `output_dir`."""
    contract, ops = (_read(output_dir / name) for name in ("io_contract.json", "ops.json"))
    parts = [
        f"<h1>{escape(recipe.name)}</h1><p class='muted'>recipe digest {recipe.digest}</p>",
        _verdict(gates, tags),
        _section("Warnings", _list(warnings)) if warnings else "",
        _section("Results", _table((name, labelled(name, value, tags)) for name, value in sorted(metrics.items()))),
        _section("Size, sparsity, speed", _compression(metrics, tags)),
        micro_section(output_dir),
        vela_section(output_dir),
        accelerator_section(output_dir),
        _section("Inputs and outputs", _contract(contract)),
        _section("Changed so that it converts", _list(contract["remedies"])) if contract.get("remedies") else "",
        _section("Ops", bars(dict(ops.get("op_counts", {})), "")),
        _section("Tensor types", bars(dict(ops.get("tensor_dtypes", {})), "")),
        _quantization(output_dir / TABLE),
        latency_page.section(output_dir),
        _section("Time by step", bars(_times(metrics), "s")),
        _section("Digests", _table(sorted((name, text) for name, text in tags.items() if name.endswith("sha256")))),
        _section("Recipe", f"{_AGAIN}<pre>{escape(recipe.to_yaml())}</pre>"),
    ]
    return document(recipe.name, parts)


def document(title: str, parts: Iterable[str]) -> str:
    """A page of our style from the HTML of its parts."""
    head = f"<meta charset='utf-8'><title>{escape(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>"


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _times(metrics: Mapping[str, float]) -> dict[str, float]:
    names = [name for name in metrics if name.startswith("time.") and name != "time.total_s"]
    return {name.removeprefix("time.").removesuffix("_s"): metrics[name] for name in names}


def _section(title: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2>{body}"


def _verdict(gates: Sequence[Gate], tags: Mapping[str, str]) -> str:
    verdict = tags.get("tflite_recipes.verdict", "")
    head = "<tr><th>gate</th><th>measured</th><th>limit</th><th>left</th><th></th><th></th></tr>"
    table = f"<table>{head}{''.join(map(_gate, gates))}</table>" if gates else "<p class='muted'>no gate was set</p>"
    kind = "passed" if verdict == "passed" else "failed"
    return f"<p class='{kind}'><b>{escape(verdict)}</b></p>{table}"


def _compression(metrics: Mapping[str, float], tags: Mapping[str, str]) -> str:
    """Sizes as bars; the share of zeros and the speed, measured or estimated, beside them."""
    sizes = {name: metrics[name] for name in _SIZES if name in metrics}
    return bars(sizes, "B") + _table((name, labelled(name, metrics[name], tags)) for name in _GAINED if name in metrics)


def _gate(gate: Gate) -> str:
    """A row: measured, limit, what is left, the answer, and the overrides that would fit."""
    kind = "passed" if gate.passed else "failed"
    numbers = (f"{'≈ ' if gate.estimated else ''}{gate.measured:g}", f"{gate.limit:g}", f"{gate.margin:.4g}")
    cells = "".join(f"<td class='n'>{number} {escape(gate.unit)}</td>" for number in numbers)
    said = "an estimate" if gate.estimated else ""
    fix = f"<code>{escape(gate.fix)}</code>" if gate.fix else said
    return f"<tr><td>{escape(gate.name)}</td>{cells}<td class='{kind}'>{kind}</td><td>{fix}</td></tr>"


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return table((), rows, "n")


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def _contract(contract: Mapping[str, Any]) -> str:
    rows = ["<tr><th></th><th>name</th><th>source</th><th>.tflite</th><th>scale</th><th>zero point</th></tr>"]
    for side in ("inputs", "outputs"):
        for entry in contract.get(side, ()):
            source, tflite = entry["source"], entry["tflite"]
            cells = (
                side[:-1],
                entry["name"],
                tensor_kind(source),
                tensor_kind(tflite),
                tflite.get("scale", ""),
                tflite.get("zero_point", ""),
            )
            rows.append("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>")
    return f"<table>{''.join(rows)}</table>"


def _quantization(path: Path) -> str:
    """The plot of the tensors that quantization changed most, and their figures."""
    if not path.exists():
        return ""
    rows = worst_first(read_csv(path))
    cells = ["<tr><th>tensor</th><th>layer</th><th>op</th><th>type</th><th>SQNR</th><th>own SQNR</th>"]
    cells.append("<th>RMSE / scale</th><th>clipped</th></tr>")
    for row in rows[:_WORST]:
        kinds = (row.tensor, row.layer, row.op, tensor_kind({"shape": row.shape, "dtype": row.dtype}))
        decibels = ("" if value is None else figure("_db", value) for value in (row.sqnr_db, row.local_sqnr_db))
        over = "" if row.rmse_over_scale is None else f"{row.rmse_over_scale:.3g}"
        numbers = (*decibels, over, "" if row.clipped is None else f"{row.clipped:.2%}")
        texts = "".join(f"<td class='long'>{escape(text)}</td>" for text in kinds[:1])
        texts += "".join(f"<td>{escape(text)}</td>" for text in kinds[1:])
        figures = "".join(f"<td class='n'>{text}</td>" for text in numbers)
        cells.append(f"<tr>{texts}{figures}</tr>")
    return _section("Quantization error", f"{_RULES}{plot(rows)}<table>{''.join(cells)}</table>")
