"""Whatever a run tells, MLflow has it: odd names, long texts, no numbers, values that change."""

import math
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.checkout import write
from support.tracked_runs import finished, read, settings, started, tracked

from tflite_recipes.core import events
from tflite_recipes.core.errors import Problem
from tflite_recipes.tracking.client import client
from tflite_recipes.tracking.run_writer import RunWriter

pytestmark = pytest.mark.slow

RULES = [{"name": f"^layer_{number}$", "scheme": "float"} for number in range(400)]


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


@pytest.fixture(scope="module")
def odd(uri):
    """A run that tells what is hard to write down."""
    config = {
        "source": {"input_shapes": {"serving:x?": [1], "serving_x_": [2], "größe": [3], "a//b": 1, "X": 1, "x": 2}},
        "optimization": {"rules": RULES},
        "own": {f"key_{number:03}": "ü" * 5990 for number in range(150)},
    }
    told = [
        started(**config),
        events.Noted({"rules.0.matched": "one", "accuracy.metric": "auto"}),
        events.Noted({"rules.0.matched": "one", "accuracy.metric": "auto"}),
        events.Noted({"rules.0.matched": "two"}),  # another attempt, with a remedy
        events.Measured({"own.nan": math.nan, "own.inf": math.inf, "own: 100 %": 1.0, "a/../b": 2.0}),
        events.StepFinished("my.py:Halve", 1.5),
        events.Tagged({f"own.{number}": "x" for number in range(250)}),
        events.Tagged({"own.long": "y" * 9000, "own.none\0": "\0"}),
        *(events.Warned(f"{number} {'w' * 700}") for number in range(10)),
        events.RunFinished("failed", 1.0, (Problem("z" * 9000, "source"),), "\n".join(map(str, range(3000)))),
    ]
    tags = {"team/vision": "größe", "mlflow.user": "ci"}
    return tracked(told, settings(uri, tags=tags, run_name="x" * 250))


def test_every_key_is_a_parameter(odd):
    params = odd.data.params
    shapes = {name: value for name, value in params.items() if name.startswith("source.input_shapes.")}
    assert sorted(shapes.values()) == ["1", "1", "2", "[1]", "[2]", "[3]"]
    assert len([name for name in params if name.startswith("own.key_")]) == 150
    assert params["source"] == "keras"
    assert len(odd.data.tags["own.249"]) == 1


def test_what_is_cut_says_so(odd):
    rules, tags = odd.data.params["optimization.rules"], odd.data.tags
    assert rules.startswith("[{'name': '^layer_0$'")
    assert rules.endswith(f"… ({len(str(RULES))} characters; all in recipe.yaml)")
    assert len(rules) == 6000
    assert tags["own.long"].endswith("y… (9000 characters; all in events.jsonl)")
    assert tags["tflite_recipes.warnings"].endswith("characters; all in events.jsonl)")
    assert tags["tflite_recipes.error"].endswith("characters; all in events.jsonl)")
    assert tags["tflite_recipes.log_tail"].startswith("(13889 characters; all in converter.log) …")
    assert tags["tflite_recipes.log_tail"].endswith("\n2999")
    assert max(map(len, tags.values())) <= 5000


def test_a_parameter_that_changes_is_another(odd):
    params = odd.data.params
    assert (params["rules.0.matched"], params["rules.0.matched_2"]) == ("one", "two")
    assert "accuracy.metric_2" not in params


def test_no_number_is_a_metric_too(odd):
    metrics = odd.data.metrics
    assert math.isnan(metrics["own.nan"])
    assert metrics["own.inf"] > 1e300
    assert (metrics["own_ 100 _"], metrics["a/__/b"], metrics["time.my.py_Halve_s"]) == (1.0, 2.0, 1.5)


def test_mlflows_own_columns(odd):
    tags = odd.data.tags
    assert (tags["mlflow.user"], tags["mlflow.source.type"]) == ("ci", "LOCAL")  # the user's own word counts
    assert tags["mlflow.source.name"] == "tflite-recipes"
    assert tags["team/vision"] == "größe"
    assert odd.info.run_name == "x" * 250


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        *(("done", "FINISHED"), ("passed", "FINISHED"), ("gate_failed", "FINISHED")),
        *(("failed", "FAILED"), ("killed", "KILLED"), ("not_evaluated", "FAILED")),
    ],
)
def test_how_it_ended(uri, outcome, status):
    run = tracked([started(), events.Tagged({"tflite_recipes.git_commit": "abc"}), finished(outcome)], settings(uri))
    assert (run.info.status, run.data.tags["tflite_recipes.outcome"]) == (status, outcome)
    assert run.info.end_time >= run.info.start_time
    assert run.data.tags["mlflow.source.git.commit"] == run.data.tags["tflite_recipes.git_commit"] == "abc"


def test_a_failure_to_keep_inputs_leaves_all_that_was_said(here, uri):
    """As where the server dies during the slow part."""
    write(here / "model.keras", "model")
    writer = RunWriter(client(uri), settings(uri))
    for event in (started(), read("source.path", "model.keras"), events.Measured({"size.tflite_bytes": 1.0})):
        writer.tell(event)
    place = Path(urlsplit(client(uri).get_run(writer.run_id).info.artifact_uri).path)
    place.mkdir(parents=True, exist_ok=True)
    (place / "inputs").write_text("in the way", encoding="utf-8")
    with pytest.raises(Exception, match="inputs"):
        writer.tell(finished())
    run = client(uri).get_run(writer.run_id)
    assert run.data.metrics == {"size.tflite_bytes": 1.0}
    assert run.data.tags["mlflow.note.content"].startswith("**small**: **done**")
    assert run.info.status == "RUNNING"
