"""A past run whose source needs trust today: refused with the flag of `reproduce`, built with it."""

import pytest
from support import hostile_models as hostile

from tflite_recipes.config import composition
from tflite_recipes.core.errors import RequestError
from tflite_recipes.past_runs.reproduce.trusted_source import built


@pytest.fixture
def config(here):
    """A recipe from before source.trust was asked for: of a model with TensorFlow's feature columns."""
    column = {"class_name": "NumericColumn", "config": {"key": "a", "shape": [1]}}
    settings = {"name": "features", "feature_columns": [column]}
    layer = {"class_name": "DenseFeatures", "name": "features", "config": settings}
    hostile.write_h5(here / "model.h5", hostile.functional(layer))
    recipe = composition.compose("convert", ["source=keras", "source.path=model.h5", "source.trust=true"])
    return {**recipe.config, "source": {**recipe.config["source"], "trust": False}}


def test_source_that_needs_trust_is_refused_with_the_flag_or_built_with_it(config):
    with pytest.raises(RequestError) as refused:
        built(config, {}, "old", trust=False)
    assert [(p.where, p.fix, p.alternatives) for p in refused.value.problems] == [("source.trust", "--trust", ())]
    assert built(config, {}, "old", trust=True).config["source"]["trust"] is True
    assert config["source"]["trust"] is False


def test_other_problem_keeps_its_own_fix(config):
    wrong = {**config, "freeze": {**config["freeze"], "constants_mb": -1.0}}
    with pytest.raises(RequestError) as refused:
        built({**wrong, "source": {**config["source"], "trust": True}}, {}, "old", trust=True)
    assert all(problem.fix != "--trust" for problem in refused.value.problems)
