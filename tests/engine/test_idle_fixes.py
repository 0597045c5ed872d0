"""A refused conversion prints no fix that the run has shown to be idle."""

from types import SimpleNamespace

import pytest

from tflite_recipes.conversion.remedies import override_of
from tflite_recipes.core.errors import Problem, StepError
from tflite_recipes.core.state import Intent, TensorSpec
from tflite_recipes.engine.attempts import without_idle_fixes

INPUTS = (TensorSpec("words", (None, 6), "string"),)
UNROLL, BATCH, FLEX = (override_of(name, INPUTS) for name in ("unroll", "fixed_batch", "select_tf_ops"))
ERROR = StepError(Problem("a loop", "optimization", UNROLL, (BATCH, FLEX), ("unroll", "fixed_batch", "select_tf_ops")))


@pytest.mark.parametrize(
    ("offered", "taken", "fix", "alternatives"),
    [
        (("unroll", "fixed_batch"), (), UNROLL, (BATCH, FLEX)),
        (("fixed_batch",), (), "", (BATCH, FLEX)),  # it matches nothing
        (("unroll", "fixed_batch"), ("unroll",), "", (BATCH, FLEX)),  # it was tried
        ((), (), "", (FLEX,)),
    ],
)
def test_fix_that_matches_nothing_or_was_tried_is_left_out(offered, taken, fix, alternatives):
    attempt, intent = SimpleNamespace(offered=offered, inputs=INPUTS), Intent(fallback=("unroll", "fixed_batch"))
    (problem,) = without_idle_fixes(ERROR, attempt, Intent(fallback=intent.fallback, taken=taken)).problems
    assert (problem.fix, problem.alternatives) == (fix, alternatives)


def test_fix_that_the_recipe_takes_from_no_fallback_stays():
    attempt = SimpleNamespace(offered=(), inputs=INPUTS)
    assert without_idle_fixes(ERROR, attempt, Intent(fallback=())) is ERROR
