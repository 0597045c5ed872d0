"""What one step hands to the next goes between processes as JSON, whole but for the model in memory."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflite_recipes.core import events
from tflite_recipes.core.state import Gate, Intent, NamedModel, State, TensorSpec

sizes = st.none() | st.integers(1, 1000)
specs = st.builds(TensorSpec, st.text(), st.lists(sizes).map(tuple), st.sampled_from(["float32", "int8", "string"]))
paths = st.text("abc/ ", min_size=1).map(Path)
names = st.lists(st.text()).map(tuple)
# NaN is not equal to itself.
numbers = st.floats(allow_nan=False)
BY_HINT = {
    tuple[str, ...]: names,
    str: st.text(),
    int: st.integers(),
    bool: st.booleans(),
    float: numbers,
    float | None: st.none() | numbers,
    Mapping[str, str]: st.dictionaries(st.text(), st.text()),
    Mapping[str, Any]: st.dictionaries(st.text(), st.text()),
    Mapping[str, list[int]]: st.dictionaries(st.text(), st.lists(st.integers())),
    Path: paths,
    Path | None: st.none() | paths,
    tuple[TensorSpec, ...]: st.lists(specs).map(tuple),
}


def built(kind):
    """Any instance of a class, each field by its type."""
    hints = {name: hint for name, hint in get_type_hints(kind).items() if name != "model"}
    return st.builds(kind, **{name: BY_HINT.get(hint, st.from_type(hint)) for name, hint in hints.items()})


BY_HINT[Intent] = built(Intent)
BY_HINT[NamedModel] = built(NamedModel)
states = built(State)


@pytest.mark.slow
@given(states)
def test_a_state_survives_json(state):
    assert State.from_json(json.loads(json.dumps(state.to_json()))) == state


def test_the_model_in_memory_stays_where_it_is():
    assert "model" not in State(Path("work"), model=object()).to_json()


@pytest.mark.parametrize("value", [State(Path()), TensorSpec("x", (None, 1), "int8"), Gate("a", 1.0, 2.0, True)])
def test_state_cannot_be_changed(value):
    name = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, None)


def test_a_tensor_says_what_it_is():
    assert str(TensorSpec("image", (None, 8, 8, 1), "float32")) == "image (?, 8, 8, 1) float32"
    assert str(TensorSpec("scalar", (), "int32")) == "scalar () int32"


def test_a_gate_says_what_is_left():
    assert str(Gate("a", 24.0, 32.0, True, "KiB")) == "24 of 32 KiB, 8 left: passed"
    assert str(Gate("a", 40.5, 32.0, False, "KiB", True)) == "estimated 40.5 of 32 KiB, 8.5 over: FAILED"
    assert str(Gate("a", 0.0, 0.0, True)) == "0 of 0, 0 left: passed"
    assert str(Gate("a", 80.0, 100.0, False, "%", at_least=True)) == "80 of at least 100 %, 20 short: FAILED"
    assert str(Gate("a", 80.0, 50.0, True, "%", at_least=True)) == "80 of at least 50 %, 30 left: passed"


@pytest.mark.parametrize(
    ("fix", "typed", "others"),
    [
        ("optimization=float16", "optimization=float16", ()),
        ("optimization=integer_only calibration.path=FILE", "", ("optimization=integer_only calibration.path=FILE",)),
        ("", "", ()),
    ],
)
def test_gate_offers_no_fix_with_a_word_to_replace(fix, typed, others):
    gate = Gate("target.flash_kb", 2.0, 1.0, False, fix=fix)
    assert (gate.fix, gate.alternatives) == (typed, others)
    read = events.from_json(json.loads(json.dumps(events.to_json(events.Judged(gate)))))
    assert read.gate == gate
