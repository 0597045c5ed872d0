"""Scripts that use TensorFlow, mostly to write models, so that pytest's own process stays free of it.

Importing TensorFlow and Keras takes longer than most scripts do. One process imports them for all scripts, and forks
for each, so that none sees what another did. It uses neither before a fork, so there is no state to share.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

_TESTS = str(Path(__file__).parents[1])


def run_script(script: Path | str, *arguments: object, cwd: Path | None = None) -> None:
    """Run a Python file as `python script arguments` would. Errors: AssertionError with the end of what it printed."""
    _run({"script": str(script)}, arguments, cwd)


def run_code(code: str, *arguments: object, cwd: Path | None = None) -> None:
    """Run a text as `python -c code arguments` would. Errors: AssertionError with the end of what it printed."""
    _run({"code": code}, arguments, cwd)


def _run(source: dict[str, str], arguments: tuple[object, ...], cwd: Path | None) -> None:
    with tempfile.NamedTemporaryFile() as output:
        place = {"cwd": str(cwd or Path.cwd()), "output": output.name, "path": os.environ.get("PYTHONPATH", "")}
        process = _process()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({**source, "arguments": [*map(str, arguments)], **place}) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer, "the process that imports TensorFlow for scripts has ended"
        assert int(answer) == 0, output.read().decode("utf-8", "replace")[-2000:]


@cache
def _process() -> subprocess.Popen[str]:
    """Return the process that has imported TensorFlow. It ends when its input does, with this process."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, "-P", __file__]
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nothing, env=environment, text=True)


def _serve() -> None:
    """Run each script that is asked for in a child, and answer with its status."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    requests = os.fdopen(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # Keras imports these two where they are installed, which takes a third of its time; no script needs them.
    sys.modules["sklearn"] = sys.modules["matplotlib"] = None  # type: ignore[assignment]
    import keras  # noqa: F401
    import tensorflow  # noqa: F401
    import tf_keras  # noqa: F401

    del sys.modules["sklearn"], sys.modules["matplotlib"]
    for line in requests:
        child = os.fork()
        if child == 0:
            _be(json.loads(line))
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        answers.flush()


def _be(request: dict) -> None:
    """Become the script that is asked for, and end with it."""
    status = 1
    try:
        output = os.open(request["output"], os.O_WRONLY | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(request["cwd"])
        folder = str(Path(request["script"]).parent) if "script" in request else ""
        sys.path[:0] = [folder, _TESTS, *filter(None, request["path"].split(os.pathsep))]
        sys.argv = [request.get("script", "-c"), *request["arguments"]]
        if "script" in request:
            runpy.run_path(request["script"], run_name="__main__")
        else:
            exec(compile(request["code"], "<string>", "exec"), {"__name__": "__main__"})
        status = 0
    except SystemExit as left:
        status = int(left.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
