"""The folder `model/` of a run: MLflow loads it, and serves it over HTTP, where there is no TensorFlow."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import yaml
from support import tracked_models

from tflite_recipes.tracking.client import client
from tflite_recipes.tracking.run_writer import RunWriter
from tflite_recipes.tracking.settings import Mlflow

pytestmark = pytest.mark.slow

# Stands in for an environment with mlflow, ai-edge-litert and numpy alone.
REFUSE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", "tf_keras", "tflite_recipes"):
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Refuse())
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tracking database, where this process stands meanwhile."""
    folder = tmp_path_factory.mktemp("flavor")
    before = os.getcwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def settings(place):
    return Mlflow(f"sqlite:///{place / 'mlflow.db'}", "models", None, {})


def write(settings, events):
    """The run, after all is told."""
    made = client(settings.uri)
    writer = RunWriter(made, settings)
    for event in events:
        writer.tell(event)
    return made.get_run(writer.run_id)


@pytest.fixture(scope="module")
def run(place, settings):
    return write(settings, tracked_models.told(place / "first"))


@pytest.fixture(scope="module")
def model(settings, run):
    import mlflow

    mlflow.set_tracking_uri(settings.uri)
    yield mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def without_tensorflow(place):
    """An environment for processes that can import neither TensorFlow nor this package."""
    (place / "bare").mkdir()
    (place / "bare" / "sitecustomize.py").write_text(REFUSE)
    found = {**os.environ, "PYTHONPATH": str(place / "bare"), "MLFLOW_TRACKING_URI": f"sqlite:///{place / 'mlflow.db'}"}
    refused = subprocess.run(
        [sys.executable, "-c", "import tflite_recipes"],
        cwd=place,
        env=found,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "tflite_recipes is not here" in refused.stderr
    return {**found, "MLFLOW_DISABLE_TELEMETRY": "true"}


def artifacts(settings, run):
    return {item.path for item in client(settings.uri).list_artifacts(run.info.run_id, "model")}


def test_the_file_stays_where_it_is_and_the_rest_stands_beside_it(settings, run):
    names = ("model.tflite", "MLmodel", "requirements.txt", "python_env.yaml", "conda.yaml", "code")
    names += ("input_example.json", "serving_input_example.json")
    assert artifacts(settings, run) == {f"model/{name}" for name in names}


def test_what_is_installed_for_it_is_pinned_and_small(settings, run, place):
    from importlib.metadata import version

    folder = Path(client(settings.uri).download_artifacts(run.info.run_id, "model", str(place)))
    lines = (folder / "requirements.txt").read_text().split()
    assert lines == [f"{name}=={version(name)}" for name in ("mlflow", "ai-edge-litert", "numpy")]
    conda = yaml.safe_load((folder / "conda.yaml").read_text())
    assert conda["dependencies"][-1] == {"pip": lines}
    assert yaml.safe_load((folder / "python_env.yaml").read_text())["dependencies"] == ["-r requirements.txt"]


def test_signature_example_and_metadata(model):
    signature = model.metadata.signature
    assert [(s.name, s.type, s.shape) for s in signature.inputs] == [("x", np.dtype("float32"), (-1, 3))]
    assert [(s.name, s.type, s.shape) for s in signature.outputs] == [("y", np.dtype("float32"), (-1, 3))]
    assert {p.name: p.default for p in signature.params} == {
        "quantize": True,
        "dequantize": True,
        "signature": "serving_default",
    }
    assert model.input_example["x"].dtype == np.float32
    np.testing.assert_array_equal(model.input_example["x"], np.array([[1, -1, 0.52]], "float32"))
    metadata = model.metadata.metadata
    assert metadata["io_contract"] == tracked_models.small_contract()
    assert metadata["input_example"] == "first calibration sample"
    assert metadata["recipe_digest"] == "ab" * 32
    assert "predict does not do it" in metadata["preprocessing"]


def test_other_tools_find_the_file_by_the_flavor_of_its_own(model):
    flavor = model.metadata.flavors["tflite"]
    assert flavor["data"] == "model.tflite"
    assert flavor["quantization"] == "integer_only"
    assert flavor["signature_key"] == "serving_default"
    assert flavor["inputs"] == {"x": "int8"}


def test_the_runs_page_knows_it_for_a_model(run):
    (entry,) = json.loads(run.data.tags["mlflow.log-model.history"])
    assert entry["artifact_path"] == "model"
    assert entry["run_id"] == run.info.run_id
    assert set(entry["flavors"]) == {"python_function", "tflite"}


def test_it_predicts_what_the_file_gives(model):
    import pandas as pd

    x = np.random.default_rng(0).normal(0, 5, (20, 3)).astype("float32")
    for form in ({"x": x}, x, pd.DataFrame({"x": list(x)})):
        np.testing.assert_array_equal(model.predict(form)["y"], tracked_models.expected(x))
    assert model.predict(x, params={"dequantize": False})["y"].dtype == np.int8


def test_it_predicts_where_there_is_no_tensorflow(run, place, without_tensorflow):
    code = (
        "import json, sys, mlflow\n"
        f"model = mlflow.pyfunc.load_model('runs:/{run.info.run_id}/model')\n"
        "print(json.dumps(model.predict(model.input_example)['y'].tolist()))\n"
        "assert not {'tensorflow', 'tflite_recipes'} & sys.modules.keys()\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=place, env=without_tensorflow, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    example = np.array([[1, -1, 0.52]], "float32")
    assert json.loads(done.stdout) == pytest.approx(np.asarray(tracked_models.expected(example)))


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def ask(run, place, without_tensorflow):
    """`ask(body)`: the status and the answer of `mlflow models serve`."""
    address = ["-h", "127.0.0.1", "-p", str(port := free_port())]
    served = ["serve", "-m", f"runs:/{run.info.run_id}/model", "--env-manager", "local", *address]
    command = [sys.executable, "-m", "mlflow", "models", *served]
    with open(place / "serve.log", "w") as log:
        server = subprocess.Popen(command, cwd=place, env=without_tensorflow, stdout=log, stderr=log)

    def ask(body):
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{port}/{'ping' if body is None else 'invocations'}"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    try:
        until = time.monotonic() + 60
        while True:
            try:
                ask(None)
                break
            except OSError:
                assert server.poll() is None, (place / "serve.log").read_text()
                assert time.monotonic() < until, (place / "serve.log").read_text()
                time.sleep(0.2)
        yield ask
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": {"x": [[1, -1, 0.52], [2, 0, 0]]}},
        {"inputs": [[1, -1, 0.52], [2, 0, 0]]},
        {"instances": [{"x": [1, -1, 0.52]}, {"x": [2, 0, 0]}]},
        {"instances": [[1, -1, 0.52], [2, 0, 0]]},
        {"dataframe_split": {"columns": ["x"], "data": [[[1, -1, 0.52]], [[2, 0, 0]]]}},
        {"dataframe_records": [{"x": [1, -1, 0.52]}, {"x": [2, 0, 0]}]},
    ],
    ids=lambda body: f"{next(iter(body))}-{type(next(iter(body.values()))).__name__}",
)
def test_it_is_served_over_http(ask, body):
    status, text = ask(body)
    assert status == 200, text
    x = np.array([[1, -1, 0.52], [2, 0, 0]], "float32")
    np.testing.assert_allclose(json.loads(text)["predictions"]["y"], tracked_models.expected(x), rtol=1e-6)


def test_params_and_mistakes_over_http(ask):
    status, text = ask({"inputs": {"x": [[1, -1, 0.52]]}, "params": {"dequantize": False}})
    assert (status, json.loads(text)["predictions"]["y"]) == (200, [[13, -7, 3]])
    status, text = ask({"inputs": {"z": [[1, 2, 3]]}})
    assert status == 400
    assert "missing inputs ['x']" in text
    status, text = ask({"inputs": {"x": [[1, 2]]}})
    assert status == 400
    assert "(1, 2)" in text
    assert "(-1, 3)" in text


def test_told_again_it_is_the_same_model(place, settings, run, model):
    import mlflow

    again = write(settings, tracked_models.told(place / "first"))
    assert again.info.run_id != run.info.run_id
    assert artifacts(settings, again) == artifacts(settings, run)
    second = mlflow.pyfunc.load_model(f"runs:/{again.info.run_id}/model")
    assert second.metadata.signature == model.metadata.signature
    assert second.metadata.flavors == model.metadata.flavors
    assert second.metadata.metadata == model.metadata.metadata


def test_ops_that_nothing_here_runs_are_a_warning_and_an_error_at_load(place, settings, model):
    import mlflow

    run = write(settings, tracked_models.told(place / "flex", flex=2))
    assert "LiteRT cannot run 2 Flex ops" in run.data.tags["tflite_recipes.warnings"]
    with pytest.raises(ValueError, match="LiteRT cannot run this model: it has 2 Flex ops"):
        mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")


def test_a_file_that_cannot_be_made_a_model_is_kept_all_the_same(place, settings):
    run = write(settings, tracked_models.told(place / "odd", contract={"inputs": []}))
    assert artifacts(settings, run) == {"model/model.tflite", "model/input_example.json"}
    assert "not as an MLflow model: KeyError" in run.data.tags["tflite_recipes.warnings"]
    assert run.info.status == "FINISHED"
