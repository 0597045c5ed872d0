"""Work that runs share is done once, and each of them gets all that belongs to it."""

import pytest

from tflite_recipes.config import composition
from tflite_recipes.core import events
from tflite_recipes.core.errors import Problem, StepError
from tflite_recipes.core.state import State
from tflite_recipes.engine import attempts
from tflite_recipes.engine.search.candidates import Candidate, recipe_of
from tflite_recipes.engine.search.search_loop import asked_of
from tflite_recipes.engine.shared_results import Memo, key_of


class Runs:
    """Runs that each want the same job, as `attempts` asks for it."""

    def __init__(self, folder):
        self.folder, self.memo, self.worked = folder, Memo(folder / "shared"), 0

    def run(self, name, key="k", fail=False):
        own = self.folder / name
        own.mkdir()
        before = State(workdir=own).to_json()
        told = []

        def tell(event):
            if isinstance(event, events.ArtifactKept):  # moved, as the spool does
                moved = own / "kept.json"
                told.append((moved, (own / "note.json").rename(moved).read_text()))
            else:
                told.append(event)

        def work(state, tell):
            self.worked += 1
            workdir = State.from_json(state).workdir
            (workdir / "saved_model").mkdir()
            (workdir / "note.json").write_text("what it was")
            tell(events.StepStarted("source", "keras"))
            tell(events.Progress("reading", 1, 2))
            tell(events.Warned("loaded by tf_keras"))
            tell(events.ArtifactKept(str(workdir / "note.json")))
            if fail:
                raise StepError(Problem("no"))
            tell(events.StepFinished("source", 4.0))
            return {**state, "saved_model": str(workdir / "saved_model"), "source_sha256": "abc"}

        return State.from_json(self.memo.recall(key, before, tell, work)), told


def test_a_job_is_done_once_and_told_to_each(tmp_path):
    runs = Runs(tmp_path)
    first, told_first = runs.run("first")
    second, told_second = runs.run("second")
    assert runs.worked == 1
    assert first.saved_model == second.saved_model
    assert second.saved_model.is_dir()
    assert (first.workdir, second.workdir) == (tmp_path / "first", tmp_path / "second")
    assert second.source_sha256 == "abc"
    for name, told in (("first", told_first), ("second", told_second)):
        assert (tmp_path / name / "kept.json", "what it was") in told
        assert [event.text for event in told if isinstance(event, events.Warned)] == ["loaded by tf_keras"]
    assert any(isinstance(event, events.Progress) for event in told_first)
    assert not any(isinstance(event, events.Progress) for event in told_second)


def test_what_is_not_repeated_takes_no_time_and_says_so(tmp_path):
    runs = Runs(tmp_path)
    runs.run("first")
    _, told = runs.run("second")
    (finished,) = (event for event in told if isinstance(event, events.StepFinished))
    (tagged,) = (event for event in told if isinstance(event, events.Tagged))
    assert finished.seconds == 0.0
    assert list(tagged.tags) == ["tflite_recipes.shared.source"]


def test_another_key_is_another_job(tmp_path):
    runs = Runs(tmp_path)
    first, _ = runs.run("first", "a")
    second, _ = runs.run("second", "b")
    assert runs.worked == 2
    assert first.saved_model != second.saved_model


def test_a_job_that_failed_is_not_kept(tmp_path):
    runs = Runs(tmp_path)
    with pytest.raises(StepError):
        runs.run("first", fail=True)
    assert list((tmp_path / "shared").iterdir()) == []
    runs.run("second")
    assert runs.worked == 2


def test_the_key_does_not_depend_on_the_order_of_keys():
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})


class Keys:
    """A memo that knows every result, and keeps what it is asked by."""

    def __init__(self):
        self.asked = []

    def recall(self, key, before, tell, work):
        self.asked.append(key)
        return before


class NotShared(Exception):
    """The first job that is not asked of the memo was reached."""


class NoWorker:
    def ready(self):
        raise NotShared


def keys(recipe, folder):
    """Keys of freezing and of calibration."""
    memo = Keys()
    with pytest.raises(NotShared):
        attempts.Attempt(recipe, folder, recipe.intent, folder / "log").run(print, NoWorker(), 0.0, memo)
    assert len(memo.asked) == 2
    return memo.asked


def test_candidates_share_what_their_scheme_does_not_change(here):
    recipe = composition.compose("digits_auto")

    def of(scheme, quantizer="tflite_converter", base=recipe):
        made = recipe_of(base, asked_of(base), Candidate(scheme, quantizer))
        return keys(made, here / f"{scheme}_{quantizer}_{len(list(here.iterdir()))}")

    assert of("float16") == of("none") == of("dynamic_range") == of("dynamic_range", "litert_quantizer")
    assert of("full_integer") == of("full_integer", "litert_quantizer")
    apart = [of(scheme) for scheme in ("none", "full_integer", "integer_only", "int16x8")]
    assert len({key for both in apart for key in both}) == 8  # the scheme decides what the graph is rewritten to
    longer = composition.compose("digits_auto", ["source.epochs=13"])
    assert of("none", base=longer)[0] != of("none")[0]
    other = composition.compose("digits_auto", ["calibration.seed=5"])
    assert of("none", base=other)[0] == of("none")[0]
    assert of("none", base=other)[1] != of("none")[1]
