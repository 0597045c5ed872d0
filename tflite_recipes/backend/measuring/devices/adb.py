"""A device over adb, by the `adb` of this machine."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

from tflite_recipes.core.errors import Problem, assignment

_ERROR = re.compile(r"^(?:error|adb(?:\.exe)?): (?P<text>.*)", re.MULTILINE)
_LISTING_S = 20


@dataclass(frozen=True)
class AdbDevice:
    """`serial` as `adb devices` lists it; None where one device only is attached."""

    serial: str | None = None
    # Android's, which has no /tmp; an embedded Linux that speaks adb has one.
    usual_directory: str | None = "/data/local/tmp"

    @property
    def name(self) -> str:
        return self.serial or "the adb device"

    def command(self, line: str) -> list[str]:
        """`adb shell` hands its words to the device's shell as one line. Where the device speaks the shell protocol
        (Android 7 on) bytes pass unchanged and the exit status comes back: -T asks for that, older ones refuse it."""
        return ["adb", *self._selected(), "shell", "-T", line]

    def _selected(self) -> list[str]:
        return [] if self.serial is None else ["-s", self.serial]

    def failure(self, status: int, errors: str) -> Problem | None:
        said = _ERROR.search(errors)
        if status != 1 or said is None:
            return None
        text = said["text"].strip()
        if "more than one" in text:
            attached = _attached()
            what = f"several devices are attached to adb: {', '.join(attached) or 'none that is ready'}"
            fixes = [assignment("target.serial", serial) for serial in attached]
            return Problem(what, "target.serial", next(iter(fixes), ""), tuple(fixes[1:]))
        if "unauthorized" in text:
            what = f"{self.name} has not allowed this machine to debug it: accept the question on its screen"
            return Problem(what, "target.serial")
        if "offline" in text:
            return Problem(f"{self.name} is offline: plug it in again", "target.serial", "", ("adb reconnect",))
        if "no devices" in text or "not found" in text:
            attached = _attached()
            what = f"adb has no {'device' if self.serial is None else f'device {self.serial}'}"
            what += f"; it has {', '.join(attached)}" if attached else ": none is attached"
            return Problem(what, "target.serial", assignment("target.serial", attached[0]) if attached else "")
        if "PTY args" in text:
            return Problem(f"{self.name} is too old: its adb gives no exit status (Android 7 does)", "target.runner")
        return Problem(f"adb failed: {text}", "target.serial")


def _attached() -> list[str]:
    """Serials of the devices that are ready."""
    try:
        command = ["adb", "devices"]
        listed = subprocess.run(
            command, capture_output=True, text=True, timeout=_LISTING_S, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = (line.split("\t") for line in listed.stdout.splitlines())
    return [row[0] for row in rows if len(row) == 2 and row[1].strip() == "device"]
