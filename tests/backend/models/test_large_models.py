"""The variables of a large model stay variables: its graph holds no copy of them, and later steps hold none either."""

import tracemalloc

import pytest
from support.reporters import RecordingReporter

from tflite_recipes.conversion.schemes import IOType, Scheme
from tflite_recipes.core.state import Intent, State
from tflite_recipes.steps import optimization
from tflite_recipes.steps.freeze import Freeze, Lstm, Variables

pytestmark = pytest.mark.slow

_WEIGHTS = 4 * 20_000 * 128
FLOAT = optimization.Optimization(Scheme.none, IOType.float32, IOType.float32, True)


@pytest.fixture(scope="module")
def tf():
    import tensorflow

    return tensorflow


def keras_3(tf, folder):
    import keras

    return of_keras(keras)


def keras_2(tf, folder):
    import tf_keras

    return of_keras(tf_keras, 2)


def of_keras(library, generation=3):
    from tflite_recipes.backend.models import source_model

    ids = library.Input((8,), dtype="int32", name="ids")
    pooled = library.layers.GlobalAveragePooling1D()(library.layers.Embedding(20_000, 128)(ids))
    model = library.Model(ids, library.layers.Dense(3, name="scores")(pooled))
    return source_model.of_keras(model, {}, generation)


def saved_model(tf, folder):
    from tflite_recipes.backend.models import source_model

    keras_3(tf, folder).owner.export(str(folder / "exported"), verbose=False)
    return source_model.load_saved_model(folder / "exported", "serving_default", {})


def module(tf, folder):
    from tflite_recipes.backend.models import source_model

    model = tf.Module()
    model.table = tf.Variable(tf.random.stateless_uniform([20_000, 128], [1, 2]))
    specs = [tf.TensorSpec([None, 8], tf.int32, name="ids")]
    model.run = tf.function(lambda ids: tf.reduce_mean(tf.gather(model.table, ids), 1), input_signature=specs)
    return source_model.of_function(model.run.get_concrete_function(), "serving_default", model, {})


def without_owner(tf, folder):
    from dataclasses import replace

    found = module(tf, folder)
    return replace(found, owner=(found.owner,))


def frozen(model, folder, constants_mb):
    from tflite_recipes.backend.models import source_model

    reporter = RecordingReporter()
    state = source_model.enter(State(folder, Intent(constants_mb=constants_mb)), model, "")
    return Freeze(Variables.auto, Lstm.exact, constants_mb)(state, reporter), reporter


def graph_bytes(state):
    return (state.saved_model / "saved_model.pb").stat().st_size


@pytest.mark.parametrize("kind", [keras_3, keras_2, saved_model, module])
def test_graph_of_a_large_model_holds_no_weights(tf, tmp_path, kind):
    state, reporter = frozen(kind(tf, tmp_path), tmp_path, 1.0)
    assert graph_bytes(state) < _WEIGHTS / 20
    assert reporter.tags["tflite_recipes.frozen"] == "false"
    assert reporter.warnings == []


@pytest.mark.parametrize(("kind", "constants_mb"), [(keras_3, None), (keras_3, 64.0), (without_owner, 1.0)])
def test_graph_of_another_model_holds_its_weights(tf, tmp_path, kind, constants_mb):
    state, reporter = frozen(kind(tf, tmp_path), tmp_path, constants_mb)
    assert graph_bytes(state) > _WEIGHTS
    assert reporter.tags["tflite_recipes.frozen"] == "true"


def test_files_of_a_large_model_are_right_and_hold_no_copy_in_memory(tf, tmp_path, monkeypatch):
    from tflite_recipes.backend.running import model_runs, runtime

    state, _ = frozen(keras_3(tf, tmp_path), tmp_path, 1.0)
    held = []
    verify = optimization._verify

    def measured(*given):
        held.append(tracemalloc.get_traced_memory()[0])
        return verify(*given)

    monkeypatch.setattr(optimization, "_verify", measured)
    tracemalloc.start()
    try:
        done = FLOAT(state, RecordingReporter())
    finally:
        tracemalloc.stop()
    assert len(held) == 1
    assert held[0] < _WEIGHTS / 2
    ids = {"ids": tf.random.stateless_uniform([4, 8], [3, 4], maxval=20_000, dtype=tf.int32).numpy()}
    source = model_runs.run(state.saved_model, state.signature, ids, RecordingReporter())
    file = runtime.run(done.tflite, done.signature, ids, lambda *_: None)
    assert abs(source["scores"] - file["scores"]).max() < 1e-6
