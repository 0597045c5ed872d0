"""The small models and samples that the documentation pages name, in a folder of their own for each page.

Run as `python docs_samples.py FOLDER`, which writes the models.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from support import sample_files
from support.tf_scripts import run_script

COLORS = ("blue", "green", "red")


def write(folder: Path) -> None:
    """Write all of them."""
    rng = np.random.default_rng(0)
    images = rng.random((20, 8, 8, 3), dtype=np.float32)
    labels = np.zeros(20, np.int64)
    np.savez(folder / "cal.npz", image=images)
    for name in ("test", "train"):
        np.savez(folder / f"{name}.npz", image=images, labels=labels)
    for name in ("photos", "test_photos"):
        sample_files.images(folder / name, 12, (9, 10, 3), COLORS)
    for number in range(6):
        sample_files.wav(folder / "clips" / COLORS[number % 2] / f"{number}.wav", rng.integers(-9000, 9000, 1600))
    rows = [f"{a:.3f},{b:.3f},{COLORS[int(a + b)]}" for a, b in rng.random((20, 2))]
    (folder / "table.csv").write_text("\n".join(["a,b,label", *rows, ""]), encoding="utf-8")
    run_script(__file__, folder)


def _models(folder: Path) -> None:
    """The bias makes the class of every sample the same, so that no gate of an example depends on rounding."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    h = keras.layers.Conv2D(8, 3, activation="relu", name="conv")(image)
    h = keras.layers.GlobalAveragePooling2D(name="pool")(h)
    bias = keras.initializers.Constant([3.0, 0.0, -1.0])
    scores = keras.layers.Dense(3, activation="softmax", bias_initializer=bias, name="scores")(h)
    model = keras.Model(image, scores)
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    model.export(folder / "saved_model", format="tf_saved_model", verbose=False)
    (folder / "float.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    x = keras.Input((2,), name="x")
    keras.Model(x, keras.layers.Dense(3, activation="softmax", name="scores")(x)).save(folder / "table_model.keras")
    x = keras.Input((8,), name="x")
    gate = keras.layers.Dense(8, activation="sigmoid", name="gate")(x)
    keras.Model(x, keras.layers.Dense(3, name="out")(gate * x)).save(folder / "gate_model.keras")
    clip = keras.Input((1600,), name="clip")
    keras.Model(clip, keras.layers.Dense(2, name="scores")(clip)).save(folder / "sound_model.keras")


if __name__ == "__main__":
    _models(Path(sys.argv[1]))
