"""Problems as they are said, and overrides as they are pasted."""

from __future__ import annotations

import json
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from tflite_recipes.core.errors import ExitStatus, Problem, RecipeError, RequestError, StepError, assignment, gist

problems = st.builds(Problem, st.text(), st.text(), st.text(), st.lists(st.text()).map(tuple))
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(
        ["null", "True", "nan", "-inf", "1e3", "0x10", "a,b", "a=b", "~/m", "it's", 'say "no"', "end\\", "größe"]
    )
)


def test_a_problem_says_what_where_and_the_fix_on_lines_of_their_own():
    problem = Problem("is wrong", "group.key", "group.key=1", ("group=a", "group=b"))
    assert problem.lines() == ["group.key: is wrong", "fix: group.key=1", "or: group=a", "or: group=b"]
    assert Problem("is wrong").lines() == ["is wrong"]
    said = Problem("run \x1b[2J\r is wrong,\n\tsee ‘überall’", "", "fix\u202e").lines()
    assert said == ["run \\x1b[2J\\r is wrong,\n\tsee ‘überall’", "fix: fix\\u202e"]


@given(problems)
def test_a_problem_survives_json(problem):
    assert Problem.from_json(json.loads(json.dumps(problem.to_json()))) == problem


def test_an_error_carries_every_problem():
    error = RequestError([Problem("one"), Problem("two", fix="a=1")])
    assert [problem.what for problem in error.problems] == ["one", "two"]
    assert str(error) == "one\ntwo\nfix: a=1"
    assert StepError(Problem("alone")).problems == (Problem("alone"),)


def test_the_exit_statuses_are_the_contract():
    assert {status.name: int(status) for status in ExitStatus if status.name != "KILLED"} == {
        "DONE": 0,
        "GATE": 1,
        "REQUEST": 2,
        "FAILED": 3,
        "UNTRACKED": 4,
    }
    assert (RequestError.status, StepError.status) == (ExitStatus.REQUEST, ExitStatus.FAILED)
    assert issubclass(RequestError, RecipeError)
    assert issubclass(StepError, RecipeError)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("model.keras", "source.path=model.keras"),
        ("/a b/model.keras", "'source.path=\"/a b/model.keras\"'"),
        ("my_model.py:build", "source.path=my_model.py:build"),
        ("1", "'source.path=\"1\"'"),
        (None, "source.path=null"),
        (True, "source.path=true"),
        (0.5, "source.path=0.5"),
        ([1, None, "a"], "'source.path=[1,null,a]'"),
        ({}, "'source.path={}'"),
    ],
)
def test_an_override_is_quoted_only_where_it_must_be(value, text):
    assert assignment("source.path", value) == text


def test_a_key_is_taken_back_with_a_quoted_tilde():
    assert assignment("~source.pth", ...) == "'~source.pth'"


@given(st.recursive(leaves, lambda inner: st.lists(inner), max_leaves=5))
def test_a_pasted_override_is_read_as_the_value_that_was_meant(value):
    (word,) = shlex.split(assignment("group.key", value))
    read = OverridesParser.create().parse_override(word)
    assert (read.key_or_group, read.value()) == ("group.key", value)
    assert type(read.value()) is type(value)


def test_the_gist_is_the_line_that_tells_most():
    assert gist(ValueError("\n  shapes differ\nat line 3\n")) == "shapes differ"
    assert gist(ValueError("in user code:\n  File x\n  TypeError: no")) == "TypeError: no"
    assert gist(KeyboardInterrupt()) == "KeyboardInterrupt"
