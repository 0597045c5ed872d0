"""A file in the tflite-micro interpreter: `python -m tflite_recipes.backend.compilers.micro_process JOB`.

It is a process of its own because the interpreter may abort, and writes what is wrong to the terminal: whoever starts
this keeps that in a log. JOB is a JSON file: `model`; `inputs`, an `.npz` with one array per input by its position,
first axis invokes; `reset`, whether variables start anew before each; `arena_bytes`, more than is needed; `outputs` and
`answer`, files to write. The answer holds `version` and `arena_bytes`, or, where it went wrong, `stage` and `error`.
The last lines of the log are then the interpreter's own account of its arena.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE = "tflite_micro"
_ALIGNMENT = 16  # of everything in an arena: MicroArenaBufferAlignment


def smallest(fits: Callable[[int], bool], enough: int, least: int = 0) -> int:
    """The smallest multiple of 16 above `least` that fits; `enough` does, and whatever is larger than one that does."""
    low, high = least // _ALIGNMENT, -(-enough // _ALIGNMENT)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle * _ALIGNMENT) else (middle, high)
    return high * _ALIGNMENT


def succeeds(attempt: Callable[[], object]) -> bool:
    """Whether it comes to its end, tried in a copy of this process that says nothing, as it may abort."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            attempt()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


class HeldModel:
    """One model, and its interpreter with whatever arena."""

    def __init__(self, model: bytes, inputs: dict[int, Any], reset: bool) -> None:
        self._model, self._inputs, self._reset = model, inputs, reset

    def loaded(self, arena_bytes: int) -> Any:
        from tflite_micro.python.tflite_micro import runtime

        return runtime.Interpreter.from_bytes(self._model, arena_size=arena_bytes)

    def invoked(self, interpreter: Any, row: int) -> None:
        if self._reset:
            interpreter.reset()
        for position, rows in self._inputs.items():
            interpreter.set_input(rows[row], position)
        interpreter.invoke()

    def once(self, arena_bytes: int) -> None:
        self.invoked(self.loaded(arena_bytes), 0)

    def arena(self, enough: int) -> int:
        """The smallest that allocates, and then that also invokes: some kernels ask for more when they run."""
        found = smallest(lambda size: succeeds(lambda: self.loaded(size)), enough)
        if succeeds(lambda: self.once(found)):
            return found
        return smallest(lambda size: succeeds(lambda: self.once(size)), enough, found)


def _run(job: dict[str, Any], answer: dict[str, Any]) -> None:
    """Fills the answer as far as it comes; `stage` is what it was at."""
    with np.load(job["inputs"]) as stored:
        inputs = {int(position): stored[position] for position in stored.files}
    micro = HeldModel(Path(job["model"]).read_bytes(), inputs, job["reset"])
    answer["stage"] = "load"
    interpreter = micro.loaded(job["arena_bytes"])
    answer["stage"] = "invoke"
    outputs: list[list[Any]] = [[] for _ in range(job["output_count"])]
    for row in range(len(next(iter(inputs.values())))):
        micro.invoked(interpreter, row)
        for position, rows in enumerate(outputs):
            rows.append(np.array(interpreter.get_output(position)))
    np.savez(job["outputs"], **{str(position): np.stack(rows) for position, rows in enumerate(outputs)})
    answer["stage"] = "arena"
    answer["arena_bytes"] = micro.arena(job["arena_bytes"])
    interpreter.print_allocations()
    del answer["stage"]


def main(path: str) -> None:
    """Do the job of this file, and write the answer whatever comes of it."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    answer: dict[str, Any] = {"version": metadata.version(PACKAGE)}
    try:
        _run(job, answer)
    except Exception as error:  # whatever it is, the log tells what the interpreter had to say
        answer["error"] = str(error)
    Path(job["answer"]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
