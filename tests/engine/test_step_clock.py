"""The times of a run add up, whatever happens in it."""

import pytest

from tflite_recipes.core import events
from tflite_recipes.engine import step_clock
from tflite_recipes.engine.step_clock import StepClock


class Moments:
    """A clock that the test moves on, and the seconds that the events state."""

    def __init__(self, monkeypatch):
        self.now, self.seconds = 100.0, {}
        monkeypatch.setattr(step_clock.time, "monotonic", lambda: self.now)
        self.clock = StepClock(self._send, 100.0)

    def _send(self, event):
        if isinstance(event, events.StepFinished):
            self.seconds[f"time.{event.step}_s"] = event.seconds

    def step(self, name, seconds, finishes=True):
        self.clock.tell(events.StepStarted(name))
        self.now += seconds
        if finishes:
            self.clock.tell(events.StepFinished(name, seconds / 2))

    def stop(self):
        others = self.clock.stop()
        return {**self.seconds, **others}


@pytest.fixture
def moments(monkeypatch):
    return Moments(monkeypatch)


def test_step_lasts_until_the_next_one_and_the_last_until_delivery(moments):
    moments.now += 5.0
    moments.step("source", 2.0)
    moments.now += 0.5
    moments.step("freeze", 1.0)
    moments.now += 0.25
    assert moments.stop() == {
        "time.startup_s": 5.0,
        "time.source_s": 2.5,
        "time.freeze_s": 1.25,
        "time.failed_attempts_s": 0.0,
        "time.total_s": 8.75,
    }


def test_failed_attempt_counts_from_its_first_step_to_the_next_attempt(moments):
    moments.now += 5.0
    moments.step("source", 2.0)
    moments.step("optimization", 3.0, finishes=False)
    moments.clock.attempt_failed()
    moments.now += 4.0  # another worker starts
    moments.step("source", 1.0)
    moments.step("optimization", 6.0)
    found = moments.stop()
    assert (found["time.startup_s"], found["time.failed_attempts_s"]) == (5.0, 9.0)
    assert (found["time.source_s"], found["time.optimization_s"]) == (1.0, 6.0)
    assert sum(found.values()) == 2 * found["time.total_s"]


def test_two_failed_attempts_and_a_step_that_is_not_reached_again_add_up(moments):
    for last in ("optimization", "optimization"):
        moments.step("source", 2.0)
        moments.step("calibration", 1.0)
        moments.step(last, 3.0, finishes=False)
        moments.clock.attempt_failed()
    moments.step("source", 2.5, finishes=False)
    found = moments.stop()
    assert (found["time.failed_attempts_s"], found["time.source_s"], found["time.calibration_s"]) == (12.0, 2.5, 0.0)
    assert sum(found.values()) == 2 * found["time.total_s"]


def test_step_that_fails_and_lets_the_run_go_on_is_counted(moments):
    moments.step("optimization", 2.0)
    moments.step("evaluation", 3.0, finishes=False)
    moments.step("reproduction", 1.0)
    found = moments.stop()
    assert (found["time.evaluation_s"], found["time.reproduction_s"], found["time.total_s"]) == (3.0, 1.0, 6.0)


def test_run_that_ends_before_its_first_step_is_all_startup(moments):
    moments.now += 3.0
    assert moments.stop() == {"time.startup_s": 3.0, "time.failed_attempts_s": 0.0, "time.total_s": 3.0}
