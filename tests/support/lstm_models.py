"""LSTM models of tf_keras, written by one process of their own: `python lstm_models.py FOLDER NAME …`.

Each lands in FOLDER/NAME, as `model.h5` or `saved_model/`, with `samples.npz` and what Keras gives for them, one after
the other, in `expected.npy`.
"""

import sys
from pathlib import Path

from support.tf_scripts import run_script

ROWS = 6


def write(folder: Path, *names: str) -> None:
    """Write these models into folders of their names."""
    run_script(__file__, folder, *names)


def _save(folder: Path, model, x=None) -> None:
    import numpy as np
    import tensorflow as tf

    shape = model.inputs[0].shape[1:]
    x = np.random.default_rng(0).standard_normal((ROWS, *shape)).astype("float32") if x is None else x
    call = tf.function(model)
    model.save(folder / "model.h5")
    np.savez(folder / "samples.npz", x=x)
    np.save(folder / "expected.npy", np.concatenate([call(row[None]) for row in x]))


def _sequential(shape, *layers, **about):
    import tf_keras

    return tf_keras.Sequential([tf_keras.layers.Input(shape, name="x", **about), *layers])


def stateless(folder: Path) -> None:
    from tf_keras import layers

    _save(folder, _sequential((9, 3), layers.LSTM(6, name="recurrent"), layers.Dense(2)))


def both_ways(folder: Path) -> None:
    """Three LSTMs: one both ways, and one behind it."""
    from tf_keras import layers

    both = layers.Bidirectional(layers.LSTM(4, return_sequences=True))
    _save(folder, _sequential((7, 3), both, layers.LSTM(3), layers.Dense(2)))


def long(folder: Path) -> None:
    """More steps than `unroll` writes out."""
    from tf_keras import layers

    _save(folder, _sequential((513, 1), layers.LSTM(1, name="recurrent")))


def counter(folder: Path) -> None:
    """A cell state that goes up to about 20, and back to 1: with a limit at 10 the result has the other sign."""
    import numpy as np
    from tf_keras import layers

    model = _sequential((40, 1), layers.LSTM(1, name="count"))
    kernel = np.array([[0, 0, 3, 0]], "float32")
    model.layers[0].set_weights([kernel, np.zeros((1, 4), "float32"), np.array([20, 20, 0, 20], "float32")])
    steps = np.concatenate([np.ones((ROWS, 20, 1)), -np.ones((ROWS, 16, 1)), np.zeros((ROWS, 4, 1))], 1)
    _save(folder, model, (steps * np.linspace(0.9, 1.1, ROWS)[:, None, None]).astype("float32"))


def hard_sigmoid(folder: Path) -> None:
    from tf_keras import layers

    _save(folder, _sequential((9, 3), layers.LSTM(6, recurrent_activation="hard_sigmoid", name="gated")))


def masked(folder: Path) -> None:
    from tf_keras import layers

    _save(folder, _sequential((9, 3), layers.Masking(), layers.LSTM(6, name="behind_mask")))


def streaming(folder: Path) -> None:
    """State goes on from call to call."""
    from tf_keras import layers

    _save(folder, _sequential((5, 3), layers.LSTM(4, stateful=True, name="recurrent"), batch_size=1))


def exported(folder: Path) -> None:
    """A SavedModel, whose LSTM is still marked for the converter."""
    import tensorflow as tf

    stateless(folder)
    model = __import__("tf_keras").models.load_model(folder / "model.h5")
    (folder / "model.h5").unlink()
    serve = tf.function(lambda x: {"y": model(x)}, input_signature=[tf.TensorSpec([1, 9, 3], tf.float32, name="x")])
    tf.saved_model.save(model, str(folder / "saved_model"), signatures={"serving_default": serve})


if __name__ == "__main__":
    import tf_keras

    for name in sys.argv[2:]:
        place = Path(sys.argv[1]) / name
        place.mkdir(parents=True)
        tf_keras.utils.set_random_seed(1)
        tf_keras.backend.clear_session()
        globals()[name](place)
