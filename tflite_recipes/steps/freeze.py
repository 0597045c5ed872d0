"""The model in memory → a frozen SavedModel with a named signature: the one form that all later steps start from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, unique

from tflite_recipes.events import Reporter
from tflite_recipes.state import State


@unique
class Variables(Enum):
    """What becomes of the model's variables."""

    auto = "constants, but for models that own resources or composite functions which freezing would break"
    freeze = "constants, always"
    keep = "kept as variables in the SavedModel"


@dataclass(frozen=True)
class Freeze:
    """Traces the model once and saves it with its own input and output names."""

    variables: Variables

    def __call__(self, state: State, reporter: Reporter) -> State:
        from tflite_recipes.backend import freezing

        reporter.tag({"tflite_recipes.source_sha256": state.source_sha256})
        if state.float_file is not None:
            return state  # a file holds no variables, and is what later steps start from
        folder = state.workdir / "saved_model"
        frozen = freezing.freeze(state.model, folder, self.variables.name)
        if frozen.kept_because:
            reporter.warn(f"variables are kept in the SavedModel: {frozen.kept_because}")
        reporter.tag({"tflite_recipes.frozen": str(not frozen.kept_because).lower()})
        return replace(
            state,
            model=None,
            saved_model=frozen.path,
            signature=frozen.signature,
            stateful=frozen.stateful,
            inputs=frozen.inputs,
            outputs=frozen.outputs,
        )
