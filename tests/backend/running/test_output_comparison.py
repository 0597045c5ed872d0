"""What a run says of outputs that are off."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.reporters import RecordingReporter
from support.tensor_error_rows import activation

from tflite_recipes.conversion.quality import tensor_errors

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("scheme", "error", "is_warned"),
    [("integer_only", 0.09, True), ("integer_only", 0.05, False), ("int16x8", 0.05, True), ("int16x8", 0.02, False)],
)
def test_values_that_are_off_are_warned_of_with_the_op_that_loses_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, error: float, is_warned: bool
) -> None:
    from tflite_recipes.backend.running import float_check, output_comparison

    rows = [activation("fine", "FULLY_CONNECTED", 50.0, 50.0), activation("grown", "EXP", 12.0, 45.0, incoming=50.0)]
    tensor_errors.write_csv(tmp_path / tensor_errors.TABLE, rows)
    source = {"y": np.linspace(0.0, 1.0, 64, dtype="float32").reshape(64, 1)}
    tflite = {"y": source["y"] + error * (np.arange(64) == 63)[:, None].astype("float32")}
    state = SimpleNamespace(
        tflite=tmp_path / "model.tflite",
        signature="s",
        stateful=False,
        cut={},
        scheme=scheme,
        workdir=tmp_path,
    )
    planned = SimpleNamespace(fixed=False, batch=1)
    monkeypatch.setattr(output_comparison.runtime, "plan", lambda *_: planned)
    monkeypatch.setattr(output_comparison.runtime, "run", lambda *_, **__: tflite)
    monkeypatch.setattr(output_comparison, "run_source", lambda *_: source)
    monkeypatch.setattr(output_comparison, "_without_delegates", lambda *_: {})
    monkeypatch.setattr(float_check, "check", lambda *_: None)
    reporter = RecordingReporter()
    output_comparison.compare(state, {"x": np.zeros((64, 1), "float32")}, reporter)  # type: ignore[arg-type]
    assert [("output y" in text, "EXP in layer_grown" in text) for text in reporter.warnings] == [
        (True, True)
    ] * is_warned
