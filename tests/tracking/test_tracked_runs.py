"""What a run leaves in a real MLflow, and what happens without one."""

import json

import pytest
from support.checkout import write

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus
from tflite_recipes.report.console import show_result

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The main job, run once as users run it, and its run in MLflow."""
    import subprocess
    import sys

    import mlflow

    folder = tmp_path_factory.mktemp("digits")
    command = [sys.executable, "-m", "tflite_recipes", "run", "digits_integer_only"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (run,) = client.search_runs(["1"])
    return folder, done, client, run


def test_the_terminal_shows_our_lines_and_no_others(digits):
    folder, done, _, run = digits
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("•")] == [
        "• source = digits",
        "• freeze = saved_model",
        "• calibration = digits",
        "• optimization = integer_only",
        "• target = generic",
        "• evaluation = digits",
    ]
    assert any(line.startswith("  training epochs 12/12") for line in lines)
    assert "  calibration samples 100/100" in lines
    assert lines[-1] == f"run ID: {run.info.run_id}"
    (model,) = folder.glob("outputs/digits_integer_only/*/model.tflite")
    assert lines[-2] == f"model:  {model.relative_to(folder)}"
    assert done.stderr == ""
    for foreign in ("WARNING", "I0000", "INFO", "Traceback", "alembic", "oneDNN"):
        assert foreign not in done.stdout


def test_metrics_tags_and_params(digits):
    _, _, _, run = digits
    metrics, tags, params = run.data.metrics, run.data.tags, run.data.params
    assert run.info.status == "FINISHED"
    assert metrics["accuracy.source"] > 0.95
    assert metrics["accuracy.tflite"] > 0.95
    assert metrics["accuracy.drop"] == pytest.approx(metrics["accuracy.source"] - metrics["accuracy.tflite"])
    assert metrics["ops.float"] == metrics["ops.flex"] == metrics["ops.custom"] == 0
    assert metrics["size.ratio"] == pytest.approx(metrics["size.tflite_bytes"] / metrics["size.float_bytes"])
    names = (
        "parity.max_abs_error",
        "parity.mean_abs_error",
        "parity.cosine",
        "parity.sqnr_db",
        "parity.top1_agreement",
    )
    assert set(names) <= set(metrics)
    assert {"time.source_s", "time.optimization_s", "time.total_s", "sparsity.overall", "size.gzip_bytes"} <= set(
        metrics
    )
    times = {name: value for name, value in metrics.items() if name.startswith("time.")}
    assert (times["time.startup_s"] > 0.0, times["time.failed_attempts_s"]) == (True, 0.0)
    assert sum(times.values()) == pytest.approx(2 * times["time.total_s"], rel=0.005)
    for name in ("recipe", "recipe_digest", "source_sha256", "calibration_sha256", "tflite_sha256", "version"):
        assert tags[f"tflite_recipes.{name}"]
    assert tags["tflite_recipes.outcome"] == "passed"
    assert params["source"] == "digits"
    assert params["optimization"] == "integer_only"
    assert params["calibration.samples"] == "100"
    assert params["accuracy.metric"] == "accuracy"


def test_artifacts_and_datasets(digits):
    folder, _, client, run = digits
    found = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert found >= {
        "model",
        "recipe.yaml",
        "overrides.txt",
        "io_contract.json",
        "ops.json",
        "environment.txt",
        "converter.log",
        "report.html",
    }
    assert {"model/model.tflite", "model/MLmodel"} <= {
        item.path for item in client.list_artifacts(run.info.run_id, "model")
    }
    contract = json.loads((next(folder.glob("outputs/*/*/io_contract.json"))).read_text())
    assert contract["inputs"][0]["name"] == "image"
    assert contract["inputs"][0]["source"] == {"shape": [None, 8, 8, 1], "dtype": "float32"}
    assert contract["inputs"][0]["tflite"]["dtype"] == "int8"
    contexts = {tag.value for used in run.inputs.dataset_inputs for tag in used.tags}
    assert contexts == {"training", "calibration", "evaluation"}


def test_mlflow_loads_the_model_and_it_scores_what_the_run_measured(digits, monkeypatch):
    import mlflow

    from tflite_recipes.files.samples.digits import held_out

    folder, _, client, run = digits
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    assert run.data.params["input_example.data"] == "first calibration sample"
    assert model.predict(model.input_example)["digit"].shape == (1, 10)
    data = held_out()
    found = model.predict({"image": data.images})["digit"].argmax(axis=1)
    assert (found == data.labels).mean() == pytest.approx(run.data.metrics["accuracy.tflite"])


def test_the_logged_recipe_runs_again_to_the_same_bytes(digits, monkeypatch, tmp_path):
    folder, _, _, run = digits
    (logged,) = folder.glob("outputs/*/*/recipe.yaml")
    monkeypatch.chdir(tmp_path)
    again = api.run(str(logged), ["tracking=none"], progress=False)
    assert again.digest == run.data.tags["tflite_recipes.recipe_digest"]
    assert again.tags["tflite_recipes.tflite_sha256"] == run.data.tags["tflite_recipes.tflite_sha256"]
    assert again.tags["tflite_recipes.source_sha256"] == run.data.tags["tflite_recipes.source_sha256"]


FACTORY = """
def build():
    import keras
    i = keras.Input((4,), name="x")
    return keras.Model(i, keras.layers.Dense(2, name="y")(i))
"""


def small(*overrides):
    return api.run("convert", ["source=factory", "source.function=make.py:build", *overrides], progress=False)


def test_a_tracker_out_of_reach_loses_nothing(here):
    write(here / "make.py", FACTORY)
    result = small("tracking.uri=http://127.0.0.1:9")
    assert result.status == ExitStatus.UNTRACKED
    assert result.path.stat().st_size > 0
    assert result.problems[0].where == "tracking.uri"
    spooled = [json.loads(line)["event"] for line in (result.output_dir / "events.jsonl").read_text().splitlines()]
    assert spooled[0] == "RunStarted"
    assert spooled[-1] == "RunFinished"


def test_two_first_runs_at_once_are_both_tracked(here):
    import subprocess
    import sys

    import mlflow

    write(here / "make.py", FACTORY)
    command = [sys.executable, "-m", "tflite_recipes", "run", "convert", "source=factory"]
    both = [subprocess.Popen([*command, "source.function=make.py:build"], stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    # By its whole path: MLflow keeps a store for each URI, and this process may have one of another folder's file.
    runs = mlflow.MlflowClient(f"sqlite:///{here / 'mlflow.db'}").search_runs(["1"])
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]


def test_a_terminal_that_closes_does_not_end_the_run(here):
    import subprocess
    import sys

    write(here / "make.py", FACTORY)
    command = f"{sys.executable} -m tflite_recipes run convert source=factory source.function=make.py:build"
    piped = f"set -o pipefail; {command} tracking=none | head -1"
    done = subprocess.run(["bash", "-c", piped], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list(here.rglob("model.tflite"))) == 1


def test_a_folder_that_cannot_be_made_is_a_line_not_a_traceback(here, cli_process):
    write(here / "make.py", FACTORY)
    write(here / "taken", "a file")
    answer = cli_process(
        "run", "convert", "source=factory", "source.function=make.py:build", "hydra.run.dir=taken/out", cwd=here
    )
    assert answer.status == 2
    assert "Traceback" not in answer.err
    assert "taken" in answer.err


def test_a_failed_gate_keeps_the_model_and_says_so(here):
    import mlflow

    write(here / "make.py", FACTORY)
    result = small("target.flash_kb=0.5", "tracking.register_as=never")
    assert result.status == ExitStatus.GATE
    assert result.tags["tflite_recipes.registered"] == "no: a gate failed: target.flash_kb"
    assert result.path.exists()
    (gate,) = result.gates
    assert (gate.name, gate.passed) == ("target.flash_kb", False)
    run = mlflow.MlflowClient(f"sqlite:///{here / 'mlflow.db'}").get_run(result.run_id)
    assert run.data.tags["tflite_recipes.outcome"] == "gate_failed"


def test_failed_evaluation_delivers_and_logs_the_file_and_registers_nothing(here, capsys):
    import mlflow
    import numpy as np

    write(here / "make.py", FACTORY)
    write(here / "own.py", "import math\n\n\ndef score(outputs, labels):\n    return math.log10(0.0)\n")
    np.savez(here / "t.npz", x=np.ones((8, 4), "float32"), labels=np.zeros(8, "int64"))
    own = ["evaluation.path=t.npz", "evaluation.metric=function", "evaluation.function=own.py:score"]
    result = small("evaluation=npz", *own, "tracking.register_as=never")
    assert (result.outcome, result.status) == ("not_evaluated", ExitStatus.FAILED)
    client = mlflow.MlflowClient(f"sqlite:///{here / 'mlflow.db'}")
    run = client.get_run(result.run_id)
    assert (run.info.status, run.data.tags["tflite_recipes.outcome"]) == ("FAILED", "not_evaluated")
    assert "model/model.tflite" in {item.path for item in client.list_artifacts(result.run_id, "model")}
    assert run.data.tags["tflite_recipes.tflite_sha256"] == result.tags["tflite_recipes.tflite_sha256"]
    assert run.data.tags["tflite_recipes.registered"] == "no: the file was not evaluated"
    assert client.search_registered_models("name='never'") == []
    assert "**not_evaluated**" in run.data.tags["mlflow.note.content"]
    assert "<b>not_evaluated</b>" in (result.output_dir / "report.html").read_text()
    show_result(result)
    lines = capsys.readouterr().out.splitlines()
    assert f"model:  {result.path}" in lines
    assert "convert: not_evaluated" in lines


def test_tags_experiment_and_run_name(here):
    import mlflow

    write(here / "make.py", FACTORY)
    result = small("tracking.experiment=boards", "tracking.run_name=first", "tracking.tags.team=vision")
    client = mlflow.MlflowClient(f"sqlite:///{here / 'mlflow.db'}")
    run = client.get_run(result.run_id)
    assert client.get_experiment(run.info.experiment_id).name == "boards"
    assert run.info.run_name == "first"
    assert run.data.tags["team"] == "vision"


def test_a_users_own_step_runs_where_it_is_listed(here):
    write(
        here / "own_steps.py",
        "from dataclasses import dataclass\n\n\n@dataclass(frozen=True)\nclass Halve:\n    factor: float\n\n"
        "    def __call__(self, state, reporter):\n"
        "        for variable in state.model.owner.trainable_variables:\n"
        "            variable.assign(variable * self.factor)\n"
        '        reporter.measure({"own.factor": self.factor})\n'
        '        reporter.warn("weights were scaled")\n'
        "        return state\n",
    )
    write(here / "make.py", FACTORY)
    write(
        here / "recipes" / "halved.yaml",
        "defaults:\n  - convert\n  - override source: factory\n  - _self_\n"
        "steps: [source, halve, freeze, calibration, optimization, target, evaluation]\n"
        "source:\n  function: make.py:build\nhalve:\n  _target_: own_steps.Halve\n  factor: 0.5\n",
    )
    result = api.run("halved", ["tracking=none", "halve.factor=0.25"], progress=False)
    assert result.status == ExitStatus.DONE, result.problems
    assert result.metrics["own.factor"] == 0.25
    assert "weights were scaled" in result.warnings
    wrong = api.run("halved", ["tracking=none", "halve.factor=much"], progress=False)
    assert wrong.status == ExitStatus.REQUEST
    assert wrong.problems[0].where == "halve.factor"


def test_latency_of_the_cpu_target(here):
    write(here / "make.py", FACTORY)
    result = small("tracking=none", "target=cpu", "target.runs=20", "target.max_latency_ms=1000")
    assert result.status == ExitStatus.DONE, result.problems
    assert 0 < result.metrics["latency.p50_ms"] <= result.metrics["latency.p90_ms"]
    (gate,) = result.gates
    assert (gate.name, gate.passed) == ("target.max_latency_ms", True)
