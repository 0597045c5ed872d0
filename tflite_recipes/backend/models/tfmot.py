"""Models with the wrappers of tensorflow-model-optimization (QAT, pruning, clustering), which tf_keras alone cannot
load."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import tensorflow as tf

from tflite_recipes.core.events import Reporter

_LEGACY = "TF_USE_LEGACY_KERAS"


def load(path: Path, wrappers: tuple[str, ...], arguments: dict[str, Any], reporter: Reporter) -> Any:
    """A model with its quantizers; what pruning and clustering wrapped around layers is taken off."""
    import tf_keras

    tfmot = _imported()
    objects = tfmot.quantization.keras.quantize_scope, tfmot.sparsity.keras.prune_scope
    with ExitStack() as scopes:
        for scope in (*objects, tfmot.clustering.keras.cluster_scope):
            scopes.enter_context(scope())
        model = tf_keras.models.load_model(path, **arguments)
    strips = {
        "PruneLowMagnitude": tfmot.sparsity.keras.strip_pruning,
        "ClusterWeights": tfmot.clustering.keras.strip_clustering,
    }
    for wrapper in (wrapper for wrapper in wrappers if wrapper in strips):
        model = strips[wrapper](model)
        reporter.warn(f"{path} was saved in {wrapper} wrappers, which are for training: taken off")
    if "QuantizeAnnotate" in wrappers:
        reporter.warn(
            f"{path} is annotated for quantization (quantize_annotate), but was never made quantization-aware"
        )
    return model


def _imported() -> Any:
    """tfmot turns `tf.keras` into Keras 2 for the whole process unless it is settled already which one that is."""
    before = os.environ.get(_LEGACY)
    tf.keras.version()
    import tensorflow_model_optimization as tfmot

    if before is None:
        os.environ.pop(_LEGACY, None)
    else:
        os.environ[_LEGACY] = before
    return tfmot
