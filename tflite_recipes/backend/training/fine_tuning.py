"""What training-time steps share."""

from __future__ import annotations

from typing import Any

import keras

from tflite_recipes.core.events import Reporter


class TellEpochs(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells each epoch's end, with its loss (and accuracy where it is measured)."""

    def __init__(self, reporter: Reporter, what: str, total: int) -> None:
        super().__init__()
        self._reporter, self._what, self._total = reporter, what, total

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items() if name in ("loss", "accuracy")}
        detail = ", ".join(f"{name} {value:.4f}" for name, value in sorted(figures.items(), reverse=True))
        self._reporter.progress(self._what, epoch + 1, self._total, detail)
