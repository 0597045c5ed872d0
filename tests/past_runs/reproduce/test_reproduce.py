"""Past runs made again, from what MLflow has of them: a file of SQLite, and a server over HTTP."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from support import hostile_saved_models
from support.checkout import write

import tflite_recipes
from tflite_recipes import api
from tflite_recipes.config import recipe as recipes
from tflite_recipes.config.recipe_inputs import described
from tflite_recipes.core import old_names
from tflite_recipes.core.errors import ExitStatus, RequestError
from tflite_recipes.files.tflite.metadata import read_metadata

pytestmark = pytest.mark.slow

FACTORY = """
def build(units=3):
    import keras
    i = keras.Input((4,), name="x")
    return keras.Model(i, keras.layers.Dense(units, name="y")(i))
"""
EVIL = "open('imported', 'w').close()\n" + FACTORY


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a run of a pruned, fine-tuned, integer-only model, made in a process of its own."""
    import keras

    folder = tmp_path_factory.mktemp("desk")
    keras.utils.set_random_seed(0)
    x = keras.Input((12,), name="x")
    hidden = keras.layers.Dropout(0.2)(keras.layers.Dense(64, activation="relu", name="h")(x))
    keras.Model(x, keras.layers.Dense(4, activation="softmax", name="y")(hidden)).save(folder / "model.keras")
    rows = np.random.default_rng(0).normal(size=(400, 12)).astype("float32")
    np.savez(folder / "cal.npz", x=rows[:50])
    np.savez(folder / "train.npz", x=rows, labels=rows[:, :4].argmax(1))
    words = [
        *("source=keras", "source.path=model.keras", "pruning=polynomial_decay", "pruning.final_sparsity=0.5"),
        *("pruning.data=train.npz", "pruning.epochs=2", "optimization=integer_only", "calibration=npz"),
        *(
            "calibration.path=cal.npz",
            "tracking.experiment=boards",
            "target.flash_kb=0.5",
            "tracking.log_source=false",
            f"tracking.uri={uri(folder)}",
        ),
    ]
    command = [sys.executable, "-m", "tflite_recipes", "run", "convert", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == ExitStatus.GATE, done.stderr  # a gate says no, which is not a reproduction's business
    (folder / "run_id").write_text(done.stdout.split()[-1])
    return folder


@pytest.fixture
def stand(desk, tmp_path, monkeypatch):
    """A copy of that folder's inputs to stand in, and to spoil. The runs stay where they are."""
    for name in ("model.keras", "cal.npz", "train.npz"):
        shutil.copyfile(desk / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def uri(folder):
    return f"sqlite:///{folder}/mlflow.db"


def client(where):
    import mlflow

    return mlflow.MlflowClient(where)


def past(desk):
    return (desk / "run_id").read_text()


def reproduce(desk, run_id=None, **about):
    return tflite_recipes.reproduce(run_id or past(desk), uri(desk), progress=False, **about)


def copied(desk, change=lambda folder: None, drop=(), run_id=None, **tags):
    """A run as another version, or a hostile server, would have it: the artifacts of the past one after `change`."""
    to = client(uri(desk))
    run = to.get_run(run_id or past(desk))
    folder = Path(to.download_artifacts(run.info.run_id, "", None))
    copy = Path(shutil.copytree(folder, desk / f"copy_{time.time_ns()}"))
    change(copy)
    kept = {key: value for key, value in run.data.tags.items() if key.startswith("tflite_recipes.") and key not in drop}
    made = to.create_run(run.info.experiment_id, tags={**kept, **tags})
    to.log_artifacts(made.info.run_id, str(copy))
    to.set_terminated(made.info.run_id)
    return made.info.run_id


UNTOLD = ("tflite_recipes.recipe_digest", "tflite_recipes.tflite_sha256")


def test_identical_bytes_from_moved_files_beside_the_old_run(desk, stand):
    os.rename("cal.npz", "moved.npz")
    done = reproduce(desk, calibration_data="moved.npz", overrides=["tracking.tags.team=vision"])
    assert (done.verdict.value, done.status) == ("identical bytes", ExitStatus.DONE)
    assert done.run.status == ExitStatus.GATE
    assert done.run.path.read_bytes() == next((desk / "outputs").rglob("model.tflite")).read_bytes()
    old, new = (client(uri(desk)).get_run(run_id) for run_id in (past(desk), done.run.run_id))
    assert new.info.experiment_id == old.info.experiment_id
    tags = {key.removeprefix("tflite_recipes."): value for key, value in new.data.tags.items()}
    assert (tags["verdict"], tags["reproduces"], tags["team"]) == ("identical bytes", past(desk), "vision")
    assert (tags["outcome"], done.run.outcome) == ("gate_failed", "gate_failed")
    # The file says what the original says; the run's own tags tell how it was made here.
    assert read_metadata(done.run.path).recipe_digest == old.data.tags["tflite_recipes.recipe_digest"]
    assert tags["recipe_digest"] == done.run.digest != old.data.tags["tflite_recipes.recipe_digest"]
    assert new.data.params["calibration.path"] == "moved.npz"
    kept = {item.path for item in client(uri(desk)).list_artifacts(done.run.run_id)}
    assert "reproduction.json" in kept
    assert not kept & {"inputs", "original"}


LATER = {"optimization": ["equalize", "rules"], "conversion": ["unfold_batchmatmul"], "target": ["io_types"]}


def of_old_names(folder):
    """As a run before there were public names, and before some keys, left it; the digest that it was tagged with."""
    path = folder / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    before = {new: old for old, new in old_names.TARGETS.items()}
    for section in [one for one in recipe.values() if isinstance(one, dict) and "_target_" in one]:
        section["_target_"] = before[section["_target_"]]
    for section, keys in LATER.items():
        for key in keys:
            del recipe[section][key]
    write(path, yaml.safe_dump(recipe, sort_keys=False))
    return recipes.digest_of_every_key({key: value for key, value in recipe.items() if key != "defaults"})


def test_run_with_old_names_and_an_old_digest_gives_the_same_bytes(desk, stand):
    old = []
    run_id = copied(desk, lambda folder: old.append(of_old_names(folder)), ("tflite_recipes.recipe_digest",))
    client(uri(desk)).set_tag(run_id, "tflite_recipes.recipe_digest", old[0])
    done = reproduce(desk, run_id)
    assert (done.verdict.value, done.status) == ("identical bytes", ExitStatus.DONE)
    assert done.record["changes"] == []
    stated = client(uri(desk)).get_run(past(desk)).data.tags["tflite_recipes.recipe_digest"]
    assert read_metadata(done.run.path).recipe_digest == stated
    # Nothing moved: by today's digest the two recipes are one.
    found = tflite_recipes.diff(run_id, done.run.run_id, tracking_uri=uri(desk))
    assert done.run.digest == stated != old[0]
    assert [one.kind for one in found.digests if one.name == "recipe_digest"] == ["same"]
    assert found.config == ()


def test_files_that_changed_are_refused_before_tensorflow(desk, stand, cli):
    np.savez("cal.npz", x=np.zeros((5, 12), "float32"))
    os.remove("model.keras")
    answer = cli("reproduce", past(desk), f"tracking.uri={uri(desk)}")
    assert answer.status == 2
    assert answer.fixes == ["--source FILE", "--calibration-data FILE"]
    digests = set(re.findall(r"[0-9a-f]{64}", answer.err))
    assert len(digests) == 3  # of what is gone one, of what changed both
    assert described("calibration.path", "cal.npz").sha256 in digests
    assert not (stand / "outputs").exists()


def older(folder):
    """As a run of an older version left it: no list of inputs, another machine, another seed."""
    (folder / "inputs.json").unlink()
    text = (folder / "environment.txt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("# threads", "tensorflow=="))]
    write(folder / "environment.txt", "\n".join([*lines, "tensorflow==2.0.0", "# threads 1"]) + "\n")
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["pruning"]["seed"] = 7
    write(folder / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False))


def test_another_file_is_told_with_what_changed(desk, stand, cli_process):
    run_id = copied(desk, older, UNTOLD)
    with pytest.raises(RequestError, match="recorded no digest of 'train"):
        reproduce(desk, run_id)
    words = ["--calibration-data", "cal.npz", "--input", "pruning.data=train.npz", "--tolerance", "0.001"]
    answer = cli_process(
        "reproduce", run_id, *words, "tracking.run_name=again", "--tracking-uri", uri(desk), "--output-dir", "out"
    )
    assert answer.status == 1, answer.err
    lines = [line.strip() for line in answer.out.splitlines()]
    assert "verdict: differs" in lines
    told = lines[lines.index("verdict: differs") + 1 :]
    assert told[0].startswith("outputs: up to ")
    assert any(line.startswith("tensor ") for line in told)
    assert any(line.startswith("tensorflow: 2.0.0 → ") for line in told)
    assert "calibration.path: no digest recorded → not checked" in told
    record = json.loads(Path("out/reproduction.json").read_text())
    assert record["verdict"] == "differs"
    # TensorFlow had the original's threads, whatever this machine has.
    assert "# threads 1\n" in Path("out/environment.txt").read_text()


def test_a_search_for_tampering(desk, stand):
    def recipe(folder):
        path = folder / "recipe.yaml"
        path.write_text(path.read_text().replace("epochs: 2", "epochs: 1"))

    def model(folder):
        with (folder / "model" / "model.tflite").open("ab") as file:
            file.write(b"\0")

    for change, name in ((recipe, "recipe.yaml"), (model, "model.tflite")):
        with pytest.raises(RequestError, match=f"{name} was changed since"):
            reproduce(desk, copied(desk, change))
    assert not Path("outputs").exists()


def test_runs_that_have_nothing_to_reproduce(desk, stand, cli):
    to = client(uri(desk))
    experiment = to.get_run(past(desk)).info.experiment_id
    parent = to.create_run(experiment).info.run_id
    child = to.create_run(experiment, tags={"mlflow.parentRunId": parent}).info.run_id
    answer = cli("reproduce", parent, "--tracking-uri", uri(desk))
    assert answer.status == 2
    assert f"or: tflite-recipes reproduce {child}\n" in answer.err
    to.log_text(child, "steps: [source]\n", "recipe.yaml")
    answer = cli("reproduce", child, "--tracking-uri", uri(desk))
    assert answer.status == 2
    assert "made no .tflite" in answer.err
    assert cli("reproduce", "0" * 32, "--tracking-uri", uri(desk)).status == 2


def test_what_is_gone_or_makes_no_sense_is_said(desk, stand):
    def no_model(folder):
        shutil.rmtree(folder / "model")

    def endless(folder):
        write(folder / "inputs.json", '[{"key": "source.path", "path": "a", "sha256": "b", "bytes": Infinity}]')

    for change, said in ((no_model, "model.tflite is gone"), (endless, "list of inputs is damaged")):
        with pytest.raises(RequestError, match=said):
            reproduce(desk, copied(desk, change))
    assert not Path("outputs").exists()


def hostile(folder):
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["source"] = {
        "_target_": "tflite_recipes.steps.source.FactorySource",
        **{"function": "evil.py:build", "weights": None, "arguments": {}, "seed": 0, "input_shapes": {}},
    }
    recipe["calibration"]["path"] = "private.npz"
    recipe["name"] = "../../escaped"
    recipe["tracking"]["uri"] = "http://127.0.0.1:9"
    recipe["tracking"]["log_source"] = "true"
    recipe["defaults"] = ["/evil", {"override hydra/launcher": "evil"}]
    write(folder / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False))
    write(folder / "code" / "evil.py", EVIL)
    listed = [{"key": "calibration.path", "path": "private.npz", "sha256": "0" * 64, "bytes": 10}]
    write(folder / "inputs.json", json.dumps(listed))


def test_a_hostile_recipe_runs_nothing_and_reads_nothing(desk, stand, cli):
    write(stand / "evil.py", EVIL)
    shutil.copyfile("cal.npz", "private.npz")
    run_id = copied(desk, hostile, UNTOLD)
    answer = cli("reproduce", run_id, "--tracking-uri", uri(desk))
    assert answer.status == 2
    assert "source.function: 'evil.py:build' has code run" in answer.err
    assert answer.fixes == ["--trust"]
    answer = cli("reproduce", run_id, "--tracking-uri", uri(desk), "--trust")  # which is not trusting the digests
    assert answer.status == 2
    assert "calibration.path: 'private.npz' has the sha256" in answer.err
    assert "pruning.data: the run recorded no digest of 'train.npz'" in answer.err
    assert not (stand / "imported").exists()
    assert not (stand / "outputs").exists()


def test_a_model_from_the_server_must_not_write_files(desk, stand):
    import tensorflow as tf

    class Writing(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
        def call(self, x):
            tf.io.write_file(str(stand / "written"), tf.strings.as_string(tf.reduce_sum(x)))
            return {"y": x * 2.0}

    module = Writing()
    tf.saved_model.save(module, str(desk / "writing"), signatures=module.call)

    def change(folder):
        recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
        recipe["source"] = {"_target_": "tflite_recipes.steps.source.SavedModelSource", "path": "writing"}
        write(folder / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False))
        shutil.copytree(desk / "writing", folder / "inputs" / "source.path" / "writing")
        listed = json.loads((folder / "inputs.json").read_text())
        listed[0] = vars(described("source.path", str(desk / "writing")))
        write(folder / "inputs.json", json.dumps(listed))

    with pytest.raises(RequestError, match="ops that reach files, processes or Python: 'WriteFile'") as refused:
        reproduce(desk, copied(desk, change, UNTOLD))
    assert [(p.where, p.fix) for p in refused.value.problems] == [("source.path", "--trust")]
    assert not Path("outputs").exists()


def test_old_run_of_a_model_that_needs_trust_today_is_reproduced_with_the_flag(desk, stand):
    """Its recipe predates source.trust, and its model was loaded without asking."""
    model = hostile_saved_models.main_op(stand / "old", stand)
    words = ["source=saved_model", f"source.path={model}", "source.trust=true", "tracking.log_source=false"]
    first = api.run("convert", [*words, f"tracking.uri={uri(desk)}"], progress=False)
    assert first.status == ExitStatus.DONE, first.problems

    def change(folder):
        recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
        del recipe["source"]["trust"]
        write(folder / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False))

    (stand / "canary").unlink()
    old = copied(desk, change, ("tflite_recipes.recipe_digest",), first.run_id)
    with pytest.raises(RequestError) as refused:
        reproduce(desk, old)
    assert [(p.where, p.fix, p.alternatives) for p in refused.value.problems] == [("source.trust", "--trust", ())]
    assert not (stand / "canary").exists()
    done = reproduce(desk, old, trust=True)
    assert (done.verdict.value, done.status) == ("identical bytes", ExitStatus.DONE)
    assert any("source.trust" in change["what"] for change in done.record["changes"])


def test_trusted_code_is_the_code_that_the_run_had(desk, stand):
    write(stand / "parts" / "widths.py", "from .other import UNITS\n")
    write(stand / "parts" / "other.py", "UNITS = 3\n")
    write(stand / "parts" / "__init__.py", "")
    write(stand / "make.py", "from parts.widths import UNITS\n" + FACTORY.replace("units=3", "units=UNITS"))
    words = ["source=factory", "source.function=make.py:build", f"tracking.uri={uri(desk)}"]
    first = api.run("convert", words, progress=False)
    assert first.status == ExitStatus.DONE, first.problems
    write(stand / "make.py", EVIL.replace("units=3", "units=5"))
    write(stand / "parts" / "other.py", "UNITS = 7\n")  # here is another, which is not taken
    os.remove(stand / "parts" / "widths.py")
    with pytest.raises(RequestError, match="has code run"):
        reproduce(desk, first.run_id)
    done = reproduce(desk, first.run_id, trust=True, overrides=["tracking.uri=http://127.0.0.1:9"])
    assert done.verdict.value == "identical bytes"
    assert done.status == ExitStatus.UNTRACKED
    assert "make.py here has other content" in done.notes[0]
    assert not (stand / "imported").exists()
    with pytest.raises(RequestError, match="holds an earlier reproduction"):
        reproduce(desk, first.run_id, trust=True, output_dir=done.run.output_dir)


def test_from_the_server_alone(desk, stand, mlflow_server):
    """A run whose inputs the server kept is made again where nothing of them is."""
    server = mlflow_server.uri
    to, run = client(server), client(uri(desk)).get_run(past(desk))
    folder = next((desk / "outputs").glob("*/*/recipe.yaml")).parent
    experiment = to.create_experiment("boards")
    tags = {key: value for key, value in run.data.tags.items() if key.startswith("tflite_recipes.")}
    run_id = to.create_run(experiment, tags=tags).info.run_id
    for name in ("recipe.yaml", "environment.txt", "inputs.json"):
        to.log_artifact(run_id, str(folder / name))
    to.log_artifact(run_id, str(folder / "model.tflite"), "model")
    above = to.create_run(experiment).info.run_id  # as a search has its candidates' inputs
    to.set_tag(run_id, "mlflow.parentRunId", above)
    for key, name in (("source.path", "model.keras"), ("calibration.path", "cal.npz"), ("pruning.data", "train.npz")):
        os.replace(name, f"kept {name}")  # a blank in a name is no trouble either
        to.log_artifact(run_id if key == "pruning.data" else above, f"kept {name}", f"inputs/{key}")
        os.remove(f"kept {name}")
    done = tflite_recipes.reproduce(run_id, server, progress=False)
    assert (done.verdict.value, done.status) == ("identical bytes", ExitStatus.DONE)
    assert [note.rpartition(", ")[2] for note in done.notes] == ["as the server kept it"] * 3
    new = to.get_run(done.run.run_id)
    assert new.info.experiment_id == experiment
    assert new.data.tags["tflite_recipes.reproduces"] == run_id
    # A reproduction has its inputs from what it reproduces, and a run is known by how its ID begins.
    shutil.rmtree(done.run.output_dir)
    again = tflite_recipes.reproduce(done.run.run_id[:12], server, progress=False)
    assert again.verdict.value == "identical bytes"
