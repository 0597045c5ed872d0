"""One measurement on a device, through whatever command carries standard input and output there."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from tflite_recipes.core.errors import Problem, StepError, assignment

SUPERVISOR = Path(__file__).with_name("supervisor.py")
# What a script there may import beside the standard library, and what pip calls it.
_IMPORTS = ("numpy", "ai_edge_litert.interpreter")
_DISTRIBUTIONS = ("ai-edge-litert", "numpy")
_LITERT = "ai-edge-litert"
# What ai-edge-litert 2.3 has wheels for, as platform.system() and .machine() name it; Windows is none of ours.
_WHEELS = {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")}
# The device ends a measurement itself, and cleans up. This end gives up only where it does not answer.
_GRACE_S = 20.0
_CHUNK = 1 << 20
_LONGEST_LINE = 1 << 20
_LARGEST_RESULTS = 1 << 30
_KEPT_ERRORS = 1 << 16
_TOLD_LINES = 20
# What reading something that is none of ours may end in.
_NO_ANSWER = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
_LONGEST_TOLD = 300


class Device(Protocol):
    """How a device is reached."""

    @property
    def usual_directory(self) -> str | None:
        """Where files go unless a request says otherwise; None, or not there: where it keeps temporary files."""
        ...

    @property
    def name(self) -> str:
        """What it is called in messages."""
        ...

    def command(self, line: str) -> list[str]:
        """The program and arguments that run `line` in the device's shell, with standard input and output through."""
        ...

    def failure(self, status: int, errors: str) -> Problem | None:
        """What it means that the command ended with `status`, having said `errors`; None where the way there and back
        was not at fault."""
        ...


@dataclass(frozen=True)
class Request:
    """What is to be done there: `script` (a file of `folder`) is run by `python` on a copy of `folder`'s files in a
    private folder under `directory` (null: where the device keeps temporary files), for `seconds` at most; then those
    of `results` that it wrote are brought back into `folder`."""

    folder: Path
    script: str
    results: Sequence[str]
    python: str = "python3"
    directory: str | None = None
    seconds: float = 600.0


@dataclass(frozen=True)
class Found:
    """The device as it presents itself: its name and processor, the versions of Python and of the distributions in
    use, the free bytes where the files go."""

    device: str
    machine: str
    python: str
    versions: dict[str, str]
    free_bytes: int
    warnings: tuple[str, ...] = ()


def run(device: Device, request: Request, tell: Callable[[int, int], None]) -> Found:
    """Do it; `tell(done, total)` hears of progress. Errors: StepError.

    The device is left as it was: also where this process is killed, because the supervisor there sees the connection
    end.
    """
    session = _Session(device, request)
    try:
        return session.measure(tell)
    finally:
        session.close()


class _Lost(Exception):
    """The connection ended before it was due to."""


class _Session:
    """One connection, and the messages over it."""

    def __init__(self, device: Device, request: Request) -> None:
        self._device, self._request = device, request
        self._program = SUPERVISOR.read_bytes()
        # Modules that lie in the home folder there, where this starts, are not those that are meant.
        read = f"sys.stdin.buffer.read({len(self._program)})"
        code = f"import sys;sys.path=[p for p in sys.path if p];exec(compile({read},sys.argv[1],sys.argv[2]))"
        line = f"exec {_quoted(request.python)} -c {shlex.quote(code)} tflite_recipes exec"
        command = device.command(line)
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError as error:
            raise StepError(Problem(f"{command[0]} cannot be started: {error.strerror}", "target.runner")) from error
        self._errors = b""
        self._timed_out = False
        self._last_lines: deque[str] = deque(maxlen=_TOLD_LINES)
        self._left = ""
        self._drain = threading.Thread(target=self._keep_errors, daemon=True)
        self._drain.start()
        self._watch = threading.Timer(request.seconds + _GRACE_S, self._give_up)
        self._watch.daemon = True
        self._watch.start()

    def _keep_errors(self) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(OSError, ValueError):
            while data := self._process.stderr.read1(_CHUNK):
                self._errors = (self._errors + data)[-_KEPT_ERRORS:]

    def _give_up(self) -> None:
        self._timed_out = True
        self._process.kill()

    def measure(self, tell: Callable[[int, int], None]) -> Found:
        try:
            found = self._greet()
            self._send_files(found)
            self._follow(tell)
        except (_Lost, BrokenPipeError) as error:
            raise StepError(self._lost()) from error
        except _NO_ANSWER as error:
            what = f"{self._device.name} sent an answer that cannot be read ({type(error).__name__})"
            raise StepError(Problem(what, "target.python")) from error
        left = (f"{self._left} stays on {self._device.name}: it could not be removed",) if self._left else ()
        return Found(**{**vars(found), "warnings": (*found.warnings, *left)})

    # What is sent.

    def _write(self, *parts: bytes) -> None:
        assert self._process.stdin is not None
        for part in parts:
            self._process.stdin.write(part)
        self._process.stdin.flush()

    def _greet(self) -> Found:
        asked = {
            "directory": self._request.directory,
            "usual": self._device.usual_directory,
            "seconds": self._request.seconds,
            "imports": _IMPORTS,
            "distributions": _DISTRIBUTIONS,
        }
        # A shell that finds no Python reads nothing, and what it says tells more than the broken pipe.
        with contextlib.suppress(BrokenPipeError):
            self._write(self._program, _line(asked))
        for said, message in self._messages():
            if said == "hello":
                return self._accepted(message)
            self._check(said, message)
        raise _Lost

    def _accepted(self, message: dict[str, Any]) -> Found:
        """What was found there, if it is enough. Errors: StepError."""
        system, machine = shown(message["system"]), shown(message["machine"])
        if message["missing"]:
            python, name = self._request.python, self._device.name
            what = f"{python} on {name} cannot measure: {shown(message['missing'])}"
            if (system, machine) not in _WHEELS:
                raise StepError(Problem(f"{what}; there is no {_LITERT} for {system} on {machine}", "target.host"))
            install = f"on {name}: {python} -m pip install ai-edge-litert numpy"
            example = assignment("target.python", "~/venv/bin/python")
            raise StepError(Problem(what, "target.python", "", (install, example)))
        versions = {shown(name): shown(version) for name, version in message["versions"].items()}
        device, python = shown(message["device"]), shown(message["python"])
        warnings = tuple(_other_version(versions.get(_LITERT, ""), self._device.name))
        return Found(device, machine, python, versions, int(message["free_bytes"]), warnings)

    def _send_files(self, found: Found) -> None:
        files = sorted(path for path in self._request.folder.iterdir() if path.is_file())
        sizes = [path.stat().st_size for path in files]
        if sum(sizes) > found.free_bytes:
            what = f"the files are {sum(sizes):,} bytes, and {self._device.name} has {found.free_bytes:,} free for them"
            raise StepError(Problem(what, "target.remote_dir", assignment("target.remote_dir", "/DIRECTORY")))
        entries = [{"name": path.name, "bytes": size} for path, size in zip(files, sizes, strict=True)]
        job = {"files": entries, "script": self._request.script, "results": list(self._request.results)}
        # A device that has no room for them says so, and reads no further.
        with contextlib.suppress(BrokenPipeError):
            self._write(_line(job))
            for path in files:
                with path.open("rb") as file:
                    while data := file.read(_CHUNK):
                        self._write(data)

    # What is heard.

    def _messages(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each message of the supervisor, to the end of the connection; what a login shell prints is passed over."""
        assert self._process.stdout is not None
        while line := self._process.stdout.readline(_LONGEST_LINE):
            with contextlib.suppress(ValueError, RecursionError):
                message = json.loads(line)
                if isinstance(message, dict) and "said" in message:
                    yield str(message["said"]), message

    def _follow(self, tell: Callable[[int, int], None]) -> None:
        """Until the supervisor has cleaned up. Errors: StepError, for a script that failed."""
        status, room = None, _LARGEST_RESULTS
        for said, message in self._messages():
            if said == "line":
                self._hear(str(message["text"]), tell)
            elif said == "file":
                room -= int(message["bytes"])
                self._receive(str(message["name"]), int(message["bytes"]), room)
            elif said == "done":
                status = int(message["status"])
            elif said == "ended" and status is not None:
                self._left = shown(message["left"])
                break
            else:
                self._check(said, message)
        if status is None:
            raise _Lost
        if status != 0:
            raise StepError(Problem(f"the measurement on {self._device.name} failed: {self._told(status)}", "target"))

    def _hear(self, line: str, tell: Callable[[int, int], None]) -> None:
        with contextlib.suppress(*_NO_ANSWER):
            done, total = json.loads(line)["progress"]
            tell(int(done), int(total))
            return
        if line.strip():
            self._last_lines.append(line.strip())

    def _receive(self, name: str, size: int, room: int) -> None:
        """A result, whole or not at all, under a name that was asked for."""
        if name not in self._request.results or size < 0 or room < 0:
            what = f"{self._device.name} sent {shown(name)!r} of {size:,} bytes, which is no result"
            raise StepError(Problem(what, "target"))
        assert self._process.stdout is not None
        part = self._request.folder / f".{name}"
        with part.open("wb") as file:
            while size:
                if not (data := self._process.stdout.read1(min(size, _CHUNK))):
                    raise _Lost
                file.write(data)
                size -= len(data)
        os.replace(part, self._request.folder / name)

    def _check(self, said: str, message: dict[str, Any]) -> None:
        """Errors: StepError, for what the supervisor could not or would not do."""
        if said == "refused":
            what = f"{self._device.name} cannot take the files: {shown(message['error'])}"
            raise StepError(Problem(what, "target.remote_dir", assignment("target.remote_dir", "/tmp")))
        if said == "ended" and message["why"] == "time":
            raise StepError(self._over())
        if said == "ended":
            why = shown(message["why"]) or "no reason given"
            raise StepError(Problem(f"{self._device.name} ended the measurement: {why}", "target"))

    def _over(self) -> Problem:
        seconds = self._request.seconds
        what = f"the measurement on {self._device.name} was ended after {seconds:g} s, the time that it was given"
        return Problem(what, "target.timeout_s", f"target.timeout_s={2 * seconds:g}")

    def _told(self, status: int) -> str:
        """The error that the script printed last, or else what it left on standard error."""
        for line in reversed(self._last_lines):
            with contextlib.suppress(*_NO_ANSWER):
                return shown(json.loads(line)["error"])
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return f"it ended with {how}: {_telling(self._text())}".removesuffix(": ")

    def _text(self) -> str:
        self._drain.join(1)
        return self._errors.decode("utf-8", "replace")

    def _lost(self) -> Problem:
        """Why the connection ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        status, errors = self._process.returncode, self._text()
        if self._timed_out or status is None:
            return self._over()
        # A device's program can end as the command that carries it does, with words of its own.
        errors = "\n".join(shown(line) for line in errors.splitlines())
        if (problem := self._device.failure(status, errors)) is not None:
            return problem
        python, name = self._request.python, self._device.name
        if status in (126, 127):
            what = f"there is no Python {python!r} on {name}: {_telling(errors)}"
            return Problem(what, "target.python", assignment("target.python", "/usr/bin/python3"))
        return Problem(f"{python} on {name} ended with status {status}: {_telling(errors)}", "target.python")

    def close(self) -> None:
        """End the connection. The supervisor takes the end of its input as the word to clean up, and is waited for."""
        self._watch.cancel()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            # What it still sends goes unread, but must not keep it from ending.
            threading.Thread(target=self._discard, daemon=True).start()
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._process.kill()
            self._process.wait()
            print(self._text(), end="", flush=True)  # into the log

    def _discard(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            while self._process.stdout.read1(_CHUNK):
                pass


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _quoted(python: str) -> str:
    """For the device's shell, which alone knows where the home folder is."""
    home, slash, rest = python.partition("/")
    return f'"$HOME"/{shlex.quote(rest)}' if home == "~" and slash else shlex.quote(python)


def _telling(errors: str) -> str:
    """The last line that says something."""
    return next((shown(line.strip()) for line in reversed(errors.splitlines()) if line.strip()), "it said nothing")


def shown(text: Any) -> str:
    """What a device says as it may stand in a message on a terminal."""
    return "".join(letter for letter in str(text) if letter.isprintable())[:_LONGEST_TOLD]


def _other_version(there: str, name: str) -> Iterator[str]:
    here = metadata.version(_LITERT)
    if there != here:
        yield f"{name} has {_LITERT} {there or 'of an unknown version'}, this machine {here}: their kernels may differ"
