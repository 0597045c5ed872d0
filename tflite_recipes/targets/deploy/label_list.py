"""The names of a classifier's classes: a text file, one label a line, in the order of the output's last axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tflite_recipes.core import regular_files
from tflite_recipes.core.errors import Problem, RequestError

FILE = "labels.txt"
_MOST = 16 << 20  # bytes of a list of labels
_WHERE = "target.labels"


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels, without the space around each. Errors: RequestError for a file that cannot be read, is not UTF-8 or
    empty, or has an empty line before its last label."""
    try:
        text = regular_files.read_bytes(path, _MOST).decode("utf-8-sig")
    except OSError as error:
        raise _problem(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise _problem(f"{path} is not UTF-8: byte {error.start} cannot be read") from error
    lines = [line.strip() for line in text.replace("\r\n", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise _problem(f"{path} has no labels")
    if "" in lines:
        raise _problem(f"{path} has an empty line where label {lines.index('') + 1} should be")
    return tuple(lines)


def labelled_outputs(shapes: Mapping[str, Sequence[int | None]], labels: Sequence[str]) -> list[str]:
    """Names of the outputs whose last axis has as many places as there are labels, of shapes by name.

    Errors: RequestError where there is none.
    """
    places = {name: shape[-1] if len(shape) else 1 for name, shape in shapes.items()}
    fitting = [name for name, count in places.items() if count == len(labels)]
    if not fitting:
        has = ", ".join(f"{'an open number' if n is None else n} of {name!r}" for name, n in places.items())
        raise _problem(f"{len(labels)} labels, and places in the last axis of the outputs: {has}")
    return fitting


def to_text(labels: Sequence[str]) -> str:
    """As a file."""
    return "".join(f"{label}\n" for label in labels)


def _problem(what: str) -> RequestError:
    return RequestError(Problem(what, _WHERE, f"{_WHERE}=OTHER.txt", (f"{_WHERE}=null",)))
