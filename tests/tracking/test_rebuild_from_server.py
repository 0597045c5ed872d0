"""A run leaves on the server all that it was made from: data, code and what that imported; a search leaves it once."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.checkout import REPOSITORY, write

pytestmark = pytest.mark.slow

FACTORY = """
import helper
from parts.layers import head


def build():
    import far
    import keras

    i = keras.Input((helper.WIDTH,), name="x")
    return keras.Model(i, head(i))
"""
WIDTH = "WIDTH = 4\n"
LAYERS = """
def head(x):
    import keras

    return keras.layers.Dense(3, name="y")(x)
"""
METRIC = """
import scores


def agreement(outputs, labels):
    return scores.share(next(iter(outputs.values())) if isinstance(outputs, dict) else outputs, labels)
"""


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    """A search with files and code of the user's own, below a sweep: three levels of runs."""
    import mlflow

    here = tmp_path_factory.mktemp("rebuildable")
    write(here / "proj" / "make.py", FACTORY)
    write(here / "proj" / "judge.py", METRIC)
    write(here / "helper.py", WIDTH)
    write(here / "scores.py", "def share(outputs, labels):\n    return float((labels == outputs.argmax(-1)).mean())\n")
    write(here / "parts" / "__init__.py", "")
    write(here / "parts" / "layers.py", LAYERS)
    far = write(tmp_path_factory.mktemp("elsewhere") / "far.py", "")
    write(here / "unused.py", "")
    random = np.random.RandomState(0)
    np.savez(here / "test.npz", x=random.rand(20, 4).astype("float32"), labels=random.randint(0, 3, 20))
    command = [sys.executable, "-m", "tflite_recipes", "run", "convert", "-m", "source=factory"]
    command += ["source.function=proj/make.py:build", "optimization=auto", "optimization.schemes=[none,float16]"]
    command += ["evaluation=npz", "evaluation.path=test.npz", "evaluation.max_drop=0.5,0.6"]
    command += ["evaluation.metric=function", "evaluation.function=proj/judge.py:agreement"]
    command += ["optimization.quantizers=[tflite_converter]"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(far.parent)])}
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    client = mlflow.MlflowClient(f"sqlite:///{here / 'mlflow.db'}")
    return here, client, client.search_runs(["1"], order_by=["attributes.start_time ASC"])


def below(runs, parent):
    return [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]


def test_three_levels_each_told_apart(search):
    _, _, runs = search
    (sweep,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    searches = below(runs, sweep)
    names = [run.info.run_name for run in searches]
    assert names == ["convert evaluation.max_drop=0.5", "convert evaluation.max_drop=0.6"]
    for one in searches:
        assert [run.info.run_name for run in below(runs, one)] == ["01 float16", "02 none"]
    assert len(runs) == 7
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all(run.info.end_time for run in runs)


def test_the_search_keeps_what_its_candidates_read(search):
    here, client, runs = search
    for run in runs[1:]:
        candidate = run.info.run_name.startswith("0")
        assert run.data.tags["tflite_recipes.inputs_kept"] == ("parent" if candidate else "all")
        kept = [item.path for item in client.list_artifacts(run.info.run_id, "inputs")]
        assert kept == ([] if candidate else ["inputs/evaluation.path"])
    place = Path(client.download_artifacts(runs[1].info.run_id, "inputs/evaluation.path/test.npz"))
    (told,) = json.loads(Path(client.download_artifacts(runs[1].info.run_id, "inputs.json")).read_text())
    assert hashlib.sha256(place.read_bytes()).hexdigest() == told["sha256"]
    assert place.read_bytes() == (here / "test.npz").read_bytes()


def test_code_and_what_it_imported_are_kept_by_the_names_they_are_imported_by(search):
    _, client, runs = search
    for run in runs[1:]:
        kept = {item.path for item in client.list_artifacts(run.info.run_id, "code") if not item.is_dir}
        assert kept == {"code/make.py", "code/judge.py", "code/helper.py", "code/scores.py"}
        kept = {item.path for item in client.list_artifacts(run.info.run_id, "code/parts")}
        assert kept == {"code/parts/__init__.py", "code/parts/layers.py"}
        tags = {n.removeprefix("tflite_recipes.code."): v for n, v in run.data.tags.items() if ".code." in n}
        assert set(tags) == {"helper", "scores", "parts", "parts.layers", "far"}
        assert tags["helper"] == f"sha256:{hashlib.sha256(WIDTH.encode()).hexdigest()[:12]}"
        assert tags["far"] == "not kept"


def test_evaluation_data_is_a_dataset_from_a_file(search):
    _, _, runs = search
    for run in runs[1:]:
        (used,) = run.inputs.dataset_inputs
        assert (used.dataset.source_type, json.loads(used.dataset.source)) == ("local", {"uri": "test.npz"})
        schema = json.loads(used.dataset.schema)["mlflow_tensorspec"]
        assert json.loads(schema["targets"])[0]["name"] == "labels"
        assert json.loads(used.dataset.profile)["num_rows"] == 20
