"""State that a file keeps though its source does not: what the run says of it, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tflite_recipes.core.errors import Problem, StepError
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.state import State

if TYPE_CHECKING:
    from tflite_recipes.files.tflite import TFLiteFile

EXACT = "freeze.lstm=exact"


def with_state(state: State, file: TFLiteFile, reporter: Reporter) -> State:
    """Return the state that has `resets`, and tag the run with whether its file keeps state.

    Errors: StepError if the converter left an LSTM as a loop that the rule `fused_lstm` is to fuse.
    """
    from tflite_recipes.files import tflite

    fused = tflite.fused_lstms(file)
    if fused < len(state.fused):
        what = f"the converter fused {fused} of {len(state.fused)} LSTM layers: {', '.join(state.fused)}"
        raise StepError(Problem(what, "substitution.rules"))
    resets = tflite.keeps_state(file) and not state.stateful
    reporter.tag({"tflite_recipes.stateful": str(resets or state.stateful).lower()})
    if not resets:
        return state
    what = "the file keeps state between invokes, and its source does not"
    reporter.warn(f"{what}: reset it before each invoke, as evaluation and the files under deploy/ do")
    if fused and not state.fused and state.float_file is None:
        why = "a fused LSTM also clips its cell state at 10, where Keras has no limit"
        reporter.warn(f"{why}; {EXACT} mends both")
    return replace(state, resets=True)
