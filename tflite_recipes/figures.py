"""How numbers are written, the same on the terminal and in the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def tensor_kind(tensor: Mapping[str, Any]) -> str:
    """Type and shape of a tensor of `io_contract.json`."""
    shape = ", ".join("?" if size is None else str(size) for size in tensor["shape"])
    return f"{tensor['dtype']} ({shape})"
