"""One parameter for each choice and each resolved key."""

from support.checkout import REPOSITORY

from tflite_recipes.config import composition
from tflite_recipes.tracking.mlflow_limits import named
from tflite_recipes.tracking.params import flat, params_of


def test_keys_are_spelled_with_dots():
    config = {"a": {"b": 1, "c": {"d": [1, 2]}, "e": {}, "_target_": "X"}, "steps": ["a"], "name": "n", "tracking": {}}
    assert flat(config) == {"a.b": "1", "a.c.d": "[1, 2]", "a.e": "{}", "steps": "['a']"}


def test_only_the_recipes_own_name_and_tracking_are_none():
    assert flat({"halve": {"tracking": True, "name": "x"}}) == {"halve.tracking": "True", "halve.name": "x"}


def test_a_choice_stands_beside_its_keys():
    assert params_of({"own": "mine"}, {"own": {}}) == {"own": "mine"}
    assert params_of({"own": "mine"}, {"own": {"a": None}}) == {"own": "mine", "own.a": "None"}


def test_no_built_in_recipe_has_names_that_need_changing():
    for file in sorted((REPOSITORY / "recipes").glob("digits_*.yaml")):
        recipe = composition.compose(file.stem)
        params = params_of(recipe.choices, recipe.config)
        assert named(params) == params
        assert {*recipe.choices} <= {*params}
