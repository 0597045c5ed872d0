"""Which inputs of a model look up rows of its tables, before the run has a `.tflite`."""

from __future__ import annotations

from tflite_recipes.backend.converting import converter
from tflite_recipes.backend.converting.conversion_request import Request
from tflite_recipes.backend.models import first_ops
from tflite_recipes.core.errors import RecipeError
from tflite_recipes.core.events import Reporter
from tflite_recipes.core.state import State
from tflite_recipes.files.tflite import read_tflite
from tflite_recipes.files.tflite.index_limits import index_limits

_NAME = "with_tables.tflite"


def limits_of(state: State, reporter: Reporter) -> dict[str, tuple[int, int]]:
    """Return the least and the greatest number of each input that is an index.

    They are read from a float file. A model without tables is not converted for that, and one that the converter
    refuses has no limits: remedies come later.
    """
    if state.float_file is not None:
        return index_limits(read_tflite(state.float_file), state.signature)
    if state.saved_model is None or not first_ops.has_lookups(state.saved_model):
        return {}
    request = Request(
        scheme="none",
        input_type="float32",
        output_type="float32",
        per_channel=True,
        samples=None,
        inputs=state.inputs,
        select_tf_ops=state.intent.allows("select_tf_ops"),
        allow_custom_ops=state.intent.allows("allow_custom_ops"),
        layers=state.layers,
        sizes=state.intent.sizes,
    )
    path = state.workdir / _NAME
    try:
        converter.float_file(state.saved_model, state.signature, request, reporter, path)
        return index_limits(read_tflite(path), state.signature)
    except RecipeError:
        return {}
    finally:
        path.unlink(missing_ok=True)
