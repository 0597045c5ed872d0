"""The YAML holds values only: its keys are the dataclass's fields, and each file says what it is."""

from dataclasses import fields

import pytest
import yaml
from conftest import REPOSITORY

from tflite_recipes import catalog, schema

OPTIONS = sorted((REPOSITORY / "conf").glob("*/*.yaml"))
RECIPES = sorted((REPOSITORY / "recipes").rglob("*.yaml"))


def name(path):
    return f"{path.parent.name}/{path.stem}"


def test_there_are_options():
    assert len(OPTIONS) >= 26


@pytest.mark.parametrize("path", OPTIONS, ids=name)
def test_keys_are_the_fields(path):
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    target = values.pop(schema.TARGET)
    if path.stem == "none" and target is None:
        assert values == {}
        return
    assert list(values) == [field.name for field in fields(schema.load_target(target))]


@pytest.mark.parametrize("path", OPTIONS, ids=name)
def test_defaults_are_within_their_own_schema(path, here):
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    if values[schema.TARGET] is None:
        return
    _, problems = schema.build(schema.load_target(values[schema.TARGET]), values, path.parent.name)
    assert [problem for problem in problems if problem.what != "must be given"] == []


@pytest.mark.parametrize("path", [*OPTIONS, *RECIPES], ids=name)
def test_it_says_what_it_is_in_a_line(path):
    text = catalog.describe(path)
    assert 10 <= len(text) < 100


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_a_recipe_opens_with_the_command_that_runs_it(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[1].startswith(f"# tflite-recipes run {path.stem}")
