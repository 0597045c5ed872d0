"""Models that tensorflow-model-optimization wrapped: trained quantization-aware, pruned, clustered, annotated."""

import importlib.util
import json

import h5py
import pytest
from support.tf_scripts import run_code

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus
from tflite_recipes.files import models as model_files
from tflite_recipes.files import tflite
from tflite_recipes.steps.source import KerasSource, Source

WRITE = """
import os
import tensorflow as tf, tf_keras, numpy as np, tensorflow_model_optimization as tfmot
layers, q = tf_keras.layers, tfmot.quantization.keras
tf_keras.utils.set_random_seed(15)  # one of the few where a value lies between two steps of the trained output range
model = tf_keras.Sequential([tf_keras.Input((8, 8, 3), name="image"), layers.Conv2D(8, 3), layers.BatchNormalization(),
    layers.ReLU(), layers.Flatten(), layers.Dense(4)])
x, y = np.random.rand(32, 8, 8, 3), np.random.rand(32, 4)
qat = q.quantize_model(model); qat.compile("adam", "mse"); qat.fit(x, y, verbose=0)
qat.save("qat.h5"); qat.save("qat.keras")
copy = lambda f=lambda layer: layer.__class__.from_config(layer.get_config()): tf_keras.models.clone_model(
    model, clone_function=f)
q.quantize_apply(copy(lambda l: q.quantize_annotate_layer(l) if isinstance(l, layers.Dense) else l)).save("partly.h5")
q.quantize_annotate_model(copy()).save("annotated.h5")
s = tfmot.sparsity.keras
pruned = s.prune_low_magnitude(model, pruning_schedule=s.ConstantSparsity(0.5, 0, frequency=1))
pruned.compile("adam", "mse")
pruned.fit(x, y, verbose=0, callbacks=[s.UpdatePruningStep()]); pruned.save("pruned.h5")
c = tfmot.clustering.keras
c.cluster_weights(copy(), 4, c.CentroidInitialization.LINEAR).save("clustered.h5")
"""


def config(*kinds):
    layers = [{"class_name": kind, "config": {"name": kind}} for kind in kinds]
    return {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}


def write(path, *kinds):
    with h5py.File(path, "w") as file:
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(config(*kinds)), "2.15.0"
    return path


@pytest.mark.parametrize(
    ("kinds", "wrappers", "ranges"),
    [
        (("InputLayer", "QuantizeLayer", "QuantizeWrapperV2"), ("QuantizeLayer", "QuantizeWrapperV2"), True),
        (("InputLayer", "QuantizeLayer", "QuantizeWrapper"), ("QuantizeLayer", "QuantizeWrapper"), True),
        (("InputLayer", "Dense", "QuantizeWrapperV2"), ("QuantizeWrapperV2",), False),
        (("InputLayer", "QuantizeAnnotate"), ("QuantizeAnnotate",), False),
        (("InputLayer", "PruneLowMagnitude"), ("PruneLowMagnitude",), False),
        (("InputLayer", "Dense"), (), False),
    ],
)
def test_wrappers_are_seen_in_the_file(here, kinds, wrappers, ranges):
    file = model_files.read_keras_file(write(here / "m.h5", *kinds))
    assert (file.wrappers, file.ranges) == (wrappers, ranges)
    assert KerasSource("m.h5", [], False, {}).carries_ranges() is ranges


def test_a_source_carries_no_ranges_unless_it_says_so(here):
    assert Source().carries_ranges() is False
    assert KerasSource("nowhere.h5", [], False, {}).carries_ranges() is False


def test_without_the_extra_check_says_how_to_install_it(here, monkeypatch):
    write(here / "m.h5", "InputLayer", "QuantizeWrapperV2")
    found = importlib.util.find_spec
    missing = "tensorflow_model_optimization"
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == missing else found(name, *rest)
    )
    (problem,) = api.check("convert", ["source=keras", "source.path=m.h5"])
    assert "QuantizeWrapperV2" in problem.what
    assert problem.alternatives == ("pip install 'tflite_recipes[qat]'",)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    if importlib.util.find_spec("tensorflow_model_optimization") is None:
        pytest.skip("the extra qat is not installed")
    folder = tmp_path_factory.mktemp("tfmot")
    run_code(WRITE, cwd=folder)
    return folder


def convert(path, *overrides):
    return api.run("convert", ["source=keras", f"source.path={path}", "tracking=none", *overrides], progress=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said"),
    [("qat", ""), ("partly", ""), ("annotated", "never made"), ("pruned", "taken off"), ("clustered", "taken off")],
)
def test_each_is_loaded_and_converted(here, models, name, said):
    calibrated = ["optimization=integer_only", "calibration=random"] * (name in ("qat", "partly"))
    result = convert(models / f"{name}.h5", *calibrated)
    assert result.status == ExitStatus.DONE, result.problems
    assert result.metrics["parity.cosine"] > 0.99
    assert any(said in warning for warning in result.warnings)
    (signature,) = tflite.read_tflite(result.path).signatures
    assert [input_name for input_name, _ in signature.inputs] == ["image"]
    if name == "pruned":
        assert result.metrics["sparsity.overall"] > 0.4


@pytest.mark.slow
def test_a_keras_archive_of_one_is_refused_with_the_way_out(here, models):
    result = convert(models / "qat.keras")
    assert result.status == ExitStatus.FAILED
    assert ".h5" in result.problems[0].alternatives[0]


@pytest.mark.slow
def test_keras_3_goes_on_in_the_same_worker(here, models):
    assert convert(models / "pruned.h5").status == ExitStatus.DONE
    (here / "make.py").write_text(
        "import os\nimport tensorflow as tf\n\n\ndef build():\n"
        "    assert tf.keras.version().startswith('3.')\n    assert 'TF_USE_LEGACY_KERAS' not in os.environ\n"
        "    i = tf.keras.Input((4,), name='x')\n    return tf.keras.Model(i, tf.keras.layers.Dense(2)(i))\n"
    )
    result = api.run("convert", ["source=factory", "source.function=make.py:build", "tracking=none"], progress=False)
    assert result.status == ExitStatus.DONE, result.problems
