"""What the tests of devices share: a folder to send, and that nothing of it stays there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

# Progress, one result of what it was sent, and one that is not asked for.
WORKS = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
print(json.dumps({"progress": [1, 2]}))
print("a line of something else")
size = len((folder / "model.tflite").read_bytes())
mode = folder.stat().st_mode & 0o777
(folder / "result.json").write_text(json.dumps({"size": size, "mode": mode, "folder": str(folder)}))
(folder / "other.txt").write_text("stays")
print(json.dumps({"progress": [2, 2]}))
"""
FAILS = """
import json, sys
print(json.dumps({"progress": [1, 2]}))
print("what it says on the way", file=sys.stderr)
print(json.dumps({"error": "the model has no signature 'x'"}))
sys.exit(1)
"""
DIES = "import os, sys\nprint('last words', file=sys.stderr, flush=True)\nos.kill(os.getpid(), 9)\n"
# It starts a process of its own, and never ends.
HANGS = """
import json, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", sys.argv[1]])
print(json.dumps({"progress": [1, 2]}), flush=True)
time.sleep(600)
"""


def sent(folder: Path, script: str, model: bytes = b"model" * 1000) -> Path:
    """A folder with a script and a model."""
    folder.mkdir(parents=True)
    (folder / "script.py").write_text(script, encoding="utf-8")
    (folder / "model.tflite").write_bytes(model)
    return folder


@dataclass
class Place:
    """Where files go on a device that is this machine."""

    folder: Path
    heard: list[tuple[int, int]] = field(default_factory=list)

    def tell(self, done: int, total: int) -> None:
        self.heard.append((done, total))

    def is_clean(self) -> bool:
        """No file there, and no process that has a name there among its arguments or works there."""
        return not list(self.folder.iterdir()) and not self.processes()

    def processes(self) -> list[int]:
        found = []
        for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
            words = [*(process.info["cmdline"] or []), process.info["cwd"] or ""]
            if process.pid != os.getpid() and any(f"{self.folder}/" in word for word in words):
                found.append(process.pid)
        return found


def in_time(condition: Callable[[], bool], seconds: float = 15) -> bool:
    """Whether it comes true."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if condition():
            return True
        time.sleep(0.05)
    return condition()
