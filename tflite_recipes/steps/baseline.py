"""Samples for the two that are compared: the `.tflite`, and the model that the user named, which may take others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tflite_recipes.core.errors import Problem, RequestError, StepError
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.shapes import suits
from tflite_recipes.core.state import State, TensorSpec
from tflite_recipes.files import models as model_files

Arrays = Mapping[str, Any]
Read = Callable[[tuple[TensorSpec, ...]], Arrays]


@dataclass(frozen=True)
class Samples:
    """Samples by input name, first axis samples.

    file: by the inputs of the file.
    named: by those of the model that the user named; None if they cannot be read.
    missing: why they cannot.
    """

    file: Arrays
    named: Arrays | None
    missing: str = ""


def same(arrays: Arrays) -> Samples:
    """Return samples that both take."""
    return Samples(arrays, arrays)


def read(state: State, reader: Read, reporter: Reporter) -> Samples:
    """Read samples for both.

    Args:
        state: the inputs of both.
        reader: returns the samples for some inputs, always the same rows. Errors: RequestError.
        reporter: hears of the progress.
    """
    named = state.named
    if named.text is not None:
        try:
            given = reader(named.inputs)
        except RequestError as error:
            return _of_ids(state, reader, error)
        return _of_text(state, given, reporter)
    arrays = reader(state.inputs)
    if not _takes_other(state):
        return same(arrays)
    try:
        return Samples(arrays, reader(named.inputs))
    except RequestError as error:
        return Samples(arrays, None, error.problems[0].what)


def of_file(state: State, arrays: Arrays) -> Samples:
    """Return samples that are at hand by the file's inputs alone, as calibration samples are."""
    lacking = [name for name in _taken(state) if name not in arrays]
    if lacking or (_takes_other(state) and state.named.text is None):
        listed = ", ".join(map(str, state.named.inputs))
        return Samples(arrays, None, f"it takes {listed}, and the samples are those of the file's inputs")
    return same(arrays)


def _takes_other(state: State) -> bool:
    """Return whether samples for the file do not suit the model that was kept."""
    named = state.named
    return named.kept and bool(named.inputs) and not suits(state.inputs, named.inputs)


def _of_text(state: State, given: Arrays, reporter: Reporter) -> Samples:
    from tflite_recipes.backend.running import model_runs

    assert state.named.text is not None
    ids = model_runs.run(state.named.text, "serving_default", given, reporter, what="turning text into token ids")
    return Samples({spec.name: ids.get(spec.name, given.get(spec.name)) for spec in state.inputs}, {**given, **ids})


def _of_ids(state: State, reader: Read, error: RequestError) -> Samples:
    """Samples that hold token ids in place of text, which suit a baseline that was kept behind the text."""
    try:
        arrays = reader(state.inputs)
    except RequestError:
        raise error from None
    return of_file(state, arrays)


def _taken(state: State) -> list[str]:
    """The names of the inputs of the model that was kept."""
    named = state.named
    if named.path is None:
        return []
    if named.path.is_file():
        return [spec.name for spec in model_files.read_float_tflite(named.path).inputs]
    signatures = {info.key: info for info in model_files.read_saved_model(named.path)}
    return [spec.name for spec in signatures[named.signature].inputs]


def judged(state: State, samples: Samples, outputs: Any, reporter: Reporter, fix: str) -> Any:
    """Return the outputs of the model that the user named and of the file, for scores and gates.

    Args:
        state: where the named model is.
        samples: for both.
        outputs: `output_comparison.Outputs` of the model as it entered conversion, and of the file.
        reporter: gets `parity.from_source_*`, if steps changed the model.
        fix: the override for a run without scores; "" if nothing is scored, where a warning will do.
    """
    named = state.named
    missing = named.missing or (samples.missing if samples.named is None else "")
    if missing:
        what = f"the file cannot be compared with the model before any step changed it: {missing}"
        if fix:
            raise StepError(Problem(what, "evaluation", fix))
        reporter.warn(what)
        return outputs
    if named.path is None:
        return outputs
    from tflite_recipes.backend.running import named_outputs

    assert samples.named is not None
    return named_outputs.against_named(state, samples.named, outputs, reporter)


def check_common(source: Arrays, file: Arrays, scored: str | None, reporter: Reporter) -> None:
    """Report outputs of the file that the named model lacks. Errors: StepError if none is left to score.

    scored: the only output that is scored; None if all are.
    """
    lost = [name for name in file if name not in source]
    if not source or scored in lost:
        what = f"the model before any step changed it has no output like {', '.join(lost)}, so nothing can be scored"
        raise StepError(Problem(what, "evaluation", "evaluation=none"))
    if lost and scored is None:
        what = f"the model before any step changed it has no output like {', '.join(lost)}"
        reporter.warn(f"{what}: scores leave it out")
