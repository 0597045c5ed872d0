"""Parts of a run that look at a finished file and leave it as it is: a failure there does not lose the file."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from dataclasses import replace

from tflite_recipes.core.errors import Problem, RecipeError, WrongFile, gist
from tflite_recipes.core.events import Reporter


class Analysis:
    """Mark a step that leaves the file as it is. If it fails, the run delivers the file and is not evaluated."""


@contextlib.contextmanager
def kept(reporter: Reporter, what: str, where: str, judges: bool = True) -> Iterator[None]:
    """Report a failure inside, and go on: the file is good without this part.

    Args:
        reporter: takes the failure.
        what: the part, in words.
        where: the step, for problems that name no place.
        judges: whether the outcome of the run depends on this part.

    Raises:
        WrongFile: this part has shown that the file is not good.
    """
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


def failure(what: str, where: str, error: Exception) -> Problem:
    """Return the problem of a part that failed without knowing why."""
    kind, text = type(error).__name__, gist(error)
    told = text if text.startswith(kind) else f"{kind}: {text}"
    return Problem(f"{what} failed, and the file is delivered without: {told}", where)
