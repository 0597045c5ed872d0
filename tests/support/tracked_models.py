"""What a run tells of a small model, without a conversion: `told(folder, …)` writes files and gives events."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from support.micro_files import Builder
from tflite_recipes.core import events
from tflite_recipes.core.outcome import RunOutcome
from tflite_recipes.core.state import Gate

SCALE, ZERO_POINT = 0.05, -7


def small_file(path: Path) -> Path:
    """x (1, 3) → y, what of it is not below zero, both int8."""
    made = Builder()
    x, y = (made.tensor(name, [1, 3], "INT8", SCALE) for name in ("x", "y"))
    for index in (x, y):
        made.graph.tensors[index].quantization.zeroPoint = [ZERO_POINT]
    made.op("RELU", [x], [y])
    return made.write(path, [x], [y])


def small_contract() -> dict:
    def entry(name):
        stored = {"tensor": name, "shape": [1, 3], "dtype": "int8", "scale": SCALE, "zero_point": ZERO_POINT}
        return {"name": name, "source": {"shape": [None, 3], "dtype": "float32"}, "tflite": stored}

    return {
        "signature": "serving_default",
        "stateful": False,
        "inputs": [{**entry("x"), "preprocessing": {"mean": [0.5]}}],
        "outputs": [entry("y")],
        "remedies": [],
        "notes": [],
    }


def told(folder: Path, outcome: str = "done", passed: bool = True, flex: int = 0, contract: dict | None = None) -> list:
    """The events of a run, as they come from its spool."""
    folder.mkdir(parents=True, exist_ok=True)
    model = small_file(folder / "model.tflite")
    (folder / "io_contract.json").write_text(json.dumps(small_contract() if contract is None else contract))
    (folder / "input_example.json").write_text('{"x": [[1.0, -1.0, 0.52]]}\n')
    choices = {"source": "keras", "optimization": "integer_only"}
    happened = [
        events.RunStarted("small", "ab" * 32, choices, {"name": "small"}, (), str(folder)),
        events.ArtifactKept(str(folder / "io_contract.json")),
        events.Measured({"ops.flex": float(flex), "ops.custom": 0.0}),
        events.Judged(Gate("target.flash_kb", 1.0, 2.0 if passed else 0.5, passed, "KB")),
    ]
    if RunOutcome(outcome).has_file:
        happened += [
            events.Tagged({"tflite_recipes.tflite_sha256": "cd" * 32}),
            events.Noted({"input_example.data": "first calibration sample"}),
            events.ArtifactKept(str(folder / "input_example.json"), "model"),
            events.ArtifactKept(str(model), "model"),
        ]
    happened.append(events.RunFinished(RunOutcome(outcome), 1.0))
    lines = [json.dumps(events.to_json(event)) for event in happened]
    (folder / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return [events.from_json(json.loads(line)) for line in lines]


def expected(x: np.ndarray) -> np.ndarray:
    """What the file gives, by the arithmetic of its scale and zero point."""
    stored = np.clip(np.rint(x.astype("float64") / np.float32(SCALE)) + ZERO_POINT, -128, 127)
    return (np.float32(SCALE) * (np.maximum(stored, ZERO_POINT) - ZERO_POINT)).astype("float32")
