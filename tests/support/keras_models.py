"""Small models for the tests, written by a process of their own, so that pytest's own stays free of TensorFlow.

Run as `python keras_models.py NAME FOLDER`.
"""

import sys
from pathlib import Path

from support.tf_scripts import run_script


def write(name: str, folder: Path) -> None:
    """Write the model `name` into `folder`."""
    run_script(__file__, name, folder)


def cnn(folder: Path) -> None:
    import keras

    i = keras.Input((16, 16, 3), name="picture")
    h = keras.layers.Conv2D(16, 3, activation="relu", name="first")(i)
    h = keras.layers.DepthwiseConv2D(3, activation="relu", name="depthwise")(h)
    h = keras.layers.Conv2D(24, 3, activation="relu", name="second")(h)
    h = keras.layers.Flatten()(h)
    h = keras.layers.Dense(32, activation="relu", name="hidden")(h)
    keras.Model(i, keras.layers.Dense(5, activation="softmax", name="scores")(h)).save(folder / "model.keras")


def wide_dense(folder: Path) -> None:
    """Rows of weights that come in whole blocks of 32."""
    import keras

    keras.utils.set_random_seed(0)
    i = keras.Input((64,), name="x")
    h = keras.layers.Dense(96, activation="relu", name="wide")(i)
    keras.Model(i, keras.layers.Dense(8, name="narrow")(h)).save(folder / "model.keras")


def several_megabytes(folder: Path) -> None:
    """1.4 million weights: more than litert_quantizer keeps within a flatbuffer, in every scheme."""
    import keras

    keras.utils.set_random_seed(0)
    i = keras.Input((16, 16, 3), name="picture")
    h = keras.layers.Conv2D(64, 3, 2, activation="relu")(i)
    h = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu")(h)
    h = keras.layers.Conv2D(256, 3, 2, activation="relu")(h)
    h = keras.layers.Dense(512, activation="relu")(keras.layers.Flatten()(h))
    keras.Model(i, keras.layers.Dense(10, name="scores")(h)).save(folder / "model.keras")


def output_read_in_another_scale(folder: Path) -> None:
    """A sigmoid that is an output, and is concatenated with values in a range that is 40 times as wide."""
    import keras

    keras.utils.set_random_seed(0)
    i = keras.Input((8, 8, 1), name="x")
    note = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid", name="note")(i)
    h = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="wide")(i * 10.0)
    onset = keras.layers.Conv2D(2, 3, padding="same", name="onset")(keras.layers.Concatenate()([h, note]))
    keras.Model(i, [note, onset]).save(folder / "model.keras")


def one_word(folder: Path) -> None:
    """Text of different lengths, not all of it ASCII, that a table turns into vectors."""
    import keras

    keras.utils.set_random_seed(0)
    i = keras.Input((1,), dtype="string", name="words")
    vocabulary = [f"w\u00f6rd{k}" * (1 + k % 3) for k in range(30)]
    table = keras.layers.Embedding(31, 8, embeddings_initializer=keras.initializers.RandomNormal(0, 1.0, 3))
    h = keras.layers.Flatten()(table(keras.layers.StringLookup(vocabulary=vocabulary)(i)))
    keras.Model(i, keras.layers.Dense(50, use_bias=False, name="scores")(h)).save(folder / "model.keras")


def unnamed_dense(folder: Path) -> None:
    """Layers with the names that Keras gives: dense and dense_1."""
    import keras

    i = keras.Input((64,), name="x")
    h = keras.layers.Dense(16, activation="relu")(i)
    h = keras.layers.Dense(8, activation="relu")(h)
    keras.Model(i, keras.layers.Dense(4, activation="softmax", name="scores")(h)).save(folder / "model.keras")


def two_inputs(folder: Path) -> None:
    """Swapping the inputs changes the outputs much; the outputs are of different lengths."""
    import keras

    ins = {name: keras.Input((4,), name=name) for name in ("zeta", "alpha")}
    h = keras.layers.Concatenate()([ins["zeta"] * 10.0, ins["alpha"]])
    heads = {"score": keras.layers.Dense(1, name="score")(h), "label": keras.layers.Dense(3, name="label")(h)}
    keras.Model(ins, heads).save(folder / "model.keras")


def sequential_lstm(folder: Path) -> None:
    import keras

    keras.Sequential([keras.Input((12, 6), name="frames"), keras.layers.LSTM(8), keras.layers.Dense(3)]).save(
        folder / "model.keras"
    )


def dense(folder: Path) -> None:
    import keras

    i = keras.Input((8,), name="x")
    h = keras.layers.Dense(32, activation="relu", name="hidden")(i)
    keras.Model(i, keras.layers.Dense(3, activation="softmax", name="classes")(h)).save(folder / "model.keras")


def attention(folder: Path) -> None:
    """Layer normalization, of which TensorFlow's converter makes no 16x8, and integer beside real inputs."""
    import keras

    keras.utils.set_random_seed(0)
    ids, x = keras.Input((6,), dtype="int32", name="ids"), keras.Input((6, 8), name="x")
    h = keras.layers.Embedding(30, 8)(ids) + x
    h = keras.layers.LayerNormalization()(h + keras.layers.MultiHeadAttention(2, 4)(h, h))
    pooled = keras.layers.GlobalAveragePooling1D()(h)
    keras.Model([ids, x], keras.layers.Dense(3, name="scores")(pooled)).save(folder / "model.keras")


def prelu(folder: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    i = keras.Input((16, 16, 3), name="picture")
    h = keras.layers.PReLU(alpha_initializer="ones", name="slope")(keras.layers.Conv2D(8, 3)(i))
    h = keras.layers.GlobalAveragePooling2D()(h)
    keras.Model(i, keras.layers.Dense(5, name="scores")(h)).save(folder / "model.keras")


def half_of_a_split(folder: Path) -> None:
    """One result of the split is read by nothing."""
    import keras

    keras.utils.set_random_seed(0)
    i = keras.Input((16, 16, 3), name="picture")
    h = keras.ops.split(keras.layers.Conv2D(8, 3)(i), 2, axis=-1)[1]
    h = keras.layers.GlobalAveragePooling2D()(h)
    keras.Model(i, keras.layers.Dense(5, name="scores")(h)).save(folder / "model.keras")


def gate(folder: Path) -> None:
    import keras

    i = keras.Input((8,), name="x")
    gate = keras.layers.Dense(8, activation="sigmoid", name="gate")(i)
    keras.Model(i, keras.layers.Dense(3, name="out")(gate * i)).save(folder / "model.keras")


def lambda_layer(folder: Path) -> None:
    import keras

    i = keras.Input((8,), name="x")
    doubled = keras.layers.Lambda(lambda t: t * 2.0 + 1.0, name="doubled")(i)
    keras.Model(i, keras.layers.Dense(3)(doubled)).save(folder / "model.keras")


def keras2(folder: Path) -> None:
    """A file that Keras 3 cannot load: the depthwise layer's config has `groups`."""
    import tf_keras

    i = tf_keras.Input((16, 16, 3), name="image")
    h = tf_keras.layers.DepthwiseConv2D(3, padding="same")(i)
    h = tf_keras.layers.GlobalAveragePooling2D()(tf_keras.layers.SeparableConv2D(8, 3)(h))
    tf_keras.Model(i, tf_keras.layers.Dense(4, name="out")(h)).save(folder / "model.h5")


def keras2_saved_model(folder: Path) -> None:
    import tf_keras

    i = tf_keras.Input((8, 8, 3), name="image")
    h = tf_keras.layers.Conv2D(4, 3, bias_initializer="normal", name="conv")(i)
    h = tf_keras.layers.BatchNormalization(beta_initializer="normal", moving_mean_initializer="normal")(h)
    h = tf_keras.layers.ReLU()(h)
    h = tf_keras.layers.Dense(2, name="scores")(tf_keras.layers.Flatten()(h))
    tf_keras.Model(i, h).save(folder / "saved_model")


def keras2_lstm(folder: Path) -> None:
    import tf_keras

    tf_keras.Sequential([tf_keras.Input((12, 6), batch_size=1, name="frames"), tf_keras.layers.LSTM(8)]).save(
        folder / "model.h5"
    )


def custom_layer(folder: Path) -> None:
    (folder / "layers.py").write_text(
        "import keras\n\n\nclass Scale(keras.layers.Layer):\n"
        "    def build(self, shape):\n"
        '        self.factor = self.add_weight(name="factor", shape=(shape[-1],), initializer="ones")\n\n'
        "    def call(self, x):\n        return x * self.factor\n"
    )
    import keras

    sys.path.insert(0, str(folder))
    import layers

    keras.Sequential([keras.Input((8,), name="x"), layers.Scale(), keras.layers.Dense(2, name="out")]).save(
        folder / "model.keras"
    )


def two_signatures(folder: Path) -> None:
    import numpy as np
    import tensorflow as tf

    class Two(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(np.random.default_rng(0).standard_normal((8, 4)).astype("float32"))

        @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="x")])
        def embed(self, x):
            return {"embedding": tf.matmul(x, self.w)}

        @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="x")])
        def classify(self, x):
            return {"probabilities": tf.nn.softmax(tf.matmul(x, self.w))}

    module = Two()
    signatures = {"embed": module.embed, "classify": module.classify}
    tf.saved_model.save(module, str(folder / "saved_model"), signatures=signatures)


def lookup_table(folder: Path) -> None:
    """Numbers to words: a table cannot be frozen to a constant."""
    import tensorflow as tf

    class Lookup(tf.Module):
        def __init__(self):
            super().__init__()
            keys, values = tf.constant([0, 1, 2], tf.int64), tf.constant(["zero", "one", "two"])
            self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), "?")

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="ids")])
        def run(self, ids):
            return {"words": self.table.lookup(ids)}

    module = Lookup()
    tf.saved_model.save(module, str(folder / "saved_model"), signatures={"serving_default": module.run})


def feature_columns(folder: Path) -> None:
    """A model of tf_keras that begins with TensorFlow's feature columns."""
    import tensorflow as tf
    import tf_keras

    columns = [tf.feature_column.numeric_column("age"), tf.feature_column.numeric_column("height")]
    inputs = {name: tf_keras.Input((1,), name=name) for name in ("age", "height")}
    h = tf_keras.layers.DenseFeatures(columns)(inputs)
    tf_keras.Model(inputs, tf_keras.layers.Dense(2, name="score")(h)).save(folder / "model.h5")


HUB = """import keras


@keras.saving.register_keras_serializable(package="keras_hub")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return x * 2.0
"""


def hub_layer(folder: Path) -> None:
    """A model with a class of a package of the shape of keras_hub, which lies beside it."""
    package = folder / "keras_hub" / "src" / "layers"
    package.mkdir(parents=True)
    for place in (package, package.parent, package.parent.parent):
        (place / "__init__.py").touch()
    (package / "doubled.py").write_text(HUB, encoding="utf-8")
    sys.path.insert(0, str(folder))
    import keras
    from keras_hub.src.layers.doubled import Doubled

    i = keras.Input((4,), name="x")
    keras.Model(i, keras.layers.Dense(2, name="y")(Doubled(name="twice")(i))).save(folder / "model.keras")


if __name__ == "__main__":
    import keras

    keras.utils.set_random_seed(0)
    globals()[sys.argv[1]](Path(sys.argv[2]))
