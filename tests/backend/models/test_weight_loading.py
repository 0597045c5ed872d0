"""Weights files and the function that builds their model."""

import shlex

import h5py
import numpy as np
import pytest
from support.checkout import first_way
from support.tf_scripts import run_code

from tflite_recipes import api
from tflite_recipes.config import composition
from tflite_recipes.core.errors import ExitStatus, RequestError
from tflite_recipes.files import models
from tflite_recipes.files.models import WeightsKind

BUILD = """
def build(library="keras", units=3):
    import importlib

    keras = importlib.import_module(library)
    layers = keras.layers
    return keras.Sequential([keras.Input((4,), name="x"), layers.Dense(5), layers.Dense(units, name="y")])


def module():
    import tensorflow as tf

    class M(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1, 4], name="x")])
        def run(self, x):
            return {"y": x + 1.0}

    return M()
"""
WRITE = """
import make, numpy as np, json
two, three = make.build("tf_keras"), make.build()
rng = np.random.default_rng(0)
two.set_weights([rng.random(w.shape) for w in two.get_weights()]); three.set_weights(two.get_weights())
two.save_weights("two.weights.h5"); two.save_weights("two.h5"); two.save_weights("ckpt/two"); two.save("two_model.h5")
two.save("two.keras")
three.save_weights("three.weights.h5"); three.save("three.keras"); three.save("three_model.h5")
import os; os.rename("two.h5", "old.weights.h5")
np.save("expected.npy", three(np.ones((1, 4), "float32")))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    (folder / "make.py").write_text(BUILD)
    run_code(WRITE, cwd=folder)
    return folder


def by_factory(weights, *more, function="make.py:build"):
    overrides = ["source=factory", f"source.function={function}", f"source.weights={weights}", "tracking=none", *more]
    return api.run("convert", overrides, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "library"),
    [
        ("three.weights.h5", "keras"),
        ("three.keras", "keras"),
        ("three_model.h5", "keras"),
        ("old.weights.h5", "keras"),  # another kind than its name says
        ("two_model.h5", "keras"),
        ("two.weights.h5", "tf_keras"),
        ("old.weights.h5", "tf_keras"),
        ("two_model.h5", "tf_keras"),
        ("two.keras", "tf_keras"),
        ("ckpt/two", "tf_keras"),
        ("ckpt/two.index", "tf_keras"),
    ],
)
def test_every_kind_of_weights(files, monkeypatch, weights, library):
    monkeypatch.chdir(files)
    result = by_factory(weights, f"source.arguments.library={library}")
    assert result.status == ExitStatus.DONE, result.problems
    assert result.warnings == ()
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(result.path)).get_signature_runner()
    np.testing.assert_allclose(run(x=np.ones((1, 4), "float32"))["y"], np.load("expected.npy"), rtol=1e-5)


@pytest.mark.slow
def test_weights_that_do_not_fit_and_models_that_take_none(files, monkeypatch):
    monkeypatch.chdir(files)
    for weights in ("three.weights.h5", "old.weights.h5"):
        other = by_factory(weights, "source.arguments.units=7")
        assert (other.status, other.problems[0].where) == (ExitStatus.REQUEST, "source.weights")
        assert "does not fit" in other.problems[0].what
        assert "(5, 7)" in other.problems[0].what or "(5, 3)" in other.problems[0].what
    module = by_factory("three.weights.h5", function="make.py:module")
    assert (module.status, module.problems[0].fix) == (ExitStatus.REQUEST, "source.weights=null")
    assert "gave M" in module.problems[0].what
    checkpoint = by_factory("ckpt/two")
    assert "Keras 3" in checkpoint.problems[0].what


@pytest.mark.slow
def test_the_file_is_part_of_the_sources_digest(files, monkeypatch):
    monkeypatch.chdir(files)
    digests = {by_factory(name).tags["tflite_recipes.source_sha256"] for name in ("three.keras", "three.weights.h5")}
    assert len(digests) == 2


@pytest.mark.slow
def test_the_refusal_of_weights_alone_can_be_pasted(here):
    (here / "my_model.py").write_text(BUILD)
    with h5py.File(here / "w.weights.h5", "w") as file:
        file.create_group("layers")
    overrides = ["source=keras", "source.path=w.weights.h5"]
    (problem,) = api.check("convert", overrides)
    recipe = composition.compose("convert", [*overrides, *shlex.split(first_way(problem))])
    assert recipe.config["source"]["weights"] == "w.weights.h5"


def test_kinds_go_by_content(here):
    with h5py.File(here / "a.weights.h5", "w") as file:
        file.attrs["layer_names"] = ["dense"]
    with h5py.File(here / "b.h5", "w") as file:
        file.create_group("layers")
    (here / "c.index").write_bytes(b"")
    (here / "d.npz").write_bytes(b"nothing")
    kinds = [models.weights_kind(here / name) for name in ("a.weights.h5", "b.h5", "c", "c.index", "d.npz")]
    assert kinds == [WeightsKind.LAYERS, WeightsKind.VARIABLES, WeightsKind.CHECKPOINT, WeightsKind.CHECKPOINT, None]


@pytest.mark.parametrize(
    ("weights", "fix"), [("d.weights.h5", "source.weights=dd.weights.h5"), ("zzz", ""), ("e.txt", "")]
)
def test_no_weights_there(here, weights, fix):
    (here / "make.py").write_text(BUILD)
    (here / "dd.weights.h5").write_bytes(b"")
    (here / "e.txt").write_text("nothing")
    with pytest.raises(RequestError) as caught:
        composition.compose("convert", ["source=factory", "source.function=make.py:build", f"source.weights={weights}"])
    (problem,) = caught.value.problems
    assert (problem.where, problem.fix) == ("source.weights", fix)
