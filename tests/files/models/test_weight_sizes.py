"""A model too large for a `.tflite` is refused by the shapes in its file; the files here are small."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import zipfile

import h5py
import pytest
from support.tf_scripts import run_code

from tflite_recipes.config import composition
from tflite_recipes.core.errors import RequestError
from tflite_recipes.files import models
from tflite_recipes.files.models import weights

MODEL = {
    "class_name": "Sequential",
    "config": {
        "name": "s",
        "layers": [{"class_name": "InputLayer", "config": {"batch_shape": [None, 8], "dtype": "float32", "name": "x"}}],
    },
}


def hdf5(path, **datasets):
    """Datasets by `group__name`, each a number of float32 values that are never written."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(MODEL), "3.15.0"
        for name, values in datasets.items():
            file.create_dataset(name.replace("__", "/"), shape=(values,), dtype="f4", chunks=(min(values, 2**20),))
    assert path.stat().st_size < 100_000
    return path


def keras_zip(path, weights_file, compression=zipfile.ZIP_STORED, **config):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.0"}))
        archive.writestr("config.json", json.dumps({**MODEL, **config}))
        archive.write(weights_file, "model.weights.h5")
    return path


def refused(*overrides):
    with pytest.raises(RequestError) as caught:
        composition.compose("convert", overrides)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(("values", "fits"), [(2**29 - 1, True), (2**29, False), (2**31, False)])
def test_h5_by_its_model_weights_alone(here, values, fits):
    path = hdf5(here / "m.h5", model_weights__dense__kernel=values, optimizer_weights__adam=2**32)
    assert weights.keras_weight_bytes(path) == 4 * values
    if fits:
        assert composition.compose("convert", ["source=keras", "source.path=m.h5"])
        return
    problem = refused("source=keras", "source.path=m.h5")
    assert f"{4 * values / 1e9:.2f} GB" in problem.what
    assert "2^31" in problem.what
    assert (problem.where, problem.fix) == ("source.path", "")
    assert any("split" in way for way in problem.alternatives)


def test_keras_zip_without_unpacking_it(here):
    inner = hdf5(here / "w.h5", layers__dense__vars__0=2**29, optimizer__vars__1=2**32)
    path = keras_zip(here / "m.keras", inner)
    started = time.monotonic()
    assert weights.keras_weight_bytes(path) == 2**31
    assert "2.15 GB" in refused("source=keras", "source.path=m.keras").what
    assert time.monotonic() - started < 2


def test_a_packed_member_counts_where_no_optimizer_can_be_in_it(here):
    inner = hdf5(here / "w.h5", layers__dense__vars__0=100)
    size = inner.stat().st_size
    assert weights.keras_weight_bytes(keras_zip(here / "a.keras", inner, zipfile.ZIP_DEFLATED)) == size
    compiled = keras_zip(here / "b.keras", inner, zipfile.ZIP_DEFLATED, compile_config={"optimizer": "adam"})
    assert weights.keras_weight_bytes(compiled) is None


def test_what_cannot_be_read_is_not_known(here):
    (here / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200))
    assert weights.keras_weight_bytes(here / "m.h5") is None
    assert weights.saved_model_weight_bytes(here / "nowhere") is None


@pytest.mark.slow
def test_the_parents_refusal_does_not_load_tensorflow(here):
    hdf5(here / "m.h5", model_weights__dense__kernel=2**30)
    program = (
        "import sys; from tflite_recipes import check; found = check('convert', ['source=keras', 'source.path=m.h5']); "
        "assert len(found) == 1, found; assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


MANY = """
import tensorflow as tf, tf_keras, keras, numpy as np
two = tf_keras.Sequential([tf_keras.Input((8,)), tf_keras.layers.Dense(100)])
x, y = np.zeros((4, 8)), np.zeros((4, 100))
for name, optimizer in (("two", "adam"), ("two_legacy", tf_keras.optimizers.legacy.Adam())):
    two.compile(optimizer, "mse"); two.fit(x, y, verbose=0); two.save(name, save_format="tf")
three = keras.Sequential([keras.Input((8,)), keras.layers.Dense(100)])
three.compile("adam", "mse"); three.fit(x, y, verbose=0)
three.export("three", verbose=False); tf.saved_model.save(three, "three_saved")
v1 = tf.compat.v1
with tf.Graph().as_default(), v1.Session() as session:
    x = v1.placeholder(tf.float32, [None, 8], name="x"); y = tf.matmul(x, v1.get_variable("w", [9, 100])[:8])
    v1.train.AdamOptimizer().minimize(tf.reduce_mean(y)); session.run(v1.global_variables_initializer())
    v1.saved_model.simple_save(session, "one", {"x": x}, {"y": y})
"""


@pytest.mark.slow
def test_saved_models_variables_without_any_optimizers(here, monkeypatch):
    run_code(MANY)
    for name in ("two", "two_legacy", "three", "three_saved", "one"):
        graph = (here / name / "saved_model.pb").stat().st_size
        size = weights.saved_model_weight_bytes(here / name)
        assert 3600 <= size - graph < 3700, name
    monkeypatch.setattr(weights, "LIMIT", 10_000)
    assert "GB of weights" in refused("source=saved_model", "source.path=one").what
    assert models.saved_model_weight_bytes(here / "one") > 10_000


@pytest.mark.slow
def test_a_factorys_model_is_refused_once_it_is_built(here):
    from tflite_recipes import api

    (here / "make.py").write_text(
        "import tensorflow as tf\n\n\nclass M(tf.Module):\n    def __init__(self):\n"
        "        self.v = tf.Variable(tf.zeros([2**29], tf.float32))\n\n"
        "    @tf.function(input_signature=[tf.TensorSpec([1], name='x')])\n"
        "    def run(self, x):\n        return {'y': x + self.v[0]}\n"
    )
    result = api.run("convert", ["source=factory", "source.function=make.py:M", "tracking=none"], progress=False)
    assert result.status == 2
    assert "2.15 GB" in result.problems[0].what
