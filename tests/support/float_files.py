"""Float `.tflite` files to edit, written by one process of their own: `python float_files.py FOLDER NAME …`.

Each lands in FOLDER/NAME.tflite, with weights, biases and batch statistics drawn at random, channels decades apart.
"""

import sys
from pathlib import Path

from support.tf_scripts import run_script

PICTURE = (12, 12, 3)
AS_BUILT = ("clipped", "spread_channels")  # their own weights matter


def write(folder: Path, *names: str) -> None:
    run_script(__file__, folder, *names)


def separable():
    import keras

    L = keras.layers
    layers = [L.Conv2D(8, 3, padding="same"), L.BatchNormalization(), L.ReLU()]
    for filters, strides in ((12, 1), (16, 2)):
        layers += [L.ZeroPadding2D(1), L.DepthwiseConv2D(3, strides=strides, depth_multiplier=2, use_bias=False)]
        layers += [L.BatchNormalization(), L.ReLU(), L.Conv2D(filters, 1), L.BatchNormalization(), L.ReLU()]
    return keras.Sequential([keras.Input(PICTURE, name="x"), *layers, L.GlobalAveragePooling2D(), L.Dense(5)])


def dense():
    import keras

    L = keras.layers
    layers = [L.Dense(20, activation="relu"), L.Dense(16), L.Dense(12, activation="relu"), L.Dense(4)]
    return keras.Sequential([keras.Input((10,), name="x"), *layers, L.Softmax()])


def flattened():
    """Pooling and a flattened picture between layers, in a batch of open size."""
    import keras

    L = keras.layers
    layers = [L.Conv2D(6, 3), L.LeakyReLU(0.2), L.MaxPooling2D(2), L.Conv2D(7, 3), L.PReLU(shared_axes=[1, 2])]
    layers += [L.AveragePooling2D(2, padding="same"), L.Flatten(), L.Dense(9, activation="relu"), L.Dense(3)]
    return keras.Sequential([keras.Input(PICTURE, name="x"), *layers])


def decoder():
    """Dilated, grouped and transposed convolutions, and a picture made larger."""
    import keras

    L = keras.layers
    layers = [L.Conv2D(8, 3, dilation_rate=2, activation="relu"), L.Conv2D(12, 3, groups=2, activation="relu")]
    layers += [L.Conv2DTranspose(6, 3, strides=2, activation="relu"), L.Conv2DTranspose(5, 2, activation="relu")]
    layers += [L.UpSampling2D(2, interpolation="bilinear"), L.DepthwiseConv2D(3, dilation_rate=2), L.Conv2D(2, 1)]
    return keras.Sequential([keras.Input(PICTURE, name="x"), *layers])


def series():
    import keras

    L = keras.layers
    layers = [L.Conv1D(8, 3, activation="relu"), L.Conv1D(6, 3, padding="same"), L.ReLU(), L.MaxPooling1D(2)]
    return keras.Sequential([keras.Input((20, 4), name="x"), *layers, L.Flatten(), L.Dense(3)])


def normalized_late():
    """Batch normalization behind the activation, which the zeros at the border keep out of the next layer."""
    import keras

    L = keras.layers
    layers = [L.Conv2D(6, 3, activation="relu"), L.BatchNormalization(), L.Conv2D(5, 3, padding="same"), L.Flatten()]
    return keras.Sequential([keras.Input(PICTURE, name="x"), *layers, L.Dense(3)])


def residual():
    import keras

    L = keras.layers
    x = keras.Input(PICTURE, name="x")
    trunk = L.Conv2D(6, 3, padding="same", activation="relu", name="trunk")(x)
    h = L.Conv2D(8, 1, activation="relu", name="wide")(trunk)
    h = L.Add(name="sum")([trunk, L.Conv2D(6, 1, name="narrow")(h)])
    return keras.Model(x, L.Dense(3, name="out")(L.GlobalAveragePooling2D()(h)))


def shared():
    """One layer that runs twice."""
    import keras

    L = keras.layers
    x, twice = keras.Input((8,), name="x"), L.Dense(8, activation="relu", name="twice")
    return keras.Model(x, L.Dense(3, name="out")(twice(twice(L.Dense(8, name="first")(x)))))


def clipped():
    import keras

    L = keras.layers
    layers = [L.Conv2D(6, 3), L.ReLU(6.0), L.DepthwiseConv2D(3), L.ReLU(6.0), L.MaxPooling2D(2), L.ReLU(6.0)]
    return keras.Sequential([keras.Input(PICTURE, name="x"), *layers, L.Conv2D(4, 1)])


def spread_channels():
    """Pointwise and depthwise layers whose channels lie three decades apart, and cancel out."""
    import keras
    import numpy as np

    L = keras.layers
    x = h = keras.Input((16, 16, 3), name="x")
    rng = np.random.default_rng(3)
    for filters in (12, 20, 28):
        pointwise, depthwise = L.Conv2D(filters, 1, activation="relu"), L.DepthwiseConv2D(3, activation="relu")
        h = depthwise(pointwise(h))
        scale = 10.0 ** rng.uniform(-1.5, 1.5, filters)
        kernel, bias = pointwise.get_weights()
        pointwise.set_weights([kernel * scale, bias * scale])
        kernel, bias = depthwise.get_weights()
        depthwise.set_weights([kernel / scale[:, None], bias])
    return keras.Model(x, L.Dense(10, name="out")(L.Flatten()(L.AveragePooling2D(5)(h))))


def two_graphs(folder: Path) -> None:
    """Two signatures, each with a graph of its own, over the same two matrices."""
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(0)
    first, second, third = (tf.constant(rng.standard_normal((6, 6)).astype("float32")) for _ in range(3))
    owner = tf.Module()
    spec = [tf.TensorSpec([None, 6], tf.float32, name="x")]
    owner.a = tf.function(lambda x: {"y": tf.nn.relu(x @ first) @ second}, input_signature=spec)
    owner.b = tf.function(lambda x: {"z": tf.nn.relu(x @ second) @ third}, input_signature=spec)
    place = str(folder / "two_graphs")
    tf.saved_model.save(owner, place, signatures={"a": owner.a, "b": owner.b})
    converter = tf.lite.TFLiteConverter.from_saved_model(place, signature_keys=["a", "b"])
    (folder / "two_graphs.tflite").write_bytes(converter.convert())


def drawn_at_random(model) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    for layer in model.layers:
        weights = []
        for variable in layer.weights:
            values = rng.standard_normal(variable.shape)
            if len(variable.shape) > 1:
                values /= np.sqrt(np.prod(variable.shape[:-1]))
            if variable.path.endswith(("gamma", "variance")):
                values = np.exp(values)
            weights.append(values * (10.0 ** rng.uniform(-1, 1, variable.shape[-1])))
        if weights:
            layer.set_weights(weights)


if __name__ == "__main__":
    import keras
    import tensorflow as tf

    place = Path(sys.argv[1])
    for name in sys.argv[2:]:
        keras.utils.set_random_seed(0)
        keras.backend.clear_session()
        if name == "two_graphs":
            two_graphs(place)
            continue
        model = globals()[name]()
        if name not in AS_BUILT:
            drawn_at_random(model)
        model.export(str(place / name), verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(place / name))
        (place / f"{name}.tflite").write_bytes(converter.convert())
