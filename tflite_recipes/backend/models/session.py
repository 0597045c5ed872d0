"""How TensorFlow is set up in the worker: the same for every job, whichever jobs came before."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Keras imports these where they are installed (MLflow brings them), for its scikit-learn wrappers and its picture
# galleries. No conversion uses either, and they are a third of the time that importing Keras takes.
_NOT_FOR_KERAS = ("sklearn", "matplotlib")


def start() -> None:
    """Import TensorFlow and Keras once, deterministic from the first op on.

    What they made while they were imported stays to the end, so the garbage collector need not walk through it: each
    full collection would take 0.2 s, and a job has several.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    with _hidden(*_NOT_FOR_KERAS):
        import keras
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    keras.utils.disable_interactive_logging()
    gc.collect()
    gc.freeze()


@contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Let these packages look as if they were not installed, unless they are imported already."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # this is how Python spells it
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def forget() -> None:
    """Give back what a model in memory held: from here on there are files."""
    import keras

    keras.backend.clear_session()
    gc.collect()


def seed(number: int) -> None:
    """Seed Python's, NumPy's and TensorFlow's global generators."""
    import keras

    keras.utils.set_random_seed(number)


def fresh(seed: int) -> None:
    """Forget the models of earlier jobs, whose automatic layer names would otherwise count on, and seed everything."""
    import keras

    keras.backend.clear_session()
    for name in ("keras", "tf_keras"):
        _unregister(sys.modules.get(name))
    keras.utils.set_random_seed(seed)


def _unregister(library: Any) -> None:
    """Forget the custom classes of earlier jobs, whose modules are gone: tf_keras takes no second one of a name."""
    if library is None:
        return
    registered = library.utils.get_custom_objects()
    for name in [name for name, found in registered.items() if found.__module__ not in sys.modules]:
        del registered[name]
