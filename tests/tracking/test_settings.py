"""What MLflow would refuse once a run has begun is refused before."""

import shlex

import pytest
from support.checkout import write

from tflite_recipes import api
from tflite_recipes.config import composition

RECIPE = "defaults: [digits_float, _self_]\ntracking:\n  tags: %s\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        ('{"team?": x, who: me}', {"team_": "x", "who": "me"}),
        ('{"mlflow.note.content": x, who: me}', {"who": "me"}),
        ('{"tflite_recipes.verdict": passed}', {}),
        ('{"%s": x}' % ("a" * 300), None),
    ],
)
def test_tags_that_cannot_be(here, tags, kept):
    write(here / "mine.yaml", RECIPE % tags)
    (problem,) = api.check("mine.yaml")
    assert problem.where == "tracking.tags"
    recipe = composition.compose("mine.yaml", shlex.split(problem.fix))
    assert kept is None or recipe.tracking.tags == kept


def test_a_name_of_the_runs_own_tag_is_given_by_its_key(here):
    write(here / "mine.yaml", RECIPE % '{"mlflow.runName": x}')
    (problem,) = api.check("mine.yaml")
    assert problem.alternatives == ("tracking.run_name=NAME",)


def test_other_tags_of_mlflows_are_the_users_to_set(here):
    write(here / "mine.yaml", RECIPE % '{"mlflow.user": ci, größe: "1", "a b/c.d-e": x}')
    assert api.check("mine.yaml") == ()


@pytest.mark.parametrize(("key", "length"), [("run_name", 250), ("experiment", 500)])
def test_names_that_are_too_long(here, key, length):
    assert api.check("digits_float", [f"tracking.{key}={'x' * length}"]) == ()
    (problem,) = api.check("digits_float", [f"tracking.{key}={'x' * (length + 1)}"])
    assert (problem.where, str(length) in problem.what) == (f"tracking.{key}", True)
    assert api.check("digits_float", shlex.split(problem.fix)) == ()


def test_an_address_without_its_scheme_is_told_with_it(cli):
    for arguments in (("check", "digits_float"), ("compare", "mine"), ("reproduce", "abc")):
        answer = cli(*arguments, "tracking.uri=127.0.0.1:5000")
        assert answer.status == 2
        assert answer.fixes == ["tracking.uri=http://127.0.0.1:5000"]
