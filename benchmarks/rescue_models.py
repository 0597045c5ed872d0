"""Small models of the kinds that eight bits spoil, each with samples to calibrate with, to search with, and held out.

    python benchmarks/rescue_models.py FOLDER [NAME ...]     writes FOLDER/NAME/: model.keras, the .npz files

Seeded, nothing is downloaded; the labels are of what was never trained on.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

CALIBRATION, SEARCH, HELD_OUT = "calibration.npz", "search.npz", "held_out.npz"
_CALIBRATED, _SEARCHED = 200, 2000


_PLACES = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))


def _digits(draw: np.random.Generator) -> tuple[Any, Any]:
    """scikit-learn's digits in a drawn order, each where it stands and moved by a pixel to each side: five rows."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = draw.permutation(len(found.images))
    images = np.pad(found.images[order, ..., None] / 16.0, ((0, 0), (1, 1), (1, 1), (0, 0))).astype("float32")
    moved = np.stack([np.roll(images, place, axis=(1, 2)) for place in _PLACES], axis=1)
    return moved.reshape(-1, 10, 10, 1), np.repeat(found.target[order], len(_PLACES))


def depthwise(folder: Path, draw: np.random.Generator) -> tuple[Mapping[str, Any], Any]:
    """A trained depthwise network whose channels were then scaled over three decades, each against what reads it: the
    same function, as training with batch normalization may leave it."""
    import keras
    from keras import layers

    images, labels = _digits(draw)
    image = keras.Input((10, 10, 1), name="image")
    h = image
    for number, channels in enumerate((16, 24, 32)):
        h = layers.Conv2D(channels, 1, activation="relu", name=f"pointwise_{number}")(h)
        h = layers.DepthwiseConv2D(3, padding="same", activation="relu", name=f"depthwise_{number}")(h)
    model = keras.Model(image, layers.Dense(10, name="logits")(layers.Flatten()(h)))
    _fit(model, images[:4500], labels[:4500], keras.losses.SparseCategoricalCrossentropy(from_logits=True), 8)
    for number in range(3):
        made, read = model.get_layer(f"pointwise_{number}"), model.get_layer(f"depthwise_{number}")
        scale = 10.0 ** draw.uniform(-1.5, 1.5, made.filters)
        kernel, bias = made.get_weights()
        made.set_weights([kernel * scale, bias * scale])
        kernel, bias = read.get_weights()
        read.set_weights([kernel / scale[:, None], bias])
    model.save(folder / "model.keras")
    return {"image": images[4500:]}, labels[4500:]


def transformer(folder: Path, draw: np.random.Generator) -> tuple[Mapping[str, Any], Any]:
    """One block of attention that finds, among 16 tokens, which of five symbols the marked one shows. One feature is
    forty times as large as the others, and means nothing, as in the residual streams of large models."""
    import keras
    from keras import layers

    count, length, classes = 8500, 16, 5
    symbols, marked = draw.integers(0, classes, (count, length)), draw.integers(0, length, count)
    tokens = draw.normal(0, 0.3, (count, length, 24)).astype("float32")
    tokens[..., :classes] += np.eye(classes, dtype="float32")[symbols]
    tokens[np.arange(count), marked, classes] += 2.0
    tokens[..., -1] *= 40.0
    labels = symbols[np.arange(count), marked]
    token = keras.Input((length, 24), name="tokens")
    h = layers.Dense(24)(token)
    h = layers.LayerNormalization()(h + layers.MultiHeadAttention(4, 6)(h, h))
    h = layers.LayerNormalization()(h + layers.Dense(24)(layers.Dense(48, activation="gelu")(h)))
    out = layers.Dense(classes, activation="softmax", name="symbol")(layers.GlobalAveragePooling1D()(h))
    model = keras.Model(token, out)
    _fit(model, tokens[:4000], labels[:4000], "sparse_categorical_crossentropy", 15)
    model.save(folder / "model.keras")
    return {"tokens": tokens[4000:]}, labels[4000:]


def two_scales(folder: Path, draw: np.random.Generator) -> tuple[Mapping[str, Any], Any]:
    """Values of about a thousandth and of about a thousand in one output."""
    import keras
    from keras import layers

    x = keras.Input((12,), name="x")
    h = layers.Dense(24, activation="tanh")(x)
    both = layers.Concatenate(name="both")([layers.Dense(4)(h) * 1e-3, layers.Dense(4)(h) * 1e3])
    keras.Model(x, both).save(folder / "model.keras")
    return {"x": draw.standard_normal((4200, 12)).astype("float32")}, None


def many_classes(folder: Path, draw: np.random.Generator) -> tuple[Mapping[str, Any], Any]:
    """1,000 clusters of features, and a softmax in the model that was trained shortly with smoothed labels, so that
    hardly a probability reaches the 1/256 that an int8 softmax resolves."""
    import keras
    from keras import layers

    count, classes = 25000, 1000
    centres, labels = draw.standard_normal((classes, 64)), draw.integers(0, classes, count)
    features = (centres[labels] + draw.normal(0, 0.5, (count, 64))).astype("float32")
    x = keras.Input((64,), name="features")
    h = layers.Dense(128, activation="relu")(x)
    model = keras.Model(x, layers.Dense(classes, activation="softmax", name="probabilities")(h))
    targets = keras.losses.CategoricalCrossentropy(label_smoothing=0.97)
    _fit(model, features[:20000], np.eye(classes, dtype="float32")[labels[:20000]], targets, 8, 128)
    model.save(folder / "model.keras")
    return {"features": features[20000:]}, labels[20000:]


def wide_regressor(folder: Path, draw: np.random.Generator) -> tuple[Mapping[str, Any], Any]:
    """A quantity over four decades, predicted as such (an exponential ends the model), and wanted everywhere to the
    same relative error: it is scored by R² of its logarithm."""
    import keras
    from keras import layers

    x = draw.uniform(-1, 1, (8200, 8)).astype("float32")
    decades = 2.0 + 1.2 * np.sin(2.0 * x[:, 0]) + 0.8 * x[:, 1] * x[:, 2] + 0.4 * x[:, 3]
    decades = decades + draw.normal(0, 0.05, len(x))
    given = keras.Input((8,), name="x")
    h = layers.Dense(32, activation="relu")(layers.Dense(32, activation="relu")(given))
    log = keras.Model(given, layers.Dense(1, name="logarithm")(h))
    _fit(log, x[:4000], decades[:4000] * np.log(10.0), "mse", 40)
    keras.Model(given, layers.Activation("exponential", name="exp")(log.output)).save(folder / "model.keras")
    (folder / "metric.py").write_text(LOG_R2, encoding="utf-8")
    return {"x": x[4000:]}, (10.0 ** decades[4000:]).astype("float32")


LOG_R2 = '''import numpy as np


def log_r2(outputs, labels):
    """R² of the logarithm; what is not above a thousandth counts as that."""
    predicted = np.log10(np.maximum(next(iter(outputs.values())).reshape(-1), 1e-3))
    wanted = np.log10(labels)
    return 1.0 - ((wanted - predicted) ** 2).sum() / ((wanted - wanted.mean()) ** 2).sum()
'''


def autoencoder(folder: Path, draw: np.random.Generator) -> tuple[Mapping[str, Any], Any]:
    """A dense autoencoder through 8 values of synthetic spectra in dB, five frames of 64 bands."""
    import keras
    from keras import layers

    frames = keras.Input((320,), name="frames")
    h = frames
    for width in (128, 128, 8, 128, 128):
        h = layers.Dense(width, activation="relu" if width > 8 else None)(h)
    model = keras.Model(frames, layers.Dense(320, name="output")(h))
    spectra = _spectra(draw, 8200, 5, 64)
    _fit(model, spectra[:4000], spectra[:4000], "mse", 25)
    model.save(folder / "model.keras")
    return {"frames": spectra[4000:]}, None


def _spectra(draw: np.random.Generator, count: int, frames: int, bands: int) -> Any:
    """(count, frames × bands) float32 of −85 to 15: a slope, two humps that move from frame to frame, noise."""
    band, time = np.arange(bands) / bands, np.arange(frames)[:, None] / frames
    slope, first, second, drift = (draw.uniform(low, high, (count, 1, 1)) for low, high in _SPECTRA)
    level = -20.0 - slope * band
    for place, height in ((first, 25.0), (second, 15.0)):
        level = level + height * np.exp(-(((band - place - drift * time) / 0.08) ** 2))
    noisy = level + draw.normal(0, 1.5, (count, frames, bands))
    return np.clip(noisy, -85.0, 15.0).reshape(count, -1).astype("float32")


_SPECTRA = ((20.0, 55.0), (0.1, 0.4), (0.5, 0.9), (-0.1, 0.1))


def _fit(model: Any, x: Any, y: Any, loss: Any, epochs: int, batch: int = 64) -> None:
    import keras

    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0)


# Published models, with samples of the ranges that their reference int8 files were calibrated to: they come without.


def ad01(folder: Path, draw: np.random.Generator) -> tuple[Mapping[str, Any], Any]:
    """Log-mel frames in dB for the anomaly detector."""
    return {"input_1": _spectra(draw, 4200, 5, 128)}, None


def kws(folder: Path, draw: np.random.Generator) -> tuple[Mapping[str, Any], Any]:
    """MFCCs for the keyword spotter: the first coefficient about −60, the others smaller with their number."""
    coefficient = np.arange(10)
    mean = np.where(coefficient == 0, -50.0, 0.0)
    spread = np.where(coefficient == 0, 20.0, 8.0 / (1.0 + 0.3 * coefficient))
    walk = draw.standard_normal((3200, 49, 10)).cumsum(axis=1) / 5.0 + draw.standard_normal((3200, 1, 10))
    return {"input_1": np.clip(mean + spread * walk, -123.0, 26.0).astype("float32")[..., None]}, None


CASES: dict[str, Callable[[Path, np.random.Generator], tuple[Mapping[str, Any], Any]]] = {
    case.__name__: case
    for case in (depthwise, transformer, two_scales, many_classes, wide_regressor, autoencoder, ad01, kws)
}


def write(folder: Path, name: str) -> None:
    """The case's files, in a folder of its own."""
    import keras

    place = folder / name
    place.mkdir(parents=True)
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    inputs, labels = CASES[name](place, np.random.default_rng(1))
    ends = (_CALIBRATED, _CALIBRATED + _SEARCHED)
    parts = {CALIBRATION: slice(ends[0]), SEARCH: slice(*ends), HELD_OUT: slice(ends[1], None)}
    for file, part in parts.items():
        arrays = {key: values[part] for key, values in inputs.items()}
        labelled = labels is not None and file != CALIBRATION
        np.savez(place / file, **arrays, **({"labels": labels[part]} if labelled else {}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CASES))
    options = parser.parse_args()
    for name in options.names or [name for name in CASES if name not in ("ad01", "kws")]:
        write(options.folder, name)
        print(name, flush=True)


if __name__ == "__main__":
    main()
