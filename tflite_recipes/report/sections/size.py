"""What the file weighs: against the source, and where its bytes are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tflite_recipes.core.number_format import labelled
from tflite_recipes.files.tflite.size_breakdown import SIZES
from tflite_recipes.report.bar_chart import bars, columns, table
from tflite_recipes.report.html_page import section

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
_LARGEST = 15


def compression(metrics: Mapping[str, float], tags: Mapping[str, str]) -> str:
    """Sizes as bars; the share of zeros and the speed, measured or estimated, beside them."""
    sizes = {name: metrics[name] for name in _SIZES if name in metrics}
    gained = [(name, labelled(name, metrics[name], tags)) for name in _GAINED if name in metrics]
    drawn = bars(sizes, "B") if sizes else ""
    return section("Size, sparsity, speed", drawn + (table((), gained, "n") if gained else ""))


def by_layer(folder: Path) -> str:
    """The layers with the largest constants, the rest of them, and what is no constant."""
    path = folder / SIZES
    if not path.exists():
        return ""
    found = json.loads(path.read_text(encoding="utf-8"))
    whole = found["file"]
    kinds = (
        ("weights: constants of two and more dimensions", found["weights"]),
        ("biases and other constants", found["other_constants"]),
        ("graph: ops, tensors, names and scales", found["graph"]),
        ("metadata and associated files", found["metadata"]),
        ("file", whole),
    )
    about = columns(("", "bytes", "share"), ((name, *_of(part, whole)) for name, part in kinds), ("", "n", "n"))
    layers = found["layers"]
    rows = [_row(part, whole) for part in layers[:_LARGEST]]
    if rest := layers[_LARGEST:]:
        rows.append((f"{len(rest)} others", "", "", *_of(sum(part["bytes"] for part in rest), whole)))
    head = ("layer", "read by", "types", "bytes", "share of the file")
    largest = columns(head, rows, ("long", "long", "long", "n", "n"), dense=True) if rows else ""
    note = f"<p>Constants by the layer that reads them. All layers: <code>{SIZES}</code></p>" if rows else ""
    return section("Size by layer", f"{about}{note}{largest}")


def _row(part: Mapping[str, Any], whole: int) -> tuple[str, ...]:
    types = ", ".join(part["dtypes"])
    return (part["layer"] or "read by no op", ", ".join(part["ops"]), types, *_of(part["bytes"], whole))


def _of(part: int, whole: int) -> tuple[str, str]:
    return f"{part:,} B", f"{part / whole:.1%}" if whole else ""
