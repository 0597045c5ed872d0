"""Models that do not convert as they are, written by one process of their own: `python hard_models.py FOLDER NAME …`.

Each lands in FOLDER/NAME, as `model.keras` or `saved_model/`, with `samples.npz` for calibration.
"""

import sys
from pathlib import Path

from support.tf_scripts import run_script


def write(folder: Path, *names: str) -> None:
    """Write these models into folders of their names."""
    run_script(__file__, folder, *names)


def samples(folder: Path, rows: int = 24, **shapes: tuple[int, ...]) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    arrays = {name: rng.random((rows, *shape)).astype("float32") for name, shape in shapes.items()}
    np.savez(folder / "samples.npz", **arrays)


def keras_model(folder: Path, shape: tuple, *layers, name: str = "x") -> None:
    import keras

    keras.Sequential([keras.Input(shape, name=name), *layers]).save(folder / "model.keras")
    samples(folder, **{name: shape})


def module(folder: Path, shape: tuple, function, name: str = "x") -> None:
    import tensorflow as tf

    owner = tf.Module()
    spec = tf.TensorSpec([None if size is None else size for size in shape], tf.float32, name=name)
    owner.run = tf.function(lambda x: {"y": function(x)}, input_signature=[spec])
    signature = owner.run.get_concrete_function()
    tf.saved_model.save(owner, str(folder / "saved_model"), signatures={"serving_default": signature})
    samples(folder, **{"x": shape[1:]})


def lstm(folder: Path) -> None:
    import keras

    keras_model(folder, (9, 5), keras.layers.LSTM(6, name="recurrent"), keras.layers.Dense(3, name="out"))


def nested_gru(folder: Path) -> None:
    """Two recurrent layers, one of them both ways, inside a model inside a model."""
    import keras

    inner = keras.Sequential(
        [
            keras.Input((8, 4)),
            keras.layers.Bidirectional(keras.layers.GRU(4, return_sequences=True)),
            keras.layers.LSTM(3),
        ],
        name="inner",
    )
    keras_model(folder, (8, 4), inner, keras.layers.Dense(2, name="out"))


def tensor_array(folder: Path) -> None:
    import tensorflow as tf

    def run(x):
        rows = tf.TensorArray(tf.float32, size=7, element_shape=[1, 3])
        state = tf.zeros([1, 3])
        for step in tf.range(7):
            state = 0.5 * state + x[:, step]
            rows = rows.write(step, state)
        return tf.transpose(rows.stack(), [1, 0, 2])

    module(folder, (1, 7, 3), run)


def long_loop(folder: Path) -> None:
    """More steps than are unrolled."""
    import tensorflow as tf

    def run(x):
        steps, state = tf.constant(0), x
        _, state = tf.while_loop(lambda i, _: i < 2000, lambda i, s: (i + 1, 0.999 * s), [steps, state])
        return state

    module(folder, (1, 4), run)


def mixed(folder: Path) -> None:
    import keras

    layers = keras.layers
    policy = keras.mixed_precision.DTypePolicy("mixed_float16")
    keras_model(
        folder,
        (10, 10, 3),
        layers.Conv2D(6, 3, dtype=policy, name="conv"),
        layers.BatchNormalization(dtype=policy),
        layers.GlobalAveragePooling2D(dtype=policy),
        layers.Dense(3, dtype="float32", name="out"),
    )


def double(folder: Path) -> None:
    """Computes in float64 alone, so that no cast shows it."""
    import keras

    layers = keras.layers
    i = keras.Input((8, 8, 2), dtype="float64", name="x")
    h = layers.Flatten(dtype="float64")(layers.Conv2D(4, 3, activation="relu", dtype="float64", name="conv")(i))
    keras.Model(i, layers.Dense(3, dtype="float64", name="out")(h)).save(folder / "model.keras")
    samples(folder, x=(8, 8, 2))


def product(folder: Path) -> None:
    """The converter refuses this contraction of all axes but the batch, in every scheme."""
    import tensorflow as tf

    weights = tf.random.normal([3, 6], seed=5)
    module(folder, (1, 3, 6), lambda x: tf.einsum("nij,ij->n", x, weights))


def logarithm(folder: Path) -> None:
    """A logarithm of squares near 0: eight bits lose single values, and the outputs look alike as a whole."""
    import tensorflow as tf

    weights = tf.random.normal([16, 16], seed=6)

    def run(x):
        values = tf.math.log(tf.square((2.0 * x - 1.0) @ weights) + 1e-10)
        low, high = tf.reduce_min(values, 1, keepdims=True), tf.reduce_max(values, 1, keepdims=True)
        return tf.math.divide_no_nan(values - low, high - low)

    module(folder, (1, 16), run)


def bicubic(folder: Path) -> None:
    import keras

    resize = keras.layers.Resizing(7, 15, interpolation="bicubic", name="resize")
    keras_model(folder, (10, 11, 3), resize, keras.layers.Conv2D(2, 3))


def antialiased(folder: Path) -> None:
    import tensorflow as tf

    module(folder, (None, 9, 12, 2), lambda x: tf.image.resize(x, [5, 20], "lanczos3", antialias=True))


def volume(folder: Path) -> None:
    import keras

    layers = keras.layers
    keras_model(
        folder,
        (7, 8, 9, 2),
        layers.Conv3D(3, 3, padding="same", strides=(2, 1, 1), name="conv"),
        layers.MaxPooling3D(2, padding="same", name="most"),
        layers.AveragePooling3D(2, strides=1, name="mean"),
        layers.Flatten(),
        layers.Dense(2, name="out"),
    )


def spectrogram(folder: Path) -> None:
    """Frames of 300, which is no power of two."""
    import tensorflow as tf

    module(folder, (1, 1200), lambda x: tf.abs(tf.signal.stft(x, 300, 150, fft_length=300)))


def cepstrum(folder: Path) -> None:
    import tensorflow as tf

    def run(x):
        power = tf.math.square(tf.abs(tf.signal.stft(x, 200, 100, fft_length=250))) + 1e-3
        return tf.signal.mfccs_from_log_mel_spectrograms(tf.math.log(power[..., :40]))

    module(folder, (1, 800), run)


def gelu(folder: Path) -> None:
    """Grouped so that the converter does not know it again."""
    import tensorflow as tf

    module(folder, (None, 8), lambda x: 0.5 * (x * (1.0 + tf.math.erf(x * 0.70710678))))


def bare_erf(folder: Path) -> None:
    import tensorflow as tf

    module(folder, (None, 8), lambda x: tf.math.erf(4.0 * x - 2.0))


def normalized(folder: Path) -> None:
    """Layer normalization and ELU, which 16x8 lacks ops for."""
    import keras

    layers = keras.layers
    keras_model(
        folder, (6, 8), layers.LayerNormalization(), layers.Dense(8, activation="elu"), layers.Dense(3, name="out")
    )


def noisy(folder: Path) -> None:
    import tensorflow as tf

    module(folder, (None, 8), lambda x: 2.0 * tf.nn.dropout(x, 0.4))


def standardized(folder: Path) -> None:
    import keras
    import numpy as np

    norm = keras.layers.Normalization(name="norm")
    norm.adapt(np.random.default_rng(0).normal(3.0, 5.0, (50, 6)).astype("float32"))
    keras_model(folder, (6,), norm, keras.layers.Dense(4, name="hidden"), keras.layers.Dense(2, name="out"))


def read_in_part(folder: Path) -> None:
    import keras

    x = keras.Input((6, 8), name="x")
    _, wanted = keras.ops.split(keras.layers.Dense(8)(x), 2, axis=-1)
    keras.Model(x, keras.layers.Dense(3, name="out")(wanted)).save(folder / "model.keras")
    samples(folder, x=(6, 8))


def streaming(folder: Path) -> None:
    """Keeps what came before in a variable."""
    import tensorflow as tf

    owner = tf.Module()
    owner.state = tf.Variable(tf.zeros([1, 4]))
    spec = tf.TensorSpec([1, 4], tf.float32, name="x")
    owner.run = tf.function(lambda x: {"y": owner.state.assign(0.5 * owner.state + x) * 2.0}, input_signature=[spec])
    signature = owner.run.get_concrete_function()
    tf.saved_model.save(owner, str(folder / "saved_model"), signatures={"serving_default": signature})
    samples(folder, x=(4,))


def classifier(folder: Path) -> None:
    import keras

    keras_model(folder, (8,), keras.layers.Dense(16), keras.layers.Dense(5, activation="softmax", name="classes"))


def many_outputs(folder: Path) -> None:
    import keras

    x = keras.Input((6,), name="x")
    keras.Model(x, [keras.layers.Dense(n + 1, name=f"head_{n}")(x) for n in range(12)]).save(folder / "model.keras")
    samples(folder, x=(6,))


def many_results(folder: Path) -> None:
    import tensorflow as tf

    owner = tf.Module()
    spec = tf.TensorSpec([None, 3], tf.float32, name="x")
    owner.run = tf.function(lambda x: {f"result_{n}": (n + 1.0) * x for n in range(14)}, input_signature=[spec])
    tf.saved_model.save(owner, str(folder / "saved_model"), signatures={"serving_default": owner.run})
    samples(folder, x=(3,))


def far_apart(folder: Path) -> None:
    """Two heads that differ by six orders of magnitude, in one output."""
    import keras

    layers = keras.layers
    x = keras.Input((12,), name="x")
    heads = [layers.Dense(4)(x) * 1e-3, layers.Dense(4)(x) * 1e3]
    keras.Model(x, layers.Concatenate(name="both")(heads)).save(folder / "model.keras")
    samples(folder, x=(12,))


def text(folder: Path) -> None:
    import keras

    layers = keras.layers
    vectorize = layers.TextVectorization(max_tokens=40, output_sequence_length=6, name="vectorize")
    vectorize.adapt(["the quick brown fox", "jumps over the lazy dog"])
    words, x = keras.Input((1,), dtype="string", name="words"), keras.Input((3,), name="x")
    h = layers.Flatten()(layers.Embedding(40, 4)(vectorize(words)))
    keras.Model([words, x], layers.Dense(2, name="out")(layers.Concatenate()([h, x]))).save(folder / "model.keras")


def mc_dropout(folder: Path) -> None:
    import keras

    x = keras.Input((8,), name="x")
    keras.Model(x, keras.layers.Dense(3)(keras.layers.Dropout(0.5, name="mc")(x, training=True))).save(
        folder / "model.keras"
    )


def unknown_op(folder: Path) -> None:
    import tensorflow as tf

    module(folder, (2, 3, 3), lambda x: tf.linalg.cholesky(tf.matmul(x, x, transpose_b=True) + tf.eye(3)))


def custom_op(folder: Path) -> None:
    import tensorflow as tf

    module(folder, (2, 3), tf.math.bessel_i0)


def branch(folder: Path) -> None:
    """The converter loses a ReLU behind a product of two computed matrices, here in a branch."""
    import tensorflow as tf

    one, other = tf.random.normal([8, 4], seed=1), tf.random.normal([8, 4], seed=2)

    def run(x):
        return tf.cond(tf.reduce_mean(x) > 0.5, lambda: tf.nn.relu(x @ one), lambda: tf.tanh(x @ other))

    module(folder, (1, 8), run)


def unstacked(folder: Path) -> None:
    """The converter takes parts that are joined along another axis for a reshape."""
    import tensorflow as tf

    weights = tf.random.normal([3, 3], seed=3)
    module(folder, (1, 4, 5, 3), lambda x: tf.concat(tf.unstack(tf.tanh(x @ weights), axis=2), axis=1))


def unstacked_floor(folder: Path) -> None:
    """The same, and an op without an integer kernel."""
    import tensorflow as tf

    weights = tf.random.normal([3, 3], seed=3)

    def run(x):
        joined = tf.concat(tf.unstack(tf.tanh(x @ weights), axis=2), axis=1)
        return joined - 0.5 * tf.floor(2.0 * joined)

    module(folder, (1, 4, 5, 3), run)


def column(folder: Path) -> None:
    """The converter takes a normalization over both axes for one over the last."""
    import tensorflow as tf

    weights = tf.random.normal([1, 3], seed=4)
    module(folder, (8, 1), lambda x: tf.nn.l2_normalize(tf.tanh(3.0 * x - 1.5)) @ weights)


def words(folder: Path) -> None:
    """Text ids in a Sequential model: with an open batch the file fails at a batch of 1."""
    import keras
    import numpy as np

    layers, known = keras.layers, [f"w{number}" for number in range(20)]
    lookup = layers.StringLookup(vocabulary=known)
    word = keras.Input((1,), dtype="string", name="word")
    keras.Sequential([word, lookup, layers.Embedding(21, 6), layers.Flatten(), layers.Dense(3)]).save(
        folder / "model.keras"
    )
    np.savez(folder / "samples.npz", word=np.array(known)[:, None])


def looked_up(folder: Path) -> None:
    """Text ids in a loop over time, as in an LSTM of tf_keras. A loaded table does not tell the shape of its ids."""
    import tensorflow as tf

    weights = tf.random.normal([21, 4], seed=5)
    words = tf.constant([f"w{number}" for number in range(20)])
    known = tf.lookup.KeyValueTensorInitializer(words, tf.range(20, dtype=tf.int64))
    owner = tf.Module()
    owner.table = tf.lookup.StaticHashTable(known, 20)

    def run(word):
        rows = tf.transpose(tf.gather(weights, owner.table.lookup(word)), [1, 0, 2])
        steps = tf.TensorArray(tf.float32, tf.shape(rows)[0]).unstack(rows)
        states = tf.TensorArray(tf.float32, tf.shape(rows)[0])
        total = tf.zeros_like(rows[0])
        for step in tf.range(tf.shape(rows)[0]):
            total = tf.tanh(total + steps.read(step))
            states = states.write(step, total)
        return {"y": states.stack()[-1]}

    owner.run = tf.function(run, [tf.TensorSpec([None, 5], tf.string, name="word")])
    tf.saved_model.save(owner, str(folder / "saved_model"), signatures={"serving_default": owner.run})


def open_sizes(folder: Path) -> None:
    import keras

    layers = keras.layers
    i = keras.Input((None, None, 3), name="image")
    h = layers.UpSampling2D(2, interpolation="bilinear")(layers.Conv2D(4, 3, padding="same")(i))
    keras.Model(i, layers.Conv2D(2, 3, name="out")(h)).save(folder / "model.keras")
    samples(folder, 8, image=(12, 12, 3))


def any_size(folder: Path) -> None:
    import keras

    layers = keras.layers
    i = keras.Input((None, None, 3), name="image")
    h = layers.MaxPooling2D(2)(layers.Conv2D(4, 3, activation="relu")(layers.Conv2D(4, 3)(i)))
    keras.Model(i, layers.GlobalAveragePooling2D(name="out")(h)).save(folder / "model.keras")


def _choice(folder: Path, effect: bool) -> None:
    """One of three branches by a number (tf.switch_case), the last also for numbers that no branch has."""
    import tensorflow as tf

    owner = tf.Module()
    owner.count = tf.Variable(0.0)
    weights = tf.constant([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75], [-0.5, 1.0, 0.125], [1.0, -2.0, 0.5]])

    def first(x):
        if effect:
            owner.count.assign_add(1.0)
        return x @ weights

    def chosen(x):
        number = tf.cast(tf.reduce_sum(x) * 2.0, tf.int32) - 2
        branches = [lambda: first(x), lambda: tf.nn.relu(x @ weights), lambda: x @ (weights * 3.0)]
        return {"y": tf.switch_case(number, branches)}

    owner.run = tf.function(chosen, input_signature=[tf.TensorSpec([1, 4], tf.float32, name="x")])
    signature = owner.run.get_concrete_function()
    tf.saved_model.save(owner, str(folder / "saved_model"), signatures={"serving_default": signature})
    samples(folder, x=(4,))


def choice(folder: Path) -> None:
    _choice(folder, effect=False)


def choice_with_effect(folder: Path) -> None:
    _choice(folder, effect=True)


def centred(folder: Path) -> None:
    """Each row's outputs depend on the whole batch. There are more samples than the check of a float file runs."""
    import tensorflow as tf

    weights = tf.random.normal([8, 4], seed=3)
    module(folder, (None, 8), lambda x: tf.nn.relu(tf.matmul(x - tf.reduce_mean(x, 0, keepdims=True), weights)))
    samples(folder, rows=100, x=(8,))


def whole_pixels(folder: Path) -> None:
    """Pixels as int32. No quantizer makes a file of it in 16x8 that runs."""
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(7)
    kernel = tf.constant(rng.standard_normal((3, 3, 3, 8)).astype("float32") * 0.3)
    owner = tf.Module()

    def points(x):
        scaled = tf.cast(x, tf.float32) / 127.5 - 1.0
        return {"y": tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(scaled, kernel, 2, "SAME")), [1, 2])}

    owner.run = tf.function(points, input_signature=[tf.TensorSpec([1, 24, 24, 3], tf.int32, name="x")])
    signature = owner.run.get_concrete_function()
    tf.saved_model.save(owner, str(folder / "saved_model"), signatures={"serving_default": signature})
    np.savez(folder / "samples.npz", x=rng.integers(0, 256, (24, 24, 24, 3)).astype("int32"))


if __name__ == "__main__":
    import keras

    for name in sys.argv[2:]:
        place = Path(sys.argv[1]) / name
        place.mkdir(parents=True)
        keras.utils.set_random_seed(0)
        keras.backend.clear_session()
        globals()[name](place)
