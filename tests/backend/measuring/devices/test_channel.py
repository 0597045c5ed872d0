"""The protocol to a device, over a shell of this machine in the place of ssh or adb."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support import devices

from tflite_recipes.backend.measuring.devices import channel
from tflite_recipes.core.errors import Problem, StepError


class Shell:
    """A device that is this machine, whose login shell prints something first."""

    name = "a shell"

    def __init__(self, usual=None, home="/", first=""):
        self.usual_directory, self._home, self._first = usual, home, first

    def command(self, line):
        return ["env", f"HOME={self._home}", "sh", "-c", f"{self._first}{line}"]

    def failure(self, status, errors):
        return None


class Answering(Shell):
    """A device that answers with these bytes, whatever it is asked."""

    def __init__(self, answer):
        super().__init__()
        self._answer = answer

    def command(self, line):
        code = f"import sys; sys.stdin.buffer.read(1); sys.stdout.buffer.write({self._answer!r}); sys.stdout.flush()"
        return [sys.executable, "-c", f"{code}; sys.stdin.buffer.read()"]


@pytest.fixture
def place(tmp_path):
    (tmp_path / "a device").mkdir()
    return devices.Place(tmp_path / "a device")


def request(tmp_path, place, script=devices.WORKS, **more):
    folder = devices.sent(tmp_path / "my files", script)
    wanted = {"python": sys.executable, "directory": str(place.folder), "seconds": 60.0, **more}
    return channel.Request(folder, "script.py", ("result.json",), **wanted)


@pytest.mark.slow
def test_a_greeting_of_the_login_shell_is_passed_over(tmp_path, place):
    greeting = 'Welcome\\n{"said": 1\\n[1, 2]\\nno end of line'
    channel.run(Shell(first=f"printf {shlex.quote(greeting)}; echo; "), request(tmp_path, place), place.tell)
    assert place.heard[-1] == (2, 2)


@pytest.mark.slow
def test_the_home_folder_is_the_device_s(tmp_path, place):
    """`~` is for its shell, the rest of the path for nobody."""
    (tmp_path / "my $env").symlink_to(sys.prefix)
    asked = request(tmp_path, place, python="~/my $env/bin/python")
    channel.run(Shell(home=tmp_path), asked, place.tell)
    assert place.heard[-1] == (2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("there", [True, False])
def test_files_go_where_the_device_usually_has_them(tmp_path, place, there):
    asked = request(tmp_path, place, directory=None)
    channel.run(Shell(usual=str(place.folder if there else place.folder / "none")), asked, place.tell)
    folder = Path(json.loads((asked.folder / "result.json").read_text(encoding="utf-8"))["folder"])
    assert (folder.parent == place.folder) == there
    assert not folder.exists()


@pytest.mark.slow
def test_a_module_in_the_folder_where_the_shell_starts_is_not_taken(tmp_path, place):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "json.py").write_text("raise SystemExit('the wrong one')", encoding="utf-8")
    device = Shell(first=f"cd {shlex.quote(str(tmp_path / 'home'))}; ")
    channel.run(device, request(tmp_path, place), place.tell)
    assert place.heard[-1] == (2, 2)


@pytest.mark.slow
def test_a_disk_that_is_full_is_told(tmp_path, place):
    asked = request(tmp_path, place)
    (asked.folder / "model.tflite").write_bytes(b"x" * 40_000_000)
    with pytest.raises(StepError, match=r"cannot take the files: .*large") as caught:
        channel.run(Shell(first="ulimit -f 2000; "), asked, place.tell)
    assert caught.value.problems[0].where == "target.remote_dir"
    assert place.is_clean()


HELLO = {"said": "hello", "missing": "", "versions": {}, "device": "x", "system": "Linux", "machine": "x86_64"}
HELLO |= {"python": "3.11.7", "free_bytes": 1 << 30}


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        ([{"said": "hello"}], "sent an answer that cannot be read (KeyError)"),
        ([{**HELLO, "free_bytes": "many"}], "sent an answer that cannot be read (ValueError)"),
        ([HELLO, {"said": "file", "name": "../result.json", "bytes": 1}], "sent '../result.json' of 1 bytes"),
        ([HELLO, {"said": "file", "name": "result.json", "bytes": -1}], "of -1 bytes, which is no result"),
        ([HELLO, {"said": "file", "name": "result.json", "bytes": 1 << 40}], "bytes, which is no result"),
        ([HELLO, {"said": "done", "status": "x"}], "sent an answer that cannot be read (ValueError)"),
        ([HELLO, {"said": "ended", "why": "", "left": ""}], "ended the measurement: no reason given"),
        ([{**HELLO, "free_bytes": float("inf")}], "sent an answer that cannot be read (OverflowError)"),
        ([{**HELLO, "versions": [1]}], "sent an answer that cannot be read (AttributeError)"),
        ([HELLO, {"said": "done", "status": float("inf")}], "sent an answer that cannot be read (OverflowError)"),
        ([HELLO, {"said": "line", "text": "[" * 5000}, {"said": "ended", "why": "", "left": ""}], "no reason given"),
    ],
)
def test_what_a_device_sends_is_not_trusted(tmp_path, place, messages, what):
    answer = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    asked = request(tmp_path, place)
    with pytest.raises(StepError) as caught:
        channel.run(Answering(answer), asked, place.tell)
    assert what in caught.value.problems[0].what
    assert sorted(path.name for path in asked.folder.iterdir()) == ["model.tflite", "script.py"]


def test_a_folder_that_stays_is_told(tmp_path, place):
    messages = [HELLO, {"said": "done", "status": 0}, {"said": "ended", "why": "", "left": "/tmp/stays"}]
    answer = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    found = channel.run(Answering(answer), request(tmp_path, place), place.tell)
    assert found.warnings[-1] == "/tmp/stays stays on a shell: it could not be removed"


@pytest.mark.slow
def test_a_device_that_does_not_answer_is_given_up(tmp_path, place, monkeypatch):
    monkeypatch.setattr(channel, "_GRACE_S", 0.5)
    with pytest.raises(StepError, match=r"was ended after 0\.5 s") as caught:
        channel.run(Shell(first="exec sleep 60; "), request(tmp_path, place, seconds=0.5), place.tell)
    assert caught.value.problems[0].where == "target.timeout_s"


def test_a_program_that_is_not_there(tmp_path, place, monkeypatch):
    monkeypatch.setattr(Shell, "command", lambda self, line: ["/no/such/ssh"])
    with pytest.raises(StepError, match="/no/such/ssh cannot be started"):
        channel.run(Shell(), request(tmp_path, place), place.tell)


@pytest.mark.parametrize(
    ("system", "machine", "told"),
    [("Linux", "aarch64", ""), ("Linux", "armv7l", "Linux on armv7l"), ("Android", "aarch64", "Android on aarch64")],
)
def test_a_device_that_no_litert_is_made_for_is_not_told_to_install_it(tmp_path, place, system, machine, told):
    message = {**HELLO, "missing": "No module named 'ai_edge_litert'", "system": system, "machine": machine}
    with pytest.raises(StepError) as caught:
        channel.run(Answering(json.dumps(message).encode() + b"\n"), request(tmp_path, place), place.tell)
    (problem,) = caught.value.problems
    assert problem.what.endswith(f"there is no ai-edge-litert for {told}") == bool(told)
    assert any("pip install ai-edge-litert" in other for other in problem.alternatives) == (not told)


def test_a_message_of_a_device_is_plain_text(tmp_path, place):
    message = {"said": "refused", "error": "\x1b]0;title\x07no\nroom" + "x" * 10_000}
    with pytest.raises(StepError) as caught:
        channel.run(Answering(json.dumps(message).encode() + b"\n"), request(tmp_path, place), place.tell)
    what = caught.value.problems[0].what
    assert what.isprintable()
    assert len(what) < 400


class Failing(Shell):
    """Its program ends as ssh does where the connection fails, with words of its own."""

    def failure(self, status, errors):
        return Problem(f"cannot be reached: {errors.splitlines()[-1]}", "target.host")


def test_what_a_program_there_says_is_plain_where_it_ends_like_ssh(tmp_path, place):
    device = Failing(first=r"printf 'one\n\033]0;title\007two\033[2J\n' >&2; exit 255; ")
    with pytest.raises(StepError) as caught:
        channel.run(device, request(tmp_path, place), place.tell)
    assert caught.value.problems[0].what == "cannot be reached: ]0;titletwo[2J"


def test_progress_without_an_end_is_no_progress(tmp_path, place):
    messages = [HELLO, {"said": "line", "text": '{"progress": [Infinity, 1]}'}, {"said": "done", "status": 0}]
    answer = b"".join(json.dumps(one).encode() + b"\n" for one in [*messages, {"said": "ended", "why": "", "left": ""}])
    channel.run(Answering(answer), request(tmp_path, place), place.tell)
    assert place.heard == []


@pytest.mark.slow
def test_a_connection_that_takes_nothing_any_more_is_left(tmp_path, place):
    """As where a cable is cut: the device hears no end, and what it writes is never read."""
    script = "import sys, pathlib\n(pathlib.Path(sys.argv[1]) / 'result.json').write_text('x' * 1_000_000)\n"
    program = channel.SUPERVISOR.read_text(encoding="utf-8").replace("LAST_RESORT_S = 30", "LAST_RESORT_S = 1")
    asked = {"directory": str(place.folder), "usual": None, "seconds": 1, "imports": [], "distributions": []}
    files = [{"name": "script.py", "bytes": len(script)}]
    job = {"files": files, "script": "script.py", "results": ["result.json"]}
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(f"{json.dumps(asked)}\n".encode())
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["said"] == "hello"
        process.stdin.write(f"{json.dumps(job)}\n{script}".encode())
        process.stdin.flush()
        assert devices.in_time(lambda: bool(list(place.folder.glob("*/result.json"))))
        assert process.wait(10) == 1
        assert place.is_clean()
