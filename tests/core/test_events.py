"""Events are data: they survive JSON, and a reporter turns each call into one."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflite_recipes.core import events
from tflite_recipes.core.errors import Problem
from tflite_recipes.core.state import Gate

numbers = st.floats(allow_nan=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
BY_HINT: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(),
    int: st.integers(),
    float: numbers,
    Mapping[str, str]: st.dictionaries(st.text(), st.text()),
    Mapping[str, float]: st.dictionaries(st.text(), numbers),
    Mapping[str, Any]: st.dictionaries(st.text(), plain),
    Mapping[str, Mapping[str, Any]]: st.dictionaries(st.text(), st.dictionaries(st.text(), plain)),
    tuple[str, ...]: st.lists(st.text()).map(tuple),
    tuple[Problem, ...]: st.lists(
        st.builds(Problem, st.text(), st.text(), st.text(), st.lists(st.text()).map(tuple))
    ).map(tuple),
    Gate: st.builds(Gate, st.text(), numbers, numbers, st.booleans()),
}


def some(kind):
    hints = get_type_hints(kind).items()
    return st.builds(kind, **{name: BY_HINT.get(hint, st.from_type(hint)) for name, hint in hints})


@given(st.one_of([some(kind) for kind in events.Event.__subclasses__()]))
def test_every_event_survives_json(event):
    assert events.from_json(json.loads(json.dumps(events.to_json(event)))) == event


def test_all_kinds_of_events_are_tried():
    assert len(events.Event.__subclasses__()) >= 12


def test_an_event_knows_when_it_happened():
    before = time.time()
    assert before <= events.Warned("text").at <= time.time()


@pytest.fixture
def told():
    heard = []
    return events.EventReporter(heard.append), heard


def test_a_reporter_turns_each_call_into_an_event(told):
    reporter, heard = told
    gate = Gate("flash", 2.0, 1.0, False)
    reporter.warn("careful")
    reporter.measure({"size.ratio": 1})
    reporter.tag({"a": "b"})
    reporter.note({"metric": "accuracy"})
    reporter.judge(gate)
    reporter.keep("/tmp/file", "model")
    reporter.used("name", "calibration", "abc", "cal.npz", 3)
    reporter.used("name", "calibration", "abc", "cal.npz", 3, {"x": {"dtype": "int8"}})
    assert [(type(event).__name__, *list(vars(event).values())[1:]) for event in heard] == [
        ("Warned", "careful"),
        ("Measured", {"size.ratio": 1.0}),
        ("Tagged", {"a": "b"}),
        ("Noted", {"metric": "accuracy"}),
        ("Judged", gate),
        ("ArtifactKept", "/tmp/file", "model"),
        ("DatasetUsed", "name", "calibration", "abc", "cal.npz", 3, {}),
        ("DatasetUsed", "name", "calibration", "abc", "cal.npz", 3, {"x": {"dtype": "int8"}}),
    ]


def test_metrics_are_told_as_floats_whatever_they_were(told):
    import numpy as np

    reporter, heard = told
    reporter.measure({"a": np.float32(0.5), "b": 2})
    assert json.loads(json.dumps(events.to_json(heard[0])))["metrics"] == {"a": 0.5, "b": 2.0}


def test_progress_is_told_ten_times_a_second_but_always_its_first_and_last(told, monkeypatch):
    reporter, heard = told
    clock = iter(number / 1000 for number in range(1001))  # a thousand samples in one second
    monkeypatch.setattr("time.monotonic", lambda: 5.0 + next(clock))
    for done in range(1001):
        reporter.progress("samples", done, 1000)
    counts = [event.done for event in heard]
    assert (counts[0], counts[-1]) == (0, 1000)
    assert 9 <= len(counts) <= 12


def test_progress_with_a_figure_is_always_told(told, monkeypatch):
    reporter, heard = told
    monkeypatch.setattr("time.monotonic", lambda: 5.0)
    for epoch in range(1, 4):
        reporter.progress("epochs", epoch, 5, f"loss {epoch}")
    assert [event.detail for event in heard] == ["loss 1", "loss 2", "loss 3"]
