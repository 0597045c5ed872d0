"""Every shipped recipe resolves to what is written down here; a change of a default shows in a diff.

After a change that is meant, read the diff of
`TFLITE_RECIPES_REGENERATE=1 pytest tests/project/test_golden_recipes.py`.
"""

import os

import pytest
from support.checkout import REPOSITORY

from tflite_recipes.config import composition

GOLDEN = REPOSITORY / "tests" / "golden"
RECIPES = sorted((REPOSITORY / "recipes").rglob("*.yaml"))
# What a recipe leaves open is given here.
MODEL, SAMPLES = "source=keras_application", "calibration=random"
GIVEN = {
    "convert": [MODEL],
    **{name: [MODEL, SAMPLES] for name in ("anomaly_detection", "keyword_spotting", "visual_wake_words")},
}


def test_none_is_left_out():
    assert len(RECIPES) == 10
    assert {path.stem for path in RECIPES} == {path.stem for path in GOLDEN.glob("*.yaml")}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_resolves_as_written_down(here, path):
    resolved = composition.compose(f"builtin/{path.stem}", GIVEN.get(path.stem, [])).to_yaml()
    golden = GOLDEN / path.name
    if os.environ.get("TFLITE_RECIPES_REGENERATE"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(resolved, encoding="utf-8")
    assert resolved == golden.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_what_is_written_down_composes_to_itself(here, path):
    golden = GOLDEN / path.name
    assert composition.compose(str(golden)).to_yaml() == golden.read_text(encoding="utf-8")
