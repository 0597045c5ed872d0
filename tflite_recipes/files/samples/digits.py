"""The handwritten digits that scikit-learn carries: the embedded demonstration's data.

1,797 images of 8 × 8 pixels (UCI "Optical Recognition of Handwritten Digits", the test part), values 0…16 scaled to
0…1. Seeded split: 1,437 for training and calibration, 360 held out for evaluation.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from tflite_recipes.core.state import TensorSpec

INPUT = TensorSpec("image", (None, 8, 8, 1), "float32")
HELD_OUT = 360


@dataclass(frozen=True)
class Digits:
    """`images`: float32 (n, 8, 8, 1) in 0…1; `labels`: int64 (n,)."""

    images: Any
    labels: Any


def training() -> Digits:
    """The 1,437 images for training and calibration."""
    return _split()[0]


def held_out() -> Digits:
    """The 360 images for evaluation."""
    return _split()[1]


def sha256(digits: Digits) -> str:
    """Digest of images and labels."""
    return hashlib.sha256(digits.images.tobytes() + digits.labels.tobytes()).hexdigest()


def _split() -> tuple[Digits, Digits]:
    import numpy as np
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (data.images / 16.0).astype("float32")[..., None]
    order = np.random.RandomState(0).permutation(len(images))
    test, train = order[:HELD_OUT], order[HELD_OUT:]
    labels = data.target.astype("int64")
    return Digits(images[train], labels[train]), Digits(images[test], labels[test])
