"""Where a measurement runs: what `check` refuses of it without contacting anything."""

from __future__ import annotations

import pytest
from support.checkout import write

from tflite_recipes.steps.device_settings import RemoteRunner

BOTH = ["ssh", "adb"]


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """`programs("ssh")`: the only programs on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def only(*names: str) -> None:
        for name in names:
            write(tmp_path / "bin" / name, "#!/bin/sh\nexit 99\n").chmod(0o755)

    return only


def found(runner, **keys):
    return [(problem.where, problem.what, problem.fix) for problem in RemoteRunner(**keys).remote_problems(runner)]


@pytest.mark.parametrize("runner", ["none", "local"])
def test_nothing_is_needed_here(programs, runner):
    assert found(runner) == []


@pytest.mark.parametrize(
    ("runner", "keys"),
    [
        ("ssh", {"host": "pi@raspberrypi.local", "port": 2222, "identity_file": "key", "known_hosts": "hosts"}),
        ("ssh", {"host": "my-alias", "python": "~/my venv/bin/python", "remote_dir": "/dev/shm", "timeout_s": 60.0}),
        ("ssh", {"host": "user.name@192.168.0.7"}),
        ("ssh", {"host": "fe80::1%eth0"}),
        ("adb", {}),
        ("adb", {"serial": "R5CT10", "python": "/data/local/bin/python3", "remote_dir": "/data/local/tmp"}),
        ("adb", {"serial": "192.168.0.7:5555"}),
    ],
)
def test_what_is_right_is_taken(programs, runner, keys):
    programs("ssh", "adb")
    assert found(runner, **keys) == []


def test_a_host_must_be_given(programs):
    programs("ssh")
    assert found("ssh") == [
        ("target.host", "must be given: the device to measure on", "target.host=user@device"),
    ]


@pytest.mark.parametrize(
    "host",
    [
        "-oProxyCommand=sh",
        "-v",
        "a b",
        "a;b",
        "$(id)",
        "`id`",
        "a|b",
        "a@-b",
        "-a@b",
        "a\nb",
        "a'b",
        'a"b',
        "ssh://a",
        "",
    ],
)
def test_a_host_is_a_name_and_nothing_else(programs, host):
    programs("ssh")
    ((where, _, fix),) = found("ssh", host=host)
    assert (where, fix) == ("target.host", "target.host=user@device")


@pytest.mark.parametrize("serial", ["-s", "a b", "", "a\tb"])
def test_a_serial_is_one_word(programs, serial):
    programs("adb")
    ((where, _, fix),) = found("adb", serial=serial)
    assert (where, fix) == ("target.serial", "target.serial=null")


@pytest.mark.parametrize("python", ["", "-c", "a\nb"])
def test_a_python_is_a_program(programs, python):
    programs("ssh")
    ((where, _, fix),) = found("ssh", host="a", python=python)
    assert (where, fix) == ("target.python", "target.python=python3")


@pytest.mark.parametrize(("runner", "keys"), [("ssh", {"host": "a"}), ("adb", {})])
def test_a_program_that_is_missing_is_told(programs, runner, keys):
    ((where, what, fix),) = found(runner, **keys)
    assert (where, fix) == ("target.runner", "target.runner=local")
    assert f"needs the program {runner} of" in what


@pytest.mark.parametrize(
    ("runner", "keys", "what", "fix", "others"),
    [
        ("local", {"host": "a"}, "local reads no host; ssh does", "target.host=null", ["ssh"]),
        ("none", {"serial": "a"}, "none reads no serial; adb does", "target.serial=null", ["adb"]),
        ("local", {"python": "p"}, "local reads no python; ssh and adb do", "target.python=python3", BOTH),
        ("none", {"remote_dir": "p"}, "none reads no remote_dir; ssh and adb do", "target.remote_dir=null", BOTH),
        ("adb", {"port": 22}, "adb reads no port; ssh does", "target.port=null", ["ssh"]),
        ("ssh", {"host": "a", "serial": "b"}, "ssh reads no serial; adb does", "target.serial=null", ["adb"]),
    ],
)
def test_a_key_that_nothing_reads_is_told(programs, runner, keys, what, fix, others):
    programs("ssh", "adb")
    (problem,) = RemoteRunner(**keys).remote_problems(runner)
    assert (problem.what, problem.fix) == (f"runner={what}", fix)
    assert problem.alternatives == tuple(f"target.runner={name}" for name in others)
