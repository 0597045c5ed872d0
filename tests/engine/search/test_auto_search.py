"""Searches as users run them: what is found runs again to the same bytes, and no candidate spoils another."""

import csv
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from support.checkout import write

from tflite_recipes import api
from tflite_recipes.core import events
from tflite_recipes.core.errors import ExitStatus
from tflite_recipes.tracking.run_writer import RunWriter

pytestmark = pytest.mark.slow

FACTORY = """
def build():
    import keras
    keras.utils.set_random_seed(1)
    i = keras.Input((8,), name="x")
    hidden = keras.layers.Dense(64, activation="relu", name="hidden")(i)
    return keras.Model(i, keras.layers.Dense(4, activation="softmax", name="y")(hidden))
"""
STEP = """
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Die:
    scheme: str

    def __call__(self, state, reporter):
        if state.scheme == self.scheme:
            os.abort()
        return state
"""


def small(here, *overrides, schemes="integer_only,dynamic_range,float16", **more):
    """Overrides of a search for a small network on data of its own."""
    write(here / "make.py", FACTORY)
    rng = np.random.default_rng(0)
    x = rng.random((32, 8)).astype("float32")
    np.savez(here / "cal.npz", x=x)
    np.savez(here / "test.npz", x=x, labels=rng.integers(0, 4, 32))
    given = {
        "source": "factory",
        "source.function": "make.py:build",
        "calibration": "npz",
        "calibration.path": "cal.npz",
        "optimization": "auto",
        "optimization.schemes": f"[{schemes}]",
        "evaluation": "npz",
        "evaluation.path": "test.npz",
        "evaluation.max_drop": 0.5,
    }
    return [*(f"{key}={value}" for key, value in given.items()), *overrides]


def table(folder):
    return list(csv.DictReader((folder / "search.csv").read_text(encoding="utf-8").splitlines()))


def told(folder, kind):
    events = map(json.loads, (folder / "events.jsonl").read_text(encoding="utf-8").splitlines())
    return [event for event in events if event["event"] == kind]


def client(here):
    """By the whole path: MLflow keeps what a relative one meant at first."""
    import mlflow

    return mlflow.MlflowClient(f"sqlite:///{here / 'mlflow.db'}")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A search on the digits, in a process of its own, with tracking."""
    import mlflow

    folder = tmp_path_factory.mktemp("search")
    command = [sys.executable, "-m", "tflite_recipes", "run", "digits_auto", "hydra.run.dir=out", "source.epochs=2"]
    command += ["optimization.schemes=[none,dynamic_range,integer_only]", "optimization.quantizers=[tflite_converter]"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done, mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def test_it_prints_a_line_for_each_candidate_and_where_all_is(digits):
    folder, done, _ = digits
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    lines = [line for line in lines if not line.startswith("waiting for ")]  # for the store, on a busy machine
    rows = table(folder / "out")
    assert [row["candidate"] for row in rows] == ["integer_only", "dynamic_range", "none"]
    for line, row in zip(lines[1:4], rows, strict=True):
        assert line.startswith(f"{row['number']} {row['candidate']} {int(row['size_bytes']):,} B metric ")
        assert line.endswith(f" drop {float(row['drop']):.6g} passed")
    assert lines[-4:-1] == ["digits_auto: passed", "recipe: out/recipe.yaml", "model: out/model.tflite"]
    assert done.stderr == ""


def test_the_smallest_that_passes_is_chosen(digits):
    folder, _, _ = digits
    rows = table(folder / "out")
    (chosen,) = (row for row in rows if row["chosen"])
    passed = [row for row in rows if row["status"] == "passed"]
    assert int(chosen["size_bytes"]) == min(int(row["size_bytes"]) for row in passed)
    (own,) = (folder / "out" / "candidates").glob(f"{int(chosen['number']):02d}_*")
    for name in ("model.tflite", "recipe.yaml", "io_contract.json", "ops.json"):
        assert (folder / "out" / name).read_bytes() == (own / name).read_bytes()
    assert not list((folder / "out").rglob(".work*"))


def test_every_candidate_run_alone_gives_the_same_bytes(digits, monkeypatch, tmp_path):
    folder, _, runs = digits
    monkeypatch.chdir(tmp_path)
    for row in table(folder / "out"):
        (own,) = (folder / "out" / "candidates").glob(f"{int(row['number']):02d}_*")
        alone = api.run(str(own / "recipe.yaml"), ["tracking=none"], output_dir=f"alone{row['number']}", progress=False)
        assert alone.status == ExitStatus.DONE, alone.problems
        assert alone.path.read_bytes() == (own / "model.tflite").read_bytes(), row["candidate"]
        assert alone.digest == runs.get_run(row["run_id"]).data.tags["tflite_recipes.recipe_digest"]
    found = api.run(str(folder / "out" / "recipe.yaml"), ["tracking=none"], output_dir="found", progress=False)
    assert found.path.read_bytes() == (folder / "out" / "model.tflite").read_bytes()


def test_the_overrides_of_a_candidate_ask_for_it_by_hand(digits, monkeypatch, tmp_path):
    folder, _, runs = digits
    monkeypatch.chdir(tmp_path)
    for row in table(folder / "out"):
        (own,) = (folder / "out" / "candidates").glob(f"{int(row['number']):02d}_*")
        overrides = (own / "overrides.txt").read_text(encoding="utf-8").splitlines()
        digest = api.compose("digits_auto", overrides).digest
        assert digest == runs.get_run(row["run_id"]).data.tags["tflite_recipes.recipe_digest"]


def test_a_search_is_the_parent_of_its_candidates(digits):
    folder, _, runs = digits
    every = runs.search_runs(["1"])
    (parent,) = (run for run in every if "mlflow.parentRunId" not in run.data.tags)
    children = {run.info.run_id: run for run in every if run is not parent}
    rows = table(folder / "out")
    assert children.keys() == {row["run_id"] for row in rows}
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parent.info.run_id}
    assert {run.info.run_name for run in children.values()} == {f"0{r['number']} {r['candidate']}" for r in rows}
    (chosen,) = (row for row in rows if row["chosen"])
    tags, metrics = parent.data.tags, parent.data.metrics
    best = children[chosen["run_id"]].data
    assert tags["tflite_recipes.chosen_run_id"] == chosen["run_id"]
    assert tags["tflite_recipes.chosen_digest"] == best.tags["tflite_recipes.recipe_digest"]
    for name in ("tflite_sha256", "source_sha256", "outcome"):
        assert tags[f"tflite_recipes.{name}"] == best.tags[f"tflite_recipes.{name}"]
    for name in ("size.tflite_bytes", "accuracy.drop", "accuracy.source", "parity.cosine"):
        assert metrics[name] == best.metrics[name]
    assert metrics["search.runs"] == metrics["search.passed"] == 3
    assert parent.data.params["optimization"] == "auto"
    assert parent.data.params["optimization.max_runs"] == "30"
    found = {item.path for item in runs.list_artifacts(parent.info.run_id)}
    assert found >= {
        "recipe.yaml",
        "search.yaml",
        "search.csv",
        "schemes.csv",
        "pareto.svg",
        "report.html",
        "model",
        "ops.json",
    }
    logged = {item.path for item in runs.list_artifacts(parent.info.run_id, "model")}
    assert {"model/model.tflite", "model/MLmodel", "model/input_example.json"} <= logged
    assert {used.dataset.name for used in parent.inputs.dataset_inputs} >= {"calibration", "evaluation"}


def test_the_model_is_loaded_once_for_all_that_it_is_the_same_for(digits):
    folder, _, runs = digits
    integer, dynamic, plain = (runs.get_run(row["run_id"]).data for row in table(folder / "out"))
    assert integer.metrics["time.source_s"] > 0
    assert dynamic.metrics["time.source_s"] > 0  # its graph is rewritten for floats
    assert plain.metrics["time.source_s"] + plain.metrics["time.calibration_s"] < 0.2 * integer.metrics["time.source_s"]
    assert {"tflite_recipes.shared.source", "tflite_recipes.shared.calibration"} <= plain.tags.keys()
    assert plain.tags["tflite_recipes.calibration_sha256"] == integer.tags["tflite_recipes.calibration_sha256"]


def test_the_searchs_own_recipe_is_a_recipe(digits, monkeypatch, tmp_path):
    folder, _, runs = digits
    monkeypatch.chdir(tmp_path)
    (parent,) = (run for run in runs.search_runs(["1"]) if "mlflow.parentRunId" not in run.data.tags)
    digest = api.compose(str(folder / "out" / "search.yaml")).digest
    assert digest == parent.data.tags["tflite_recipes.recipe_digest"]


def test_where_none_passes_the_nearest_is_kept_and_marked(here):
    asked = small(here, "target.flash_kb=0.1", f"tracking.uri=sqlite:///{here / 'mlflow.db'}")
    result = api.run("convert", asked, output_dir="out", progress=False)
    assert result.status == ExitStatus.GATE
    assert result.path.stat().st_size > 0
    assert result.tags["tflite_recipes.outcome"] == "gate_failed"
    assert {row["status"] for row in table(here / "out")} == {"missed"}
    (nearest,) = (text for text in result.warnings if "no candidate passes" in text)
    each = list(csv.DictReader((here / "out" / "schemes.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["scheme"] for row in each} == {row["scheme"] for row in table(here / "out")}
    assert all(f"{row['candidate']} missed, drop " in nearest for row in each)
    assert client(here).get_run(result.run_id).info.status == "FINISHED"


def test_a_candidate_that_dies_does_not_spoil_the_next(here):
    write(here / "own.py", STEP)
    write(
        here / "recipes" / "deadly.yaml",
        "defaults:\n  - convert\n  - _self_\n"
        "steps: [source, substitution, freeze, calibration, optimization, die, target, evaluation]\n"
        "die:\n  _target_: own.Die\n  scheme: dynamic_range\n",
    )
    result = api.run("deadly", small(here, "tracking=none"), output_dir="out", progress=False)
    assert result.status == ExitStatus.DONE, result.problems
    first, *dynamic, float16, other = table(here / "out")
    assert (first["status"], float16["status"], float16["scheme"]) == ("passed", "passed", "float16")
    assert (other["status"], other["candidate"]) == ("passed", "integer_only, litert_quantizer")
    # the other quantizer is tried, and dies of the same
    assert [(row["status"], row["quantizer"]) for row in dynamic] == [
        ("failed", "tflite_converter"),
        ("failed", "litert_quantizer"),
    ]
    assert "SIGABRT" in dynamic[0]["reason"]


def test_bad_data_ends_a_search_at_once(here):
    asked = small(here, "tracking=none")
    np.savez(here / "cal.npz", x=np.full((32, 8), np.nan, "float32"))
    result = api.run("convert", asked, output_dir="out", progress=False)
    assert result.status == ExitStatus.REQUEST
    assert result.problems
    assert [path.name for path in (here / "out" / "candidates").iterdir()] == ["01_integer_only"]
    assert not list((here / "out").rglob(".work*"))
    assert told(here / "out", "RunFinished")[0]["outcome"] == "failed"


def test_an_interrupted_search_leaves_nothing_half_written(here):
    command = [sys.executable, "-m", "tflite_recipes", "run", "convert", *small(here), "hydra.run.dir=out"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    spool = here / "out" / "events.jsonl"
    deadline = time.monotonic() + 120
    while not (spool.exists() and "Tried" in spool.read_text(encoding="utf-8")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == ExitStatus.KILLED
    assert told(here / "out", "RunFinished")[0]["outcome"] == "killed"
    assert not list((here / "out").rglob(".work*"))
    assert not (here / "out" / "model.tflite").exists()
    (parent,) = (run for run in client(here).search_runs(["1"]) if "mlflow.parentRunId" not in run.data.tags)
    assert parent.info.status == "KILLED"


def test_a_search_is_a_job_of_a_sweep(here, cli_process):
    asked = [text for text in small(here, schemes="dynamic_range") if not text.startswith("optimization")]
    asked += ["optimization=auto,float16"]
    answer = cli_process("run", "convert", "-m", *asked, "hydra.sweep.dir=out", cwd=here)
    assert answer.status == 0, answer.out + answer.err
    every = {run.info.run_id: run for run in client(here).search_runs(["1"])}
    parent = {run_id: run.data.tags.get("mlflow.parentRunId") for run_id, run in every.items()}
    (top,) = (run_id for run_id, above in parent.items() if above is None)
    jobs = {every[run_id].data.params["optimization"]: run_id for run_id, above in parent.items() if above == top}
    assert jobs.keys() == {"auto", "float16"}
    assert len([run_id for run_id, above in parent.items() if above == jobs["auto"]]) == len(table(here / "out" / "0"))


def test_a_deep_check_tries_the_first_candidate(here, cli):
    answer = cli("check", "convert", *small(here, schemes="dynamic_range,none"), "--deep")
    assert answer.status == 0, answer.err
    assert "optimization=auto: tried by its first candidate, dynamic_range" in answer.out
    assert "converts, and the file runs" in answer.out


def test_a_search_out_of_reach_of_its_server_finds_all_the_same(here):
    asked = small(here, "tracking.uri=http://127.0.0.1:9", schemes="dynamic_range")
    result = api.run("convert", asked, output_dir="out", progress=False)
    assert result.status == ExitStatus.UNTRACKED
    assert {row["run_id"] for row in table(here / "out")} == {""}
    assert result.found.exists()


def test_a_candidate_that_is_not_tracked_is_said(here, monkeypatch):
    whole = RunWriter.tell

    def tell(self, event):
        if self._parent and isinstance(event, events.Tagged):
            raise OSError("the server went away")
        whole(self, event)

    monkeypatch.setattr(RunWriter, "tell", tell)
    asked = small(here, f"tracking.uri=sqlite:///{here / 'mlflow.db'}", schemes="none")
    result = api.run("convert", asked, output_dir="out", progress=False)
    assert result.status == ExitStatus.UNTRACKED
    assert "the server went away" in result.problems[0].what
    assert client(here).get_run(result.run_id).data.tags["tflite_recipes.outcome"] == "passed"


def test_the_fastest_is_found(here):
    asked = small(here, "tracking=none", "target=cpu", "target.runs=10", "optimization.objective=latency")
    result = api.run("convert", asked, output_dir="out", progress=False)
    assert result.status == ExitStatus.DONE, result.problems
    rows = table(here / "out")
    (chosen,) = (row for row in rows if row["chosen"])
    assert float(chosen["latency_ms"]) == min(float(row["latency_ms"]) for row in rows)
