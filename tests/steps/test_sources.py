"""Every kind of source, its names and shapes into the file, and what is refused."""

import numpy as np
import pytest
from support import keras_models

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus, RequestError
from tflite_recipes.files import tflite

pytestmark = pytest.mark.slow


def convert(*overrides, recipe="convert"):
    return api.run(recipe, [*overrides, "tracking=none"], progress=False)


def ports(result):
    """Input and output names with shapes, from the file's only signature."""
    assert result.status == ExitStatus.DONE, result.problems
    file = tflite.read_tflite(result.path)
    (signature,) = file.signatures
    tensors = file.subgraphs[signature.subgraph].tensors
    return tuple({name: tensors[index].shape for name, index in side} for side in (signature.inputs, signature.outputs))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Writes each model once, when a test first asks for it."""
    root = tmp_path_factory.mktemp("models")

    def get(name):
        folder = root / name
        if not folder.exists():
            folder.mkdir()
            keras_models.write(name, folder)
        return folder

    return get


def test_inputs_and_outputs_are_bound_by_name(here, models):
    rng = np.random.default_rng(0)
    arrays = {"zeta": rng.random((40, 4)).astype("float32"), "alpha": 100 * rng.random((40, 4)).astype("float32")}
    np.savez("samples.npz", **arrays)
    path = models("two_inputs") / "model.keras"
    result = convert(
        "source=keras",
        f"source.path={path}",
        "optimization=integer_only",
        "calibration=npz",
        "calibration.path=samples.npz",
    )
    inputs, outputs = ports(result)
    assert inputs == {"zeta": (None, 4), "alpha": (None, 4)}
    assert outputs == {"score": (None, 1), "label": (None, 3)}
    assert result.metrics["parity.cosine"] > 0.999


def test_keras_2_file_is_loaded_with_tf_keras_and_said_so(here, models):
    result = convert("source=keras", f"source.path={models('keras2') / 'model.h5'}")
    assert ports(result) == ({"image": (None, 16, 16, 3)}, {"out": (None, 4)})
    assert result.tags["tflite_recipes.loader"].startswith("tf_keras 2.")
    assert any("written by Keras 2" in warning for warning in result.warnings)


def test_code_in_a_model_runs_only_when_trusted(here, models):
    path = models("lambda_layer") / "model.keras"
    with pytest.raises(RequestError) as refused:
        convert("source=keras", f"source.path={path}")
    (problem,) = refused.value.problems
    assert "doubled" in problem.what
    assert problem.fix == "source.trust=true"
    trusted = convert("source=keras", f"source.path={path}", "source.trust=true")
    assert trusted.status == ExitStatus.DONE


def test_custom_layer_needs_its_class(here, models):
    folder = models("custom_layer")
    with pytest.raises(RequestError) as missing:
        convert("source=keras", f"source.path={folder / 'model.keras'}")
    (problem,) = missing.value.problems
    assert problem.where == "source.custom_objects"
    assert f"{folder / 'layers.py'}:Scale" in problem.fix
    given = convert(
        "source=keras", f"source.path={folder / 'model.keras'}", f"source.custom_objects=[{folder / 'layers.py'}:Scale]"
    )
    assert ports(given)[1] == {"out": (None, 2)}


def test_saved_model_by_signature(here, models):
    path = models("two_signatures") / "saved_model"
    with pytest.raises(RequestError) as refused:
        convert("source=saved_model", f"source.path={path}")
    text = str(refused.value)
    assert "embed" in text
    assert "classify" in text
    result = convert("source=saved_model", f"source.path={path}", "source.signature=embed")
    assert ports(result) == ({"x": (None, 8)}, {"embedding": (None, 4)})
    assert tflite.read_tflite(result.path).signatures[0].key == "embed"


def test_a_table_stays_in_an_unfrozen_saved_model(here, models):
    result = convert("source=saved_model", f"source.path={models('lookup_table') / 'saved_model'}")
    assert result.tags["tflite_recipes.frozen"] == "false"
    assert any("lookup tables" in warning for warning in result.warnings)
    assert ports(result)[0] == {"ids": (None,)}
    assert result.metrics["parity.max_abs_error"] == 0.0


def test_an_lstm_of_keras_2_is_fused_only_if_that_is_asked(here, models):
    path = models("keras2_lstm") / "model.h5"
    plain = convert("source=keras", f"source.path={path}")
    before = convert("source=keras", f"source.path={path}", "freeze.lstm=fused")
    counts = [tflite.op_counts(tflite.read_tflite(result.path)) for result in (plain, before)]
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" not in counts[0]
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in counts[1]
    assert before.metrics["size.tflite_bytes"] < plain.metrics["size.tflite_bytes"]
    assert min(result.metrics["parity.cosine"] for result in (plain, before)) > 0.999


def test_keras_application_and_input_shapes(here):
    overrides = [
        "source=keras_application",
        "source.name=MobileNetV2",
        "source.arguments={input_shape:[96,96,3],alpha:0.35,classes:10}",
    ]
    first = convert(*overrides, "source.input_shapes={input_layer:[2,96,96,3]}")
    assert ports(first) == ({"input_layer": (2, 96, 96, 3)}, {"predictions": (2, 10)})
    again = convert(*overrides, "source.input_shapes={input_layer:[2,96,96,3]}")
    assert again.tags["tflite_recipes.tflite_sha256"] == first.tags["tflite_recipes.tflite_sha256"]
    other = convert(*overrides, "source.input_shapes={input_layer:[2,96,96,3]}", "source.seed=1")
    assert other.tags["tflite_recipes.tflite_sha256"] != first.tags["tflite_recipes.tflite_sha256"]


def test_an_unknown_input_name_is_refused_with_the_models_own(here):
    wrong = convert(
        "source=keras_application",
        "source.arguments={input_shape:[32,32,3],weights:null}",
        "source.input_shapes={picture:[1,32,32,3]}",
    )
    assert wrong.status == ExitStatus.REQUEST
    assert wrong.problems[0].where == "source.arguments.weights"
    assert wrong.problems[0].alternatives == ("source.weights=null, and source.arguments without weights",)
    named = convert(
        "source=keras_application",
        "source.arguments={input_shape:[32,32,3]}",
        "source.input_shapes={picture:[1,32,32,3]}",
    )
    assert "input_layer (?, 32, 32, 3) float32" in named.problems[0].what


FACTORIES = """
import numpy as np


def keras_model(units):
    import keras
    i = keras.Input((4,), name="x")
    return keras.Model(i, keras.layers.Dense(units, name="y")(i))


def module():
    import tensorflow as tf

    class Scale(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(np.full((4, 2), 0.5, "float32"))

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
        def run(self, x):
            return {"y": x @ self.w}

    return Scale()


def concrete():
    owner = module()
    function = owner.run.get_concrete_function()
    function.owner = owner  # a function does not keep its module alive
    return function


def frozen():
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        tf.identity(x @ tf.constant(np.full((4, 2), 0.5, "float32")), name="end")
    whole = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph.as_graph_def(), name=""), [])
    return whole.prune("x:0", {"y": "end:0"})


def nothing():
    return 42
"""


@pytest.mark.parametrize(
    ("function", "more"),
    [("keras_model", ["source.arguments.units=2"]), ("module", []), ("concrete", []), ("frozen", [])],
)
def test_factories(here, function, more):
    (here / "make.py").write_text(FACTORIES)
    result = convert("source=factory", f"source.function=make.py:{function}", *more)
    assert ports(result) == ({"x": (None, 4)}, {"y": (None, 2)})
    assert result.metrics["parity.cosine"] == pytest.approx(1.0)
    assert result.metrics["size.float_bytes"] == 4 * {"keras_model": 10}.get(function, 8)


def test_a_factory_in_a_module_of_the_working_folder(here):
    (here / "my_models.py").write_text(FACTORIES)
    assert ports(convert("source=factory", "source.function=my_models:module"))[1] == {"y": (None, 2)}


def test_a_factory_that_gives_nothing_usable(here):
    (here / "make.py").write_text(FACTORIES)
    result = convert("source=factory", "source.function=make.py:nothing")
    assert result.status == ExitStatus.REQUEST
    assert "int" in result.problems[0].what
    assert result.problems[0].where == "source.function"


def test_fixed_batch_calibrates_and_evaluates_in_whole_batches(here):
    np.savez(
        "samples.npz",
        image=np.random.default_rng(0).random((10, 8, 8, 1)).astype("float32"),
        labels=np.zeros(10, "int64"),
    )
    result = convert(
        "source.epochs=1",
        "source.input_shapes={image:[4,8,8,1]}",
        "calibration=npz",
        "calibration.path=samples.npz",
        "evaluation=npz",
        "evaluation.path=samples.npz",
        recipe="digits_integer_only",
    )
    assert ports(result)[0] == {"image": (4, 8, 8, 1)}
    assert 0.0 <= result.metrics["accuracy.tflite"] <= 1.0


@pytest.mark.parametrize(("name", "file"), [("hub_layer", "model.keras"), ("feature_columns", "model.h5")])
def test_class_that_keras_finds_by_itself_needs_trust_which_is_the_only_fix(models, monkeypatch, name, file):
    monkeypatch.chdir(models(name))
    with pytest.raises(RequestError) as refused:
        convert("source=keras", f"source.path={file}")
    (problem,) = refused.value.problems
    assert (problem.where, problem.fix) == ("source.trust", "source.trust=true")
    result = convert("source=keras", f"source.path={file}", problem.fix)
    assert result.status == ExitStatus.DONE, result.problems
    assert result.metrics["parity.max_abs_error"] < 1e-5
