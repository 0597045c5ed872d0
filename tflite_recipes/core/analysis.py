"""Parts of a run that look at a finished file and leave it as it is: a failure there does not lose the file."""

from __future__ import annotations

import contextlib
import json
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tflite_recipes.core.errors import Problem, RecipeError, WrongFile
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.raised import unexpected
from tflite_recipes.core.state import State


class Analysis:
    """Mark a step that a file is good without: if it fails, the run delivers the file and is not evaluated."""


# In the scratch folder while an analysis is at work: what the run goes on with if the process dies of it.
_CHECKPOINT = "good_file.json"


@contextlib.contextmanager
def kept(reporter: Reporter, what: str, where: str, judges: bool = True, state: State | None = None) -> Iterator[None]:
    """Report a failure inside, and go on: the file is good without this part.

    Args:
        reporter: takes the failure.
        what: the part, in words.
        where: the step, for problems that name no place.
        judges: whether the outcome of the run depends on this part.
        state: the state with the finished file. With it the parent goes on with the file if this process dies inside.

    Raises:
        WrongFile: this part has shown that the file is not good.
    """
    checkpoint = _written(state, what, where) if state is not None else None
    try:
        yield
    except WrongFile:
        raise
    except RecipeError as error:
        traceback.print_exc()
        for problem in error.problems:
            reporter.failed(replace(problem, where=problem.where or where), judges)
    except Exception as error:  # whatever a file, a sample or a library leads to
        traceback.print_exc()  # the log has the whole story
        reporter.failed(failure(what, where, error), judges)
    finally:
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)


def keep_written(reporter: Reporter, path: Path, write: Callable[[Path], object], where: str) -> None:
    """Write a file of the report and keep it as an artifact. If that fails, the gates still decide the outcome.

    Args:
        reporter: takes the artifact, or the failure.
        path: where the file is written.
        write: writes it.
        where: the step, for the problem.
    """
    with kept(reporter, path.name, where, judges=False):
        write(path)
        reporter.keep(str(path))


def _written(state: State, what: str, where: str) -> Path:
    path = state.workdir / _CHECKPOINT
    beside = path.with_suffix(".new")
    content = {"what": what, "where": where, "state": replace(state, model=None).to_json()}
    beside.write_text(json.dumps(content), encoding="utf-8")
    os.replace(beside, path)
    return path


@dataclass(frozen=True)
class Rescued:
    """A finished file whose analysis the process died of.

    state: what the run goes on with, as JSON.
    problem: the death, told as the failure of the analysis. What the step does behind it, its gates say, is missing.
    """

    state: Mapping[str, Any]
    problem: Problem


def rescued(folder: Path, death: Problem) -> Rescued | None:
    """Return the finished file that an analysis left when its process died; None if none was at work.

    Args:
        folder: the scratch folder of the attempt.
        death: what is known of the death.
    """
    path = folder / _CHECKPOINT
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    what = f"{found['what']} failed, and the file is delivered without: {death.what}"
    problem = replace(death, what=what, where=death.where or found["where"])
    return Rescued(found["state"], problem)


def failure(what: str, where: str, error: Exception) -> Problem:
    """Return the problem of a part that failed without knowing why."""
    return Problem(f"{what} failed, and the file is delivered without: {unexpected(error)}", where)
