"""How numbers are written, the same on the terminal and in the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# The tag that names the metrics that are estimates.
ESTIMATED = "tflite_recipes.estimated"
_COUNTS = ("target.macs", "target.cycles")


def figure(name: str, value: float) -> str:
    """A metric's value with the unit that its name ends in."""
    if name.endswith("_bytes"):
        return f"{value:,.0f} B"
    if name.endswith("_ms"):
        return f"{value:.3f} ms"
    if name.endswith("_s"):
        return f"{value:.1f} s"
    if name.endswith("_db"):
        return f"{value:.1f} dB"
    if name.endswith("_percent"):
        return f"{value:.4g} %"
    if name.startswith("ops.") or name.endswith(("_ops", "_partitions")) or name in _COUNTS:
        return f"{value:,.0f}"
    return f"{value:.6g}"


def estimated(names: Iterable[str]) -> dict[str, str]:
    """The tag that says that these metrics are estimates."""
    return {ESTIMATED: ", ".join(sorted(names))}


def labelled(name: str, value: float, tags: Mapping[str, str]) -> str:
    """A metric's value, and that it is an estimate where the tags of its run say so."""
    about = "estimated " if name in tags.get(ESTIMATED, "").split(", ") else ""
    return f"{about}{figure(name, value)}"


def tensor_kind(tensor: Mapping[str, Any]) -> str:
    """Type and shape of a tensor of `io_contract.json`."""
    shape = ", ".join("?" if size is None else str(size) for size in tensor["shape"])
    return f"{tensor['dtype']} ({shape})"
