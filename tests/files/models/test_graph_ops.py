"""Ops of SavedModels that reach beyond tensors: found wherever they are, and none in what is plain."""

from __future__ import annotations

import importlib

import pytest
from support import hostile_saved_models as hostile

from tflite_recipes.core.errors import RequestError
from tflite_recipes.files.models import reaching_ops, trust_problem

pytestmark = pytest.mark.slow


def saved(folder, body, **about):
    import tensorflow as tf

    class Model(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(2.0)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def call(self, x):
            body(tf, x)
            return {"y": x * self.w}

    module = Model()
    for name, make in about.items():
        setattr(module, name, make(tf))
    tf.saved_model.save(module, str(folder), signatures=module.call)
    return folder


def table(tf):
    keys = tf.lookup.KeyValueTensorInitializer(tf.constant(["a"]), tf.constant([1]))
    return tf.lookup.StaticHashTable(keys, -1)


def test_models_with_variables_tables_and_control_flow_are_plain(tmp_path):
    def body(tf, x):
        tf.print(x)
        tf.while_loop(lambda i: i < 3, lambda i: [i + 1], [tf.constant(0)])

    assert reaching_ops(saved(tmp_path / "m", body, table=table)) == ()


@pytest.mark.parametrize(
    ("op", "body"),
    [
        ("WriteFile", lambda tf, x: tf.cond(x[0] > 0, lambda: tf.io.write_file("a", "b"), lambda: tf.no_op())),
        ("ReadFile", lambda tf, x: tf.io.read_file("a")),
        ("EagerPyFunc", lambda tf, x: tf.py_function(lambda v: v, [x], tf.float32)),
        ("PrintV2", lambda tf, x: tf.print(x, output_stream="file:///tmp/a")),
        ("SaveV2", lambda tf, x: tf.raw_ops.SaveV2(prefix="a", tensor_names=["x"], shape_and_slices=[""], tensors=[x])),
    ],
)
def test_ops_are_found_in_functions_and_branches(tmp_path, op, body):
    assert reaching_ops(saved(tmp_path / "m", body)) == (op,)


def test_a_damaged_graph_is_no_plain_one(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x12\xff\xff\xff\x01")
    with pytest.raises(RequestError, match="cannot be read"):
        reaching_ops(tmp_path)


@pytest.mark.parametrize("make", [hostile.table_of_asset, hostile.table_of_asset_in_tensorflow_1])
def test_a_table_that_is_read_from_an_asset_is_plain(tmp_path, make):
    assert reaching_ops(make(tmp_path / "m", tmp_path)) == ()


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
def test_a_lookup_layer_with_a_file_of_words_is_plain(tmp_path, package):
    """TensorFlow keeps the path of its asset in a variable of text."""
    keras = importlib.import_module(package)
    (tmp_path / "words.txt").write_text("a\nb\n")
    lookup = keras.layers.StringLookup(vocabulary=str(tmp_path / "words.txt"))
    model = keras.Sequential([keras.Input((1,), dtype="string"), lookup, keras.layers.Embedding(4, 2)])
    model.export(str(tmp_path / "m"))
    assert reaching_ops(tmp_path / "m") == ()


@pytest.mark.parametrize("name", hostile.KINDS)
def test_what_a_graph_does_while_it_is_loaded_needs_trust(tmp_path, name):
    folder = hostile.KINDS[name](tmp_path / "m", tmp_path)
    problem = trust_problem(folder)
    assert problem is not None
    assert (problem.where, problem.fix) == ("source.trust", "source.trust=true")


def test_a_graph_in_chunks_beside_a_plain_one_needs_trust(tmp_path):
    folder = saved(tmp_path / "m", lambda tf, x: None)
    assert trust_problem(folder) is None
    (folder / "saved_model.cpb").touch()
    assert trust_problem(folder) is not None
