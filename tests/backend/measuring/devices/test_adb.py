"""Measuring on a device over adb, against a stand-in for it: no device is attached to the machines that test this."""

from __future__ import annotations

import json
import sys

import psutil
import pytest
from support import devices
from support.checkout import REPOSITORY, write

from tflite_recipes.backend.measuring.devices import channel
from tflite_recipes.backend.measuring.devices.adb import AdbDevice
from tflite_recipes.core.errors import StepError


@pytest.fixture
def attach(tmp_path, monkeypatch):
    """`attach("SERIAL device", …)`: what the stand-in on PATH has."""
    program = write(
        tmp_path / "bin" / "adb",
        f'#!/bin/sh\nexec "{sys.executable}" "{REPOSITORY}/tests/support/adb_stand_in.py" "$@"\n',
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("ADB_STAND_IN", str(tmp_path / "attached"))
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)

    def attached(*rows: str) -> None:
        write(tmp_path / "attached", "".join(f"{row}\n" for row in rows))

    return attached


@pytest.fixture
def place(tmp_path):
    (tmp_path / "a device").mkdir()
    return devices.Place(tmp_path / "a device")


def request(tmp_path, place, script, **more):
    folder = devices.sent(tmp_path / "my files", script)
    wanted = {"python": sys.executable, "directory": str(place.folder), "seconds": 60.0, **more}
    return channel.Request(folder, "script.py", ("result.json",), **wanted)


def failure(device, asked, place):
    with pytest.raises(StepError) as caught:
        channel.run(device, asked, place.tell)
    (problem,) = caught.value.problems
    assert place.is_clean()
    return problem


@pytest.mark.slow
@pytest.mark.parametrize("serial", [None, "R5CT10"])
def test_it_runs_there_and_brings_back_what_was_asked_for(attach, tmp_path, place, serial):
    attach(*["emulator-5554 device"][: serial is not None], "R5CT10 device")
    asked = request(tmp_path, place, devices.WORKS)
    found = channel.run(AdbDevice(serial), asked, place.tell)
    result = json.loads((asked.folder / "result.json").read_text(encoding="utf-8"))
    assert (result["size"], result["mode"]) == (5000, 0o700)
    assert place.heard == [(1, 2), (2, 2)]
    assert found.versions["ai-edge-litert"]
    assert place.is_clean()


@pytest.mark.slow
def test_a_script_that_fails_says_why(attach, tmp_path, place):
    attach("R5CT10 device")
    problem = failure(AdbDevice("R5CT10"), request(tmp_path, place, devices.FAILS), place)
    assert problem.what == "the measurement on R5CT10 failed: the model has no signature 'x'"


@pytest.mark.slow
def test_the_time_is_over(attach, tmp_path, place):
    attach("R5CT10 device")
    problem = failure(AdbDevice(), request(tmp_path, place, devices.HANGS, seconds=3.0), place)
    assert problem.where == "target.timeout_s"


@pytest.mark.slow
def test_an_interrupt_leaves_nothing(attach, tmp_path, place):
    def interrupt(done, total):
        raise KeyboardInterrupt

    attach("R5CT10 device")
    with pytest.raises(KeyboardInterrupt):
        channel.run(AdbDevice(), request(tmp_path, place, devices.HANGS), interrupt)
    assert place.is_clean()


@pytest.mark.slow
def test_a_client_that_is_killed_leaves_nothing(attach, tmp_path, place):
    def cut(done, total):
        for child in psutil.Process().children():
            if any("adb" in part for part in child.cmdline()):
                child.kill()

    attach("R5CT10 device")
    with pytest.raises(StepError, match=r"was told to end|was ended by signal 9"):
        channel.run(AdbDevice(), request(tmp_path, place, devices.HANGS), cut)
    assert devices.in_time(place.is_clean)


def test_there_is_no_python_there(attach, tmp_path, place):
    attach("R5CT10 device")
    problem = failure(AdbDevice(), request(tmp_path, place, devices.WORKS, python="no such python"), place)
    assert "there is no Python 'no such python' on the adb device" in problem.what
    assert problem.where == "target.python"


@pytest.mark.parametrize(
    ("rows", "serial", "what", "fix"),
    [
        ([], None, "adb has no device: none is attached", ""),
        (["A device", "B device", "C offline"], None, "several devices are attached to adb: A, B", "target.serial=A"),
        (["A device"], "B", "adb has no device B; it has A", "target.serial=A"),
        (["A unauthorized"], None, "the adb device has not allowed this machine to debug it", ""),
        (["A offline"], "A", "A is offline", ""),
        (["A old"], "A", "A is too old", ""),
    ],
    ids=["none", "several", "another", "unauthorized", "offline", "old"],
)
def test_a_device_that_is_not_ready(attach, tmp_path, place, rows, serial, what, fix):
    attach(*rows)
    problem = failure(AdbDevice(serial), request(tmp_path, place, devices.WORKS), place)
    assert problem.what.startswith(what)
    assert problem.fix == fix
    assert problem.alternatives == (("target.serial=B",) if "B device" in rows else problem.alternatives)
