"""Where a measurement runs when it is not here: how the device is reached."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

from tflite_recipes.core.errors import Problem, assignment
from tflite_recipes.core.schema import NeedsTrust, PrivatePath, within

if TYPE_CHECKING:
    from tflite_recipes.backend.measuring.devices.channel import Device

# [user@]host, host an alias, a name, an address, or one of IPv6 with its zone. It ends up as an argument of ssh, and in
# commands that the user's configuration makes of it (ProxyCommand, Match exec), so nothing that a shell or ssh would
# take for more than a name may be in it.
_HOST = re.compile(r"([A-Za-z0-9_][\w.+-]*@)?[A-Za-z0-9_:][A-Za-z0-9_.:%-]*", re.ASCII)
_SERIAL = re.compile(r"[A-Za-z0-9_][\w.:\[\]()-]*", re.ASCII)
# The keys that each runner reads.
_BOTH = ("python", "remote_dir", "timeout_s")
_KEYS = {"ssh": ("host", "port", "identity_file", "known_hosts", *_BOTH), "adb": ("serial", *_BOTH)}
_PROGRAMS = {"ssh": ("ssh", "OpenSSH's client"), "adb": ("adb", "Android's platform tools")}


@dataclass(frozen=True, kw_only=True)
class RemoteRunner:
    """How a device is reached over ssh or adb, and where the measurement runs there.

    `host` is [user@]host or an alias of the user's ssh configuration, which also says what is null of `port`,
    `identity_file` and `known_hosts`. `serial` is one that `adb devices` lists; null where one device is attached.
    `python` has ai-edge-litert and numpy. `remote_dir` gets a private folder that is gone afterwards; null is where the
    device keeps temporary files. `timeout_s` is how long a measurement there may take, in seconds.
    """

    host: Annotated[str | None, NeedsTrust()] = None
    port: Annotated[int | None, within(ge=1, le=65535)] = None
    identity_file: PrivatePath | None = None
    known_hosts: PrivatePath | None = None
    serial: Annotated[str | None, NeedsTrust()] = None
    python: Annotated[str, NeedsTrust()] = "python3"
    remote_dir: Annotated[str | None, NeedsTrust()] = None
    timeout_s: Annotated[float, within(gt=0, le=86400)] = 600.0

    def remote_problems(self, runner: str) -> Iterable[Problem]:
        """What is wrong with these keys for a runner, by its name. Nothing is contacted."""
        yield from self._unread(runner)
        if runner in _PROGRAMS:
            yield from _without_program(runner)
            yield from self._misnamed(runner)

    def device(self, runner: str) -> Device:
        """The device that `ssh` or `adb` reaches."""
        from tflite_recipes.backend.measuring.devices.adb import AdbDevice
        from tflite_recipes.backend.measuring.devices.ssh import SshDevice

        if runner == "adb":
            return AdbDevice(self.serial)
        assert self.host is not None
        return SshDevice(self.host, self.port, self.identity_file, self.known_hosts)

    def _unread(self, runner: str) -> Iterator[Problem]:
        """Keys that are set and mean nothing to this runner."""
        defaults: dict[str, Any] = {f.name: f.default for f in fields(RemoteRunner)}
        for key, default in defaults.items():
            value = getattr(self, key)
            if value != default and key not in _KEYS.get(runner, ()):
                readers = [name for name, keys in _KEYS.items() if key in keys]
                what = f"runner={runner} reads no {key}; {' and '.join(readers)} {'do' if readers[1:] else 'does'}"
                back = assignment(f"target.{key}", default)
                yield Problem(what, f"target.{key}", back, tuple(f"target.runner={name}" for name in readers))

    def _misnamed(self, runner: str) -> Iterator[Problem]:
        """What a program would take for something else, or not find."""
        if runner == "ssh" and not self.host:
            yield Problem("must be given: the device to measure on", "target.host", "target.host=user@device")
        elif runner == "ssh" and not _HOST.fullmatch(self.host or ""):
            what = f"{self.host!r} is not [user@]host or an alias; a port is target.port"
            yield Problem(what, "target.host", "target.host=user@device")
        if runner == "adb" and self.serial is not None and not _SERIAL.fullmatch(self.serial):
            what = f"{self.serial!r} is no serial as `adb devices` lists them"
            yield Problem(what, "target.serial", "target.serial=null")
        if not self.python or self.python.startswith("-") or not self.python.isprintable():
            yield Problem(f"{self.python!r} is no program", "target.python", "target.python=python3")


def _without_program(runner: str) -> Iterator[Problem]:
    program, owner = _PROGRAMS[runner]
    if shutil.which(program) is None:
        what = f"runner={runner} needs the program {program} of {owner}, and it is not on PATH"
        yield Problem(what, "target.runner", "target.runner=local")
