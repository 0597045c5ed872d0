"""The embedded demonstration's model: a small Keras 3 CNN, seeded and deterministic."""

from __future__ import annotations

from typing import Any

import keras

from tflite_recipes.backend.models import session
from tflite_recipes.backend.training.fine_tuning import TellEpochs
from tflite_recipes.core.events import Reporter
from tflite_recipes.files.samples.digits import INPUT, Digits


def build() -> Any:
    """(n, 8, 8, 1) float32 images → (n, 10) probabilities; 21,962 parameters."""
    layers = keras.layers
    image = keras.Input(INPUT.shape[1:], name=INPUT.name)
    hidden = layers.Conv2D(16, 3, padding="same", activation="relu", name="conv_1")(image)
    hidden = layers.Conv2D(32, 3, padding="same", activation="relu", name="conv_2")(hidden)
    hidden = layers.MaxPooling2D(name="pool")(hidden)
    hidden = layers.Flatten(name="flatten")(hidden)
    hidden = layers.Dense(32, activation="relu", name="dense")(hidden)
    return keras.Model(image, layers.Dense(10, activation="softmax", name="digit")(hidden), name="digits")


def train(data: Digits, epochs: int, batch_size: int, learning_rate: float, seed: int, reporter: Reporter) -> Any:
    """The model trained on `data`; the same weights every time for the same arguments."""
    session.fresh(seed)
    model = build()
    model.compile(keras.optimizers.Adam(learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    tell = TellEpochs(reporter, "training epochs", epochs)
    model.fit(data.images, data.labels, batch_size, epochs, verbose=0, callbacks=[tell])
    return model
