"""Magnitude pruning of a Keras 3 model in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import keras
import numpy as np

from tflite_recipes.backend.models.source_model import input_structure
from tflite_recipes.backend.training.fine_tuning import TellEpochs
from tflite_recipes.conversion.quality.labels import class_numbers, targets
from tflite_recipes.core.errors import Problem, RequestError, gist
from tflite_recipes.core.events import Reporter


@dataclass
class _Masked:
    """A kernel and the weights of it that may live (1) or must be zero (0)."""

    variable: Any
    mask: Any

    def update(self, sparsity: float) -> None:
        """Keep the largest weights by magnitude; exactly round(sparsity × size) become zero."""
        values = np.abs(self.variable.numpy()).reshape(-1)
        zeros = round(sparsity * values.size)
        mask = np.ones(values.size, "float32")
        mask[np.argsort(values, kind="stable")[:zeros]] = 0.0
        self.mask = mask.reshape(self.variable.shape)

    def apply(self) -> None:
        self.variable.assign(self.variable * self.mask)


def kernels(model: Any, patterns: list[str]) -> list[Any]:
    """The kernels of the layers whose names match a pattern: dense and convolution layers at any depth.

    Depthwise kernels are left alone, because they are few and each serves a whole channel. Errors: RequestError for a
    pattern that matches no layer with a kernel.
    """
    layers = [layer for layer in model._flatten_layers(include_self=False) if _kernel(layer) is not None]
    unmatched = [p for p in patterns if not any(fnmatchcase(layer.name, p) for layer in layers)]
    if unmatched:
        names = ", ".join(dict.fromkeys(layer.name for layer in layers))
        raise RequestError(
            Problem(
                f"{unmatched} match no layer that can be pruned: {names or 'none'}",
                "pruning.layers",
                "'pruning.layers=[\"*\"]'",
            )
        )
    chosen = [_kernel(layer) for layer in layers if any(fnmatchcase(layer.name, p) for p in patterns)]
    return list({id(kernel): kernel for kernel in chosen}.values())


def _kernel(layer: Any) -> Any:
    if isinstance(layer, (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)):
        return None
    kernel = getattr(layer, "_kernel", None)
    kernel = kernel if kernel is not None else layer.__dict__.get("kernel")
    if kernel is None or not hasattr(kernel, "assign") or len(kernel.shape) < 2:
        return None
    return kernel


class _Prune(keras.callbacks.Callback):  # type: ignore[misc]
    """Masks after every training step, so that the optimizer never brings a pruned weight back."""

    def __init__(self, masked: list[_Masked], settings: Any, total: int) -> None:
        super().__init__()
        self._masked, self._settings, self._total, self._step = masked, settings, total, 0

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        for masked in self._masked:
            masked.update(self._settings.sparsity_at(0, self._total))
            masked.apply()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._step += 1
        due = self._step % self._settings.frequency == 0
        for masked in self._masked:
            if due:
                masked.update(self._settings.sparsity_at(self._step, self._total))
            masked.apply()


def prune(model: Any, settings: Any, samples: Mapping[str, Any] | None, reporter: Reporter) -> None:
    """Prune to `settings.final_sparsity`, fine-tuning on `samples` (inputs by name and `labels`) where there are any.

    Measures `pruning.sparsity`, and on the held-back part `pruning.loss_before`, `…_after` and for classifiers
    `pruning.accuracy_before`, `…_after`.
    """
    masked = [_Masked(kernel, np.ones(kernel.shape, "float32")) for kernel in kernels(model, settings.layers)]
    keras.utils.set_random_seed(settings.seed)
    split = _split(model, _checked(model, samples, settings), settings) if samples is not None else None
    if split is not None:
        _compile(model, settings)
        _measure(model, split, "before", reporter)
    if split is not None and settings.epochs:
        _fine_tune(model, masked, split, settings, reporter)
    for kernel in masked:
        kernel.update(settings.final_sparsity)
        kernel.apply()
    if split is not None:
        _measure(model, split, "after", reporter)
    zeros = sum(int((m.variable.numpy() == 0).sum()) for m in masked)
    total = sum(int(np.prod(m.variable.shape)) for m in masked)
    reporter.measure({"pruning.sparsity": zeros / max(total, 1)})


def _checked(model: Any, samples: Mapping[str, Any], settings: Any) -> Mapping[str, Any]:
    """The samples with labels that suit the loss and the model's output. Errors: RequestError."""
    if len(model.outputs) > 1:
        names = ", ".join(model.output_names)
        what = f"the fine-tune has one array of labels, and the model has several outputs: {names}"
        raise RequestError(Problem(what, "pruning.data", "pruning.data=null pruning.epochs=0"))
    labels, file, where = samples["labels"], str(settings.data), "pruning.data"
    rows, shape = len(labels), model.outputs[0].shape[1:]
    if settings.loss.name in ("sparse_categorical_crossentropy", "binary_crossentropy") and len(shape) == 1:
        checked = class_numbers(labels, shape[-1], rows, file, where)
        if settings.loss.name == "binary_crossentropy":
            checked = np.asarray(labels, "float32").reshape(rows, -1)
    else:
        checked = targets(labels, (rows, *shape), file, where).astype("float32")
    return {**samples, "labels": checked}


@dataclass(frozen=True)
class _Split:
    train_x: list[Any]
    train_y: Any
    held_x: list[Any]
    held_y: Any


def _split(model: Any, samples: Mapping[str, Any], settings: Any) -> _Split:
    inputs = [np.asarray(samples[tensor.name]) for tensor in model.inputs]
    labels = np.asarray(samples["labels"])
    order = np.random.default_rng(settings.seed).permutation(len(labels))
    held = round(settings.validation_split * len(labels))
    # Without a held-back part, before and after are measured on the training data itself.
    test, train = (order[:held], order[held:]) if held else (order, order)
    return _Split([x[train] for x in inputs], labels[train], [x[test] for x in inputs], labels[test])


def _compile(model: Any, settings: Any) -> None:
    losses = {
        "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
        "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
        "binary_crossentropy": keras.losses.BinaryCrossentropy,
    }
    name = settings.loss.name
    loss = losses[name](from_logits=settings.from_logits) if name in losses else name
    metrics = ["accuracy"] if name in losses else []
    model.compile(keras.optimizers.Adam(settings.learning_rate), loss, metrics=metrics)


def _structured(model: Any, arrays: list[Any]) -> Any:
    return keras.tree.pack_sequence_as(input_structure(model), arrays)


def _measure(model: Any, split: _Split, when: str, reporter: Reporter) -> None:
    figures = model.evaluate(_structured(model, split.held_x), split.held_y, verbose=0, return_dict=True)
    reporter.measure({f"pruning.{name}_{when}": float(value) for name, value in figures.items()})


def _fine_tune(model: Any, masked: list[_Masked], split: _Split, settings: Any, reporter: Reporter) -> None:
    total = -(-len(split.train_y) // settings.batch_size) * settings.epochs
    reached = settings.sparsity_at(total - total % settings.frequency, total)
    if settings.final_sparsity - reached > 1e-6:
        reporter.warn(
            f"the fine-tune of {total} steps ends before the schedule does, at a sparsity of {reached:.2f}: the rest "
            "is pruned without training after it (pruning.epochs, pruning.end_step, pruning.frequency)"
        )
    callbacks = [
        _Prune(masked, settings, total),
        TellEpochs(reporter, "pruning epochs", settings.epochs),
    ]
    inputs = _structured(model, split.train_x)
    try:
        model.fit(inputs, split.train_y, settings.batch_size, settings.epochs, verbose=0, callbacks=callbacks)
    except (ValueError, TypeError) as error:
        raise RequestError(Problem(f"the fine-tune cannot use this data: {gist(error)}", "pruning.data")) from error
