"""The last step of a reproduction, on files made to differ in one way each."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import runnable_files
from support.reporters import RecordingReporter

from tflite_recipes.backend.running.paired_outputs import Distance, apart, distance
from tflite_recipes.core.state import State, TensorSpec
from tflite_recipes.files.samples import npz
from tflite_recipes.files.tflite.differences import Compared, Difference
from tflite_recipes.files.tflite.metadata import write_metadata
from tflite_recipes.files.tflite.metadata_table import ModelMetadata
from tflite_recipes.steps.reproduction import RECORD, AgainstOriginal, Verdict, judged

pytestmark = pytest.mark.slow  # LiteRT


@pytest.fixture
def files(tmp_path):
    """The original; another of the same bytes as the run's file, to be changed."""
    return runnable_files.write(tmp_path / "original.tflite"), runnable_files.write(tmp_path / "model.tflite")


def nudged(path, by):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    values = np.frombuffer(bytes(model.buffers[1].data), "float32") + np.float32(by)
    model.buffers[1].data = np.frombuffer(values.astype("float32").tobytes(), "uint8")
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def state_of(path, **about):
    return State(
        workdir=path.parent, tflite=path, signature="serve", inputs=(TensorSpec("x", (1, 64), "float32"),), **about
    )


def conclude(files, tolerance=None, state=None, **known):
    original, made = files
    told = RecordingReporter()
    path = made.parent / "known.json"
    path.write_text(json.dumps({"run_id": "0" * 32, "changes": [], **known}))
    AgainstOriginal(str(original), str(path), tolerance)(state or state_of(made), told)
    record = json.loads((made.parent / RECORD).read_text())
    assert told.kept == [RECORD]
    assert told.tags["tflite_recipes.verdict"] == record["verdict"]
    assert told.tags["tflite_recipes.reproduces"] == "0" * 32
    return record, told


def test_identical_bytes(files):
    record, told = conclude(files, changes=[{"what": "numpy", "before": "1", "after": "2"}])
    assert record["verdict"] == "identical bytes"
    digest = hashlib.sha256(files[0].read_bytes()).hexdigest()
    assert record["sha256"] == {"original": digest, "new": digest}
    assert told.tags["tflite_recipes.differences"] == "none"
    assert record["changes"]  # also where they changed nothing


def test_the_same_weights_and_graph(files):
    plain = files[1].read_bytes()
    write_metadata(files[0], files[1], ModelMetadata("renamed"), "1" * 64)
    assert files[1].read_bytes() != plain
    record, told = conclude(files)
    assert record["verdict"] == "same weights and graph"
    assert (record["file"]["differences"], record["outputs"]) == (0, None)
    assert told.tags["tflite_recipes.differences"] == "the file: its metadata"


def test_numerically_equal_within_the_tolerance_that_is_stated(files):
    nudged(files[1], 1e-6)
    record, told = conclude(files)
    assert record["verdict"] == "numerically equal"
    assert record["tolerance"] == 0.005
    relative = record["outputs"]["relative_difference"]
    assert 0 < relative < 0.005
    assert told.metrics["reproduction.relative_difference"] == relative
    assert "64 seeded random inputs" in record["outputs"]["samples"]
    assert conclude(files, tolerance=relative)[0]["verdict"] == "numerically equal"
    assert conclude(files, tolerance=relative / 2)[0]["verdict"] == "differs"


def test_it_differs_and_says_where_and_what_changed(files):
    nudged(files[1], 0.5)
    changes = [{"what": "tensorflow", "before": "2.20.0", "after": "2.21.0"}]
    state = state_of(files[1], source_sha256="b" * 64, calibration_sha256="c" * 64)
    digests = {"source_sha256": "a" * 64, "calibration_sha256": ""}
    record, told = conclude(files, state=state, changes=changes, **digests)
    assert record["verdict"] == "differs"
    lines = told.tags["tflite_recipes.differences"].splitlines()
    assert lines[0].startswith("outputs: up to ")
    assert lines[1].startswith("tensor 1 'net/first/kernel': 32,768 of 32,768 values")
    assert lines[2:] == [
        "tensorflow: 2.20.0 → 2.21.0",
        f"source model: sha256 {'a' * 64} → sha256 {'b' * 64}",
    ]


def test_calibration_samples_are_what_files_are_run_on(files, tmp_path):
    nudged(files[1], 1e-6)
    rows = np.random.default_rng(0).normal(size=(100, 64)).astype("float32")
    calibration = npz.save_arrays(tmp_path / "calibration", {"x": rows})
    record, _ = conclude(files, state=state_of(files[1], calibration=calibration))
    assert record["outputs"]["samples"] == "64 calibration samples"


def test_other_names_are_bound_by_position(files):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(files[0].read_bytes(), 0))
    model.signatureDefs[0].signatureKey, model.signatureDefs[0].inputs[0].name = b"other", b"image"
    model.signatureDefs[0].outputs[0].name = b"chances"
    files[0].write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    record, _ = conclude(files)
    assert record["verdict"] == "numerically equal"
    assert record["outputs"]["max_abs_difference"] == 0


def test_files_that_nothing_here_can_run_differ(files):
    nudged(files[1], 1e-6)
    record, _ = conclude(files, state=replace(state_of(files[1]), runnable=False))
    assert record["verdict"] == "differs"
    assert record["outputs"]["failure"] == "no runtime here can run the file"


def test_an_original_that_cannot_be_read_is_no_traceback(files):
    files[0].write_bytes(files[0].read_bytes()[:300])
    record, told = conclude(files)
    assert record["verdict"] == "differs"
    assert told.warnings


def test_integer_inputs_and_outputs_are_compared_in_real_values(tmp_path):
    """An output of int8 that is stored with another scale is not another output."""
    import tensorflow as tf

    def converted(name, spread):
        weights = tf.constant(np.random.default_rng(0).normal(size=(6, 5)).astype("float32"))
        function = tf.function(
            lambda x: tf.matmul(x, weights), input_signature=[tf.TensorSpec((1, 6), tf.float32, "x")]
        )
        module = tf.Module()
        module.f = function
        concrete = function.get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        rows = np.random.default_rng(1).uniform(-spread, spread, (50, 1, 6)).astype("float32")
        converter.representative_dataset = lambda: ([row] for row in rows)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        path = tmp_path / name
        path.write_bytes(converter.convert())
        return path

    original, made = converted("original.tflite", 1.0), converted("model.tflite", 1.01)
    state = State(
        workdir=tmp_path, tflite=made, signature="serving_default", inputs=(TensorSpec("x", (1, 6), "float32"),)
    )
    found = distance(Path(original), state, RecordingReporter())
    assert found.failure == ""
    assert 0 < found.relative < 0.05


def test_verdicts_are_ordered_by_what_was_found():
    some = Compared((Difference("a", "b"),))
    assert judged(None, None, 1.0) is Verdict.differs
    assert judged(Compared(()), None, 0.0) is Verdict.same_graph
    assert judged(some, Distance(0.1, 0.01), 0.01) is Verdict.equal
    assert judged(some, Distance(0.1, 0.01), 0.009) is Verdict.differs
    assert judged(some, Distance(failure="none"), 1.0) is Verdict.differs


@given(hnp.arrays("float32", st.integers(1, 5), elements=st.floats(width=32)))
def test_an_array_is_not_apart_from_itself(array):
    assert apart(array, array.copy()) == (0.0, 0.0)


def test_distances():
    one = np.array([0.0, 1.0, 2.0])
    assert apart(one, one + 0.5) == (0.5, 0.25)
    assert apart(one, np.array([0.0, np.nan, 2.0])) == (np.inf, np.inf)
    assert apart(np.array([2.0]), np.array([2.5])) == (0.5, 0.25)
    assert apart(np.array([0.0]), np.array([0.5])) == (0.5, np.inf)
    assert apart(np.array([0, 999]), np.array([1, 999])) == (1.0, np.inf)  # another class is no small difference
    step = np.array([0.0, 0.1], "float32")  # of a range of 25.5, of which the samples show a part
    assert apart(step, step[::-1], 25.5)[1] == pytest.approx(1 / 255)
    assert apart(np.array(["a"]), np.array(["b"])) == (np.inf, np.inf)
