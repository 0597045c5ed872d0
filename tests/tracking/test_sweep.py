"""Sweeps: one parent run, a child each; a job that fails does not stop the next."""

import pytest
from support.checkout import write

pytestmark = pytest.mark.slow

FACTORY = """
def build(die):
    import keras, os
    if die:
        os.abort()
    i = keras.Input((4,), name="x")
    return keras.Model(i, keras.layers.Dense(2, name="y")(i))
"""


def runs(here):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{here / 'mlflow.db'}")
    found = client.search_runs(["1"], order_by=["attributes.start_time ASC"])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    return parents, [run for run in found if run not in parents]


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_dead_job_does_not_stop_the_next(here, cli, cli_process, launcher):
    write(here / "make.py", FACTORY)
    arguments = ["source=factory", "source.function=make.py:build", "source.arguments.die=false,true,false"]
    if launcher == "joblib":
        arguments += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    answer = (cli_process if launcher == "joblib" else cli)("run", "convert", "-m", *arguments)
    assert answer.status == 3, answer.err
    assert "SIGABRT" in answer.err
    (parent,), children = runs(here)
    assert parent.info.status == "FAILED"
    assert len(children) == 3
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    # What every job has is not what tells them apart.
    named = {run.info.run_name for run in children}
    assert named == {"convert source.arguments.die=False", "convert source.arguments.die=True"}
    outcomes = {run.data.params["source.arguments.die"]: run.info.status for run in children}
    assert outcomes == {"False": "FINISHED", "True": "FAILED"}
    (failed,) = (run for run in children if run.info.status == "FAILED")
    assert "make.py" in failed.data.tags["tflite_recipes.log_tail"]
    assert f"parent run ID: {parent.info.run_id}" in answer.out.splitlines()[-1]
    assert len(list(here.rglob("model.tflite"))) == 2 * 2  # in the output folder and in the artifact store


def test_a_sweep_with_a_bad_combination_is_refused_whole(here, cli):
    answer = cli("run", "digits_integer_only", "-m", "calibration=digits,none")
    assert answer.status == 2
    assert "calibration=none" in answer.err
    assert answer.fixes == ["calibration=digits"]
    assert not (here / "mlflow.db").exists()


def test_a_gate_that_says_no_is_the_sweeps_status(here, cli):
    write(here / "make.py", FACTORY)
    arguments = ["source=factory", "source.function=make.py:build", "source.arguments.die=false"]
    answer = cli("run", "convert", "-m", *arguments, "target.flash_kb=null,0.1")
    assert answer.status == 1, answer.err
    (parent,), children = runs(here)
    assert parent.info.status == "FINISHED"
    assert {run.data.tags["tflite_recipes.outcome"] for run in children} == {"done", "gate_failed"}
