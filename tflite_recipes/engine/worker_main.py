"""The child process that owns TensorFlow: takes jobs as JSON lines, runs their steps, says what happens.

Run by `worker.Worker` as `python -m tflite_recipes.engine.worker_main JOB_FD MESSAGE_FD PARENT`.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import queue
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tflite_recipes.core import events, public_names, schema, user_code
from tflite_recipes.core.errors import Problem, RecipeError, RequestError, WrongFile, gist
from tflite_recipes.core.raised import unexpected
from tflite_recipes.core.state import State
from tflite_recipes.engine import own_step

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(job_fd: int, message_fd: int, parent: int) -> None:
    """Serve jobs until the parent closes its end of the pipe. parent: its process ID; 0 to go by the pipe alone."""
    if parent:
        _end_with(parent)
    messages = os.fdopen(message_fd, "w", encoding="utf-8")
    jobs: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(job_fd, jobs), daemon=True).start()

    def send(message: Mapping[str, Any]) -> None:
        messages.write(json.dumps(message) + "\n")
        messages.flush()

    faulthandler.enable()  # a crash in C++ leaves the Python stack in the log
    failure = _import_tensorflow()
    while True:
        job = json.loads(jobs.get())
        _redirect(job["log"])
        _stand_in(job["cwd"])
        _keep_temporary_files_in(job["temporary"])
        if failure is not None:
            send({"kind": "", "problems": [failure.to_json()]})
            continue
        try:
            state = _run(job, lambda event: send(events.to_json(event)))
            if not job["state"]["saved_model"]:
                _forget()
            send({"state": state})
        except RecipeError as error:
            traceback.print_exc()  # the log has the whole story, the terminal its gist
            problems = [problem.to_json() for problem in error.problems]
            send({"kind": _kind(error), "problems": problems})
        except BaseException as error:  # a user's own code may raise anything, SystemExit included
            traceback.print_exc()
            send({"kind": "", "problems": [_unexpected(error).to_json()]})


def _listen(job_fd: int, jobs: queue.Queue[str]) -> None:
    with os.fdopen(job_fd, encoding="utf-8") as stream:
        for line in stream:
            jobs.put(line)
    # End of file: the parent is gone or has let go. A job at work has nobody to hear of it, nor have the programs that
    # it started.
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _end_with(parent: int) -> None:
    """Have Linux end this process with its parent. The pipe alone is not read while a converter holds Python's lock."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _import_tensorflow() -> Problem | None:
    try:
        from tflite_recipes.backend.models import session

        session.start()
    except Exception as error:
        traceback.print_exc()
        return Problem(f"TensorFlow cannot be imported: {gist(error)}", "environment", "", ("pip install tensorflow",))
    return None


def _forget() -> None:
    """The model in memory has become a folder: give its memory back before the converter asks for more."""
    from tflite_recipes.backend.models import session

    session.forget()


def _redirect(log: str) -> None:
    """Send what this process and its C++ libraries print to the job's own log."""
    sys.stdout.flush()
    sys.stderr.flush()
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


def _keep_temporary_files_in(folder: str) -> None:
    """Put temporary files where the parent removes them: AutoGraph and others leave theirs, above all when killed."""
    os.environ["TMPDIR"] = folder  # C++ and processes that this one starts read it too
    tempfile.tempdir = folder


def _stand_in(folder: str) -> None:
    """Work where the user stands, with the user's modules as they are now: this process may have loaded them for an
    earlier run, before they were edited, or others of the same name elsewhere."""
    os.chdir(folder)
    schema.import_from_here()
    user_code.forget_own_modules()


def _run(job: Mapping[str, Any], tell: events.Listener) -> dict[str, Any]:
    state = State.from_json(job["state"])
    from tflite_recipes.backend.models import named_model

    reporter = events.EventReporter(tell)
    for entry in job["steps"]:
        tell(events.StepStarted(entry["name"], entry["option"]))
        started = time.monotonic()
        print(f"--- {entry['name']}", flush=True)
        target = entry["values"][schema.TARGET]
        if not public_names.is_ours(target):
            step = own_step.load(entry["name"], entry["values"])
            user_code.record(f"step.{entry['name'].rpartition(':')[2]}", [target], state, reporter)
            state = named_model.around_own_step(step, state, entry["name"], reporter)
        else:
            state = _ours(entry["name"], entry["values"])(state, reporter)
        tell(events.StepFinished(entry["name"], time.monotonic() - started))
    user_code.record_imports(state, reporter)
    return replace(state, model=None).to_json()


def _ours(name: str, section: Mapping[str, Any]) -> Any:
    """Return the step of this package that a section describes."""
    kind = schema.class_of(section[schema.TARGET])
    assert kind is not None
    step, problems = schema.build(kind, section, name)
    if problems:
        raise RequestError(problems)
    return step


def _kind(error: RecipeError) -> str:
    if isinstance(error, RequestError):
        return "request"
    return "wrong_file" if isinstance(error, WrongFile) else ""


def _unexpected(error: BaseException) -> Problem:
    return Problem(f"the step failed: {unexpected(error)}; the log has the traceback")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
