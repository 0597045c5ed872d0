"""What may be said of a reproduction besides where its files are."""

from __future__ import annotations

import pytest

from tflite_recipes.core import schema
from tflite_recipes.core.errors import RequestError
from tflite_recipes.past_runs.reproduce.allowed_overrides import split, tracking_section
from tflite_recipes.tracking.settings import LogSource, Mlflow


def test_tracking_and_worker_only():
    said = split(
        ["tracking.run_name=again", "tracking.tags.team=vision", "+worker.timeout_s=60", "worker.memory_gb=null"]
    )
    assert said == {
        "tracking": {"run_name": "again", "tags": {"team": "vision"}},
        "worker": {"timeout_s": 60, "memory_gb": None},
    }
    assert split(["tracking=none"])["tracking"] is None


@pytest.mark.parametrize(
    "word",
    ["calibration.samples=3", "optimization=float16", "tracking", "name=x", "~source.path", "steps=[]", "worker=x"],
)
def test_all_else_would_be_another_run(word):
    with pytest.raises(RequestError) as refused:
        split(["tracking.run_name=again", word])
    (problem,) = refused.value.problems
    assert problem.where == word
    assert problem.alternatives == (f"tflite-recipes run recipe.yaml {word}",)


def test_the_new_run_goes_beside_the_old_one_and_keeps_no_inputs():
    section = tracking_section({"run_name": "again"}, "sqlite:///runs.db", "boards", "convert reproduced")
    settings, problems = schema.build(Mlflow, section, "tracking")
    assert problems == []
    assert (settings.uri, settings.experiment, settings.run_name) == ("sqlite:///runs.db", "boards", "again")
    assert settings.log_source is LogSource.false
    assert tracking_section(None, "sqlite:///runs.db", "boards", "x") == {}
