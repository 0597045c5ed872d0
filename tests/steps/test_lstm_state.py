"""LSTM models of tf_keras: the file gives the same at each invoke, and computes what Keras computes."""

import json
import shlex
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from support import lstm_models
from support.reporters import RecordingReporter

from tflite_recipes import api
from tflite_recipes.backend.running import repeated_invokes
from tflite_recipes.core.errors import ExitStatus, StepError
from tflite_recipes.core.state import State, TensorSpec
from tflite_recipes.files import tflite

pytestmark = pytest.mark.slow
NAMES = ("stateless", "both_ways", "long", "counter", "hard_sigmoid", "masked", "streaming", "exported")
FUSED = ("substitution=rules", "substitution.rules=[fused_lstm]")
LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lstm")
    lstm_models.write(folder, *NAMES)
    return folder


@pytest.fixture
def convert(here, models):
    """`convert("stateless", "key=value")`: the model, converted with calibration samples."""

    def run(name, *overrides):
        folder = models / name
        source = ["source=keras", f"source.path={folder / 'model.h5'}"]
        if (folder / "saved_model").is_dir():
            source = ["source=saved_model", f"source.path={folder / 'saved_model'}"]
        samples = ["calibration=npz", f"calibration.path={folder / 'samples.npz'}"]
        return api.run("convert", [*source, *samples, "tracking=none", *overrides], progress=False)

    return run


def done(result):
    assert result.status == ExitStatus.DONE, result.problems
    return result


def ops(result):
    return tflite.op_counts(tflite.read_tflite(result.path))


def contract(result):
    return json.loads((result.output_dir / "io_contract.json").read_text())


def invoked(result, models, name, reset=False):
    """Outputs of one interpreter for the samples, one after the other, and what Keras gives."""
    made = Interpreter(model_path=str(result.path))
    made.allocate_tensors()
    runner = made.get_signature_runner()
    rows = []
    for row in np.load(models / name / "samples.npz")["x"]:
        if reset:
            made.reset_all_variables()
        rows.append(next(iter(runner(x=row[None]).values())))
    return np.concatenate(rows), np.load(models / name / "expected.npy")


@pytest.mark.parametrize(
    ("name", "overrides", "loop"),
    [
        ("stateless", (), ""),
        ("stateless", ("source.input_shapes.x=[1,9,3]",), "WHILE"),
        ("both_ways", (), ""),
        ("counter", (), ""),
        ("hard_sigmoid", (), ""),
        ("masked", (), ""),
        ("exported", ("freeze.variables=keep",), "WHILE"),
    ],
)
def test_stateless_lstm_becomes_a_file_without_state(convert, models, name, overrides, loop):
    result = done(convert(name, *overrides))
    assert ("WHILE" in ops(result)) is bool(loop)
    assert LSTM not in ops(result)
    np.testing.assert_allclose(*invoked(result, models, name), atol=1e-4)
    assert contract(result)["stateful"] is False
    assert result.tags["tflite_recipes.stateful"] == "false"
    assert not any("fuses its LSTM" in warning for warning in result.warnings)
    assert result.metrics["parity.second_invoke_difference"] == 0.0


def test_lstm_with_more_steps_than_unroll_writes_out_stays_a_loop_with_a_warning(convert, models):
    result = done(convert("long"))
    assert "WHILE" in ops(result)
    np.testing.assert_allclose(*invoked(result, models, "long"), atol=1e-4)
    assert any("512" in warning for warning in result.warnings)


@pytest.mark.parametrize("name", ["stateless", "counter", "both_ways"])
def test_fused_lstm_computes_what_keras_computes_if_it_is_reset(convert, models, name):
    result = done(convert(name, *FUSED))
    assert ops(result)[LSTM] == {"both_ways": 3}.get(name, 1)
    np.testing.assert_allclose(*invoked(result, models, name, reset=True), atol=1e-3)
    stateful = contract(result)
    assert (stateful["stateful"], stateful["reset"]) == (True, "before each invoke")
    assert result.tags["tflite_recipes.stateful"] == "true"


def test_fused_lstm_runs_alike_in_the_code_that_the_target_deploys(convert, models, tmp_path):
    result = done(convert("stateless", *FUSED, "target=cpu", "optimization=full_integer"))
    deploy = result.output_dir / "deploy"
    samples = models / "stateless" / "samples.npz"
    command = [sys.executable, deploy / "predict.py", samples, "--model", result.path, "--output", tmp_path / "y.npz"]
    subprocess.run(command, check=True, timeout=120)
    (outputs,) = np.load(tmp_path / "y.npz").values()
    np.testing.assert_allclose(outputs, np.load(models / "stateless" / "expected.npy"), atol=0.05)
    assert "TfLiteInterpreterResetVariableTensors" in (deploy / "predict.cc").read_text()
    assert "resetVariableTensors" in (deploy / "Predict.kt").read_text()
    assert "TfLiteInterpreterResetVariableTensors" in (deploy / "Predict.swift").read_text()


@pytest.mark.parametrize(("name", "layer"), [("hard_sigmoid", "gated"), ("masked", "behind_mask")])
def test_lstm_that_the_fused_op_does_not_compute_is_refused_by_name(convert, models, name, layer):
    result = convert(name, *FUSED)
    (problem,) = result.problems
    assert result.status == ExitStatus.REQUEST
    assert layer in problem.what
    mended = done(convert(name, *FUSED, *shlex.split(problem.fix)))
    np.testing.assert_allclose(*invoked(mended, models, name), atol=1e-4)


def test_streaming_lstm_keeps_its_state(convert, models):
    result = done(convert("streaming"))
    np.testing.assert_allclose(*invoked(result, models, "streaming"), atol=1e-4)
    assert contract(result)["reset"] == "before each new sequence"
    assert result.tags["tflite_recipes.stateful"] == "true"


def test_recipe_from_before_the_key_keeps_its_fused_lstm_and_warns(convert, tmp_path):
    result = done(convert("stateless", "freeze.lstm=fused", "source.input_shapes.x=[1,9,3]"))
    assert LSTM in ops(result)
    assert contract(result)["reset"] == "before each invoke"
    assert any("freeze.lstm=exact" in warning for warning in result.warnings)
    # A run that does not know of the state refuses the file.
    inputs = (TensorSpec("x", (1, 9, 3), "float32"),)
    state = State(tmp_path, tflite=result.path, signature="serving_default", inputs=inputs)
    repeated_invokes.check(replace(state, resets=True), None, RecordingReporter())
    repeated_invokes.check(replace(state, stateful=True), None, RecordingReporter())
    with pytest.raises(StepError) as caught:
        repeated_invokes.check(state, None, RecordingReporter())
    assert caught.value.problems[0].where == "output dense"
