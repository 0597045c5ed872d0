"""What flows through a rewrite: tensors of the new graph, values that are known now, and what only exists as parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

# Known values are for counters, sizes, indices and windows. A weight stays a tensor of the graph.
LARGEST_KNOWN = 65_536


class Unrollable(Exception):
    """A loop that cannot be taken apart, and why."""


@dataclass(frozen=True)
class ComplexParts:
    """A complex tensor as its real and its imaginary part, each a float tensor or known."""

    real: Any
    imaginary: Any


@dataclass(frozen=True)
class TensorItems:
    """A TensorList whose length is known, as its items; None is an item that was never set.

    stacked: the tensor that the items are the rows of, as long as no item was set.
    """

    items: tuple[Any, ...]
    dtype: Any
    element_shape: Any
    stacked: Any = None

    def item(self, index: int, shape: Any) -> Any:
        """The item at `index`; zeros of `shape` where it was never set."""
        if self.stacked is not None:
            return self.stacked[index]
        found = self.items[index]
        return self._unset(shape) if found is None else found

    def _unset(self, shape: Any) -> Any:
        if is_known(shape) and (shape >= 0).all():
            return tf.zeros(shape, self.dtype)
        like = next((item for item in self.items if item is not None), None)
        if like is None:
            raise Unrollable("it reads a list before anything was put there, and the size of its items is open")
        return tf.zeros_like(symbolic(like))

    def with_item(self, index: int, value: Any) -> TensorItems:
        items = list(self.unstacked())
        items[index] = value
        return replace(self, items=tuple(items), stacked=None)

    def unstacked(self) -> tuple[Any, ...]:
        return tuple(tf.unstack(self.stacked)) if self.stacked is not None else self.items

    def stack(self, shape: Any) -> Any:
        """All items as one tensor, first axis the items."""
        if self.stacked is not None:
            return self.stacked
        return tf.stack([symbolic(self.item(index, shape)) for index in range(len(self.items))])

    def materialized(self) -> Any:
        """As TensorFlow's own TensorList."""
        if self.stacked is None and all(item is None for item in self.items):
            return tf.raw_ops.TensorListReserve(
                element_shape=symbolic(self.element_shape), num_elements=len(self.items), element_dtype=self.dtype
            )
        stacked = self.stack(self.element_shape)
        return tf.raw_ops.TensorListFromTensor(tensor=stacked, element_shape=symbolic(self.element_shape))


Value = Any  # np.ndarray (known), tf.Tensor, ComplexParts or TensorItems


def is_known(value: Value) -> bool:
    """Whether the value is there already, while the graph is being made."""
    return isinstance(value, np.ndarray)


def all_known(values: Sequence[Value]) -> bool:
    """Whether every one of them is known."""
    return all(is_known(value) for value in values)


def symbolic(value: Value) -> Any:
    """The value as a tensor of the graph that is being made."""
    if isinstance(value, TensorItems):
        return value.materialized()
    if isinstance(value, ComplexParts):
        return tf.complex(symbolic(value.real), symbolic(value.imaginary))
    return tf.constant(value) if is_known(value) else value
