"""SavedModels that do more than calculate while they are loaded. Each touches `folder/canary` or reads another file."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def _module(tf: Any) -> Any:
    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
        def call(self, x):
            return {"y": x * 2.0}

    return Model()


def _tf1(path: Path, make_main_op: Any) -> Path:
    import tensorflow as tf

    tf1, graph = tf.compat.v1, tf.Graph()
    with graph.as_default(), tf1.Session(graph=graph) as session:
        x = tf1.placeholder(tf.float32, [None, 4], "x")
        y = x * 2.0
        main_op = make_main_op(tf)
        builder = tf1.saved_model.Builder(str(path))
        signature = tf1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, main_op=main_op)
        builder.save()
    return path


def main_op(path: Path, folder: Path) -> Path:
    """A main op of TensorFlow 1 that writes."""
    return _tf1(path, lambda tf: tf.raw_ops.WriteFile(filename=str(folder / "canary"), contents="x"))


def main_op_in_a_function(path: Path, folder: Path) -> Path:
    """The same in a function that the main op calls."""

    def make(tf: Any) -> Any:
        @tf.function
        def write() -> Any:
            tf.io.write_file(str(folder / "canary"), "x")
            return 1

        return write().op

    return _tf1(path, make)


def restored_from_elsewhere(path: Path, folder: Path) -> Path:
    """A main op that reads tensors of a checkpoint outside of the folder."""

    def make(tf: Any) -> Any:
        name = str(folder / "other" / "variables")
        return tf.raw_ops.RestoreV2(prefix=name, tensor_names=["w"], shape_and_slices=[""], dtypes=[tf.float32])[0].op

    return _tf1(path, make)


def python_function(path: Path, folder: Path) -> Path:
    """A main op that calls Python."""
    return _tf1(path, lambda tf: tf.py_function(lambda: 1, [], tf.int32).op)


def initializer(path: Path, folder: Path) -> Path:
    """A resource whose initializer writes."""
    import tensorflow as tf

    class Resource(tf.saved_model.experimental.TrackableResource):
        def _create_resource(self):
            return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[], shared_name="r")

        def _initialize(self):
            tf.io.write_file(str(folder / "canary"), "x")

        def _destroy_resource(self):
            pass

    module = _module(tf)
    module.resource = Resource()
    module.resource.resource_handle
    tf.saved_model.save(module, str(path), signatures=module.call)
    return path


def outside_asset(path: Path, folder: Path) -> Path:
    """A table whose asset lies outside of the folder."""
    from tensorflow.core.protobuf import saved_model_pb2

    table_of_asset(path, folder)
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    for asset in saved.meta_graphs[0].asset_file_def:
        asset.filename = "../../words.txt"
    (path / "saved_model.pb").write_bytes(saved.SerializeToString())
    return path


def table_of_asset(path: Path, folder: Path) -> Path:
    """A harmless one: a table that is filled from a file of the SavedModel."""
    import tensorflow as tf

    words = folder / "words.txt"
    words.write_text("a\nb\n")
    kind = tf.lookup.TextFileIndex
    rows = tf.lookup.TextFileInitializer(str(words), tf.string, kind.WHOLE_LINE, tf.int64, kind.LINE_NUMBER)
    module = _module(tf)
    module.table = tf.lookup.StaticHashTable(rows, -1)
    tf.saved_model.save(module, str(path), signatures=module.call)
    return path


KINDS = {
    kind.__name__: kind
    for kind in (main_op, main_op_in_a_function, restored_from_elsewhere, python_function, initializer, outside_asset)
}
# Of these the canary is touched when TensorFlow loads them.
WRITING = ("main_op", "main_op_in_a_function", "initializer")
