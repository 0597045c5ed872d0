"""Measuring on a device over ssh, against a real sshd on loopback: what comes back, what is refused, what is left."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from support import devices
from support import sshd as servers

from tflite_recipes.backend.measuring.devices import channel
from tflite_recipes.backend.measuring.devices.ssh import SshDevice
from tflite_recipes.core.errors import StepError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh client on this machine"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with servers.sshd(tmp_path_factory.mktemp("ssh") / "server") as running:
        yield running


@pytest.fixture
def device(server):
    return SshDevice("127.0.0.1", server.port, str(server.identity), str(server.known_hosts))


@pytest.fixture
def place(tmp_path):
    (tmp_path / "a device").mkdir()
    return devices.Place(tmp_path / "a device")


def request(tmp_path, place, script, **more):
    folder = devices.sent(tmp_path / "my files" / "of a run", script)
    wanted = {"python": sys.executable, "directory": str(place.folder), "seconds": 60.0, **more}
    return channel.Request(folder, "script.py", ("result.json", "outputs.npz"), **wanted)


def failure(device, asked, place):
    with pytest.raises(StepError) as caught:
        channel.run(device, asked, place.tell)
    (problem,) = caught.value.problems
    assert place.is_clean()
    return problem


def test_it_runs_there_and_brings_back_what_was_asked_for(device, tmp_path, place, server):
    asked = request(tmp_path, place, devices.WORKS)
    found = channel.run(device, asked, place.tell)
    result = json.loads((asked.folder / "result.json").read_text(encoding="utf-8"))
    assert (result["size"], result["mode"]) == (5000, 0o700)
    assert Path(result["folder"]).parent == place.folder
    assert not (asked.folder / "other.txt").exists()
    assert place.heard == [(1, 2), (2, 2)]
    assert found.python == sys.version.split()[0]
    assert found.versions["ai-edge-litert"]
    assert found.warnings == ()
    assert place.is_clean()
    assert devices.in_time(lambda: server.sessions() == [])


def test_a_key_that_is_not_known_is_refused_and_nothing_is_sent(device, tmp_path, place, server):
    empty = tmp_path / "known hosts"
    empty.touch()
    before = server.log.read_text(encoding="utf-8").count("Accepted publickey")
    problem = failure(replace(device, known_hosts=str(empty)), request(tmp_path, place, devices.WORKS), place)
    assert "the key of 127.0.0.1 is not known here" in problem.what
    assert problem.where == "target.host"
    once, add = problem.alternatives
    assert once.startswith(f"ssh -p {server.port} -o ")
    assert "fingerprint" in once
    assert add.startswith(f"ssh-keyscan -p {server.port} 127.0.0.1 >> '{empty}'")
    assert "fingerprint" in add
    assert empty.read_bytes() == b""
    assert server.log.read_text(encoding="utf-8").count("Accepted publickey") == before


def test_the_way_that_it_names_makes_the_key_known(device, tmp_path, place):
    empty = tmp_path / "known hosts"
    empty.touch()
    other = replace(device, known_hosts=str(empty))
    asked = request(tmp_path, place, devices.WORKS)
    command = failure(other, asked, place).alternatives[1].partition(", then ")[0]
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    channel.run(other, asked, place.tell)
    assert place.is_clean()


def test_a_key_that_has_changed_is_refused(device, tmp_path, place, server):
    other = servers.key(tmp_path / "other")
    hosts = servers.known(tmp_path / "hosts", server.port, other.with_name("other.pub"))
    problem = failure(replace(device, known_hosts=str(hosts)), request(tmp_path, place, devices.WORKS), place)
    assert "is not the one known for it" in problem.what
    assert f"ssh-keygen -R '[127.0.0.1]:{server.port}' -f {hosts}" in problem.alternatives[0]


def test_a_key_of_ours_that_it_does_not_know_is_refused_without_asking(device, tmp_path, place):
    stranger = servers.key(tmp_path / "stranger")
    started = time.monotonic()
    problem = failure(replace(device, identity_file=str(stranger)), request(tmp_path, place, devices.WORKS), place)
    assert "lets nobody in" in problem.what
    assert "Permission denied" in problem.what
    assert problem.where == "target.identity_file"
    assert time.monotonic() - started < 10


def test_paths_of_ssh_may_have_odd_characters(device, tmp_path, place, server):
    odd = tmp_path / 'a "b" 100%h'
    odd.mkdir()
    hosts, identity = odd / "known hosts", odd / "my key"
    shutil.copy(server.known_hosts, hosts)
    shutil.copy(server.identity, identity)
    identity.chmod(0o600)
    other = replace(device, known_hosts=str(hosts), identity_file=str(identity))
    channel.run(other, request(tmp_path, place, devices.WORKS), place.tell)
    assert place.heard[-1] == (2, 2)


def test_nobody_listens(tmp_path, place, device):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        other = replace(device, port=taken.getsockname()[1])
        problem = failure(other, request(tmp_path, place, devices.WORKS), place)
    assert problem.what.startswith("127.0.0.1 cannot be reached: ")
    assert "refused" in problem.what


def test_no_such_host(tmp_path, place, device):
    problem = failure(replace(device, host="no-such.invalid"), request(tmp_path, place, devices.WORKS), place)
    assert "no-such.invalid" in problem.what
    assert problem.where == "target.host"


@pytest.mark.parametrize("host", ["-V", "-oProxyCommand=touch trap", "-Etrap"])
def test_a_host_is_never_an_option(tmp_path, place, device, monkeypatch, host):
    """-V alone would print a version and succeed."""
    monkeypatch.chdir(tmp_path)
    problem = failure(replace(device, host=host), request(tmp_path, place, devices.WORKS), place)
    assert problem.where == "target.host"
    assert not (tmp_path / "trap").exists()


def test_there_is_no_such_python(device, tmp_path, place):
    problem = failure(device, request(tmp_path, place, devices.WORKS, python="/no such/python"), place)
    assert "there is no Python '/no such/python' on 127.0.0.1" in problem.what
    assert problem.fix.startswith("target.python=")


def test_what_is_not_python_is_said_to_fail(device, tmp_path, place):
    problem = failure(device, request(tmp_path, place, devices.WORKS, python="/bin/false"), place)
    assert "/bin/false on 127.0.0.1 ended with status 1" in problem.what


def test_a_python_without_litert(device, tmp_path, place):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare env")], check=True)
    python = str(tmp_path / "bare env" / "bin" / "python")
    problem = failure(device, request(tmp_path, place, devices.WORKS, python=python), place)
    assert "ModuleNotFoundError: No module named 'numpy'" in problem.what
    assert problem.alternatives[0] == f"on 127.0.0.1: {python} -m pip install ai-edge-litert numpy"


def test_another_version_of_litert_is_told(device, tmp_path, place, monkeypatch):
    real = channel.metadata.version
    monkeypatch.setattr(channel.metadata, "version", lambda name: "1.0.0" if name == "ai-edge-litert" else real(name))
    (warning,) = channel.run(device, request(tmp_path, place, devices.WORKS), place.tell).warnings
    assert f"127.0.0.1 has ai-edge-litert {real('ai-edge-litert')}, this machine 1.0.0" in warning


def test_a_script_that_fails_says_why(device, tmp_path, place):
    asked = request(tmp_path, place, devices.FAILS)
    assert failure(device, asked, place).what == ("the measurement on 127.0.0.1 failed: the model has no signature 'x'")
    assert not (asked.folder / "result.json").exists()


def test_a_script_that_is_killed(device, tmp_path, place):
    problem = failure(device, request(tmp_path, place, devices.DIES), place)
    assert problem.what == "the measurement on 127.0.0.1 failed: it ended with signal 9: last words"


def test_the_time_is_over(device, tmp_path, place):
    started = time.monotonic()
    problem = failure(device, request(tmp_path, place, devices.HANGS, seconds=3.0), place)
    assert "was ended after 3 s" in problem.what
    assert (problem.where, problem.fix) == ("target.timeout_s", "target.timeout_s=6")
    assert place.heard == [(1, 2)]
    assert time.monotonic() - started < 10


def test_a_folder_that_cannot_be_written(device, tmp_path, place):
    problem = failure(device, request(tmp_path, place, devices.WORKS, directory="/proc/none"), place)
    assert "127.0.0.1 cannot take the files" in problem.what
    assert problem.where == "target.remote_dir"


def test_there_is_not_room_enough(device, tmp_path, place):
    asked = request(tmp_path, place, devices.WORKS)
    with (asked.folder / "model.bin").open("wb") as file:  # which takes no room here
        file.truncate(shutil.disk_usage(tmp_path).free + (1 << 34))
    problem = failure(device, asked, place)
    assert (problem.where, problem.fix) == ("target.remote_dir", "target.remote_dir=/DIRECTORY")
    assert "free for them" in problem.what


def test_an_interrupt_leaves_nothing(device, tmp_path, place, server):
    def interrupt(done, total):
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        channel.run(device, request(tmp_path, place, devices.HANGS), interrupt)
    assert place.is_clean()  # by now, not some time
    assert time.monotonic() - started < 10
    assert devices.in_time(lambda: server.sessions() == [])


OWN_PROCESS = """
import sys
from pathlib import Path
from tflite_recipes.backend.measuring.devices import channel
from tflite_recipes.backend.measuring.devices.ssh import SshDevice
host, port, identity, hosts, folder, directory = sys.argv[1:]
asked = channel.Request(Path(folder), "script.py", (), sys.executable, directory, 60.0)
channel.run(SshDevice(host, int(port), identity, hosts), asked, lambda *_: print("begun", flush=True))
"""


@pytest.mark.parametrize("whom", ["all of it", "ours alone"])
def test_who_is_killed_leaves_nothing_there(device, tmp_path, place, server, whom):
    """As the worker is, for a limit and at Ctrl-C: with what it started, or alone by the system."""
    asked = request(tmp_path, place, devices.HANGS)
    words = [device.host, str(device.port), device.identity_file, device.known_hosts, asked.folder, place.folder]
    command = [sys.executable, "-c", OWN_PROCESS, *map(str, words)]
    # Its output to a file: what survives would hold a pipe open.
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        assert devices.in_time(lambda: b"begun" in (tmp_path / "out").read_bytes())
        assert len(list(place.folder.iterdir())) == 1
        os.killpg(process.pid, signal.SIGKILL) if whom == "all of it" else process.kill()
        process.wait()
        assert devices.in_time(lambda: not list(place.folder.iterdir()))
        assert devices.in_time(place.is_clean)
        assert devices.in_time(lambda: server.sessions() == [])
    finally:
        if process.poll() is None:
            process.kill()


def test_a_connection_that_is_lost_is_told_and_leaves_nothing(device, tmp_path, place, server):
    def cut(done, total):
        for pid in servers.children(server.pid):
            with contextlib.suppress(psutil.NoSuchProcess):  # one ends with the other
                process = psutil.Process(pid)
                if process.name() == "sshd":
                    process.kill()

    with pytest.raises(StepError) as caught:
        channel.run(device, request(tmp_path, place, devices.HANGS), cut)
    assert caught.value.problems[0].where == "target.host"
    assert devices.in_time(place.is_clean)


def test_a_supervisor_that_is_told_to_end_cleans_up(device, tmp_path, place):
    def end(done, total):
        for pid in place.processes():
            parent = psutil.Process(pid).parent()
            if parent is not None and parent.pid != 1 and "tflite_recipes" in parent.cmdline():
                parent.terminate()

    problem = failure(device, request(tmp_path, place, devices.HANGS), _On(place, end))
    assert "ended the measurement: it was told to end" in problem.what


class _On:
    """A place whose progress is also told to somebody else, in another thread."""

    def __init__(self, place, then):
        self.is_clean, self._then = place.is_clean, then

    def tell(self, done, total):
        threading.Thread(target=self._then, args=(done, total)).start()
