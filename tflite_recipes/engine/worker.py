"""The parent's end of the process that owns TensorFlow: give it a job, hear what it says, survive its death."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from tflite_recipes.core import events, leftovers
from tflite_recipes.core.errors import Problem, RecipeError, RequestError, StepError, WrongFile
from tflite_recipes.core.schema import WorkerLimits
from tflite_recipes.engine.guard import FAMILY, family

_POLL_S = 0.1
_GIB = 1024**3


class WorkerDied(StepError):
    """The process that owns TensorFlow died; the end of its log is all that it can say."""


class Worker:
    """One child process in a session of its own. Its raw output goes to the log of the job that it works on; what it
    prints before its first job is only kept for the case that it dies of it.

    It imports TensorFlow as soon as it starts, so start it early; it is kept for the next job. If this process is
    killed, Linux kills the worker, elsewhere its job pipe closes, and the guard ends what it started (see `guard`).
    """

    def __init__(self) -> None:
        job_read, self._jobs = os.pipe()
        self._messages, message_write = os.pipe()
        # Linux ends a child with the thread that started it, which only the main thread outlives for sure.
        parent = os.getpid() if threading.current_thread() is threading.main_thread() else 0
        numbers = [str(number) for number in (job_read, message_write, parent)]
        command = [sys.executable, "-P", "-m", "tflite_recipes.engine.worker_main", *numbers]
        environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONUNBUFFERED": "1", FAMILY: family()}
        # Or the order of a set of names, in a user's factory say, would be another in every process.
        environment["PYTHONHASHSEED"] = "0"
        package_root = str(Path(__file__).resolve().parents[2])
        # -P keeps the working directory from shadowing modules; the child still has to find this very package.
        paths = [package_root, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
        environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
        self._early = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the pipe)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._early,
            stderr=subprocess.STDOUT,
            # With the lock of the parent's register: what both use is not removed before both are gone.
            pass_fds=(job_read, message_write, *filter(None, [leftovers.descriptor()])),
            env=environment,
            start_new_session=True,
        )
        os.close(job_read)
        os.close(message_write)
        self._begun = False
        self._heard: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(ValueError), os.fdopen(self._messages, encoding="utf-8") as stream:
            for line in stream:
                self._heard.put(json.loads(line))
        self._heard.put(None)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def run(
        self, job: Mapping[str, Any], tell: Callable[[events.Event], None], limits: WorkerLimits, started: float
    ) -> dict[str, Any]:
        """Do one job and give the state that it ends in, as JSON.

        `started` is the run's start on `time.monotonic()`, from which `limits.timeout_s` counts. Errors: RequestError
        and StepError as the steps raised them; StepError when the process dies or is ended for a limit.
        """
        try:
            os.write(self._jobs, (json.dumps(job) + "\n").encode())
        except BrokenPipeError:
            raise WorkerDied(self._death(job)) from None
        while True:
            try:
                message = self._heard.get(timeout=_POLL_S)
            except queue.Empty:
                if not self.alive and self._heard.empty():
                    # What it forked may hold its end of the pipe open for ever.
                    raise WorkerDied(self._death(job)) from None
                self._enforce(limits, started)
                continue
            if message is None:
                raise WorkerDied(self._death(job))
            self._begun = True
            if "event" in message:
                tell(events.from_json(message))
                self._enforce(limits, started)
            elif "state" in message:
                state: dict[str, Any] = message["state"]
                return state
            elif "problems" in message:
                raise _error(message)

    def _enforce(self, limits: WorkerLimits, started: float) -> None:
        if limits.timeout_s is not None and time.monotonic() - started > limits.timeout_s:
            self.kill()
            what = f"ended after {limits.timeout_s:g} s, the time that it was given"
            raise WorkerDied(Problem(what, "worker.timeout_s", f"worker.timeout_s={2 * limits.timeout_s:g}"))
        if limits.memory_gb is not None and (used := self.memory()) > limits.memory_gb * _GIB:
            self.kill()
            what = f"ended at {used / _GIB:.2f} GiB of memory, over the {limits.memory_gb:g} that it was given"
            raise WorkerDied(Problem(what, "worker.memory_gb", f"worker.memory_gb={2 * limits.memory_gb:g}"))

    def memory(self) -> int:
        """Resident bytes of the child and its own children."""
        try:
            process = psutil.Process(self._process.pid)
            return sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))
        except psutil.Error:
            return 0

    def _death(self, job: Mapping[str, Any]) -> Problem:
        code = self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if not self._begun:
            self._early.seek(0)
            with Path(job["log"]).open("ab") as log:
                log.write(self._early.read())
        if code < 0:
            name = signal.Signals(-code).name
            reasons = {"SIGKILL": " (by another, often for want of memory)", "SIGABRT": " (it gave up by itself)"}
            return Problem(f"the process that owns TensorFlow was killed by {name}{reasons.get(name, '')}")
        return Problem(f"the process that owns TensorFlow ended by itself with status {code}")

    def kill(self) -> None:
        """End the child and all that it started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._close()

    def _close(self) -> None:
        if self._jobs >= 0:
            os.close(self._jobs)
            self._early.close()
            self._jobs = -1


_ERRORS: dict[str, type[RecipeError]] = {"request": RequestError, "wrong_file": WrongFile, "": StepError}


def _error(message: Mapping[str, Any]) -> RecipeError:
    problems = [Problem.from_json(problem) for problem in message["problems"]]
    return _ERRORS[message["kind"]](problems)


class WorkerPool:
    """Keeps one worker for the next run, and starts a new one after a death."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def ready(self) -> Worker:
        """The worker, started where there is none."""
        if self._worker is None or not self._worker.alive:
            self.close()
            self._worker = Worker()
        return self._worker

    def held(self) -> int:
        """Return the bytes of memory that the worker has."""
        return self._worker.memory() if self._worker is not None else 0

    def kill(self) -> None:
        """End the worker, if there is one."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    close = kill  # an idle worker holds nothing that it would have to put away
