"""What a run ran on: enough to know months later why another machine gave other bytes."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import sys


def version() -> str:
    """This package's version, "0" in a checkout that is not installed."""
    try:
        return importlib.metadata.version("tflite_recipes")
    except importlib.metadata.PackageNotFoundError:
        return "0"


@functools.cache
def environment_text() -> str:
    """Python, platform, CPU, and every installed distribution with its version."""
    found = {(d.metadata["Name"] or "").lower(): d.version for d in importlib.metadata.distributions()}
    lines = [
        f"# python {sys.version.split()[0]} ({platform.python_implementation()})",
        f"# platform {platform.platform()}",
        f"# cpu {_cpu()} ({os.cpu_count()} cores)",
        *(f"{name}=={release}" for name, release in sorted(found.items()) if name),
    ]
    return "\n".join(lines) + "\n"


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            names = [line.partition(":")[2].strip() for line in stream if line.startswith("model name")]
        return names[0] if names else platform.machine()
    except OSError:
        return platform.processor() or platform.machine()
