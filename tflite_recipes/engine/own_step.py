"""Steps of the user's own: load one, call it, and check the state that it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from tflite_recipes.core import schema
from tflite_recipes.core.errors import Problem, RecipeError, RequestError, StepError
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.raised import misfit, named, raised
from tflite_recipes.core.state import State, TensorSpec

_FORM = "def __call__(self, state, reporter): … return dataclasses.replace(state, …)"
_PATHS = ("workdir", "saved_model", "reference", "calibration", "tflite", "float_file", "converted")

Step = Callable[[State, Reporter], State]


def load(name: str, section: Mapping[str, Any]) -> Step:
    """Return the step that a section describes.

    Args:
        name: the step's entry in `steps`.
        section: its `_target_` and its keys.

    Raises:
        RequestError: the target is not a dataclass that can be called with a state and a reporter, or its keys are
            wrong. What the step raises when it is called becomes a StepError, a wrong state a RequestError.
    """
    target = str(section[schema.TARGET])
    where = name if ":" in name else f"{name}.{schema.TARGET}"  # named in `steps` alone, it has no section
    try:
        kind = schema.load_target(target)
    except RequestError as error:
        problems = (Problem(p.what, where, p.fix, p.alternatives) for p in error.problems)
        raise RequestError(problems) from error
    if not isinstance(kind, type):
        raise _misfit(f"{target} is {named(kind)}, not a class", where)
    if not is_dataclass(kind):
        keys = "so it has no keys" if len(section) == 1 else "so it takes no keys"
        way = f"@dataclasses.dataclass(frozen=True) above class {kind.__name__}"
        raise RequestError(Problem(f"{target} is not a dataclass, {keys}", where, "", (way,)))
    try:
        step, found = schema.build(kind, section, name)
    except RecipeError:
        raise
    except (Exception, SystemExit) as error:
        raise RequestError(Problem(f"{target} cannot be made: {raised(error)}", where)) from error
    if found:
        raise RequestError(found)
    _check_call(step, target, where)

    def called(state: State, reporter: Reporter) -> State:
        try:
            after = step(state, reporter)
        except RecipeError:
            raise
        except (Exception, SystemExit) as error:
            raise StepError(Problem(f"{target} raised {raised(error)}", name)) from error
        if not isinstance(after, State):
            raise _misfit(f"{target} gave {named(after)}, not the state", where)
        if wrong := list(_faults(after, target, where)):
            raise RequestError(wrong)
        return after

    return called


def _check_call(step: Any, target: str, where: str) -> None:
    """Raise RequestError if the step cannot be called with a state and a reporter."""
    if not callable(step):
        raise _misfit(f"{target} has no method __call__, which a step is called by", where)
    if wrong := misfit(step, "state", "reporter"):
        raise _misfit(f"__call__ of {target} {wrong}, the state and the reporter", where)


def _faults(after: State, target: str, where: str) -> Iterator[Problem]:
    """Yield what later steps could not read of the state."""
    for field in _PATHS:
        value = getattr(after, field)
        if value is not None and not isinstance(value, Path):
            yield Problem(f"{target} gave a state whose {field} is {named(value)}, not a pathlib.Path", where)
        elif value is not None and not value.exists():
            yield Problem(f"{target} gave a state whose {field} does not exist: {value}", where)
    for name in ("inputs", "outputs"):
        value = getattr(after, name)
        if not isinstance(value, tuple) or not all(isinstance(spec, TensorSpec) for spec in value):
            yield Problem(f"{target} gave a state whose {name} are {named(value)}, not a tuple of TensorSpec", where)


def _misfit(what: str, where: str) -> RequestError:
    return RequestError(Problem(what, where, "", (_FORM,)))
