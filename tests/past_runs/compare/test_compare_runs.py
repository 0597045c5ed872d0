"""diff and compare on a real sweep, in a real MLflow."""

import json
import subprocess
import sys

import pytest
from support.checkout import write

import tflite_recipes
from tflite_recipes.past_runs.compare import api

pytestmark = pytest.mark.slow

FILES = {"compare.html", "compare.json", "compare.csv", "pareto.png"}
FACTORY = """
def build(wrong):
    import keras
    if wrong:
        raise ValueError("no such model")
    keras.utils.set_random_seed(1)
    i = keras.Input((4,), name="x")
    h = keras.layers.Dense(64, name="wide")(i)
    return keras.Model(i, keras.layers.Dense(2, name="y")(h))
"""


def command(folder, *arguments):
    line = [sys.executable, "-m", "tflite_recipes", *arguments]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of two schemes, each also with a source that fails."""
    import mlflow

    folder = tmp_path_factory.mktemp("swept")
    write(folder / "make.py", FACTORY)
    jobs = ["optimization=none,integer_only", "source.arguments.wrong=false,true", "calibration=random"]
    done = command(folder, "run", "convert", "-m", *jobs, "source=factory", "source.function=make.py:build")
    assert done.returncode == 3, done.stderr
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    listed = client.search_runs(["1"], order_by=["attributes.start_time ASC"])
    parent, *children = (run.info.run_id for run in listed)
    return folder, done, client, parent, children


@pytest.fixture
def at(swept, cli, monkeypatch):
    """A command in the sweep's folder."""
    monkeypatch.chdir(swept[0])
    return lambda *arguments: cli(*arguments, "--tracking-uri", swept[2].tracking_uri)


def test_a_sweep_keeps_its_comparison_with_its_parent_run(swept):
    import mlflow

    _, done, client, parent, children = swept
    assert {item.path for item in client.list_artifacts(parent, "compare")} == {f"compare/{name}" for name in FILES}
    assert "is not logged" not in done.stderr
    assert done.stdout.splitlines()[-1] == f"parent run ID: {parent}"
    text = mlflow.artifacts.load_text(f"{client.get_run(parent).info.artifact_uri}/compare/compare.json")
    assert [run["run_id"] for run in json.loads(text)["runs"]] == children


def test_compare_of_the_parent_as_users_type_it(swept):
    folder, _, _, parent, children = swept
    done = command(folder, "compare", parent[:8], "--output", "out", "tracking.uri=sqlite:///mlflow.db")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0] == "convert sweep: 4 runs of convert"
    assert all(any(line.endswith(child) for line in lines) for child in children)
    assert lines[-2].startswith("written: out/compare.html")
    assert lines[-1] == f"logged to the parent run {parent}: artifacts compare/"
    assert {path.name for path in (folder / "out").iterdir()} == FILES


def test_compare_of_an_experiment_as_json(swept, at):
    _, _, _, _, children = swept
    answer = at("compare", "tflite_recipes", "--json", "--no-log")
    data = json.loads(answer.out)
    assert (answer.status, answer.err) == (0, "")
    assert [run["run_id"] for run in data["runs"]] == children
    assert [run["scheme"] for run in data["runs"]] == ["none", "none", "integer_only", "integer_only"]
    assert data["keys"] == ["source.arguments.wrong"]
    assert data["left_out"] == {"parents of sweeps": 1}
    assert data["y"]["metric"] == "parity.sqnr_db"
    assert [run["pareto"] for run in data["runs"]] == [True, None, True, None]
    newest = json.loads(at("compare", "tflite_recipes", "--json", "--no-log", "--limit", "1").out)
    assert [run["run_id"] for run in newest["runs"]] == children[-1:]


def test_runs_without_a_parent_in_common_leave_the_server_alone(swept, at):
    _, _, client, parent, children = swept
    answer = at("compare", children[0], parent)
    assert answer.status == 0
    assert answer.out.splitlines()[-1].startswith("the runs share no parent run, so nothing is logged; --output")
    assert client.list_artifacts(children[0], "compare") == []


def test_a_part_of_a_sweep_is_kept_beside_the_whole(swept):
    _, _, client, parent, children = swept
    one = tflite_recipes.compare(parent, limit=1, tracking_uri=client.tracking_uri)
    assert ([run.run_id for run in one.runs], one.whole, one.parent_run_id) == (children[-1:], False, parent)
    assert api.log(one) is None
    found = {item.path for item in client.list_artifacts(parent, "compare/selection")}
    assert "compare/selection/compare.html" in found


def test_diff_of_two_schemes(swept, at):
    one, _, other, _ = swept[4]
    answer = at("diff", one, other[:10], "--json")
    data = json.loads(answer.out)
    assert (answer.status, answer.err) == (0, "")
    assert {"name": "optimization", "kind": "changed", "a": "none", "b": "integer_only"} in data["config"]
    kinds = {digest["name"]: digest["kind"] for digest in data["digests"]}
    assert (kinds["source_sha256"], kinds["tflite_sha256"]) == ("same", "changed")
    weights = [tensor for tensor in data["tensors"]["changed"] if tensor["role"] == "input 1"]
    assert [(tensor["layer"], tensor["a"], tensor["b"]) for tensor in weights] == [
        ("wide", "float32", "int8"),
        ("y", "float32", "int8"),
    ]
    size = next(metric for metric in data["metrics"] if metric["name"] == "size.tflite_bytes")
    assert size["absolute"] == size["b"] - size["a"]
    assert data["environment"] == []
    assert data["same"]["environment"] > 50


def test_diff_with_a_run_that_failed_says_so(swept, at):
    _, _, client, _, (one, failed, *_) = swept
    answer = at("diff", one, failed)
    assert answer.status == 0
    assert f"note: {failed} has no model (failed)" in answer.out
    assert not tflite_recipes.diff(one, one, tracking_uri=client.tracking_uri).differs


def test_the_ops_are_read_from_the_file_where_they_are_not_listed(swept):
    from tflite_recipes.past_runs.compare.run_facts import ops_of_model
    from tflite_recipes.tracking.run_reader import PastRuns

    _, _, client, _, (one, failed, *_) = swept
    runs = PastRuns(client.tracking_uri)
    run = runs.run(one)
    assert ops_of_model(runs, run) == runs.json(run, "ops.json")
    assert ops_of_model(runs, runs.run(failed)) == {}


def test_what_is_not_there_is_refused(swept, at):
    _, _, client, _, (one, *_) = swept
    for arguments, what in (
        (("compare", "nothing"), "there is neither an experiment nor a run 'nothing'"),
        (("compare", one), "has no runs below it"),
        (("compare", one, one[:12]), "is named 2 times: name two runs at least"),
        (("compare", ""), "no experiment and no run is named"),
        (("compare", "tflite_recipes", "--y", "parity.cosin"), "did you mean parity.cosine"),
        (("diff", one, "feed" * 8), "there is no run 'feedfeed"),
        (("diff", one), "1 run is named"),
    ):
        answer = at(*arguments)
        assert (answer.status, answer.out) == (2, "")
        assert what in answer.err
    with pytest.raises(tflite_recipes.RequestError, match="there is no run"):
        tflite_recipes.diff("abcd" * 8, one, tracking_uri=client.tracking_uri)
