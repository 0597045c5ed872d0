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


def table_of_asset_in_tensorflow_1(path: Path, folder: Path) -> Path:
    """A harmless one of TensorFlow 1, which keeps its assets in a collection, with variables in several files."""
    import tensorflow as tf

    words = folder / "words.txt"
    words.write_text("a\nb\n")
    tf1, graph = tf.compat.v1, tf.Graph()
    with graph.as_default(), tf1.Session(graph=graph) as session:
        x = tf1.placeholder(tf.float32, [None, 4], "x")
        y = x * tf1.get_variable("w", [4])
        kind = tf.lookup.TextFileIndex
        rows = tf.lookup.TextFileInitializer(str(words), tf.string, kind.WHOLE_LINE, tf.int64, kind.LINE_NUMBER)
        tf1.lookup.StaticHashTable(rows, -1)
        session.run(tf1.global_variables_initializer())
        builder = tf1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"serving_default": tf1.saved_model.predict_signature_def({"x": x}, {"y": y})},
            assets_collection=[graph.get_tensor_by_name("asset_path:0")],
            main_op=tf1.tables_initializer(),
            saver=tf1.train.Saver(sharded=True),
        )
        builder.save()
    return path


def outside_asset_in_tensorflow_1(path: Path, folder: Path) -> Path:
    """The same, with an asset that lies outside of the folder."""
    from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

    table_of_asset_in_tensorflow_1(path, folder)
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    (packed,) = saved.meta_graphs[0].collection_def["saved_model_assets"].any_list.value
    asset = meta_graph_pb2.AssetFileDef()
    packed.Unpack(asset)
    asset.filename = "../../words.txt"
    packed.Pack(asset)
    (path / "saved_model.pb").write_bytes(saved.SerializeToString())
    return path


def _named_by(make_name: Any) -> Any:
    """A table that a main op fills from a file of the machine, whose name `make_name(tf, name)` computes."""

    def build(path: Path, folder: Path) -> Path:
        secret = folder / "secret.txt"
        secret.write_text("a\nb\n")

        def make(tf: Any) -> Any:
            table = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
            name = make_name(tf, str(secret))
            return tf.raw_ops.InitializeTableFromTextFileV2(
                table_handle=table, filename=name, key_index=-2, value_index=-1
            )

        return _tf1(path, make)

    return build


def _of_a_table(tf: Any, name: str) -> Any:
    table = tf.raw_ops.HashTableV2(key_dtype=tf.int64, value_dtype=tf.string)
    filled = tf.raw_ops.LookupTableImportV2(
        table_handle=table, keys=tf.constant([1], tf.int64), values=tf.constant([name])
    )
    with tf.control_dependencies([filled]):
        return tf.raw_ops.LookupTableFindV2(table_handle=table, keys=tf.constant(1, tf.int64), default_value="")


def _of_a_variable(tf: Any, name: str) -> Any:
    variable = tf.raw_ops.VarHandleOp(dtype=tf.string, shape=[])
    written = tf.raw_ops.AssignVariableOp(resource=variable, value=tf.constant(name))
    with tf.control_dependencies([written]):
        return tf.raw_ops.ReadVariableOp(resource=variable, dtype=tf.string)


# How a graph can compute the name of a file, so that no constant of it is the input of the op that reads the file.
NAMES = {
    "constant": lambda tf, name: tf.constant(name),
    "default_of_a_placeholder": lambda tf, name: tf.raw_ops.PlaceholderWithDefault(input=name, shape=[]),
    "format": lambda tf, name: tf.raw_ops.StringFormat(inputs=[tf.constant(1)], template=f"{name}%s"),
    "join": lambda tf, name: tf.strings.join([name[:3], name[3:]]),
    "code_points": lambda tf, name: tf.strings.unicode_encode(tf.constant([ord(one) for one in name]), "UTF-8"),
    "bytes": lambda tf, name: tf.raw_ops.ReduceJoin(
        inputs=tf.gather(tf.constant([chr(code) for code in range(128)]), [ord(one) for one in name]),
        reduction_indices=[0],
    ),
    "function_result": lambda tf, name: tf.function(lambda: tf.constant(name))(),
    "function_argument": lambda tf, name: tf.function(lambda one: one)(tf.constant(name)),
    "table": _of_a_table,
    "variable": _of_a_variable,
}


def restored_by_the_savers_own_name(path: Path, folder: Path) -> Path:
    """A main op that reads variables by the saver's file name, which nobody gives before the variables are restored."""
    import tensorflow as tf

    tf1, graph = tf.compat.v1, tf.Graph()
    with graph.as_default(), tf1.Session(graph=graph) as session:
        x = tf1.placeholder(tf.float32, [None, 4], "x")
        y = x * tf1.get_variable("w", [4])
        session.run(tf1.global_variables_initializer())
        saver = tf1.train.Saver(filename=str(folder / "other" / "variables"))
        name = graph.get_tensor_by_name(saver.saver_def.filename_tensor_name)
        read = tf.raw_ops.RestoreV2(prefix=name, tensor_names=["w"], shape_and_slices=[""], dtypes=[tf.float32])
        builder = tf1.saved_model.Builder(str(path))
        signature = tf1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, main_op=read[0].op, saver=saver
        )
        builder.save()
    return path


KINDS = {
    kind.__name__: kind
    for kind in (
        *(main_op, main_op_in_a_function, restored_from_elsewhere, python_function, initializer, outside_asset),
        *(outside_asset_in_tensorflow_1, restored_by_the_savers_own_name),
    )
}
KINDS |= {f"named_by_{name}": _named_by(make) for name, make in NAMES.items()}
# Of these the canary is touched when TensorFlow loads them.
WRITING = ("main_op", "main_op_in_a_function", "initializer")
