"""Magnitude pruning: real zeros in the file, and what they cost."""

import numpy as np
import pytest
from support import keras_models

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus
from tflite_recipes.files import tflite
from tflite_recipes.steps.pruning import PolynomialDecayPruning

pytestmark = pytest.mark.slow


def zeros(result, least=256):
    """Share of zeros of each weight tensor with at least `least` elements."""
    file = tflite.read_tflite(result.path)
    arrays = [tflite.constant_array(file, tensor) for tensor in tflite.weight_tensors(file)]
    return [float((array == 0).mean()) for array in arrays if array.size >= least]


@pytest.mark.parametrize("option", ["constant", "polynomial_decay"])
def test_digits_keep_their_accuracy_with_half_of_the_weights(here, option):
    overrides = [f"pruning={option}", "pruning.data=digits", "pruning.final_sparsity=0.6", "tracking=none"]
    result = api.run("digits_integer_only", overrides, progress=False)
    assert result.status == ExitStatus.DONE, result.problems
    assert result.metrics["pruning.sparsity"] == pytest.approx(0.6, abs=0.005)
    assert min(zeros(result)) > 0.59
    assert result.metrics["sparsity.overall"] == pytest.approx(0.6, abs=0.005)
    assert result.metrics["pruning.accuracy_before"] > 0.95
    assert result.metrics["pruning.accuracy_after"] > 0.93
    assert result.metrics["accuracy.tflite"] > 0.93
    plain = api.run("digits_integer_only", ["tracking=none"], progress=False)
    assert result.metrics["size.gzip_bytes"] < 0.8 * plain.metrics["size.gzip_bytes"]


def test_a_users_model_on_a_users_data_by_layer(here):
    keras_models.write("dense", here)
    rng = np.random.default_rng(0)
    np.savez("data.npz", x=rng.standard_normal((200, 8)).astype("float32"), labels=rng.integers(0, 3, 200))
    overrides = ["source=keras", "source.path=model.keras", "pruning=constant", "pruning.data=data.npz"]
    overrides += ["pruning.layers=[hidden]", "pruning.final_sparsity=0.75", "tracking=none"]
    result = api.run("convert", overrides, progress=False)
    assert result.status == ExitStatus.DONE, result.problems
    assert zeros(result) == [0.75]  # the classes layer is smaller than the 256 asked for
    assert min(zeros(result, 1)) < 0.05


def test_without_data_only_the_weights_are_pruned(here):
    keras_models.write("dense", here)
    overrides = ["source=keras", "source.path=model.keras", "pruning=constant", "pruning.epochs=0", "tracking=none"]
    result = api.run("convert", overrides, progress=False)
    assert result.status == ExitStatus.DONE, result.problems
    assert min(zeros(result, 1)) >= 0.5


def test_a_pattern_that_matches_nothing_is_an_error(here):
    keras_models.write("dense", here)
    overrides = ["source=keras", "source.path=model.keras", "pruning=constant", "pruning.epochs=0", "tracking=none"]
    result = api.run("convert", [*overrides, "pruning.layers=[hiden]"], progress=False)
    assert result.status == ExitStatus.REQUEST
    assert "hidden" in result.problems[0].what


@pytest.mark.parametrize("bad", [7, float("nan")])
def test_labels_that_do_not_suit_are_named(here, bad):
    keras_models.write("dense", here)
    labels = np.array([0, 1, bad, 2] * 10, "float32")
    np.savez("data.npz", x=np.zeros((40, 8), "float32"), labels=labels)
    overrides = [
        "source=keras",
        "source.path=model.keras",
        "pruning=constant",
        "pruning.data=data.npz",
        "tracking=none",
    ]
    result = api.run("convert", overrides, progress=False)
    assert result.status == ExitStatus.REQUEST
    assert "data.npz: label" in result.problems[0].what
    assert "sample 2" in result.problems[0].what


def test_a_schedule_that_outlasts_the_fine_tune_is_reported(here):
    keras_models.write("dense", here)
    rng = np.random.default_rng(0)
    np.savez("data.npz", x=rng.standard_normal((100, 8)).astype("float32"), labels=rng.integers(0, 3, 100))
    overrides = ["source=keras", "source.path=model.keras", "pruning=polynomial_decay", "pruning.data=data.npz"]
    late = api.run("convert", [*overrides, "pruning.begin_step=500", "tracking=none"], progress=False)
    assert any("ends before the schedule" in warning for warning in late.warnings)
    fine = api.run("convert", [*overrides, "pruning.frequency=1", "pruning.epochs=4", "tracking=none"], progress=False)
    assert not fine.warnings


def test_a_keras_2_model_is_refused(here):
    keras_models.write("keras2", here)
    overrides = ["source=keras", "source.path=model.h5", "pruning=constant", "pruning.epochs=0", "tracking=none"]
    result = api.run("convert", overrides, progress=False)
    assert result.status == ExitStatus.REQUEST
    assert "Keras 2" in result.problems[0].what


def test_the_schedule():
    from tflite_recipes.config import composition

    recipe = composition.compose(
        "digits_pruned", ["pruning.final_sparsity=0.8", "pruning.begin_step=10", "pruning.end_step=110"]
    )
    (pruning,) = (spec.instance for spec in recipe.steps if spec.name == "pruning")
    assert isinstance(pruning, PolynomialDecayPruning)
    wanted = {0: 0.0, 9: 0.0, 10: 0.0, 60: 0.8 * (1 - 0.5**3), 110: 0.8, 500: 0.8}
    assert {step: pruning.sparsity_at(step, 1000) for step in wanted} == pytest.approx(wanted)
