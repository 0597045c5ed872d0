"""What a run ran on: enough to know months later why another machine gave other bytes."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import platform
import subprocess
import sys

ENVIRONMENT = "environment.txt"
# TensorFlow's own name for how many threads share the work of one op. What was trained depends on their number, because
# sums are taken in as many parts.
THREADS = "TF_NUM_INTRAOP_THREADS"
# The instruction sets that kernels are chosen by; of hundreds of flags these decide what rounds how.
_TELLING = ("sse", "ssse", "avx", "fma", "f16c", "amx", "neon", "asimd", "sve", "i8mm", "bf16", "fphp")
# Variables that choose other kernels.
_CHOOSING = ("TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA", "TF_XLA_FLAGS", "XLA_FLAGS")


def version() -> str:
    """This package's version, "0" in a checkout that is not installed."""
    try:
        return importlib.metadata.version("tflite_recipes")
    except importlib.metadata.PackageNotFoundError:
        return "0"


def git_commit() -> str:
    """The commit of the repository that the user stands in, "" where there is none."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
        return asked.stdout.strip() if asked.returncode == 0 else ""
    return ""


def threads() -> int:
    """How many threads TensorFlow gives one op: what its variable says, else the processors that this process may
    use."""
    asked = os.environ.get(THREADS, "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment_text() -> str:
    """Python, platform, CPU with the instruction sets that it has, TensorFlow's threads, the variables by which it
    chooses kernels, and every installed distribution with its version.

    Lines `# NAME VALUE` for the machine, `NAME==VERSION` for distributions.
    """
    return _text(threads(), " ".join(f"{name}={os.environ[name]}" for name in _CHOOSING if os.environ.get(name)))


@functools.cache
def _text(thread_count: int, variables: str) -> str:
    found = {(d.metadata["Name"] or "").lower(): d.version for d in importlib.metadata.distributions()}
    model, features = _cpu()
    lines = [
        f"# python {sys.version.split()[0]} ({platform.python_implementation()})",
        f"# platform {platform.platform()}",
        f"# cpu {model} ({os.cpu_count()} cores)",
        f"# features {' '.join(features)}",
        f"# threads {thread_count}",
        *([f"# variables {variables}"] if variables else []),
        *(f"{name}=={release}" for name, release in sorted(found.items()) if name),
    ]
    return "\n".join(lines) + "\n"


def parsed(text: str) -> dict[str, str]:
    """What `environment_text` wrote, by name: `python`, `platform`, `cpu`, `features` and the distributions."""
    lines = [line.strip() for line in text.splitlines()]
    machine = (line[2:].partition(" ") for line in lines if line.startswith("# "))
    distributions = (line.partition("==") for line in lines if not line.startswith("#"))
    return {name: value for name, _, value in (*machine, *distributions) if name}


def _cpu() -> tuple[str, list[str]]:
    """The CPU's name and its features, where the system tells them."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            rows = [line.partition(":")[::2] for line in stream]
    except OSError:
        return platform.processor() or platform.machine(), []
    told = {name.strip(): value.strip() for name, value in reversed(rows)}
    flags = (told.get("flags") or told.get("Features") or "").split()
    features = sorted(flag for flag in flags if flag.startswith(_TELLING))
    return told.get("model name") or platform.machine(), features
