"""How a run ended, and how runs of earlier versions are read."""

import pytest

from tflite_recipes.core import events
from tflite_recipes.core.outcome import OUTCOME, VERDICT, RunOutcome, of_gates, of_tags, verdict_of_tags

PASSED_GATE = {"tflite_recipes.gate.evaluation.max_drop": "0 of 0.02, 0.02 left: passed"}
FAILED_GATE = {"tflite_recipes.gate.target.flash_kb": "9 of 8, 1 over: FAILED"}


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [((), "done"), ((True,), "passed"), ((True, False), "gate_failed"), ((False,), "gate_failed")],
)
def test_of_gates_counts_no_gate_as_done(answers, outcome):
    assert of_gates(answers) == outcome


@pytest.mark.parametrize(
    ("tags", "status", "outcome"),
    [
        ({OUTCOME: "not_evaluated", VERDICT: "identical bytes"}, "FAILED", "not_evaluated"),
        ({VERDICT: "passed"}, "FINISHED", "done"),
        ({VERDICT: "passed", **PASSED_GATE}, "FINISHED", "passed"),
        ({VERDICT: "gate failed", **FAILED_GATE}, "FINISHED", "gate_failed"),
        ({VERDICT: "failed"}, "FAILED", "failed"),
        ({VERDICT: "identical bytes"}, "FINISHED", "done"),
        ({VERDICT: "differs", **PASSED_GATE, **FAILED_GATE}, "FINISHED", "gate_failed"),
        ({}, "KILLED", "killed"),
        ({}, "RUNNING", "running"),
    ],
)
def test_of_tags_reads_old_verdict_if_outcome_is_missing(tags, status, outcome):
    assert of_tags(tags, status) == outcome


@pytest.mark.parametrize(
    ("verdict", "kept"), [("passed", ""), ("gate failed", ""), ("failed", ""), ("differs", "differs")]
)
def test_verdict_of_tags_is_that_of_reproduce_only(verdict, kept):
    assert verdict_of_tags({VERDICT: verdict}) == kept


@pytest.mark.parametrize(("stored", "outcome"), [("gate", "gate_failed"), ("done", "done"), ("passed", "passed")])
def test_event_of_an_earlier_spool_has_todays_outcome(stored, outcome):
    event = events.from_json({"event": "RunFinished", "outcome": stored, "seconds": 1.0, "at": 2.0})
    assert event == events.RunFinished(RunOutcome(outcome), 1.0, at=2.0)
