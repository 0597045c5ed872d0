"""Names of what a latency measurement leaves in the output folder, and of its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RESULT, PROFILE = "latency.json", "profile.csv"


def setting_name(setting: Mapping[str, Any]) -> str:
    """`2 threads, without XNNPACK`."""
    threads = "1 thread" if setting["threads"] == 1 else f"{setting['threads']} threads"
    return f"{threads}, {'XNNPACK' if setting['xnnpack'] else 'without XNNPACK'}"
