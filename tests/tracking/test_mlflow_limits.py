"""Whatever is told, MLflow's own checks take what is made of it; and what is cut says so."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflite_recipes.tracking.mlflow_limits import AT_ONCE, NAME_LENGTH, allowed, batches, cut, named

ODD = st.text(st.sampled_from("ab./ _-\\?:%#é²\n\0\udc80AB"), max_size=8) | st.text(max_size=300)


@pytest.mark.slow
@given(ODD)
def test_mlflow_takes_every_name(name):
    from mlflow.utils.validation import _validate_metric, _validate_param, _validate_tag

    better = allowed(name)
    _validate_metric(better, 1.0, 0, 0)
    _validate_tag(better, "x")
    assert _validate_param(better, "x").key == better  # no part was cut off


@given(ODD)
def test_a_name_that_is_taken_stays(name):
    assert allowed(allowed(name)) == allowed(name)


@pytest.mark.parametrize("name", ["source.path", "time.my step_s", "gate.target.flash_kb", "größe", "a/b.c-d"])
def test_usual_names_stay(name):
    assert allowed(name) == name


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("a:b", "a_b"),
        ("time.my.py:Halve_s", "time.my.py_Halve_s"),
        ("/a//b/", "_/a/_/b/_"),
        ("a/../b", "a/__/b"),
        ("", "_"),
        ("..", "__"),
        ("..a", "__a"),
        ("x" * 300, "x" * 241 + "_" + hashlib.sha256(b"x" * 300).hexdigest()[:8]),
    ],
)
def test_others_stay_as_like_as_can_be(name, better):
    assert allowed(name) == better


@given(st.dictionaries(ODD, st.integers(), max_size=8))
def test_no_two_names_become_one(values):
    found = named(values)
    assert list(found.values()) == list(values.values())
    assert len({name.casefold() for name in found}) == len(values)
    assert all(allowed(name) == name and len(name) <= NAME_LENGTH for name in found)


def test_the_first_of_like_names_keeps_its_own():
    assert named({"a:b": 1, "a_b": 2, "A_B": 3}) == {"a_b": 1, "a_b_2": 2, "A_B_3": 3}


@given(st.text(max_size=200), st.integers(60, 120), st.booleans())
def test_what_is_cut_says_how_long_it_was(text, limit, end):
    short = cut(text, limit, "all in recipe.yaml", end=end)
    assert len(short) <= limit
    if len(text) > limit:
        assert len(short) == limit
        assert f"({len(text)} characters; all in recipe.yaml)" in short
        kept = short.rpartition("… (")[0] if not end else short.partition(") …")[2]
        assert text.replace("\0", "�").endswith(kept) if end else text.replace("\0", "�").startswith(kept)
    else:
        assert short == text.replace("\0", "�")


def test_what_no_request_can_carry_is_replaced():
    assert cut("a\0b\udc80", 10) == "a�b?"
    assert cut(None, 10) == "None"


KEYS = st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=3), max_size=300)


@given(KEYS, KEYS, st.integers(0, 250))
def test_nothing_is_lost_in_batches(params, tags, metrics):
    measured = {f"m{number}": float(number) for number in range(metrics)}
    sent = list(batches(metrics=measured, params=params, tags=tags))
    for kind, values in (("metrics", measured), ("params", params), ("tags", tags)):
        together = {}
        for batch in sent:
            together |= batch.get(kind, {})
        assert together == values
    assert all(0 < sum(map(len, batch.values())) <= AT_ONCE for batch in sent)


def test_a_request_stays_below_the_servers_limit():
    long = {f"k{number}": "ü" * 6000 for number in range(100)}
    assert all(len(json.dumps(batch)) < 900_000 for batch in batches(params=long))
    assert len(list(batches(params=long))) > 1
    assert list(batches(params={}, tags={})) == []
