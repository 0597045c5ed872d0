"""Data as MLflow's datasets: where it is from, its schema, what is in it."""

import json

import numpy as np
import pytest
from support.checkout import write
from support.tracked_runs import finished, read, settings, started, tracked

from tflite_recipes.core import events
from tflite_recipes.files.samples import npz
from tflite_recipes.tracking.mlflow_datasets import profile_of, schema_of, source_of

ARRAYS = {
    "image": np.linspace(-1, 1, 3 * 4, dtype="float32").reshape(3, 2, 2),
    "labels": np.array([1, 2, 2], dtype="int64"),
}
USED = events.DatasetUsed("evaluation", "evaluation", "a" * 64, "test.npz", 3, npz.described(ARRAYS, ("labels",)))


def test_ranges_are_described_and_labels_marked():
    assert USED.arrays["image"] == {"shape": [2, 2], "dtype": "float32", "min": -1.0, "max": 1.0, "mean": 0.0}
    assert USED.arrays["labels"]["labels"] is True


def test_the_page_gets_a_line_for_each_array():
    assert json.loads(profile_of(USED)) == {
        "num_rows": 3,
        "source": "test.npz",
        "sha256": "a" * 64,
        "image": "float32 (2, 2), -1 to 1, mean 0",
        "labels": "int64 (), 1 to 2, mean 1.66667",
    }


def test_an_array_called_like_another_line():
    used = events.DatasetUsed("x", "training", "a", "b", 1, {"source": {"shape": [], "dtype": "bool"}})
    assert json.loads(profile_of(used))["source (array)"] == "bool ()"


def test_what_is_no_file_is_made_by_code():
    assert source_of(USED, {"test.npz"}) == ("local", {"uri": "test.npz"})
    kind, source = source_of(USED, ())
    assert (kind, source["tags"]["mlflow.source.name"]) == ("code", "test.npz")


def test_what_is_no_tensor_has_no_schema():
    assert schema_of(events.DatasetUsed("x", "training", "a", "b", 1)) is None
    named = npz.described({"x": ARRAYS["image"], "labels": np.array(["a", None, "b"], dtype=object)}, ("labels",))
    assert schema_of(events.DatasetUsed("x", "evaluation", "a", "b", 3, named)) is None


@pytest.mark.slow
def test_mlflow_reads_schema_and_source(here):
    from mlflow.data import get_source
    from mlflow.data.schema import TensorDatasetSchema

    write(here / "test.npz", "")
    texts = npz.described({"name": np.array(["a", "bc"]), "mask": np.array([True, False])})
    calibration = events.DatasetUsed("calibration", "calibration", "b" * 64, "gen.py:samples", 2, texts)
    told = [started(), read("evaluation.path", "test.npz"), USED, USED, calibration, finished()]
    run = tracked(told, settings(f"sqlite:///{here / 'mlflow.db'}"))
    used = {given.dataset.name: given for given in run.inputs.dataset_inputs}
    assert len(run.inputs.dataset_inputs) == 2  # told twice, there once
    assert {name: given.tags[0].value for name, given in used.items()} == {
        "evaluation": "evaluation",
        "calibration": "calibration",
    }
    evaluation = used["evaluation"].dataset
    assert evaluation.digest == "a" * 36
    schema = TensorDatasetSchema.from_dict(json.loads(evaluation.schema))
    assert [(spec.name, spec.type.name, spec.shape) for spec in schema.features] == [("image", "float32", (-1, 2, 2))]
    assert [(spec.name, spec.shape) for spec in schema.targets] == [("labels", (-1,))]
    assert get_source(evaluation).load() == str(here / "test.npz")
    TensorDatasetSchema.from_dict(json.loads(used["calibration"].dataset.schema))
    assert used["calibration"].dataset.source_type == "code"


@pytest.mark.slow
def test_synced_from_elsewhere_the_data_is_the_same(here, tmp_path_factory):
    from tflite_recipes.tracking import run_record
    from tflite_recipes.tracking.client import client
    from tflite_recipes.tracking.run_upload import Place, replay

    write(here / "test.npz", "0123")
    write(here / "out" / "events.jsonl", "")
    told = [started(), read("evaluation.path", "test.npz"), USED, finished()]
    (here / "out" / "events.jsonl").write_text("".join(json.dumps(events.to_json(event)) + "\n" for event in told))
    uri = f"sqlite:///{here}/mlflow.db"
    run_record.save(here / "out", run_record.begun(settings(uri, tags={"long": "x" * 9000}), {}))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        done = replay(here / "out", Place.of(uri))
    run = client(uri).get_run(done.run_id)
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.source_type, json.loads(used.dataset.source)) == ("local", {"uri": "test.npz"})
    assert run.data.tags["tflite_recipes.inputs_kept"] == "all"
    assert [item.path for item in client(uri).list_artifacts(done.run_id, "inputs/evaluation.path")] == [
        "inputs/evaluation.path/test.npz"
    ]
