"""The firmware's sources as a run keeps them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.firmware import EITHER, TFLM, builds, made, status, subtraction
from support.reporters import RecordingReporter

from tflite_recipes.core.state import State, TensorSpec
from tflite_recipes.files.samples import npz
from tflite_recipes.steps import micro_deploy
from tflite_recipes.steps.micro_target import MicroTarget


@pytest.fixture
def state(tmp_path: Path) -> State:
    """After the optimization step: y = left - right in int8, in batches of two."""
    inputs = tuple(TensorSpec(name, (None, 3), "float32") for name in ("left", "right"))
    outputs = (TensorSpec("difference", (None, 3), "float32"),)
    path = subtraction(tmp_path / "model.tflite")
    return State(tmp_path, signature="serving_default", inputs=inputs, outputs=outputs, tflite=path)


def with_samples(state: State, count: int = 5) -> State:
    draw = np.random.default_rng(3)
    arrays = {spec.name: draw.uniform(-30, 30, (count, 3)).astype("float32") for spec in state.inputs}
    folder = npz.save_arrays(state.workdir / "calibration", arrays)
    return State(**{**vars(state), "calibration": folder})


def text(state: State, name: str) -> str:
    return (state.workdir / "deploy" / name).read_text()


@builds
@pytest.mark.parametrize("tflm", EITHER)
@pytest.mark.parametrize("samples", [0, 1, 5])
def test_what_is_kept_builds_and_runs_on_a_sample(state: State, tflm: str, samples: int) -> None:
    """With one sample for a batch of two it stands there twice; with none there are random values."""
    told = RecordingReporter()
    assert state.tflite is not None
    if samples:
        state = with_samples(state, samples)
    micro_deploy.deliver(state, state.tflite, 4096, told)
    origin = "a calibration sample" if samples else "seeded random values"
    assert f"Of {origin}: " in text(state, "sample_data.h")
    folder = state.workdir / "deploy"
    assert {f"deploy/{path.name}" for path in folder.iterdir()} == set(told.kept)
    assert re.findall(r"struct (Input_\w+)[^}]*kIndex = (\d)", text(state, "tensor_io.h")) == [
        *(("Input_left", "1"), ("Input_right", "0"))
    ]
    if tflm == "stubs":
        assert made(folder, {}, goal="build/main").returncode == 0
        assert os.access(folder / "build" / "main", os.X_OK)
        return
    done = made(folder, {}, tflm=TFLM)
    assert status(done) == 0, done.stdout + done.stderr
    assert "difference: 0 of 6 differ too much" in done.stdout


def test_a_file_that_nothing_here_runs_comes_without_a_sample(state: State) -> None:
    assert state.tflite is not None
    micro_deploy.deliver(State(**{**vars(state), "runnable": False}), state.tflite, None, RecordingReporter())
    assert "No sample was at hand" in text(state, "sample_data.h")
    assert "#error" in text(state, "arena.h")


def test_a_target_writes_them_where_it_is_asked_to(state: State) -> None:
    told = RecordingReporter()
    MicroTarget(interpreter=False, deploy=False)(state, told)
    assert "deploy/main.cc" not in told.kept
    MicroTarget(interpreter=False)(state, told)
    assert "deploy/main.cc" in told.kept
    assert not [warning for warning in told.warnings if warning.startswith("deploy/")]


def test_no_sources_for_a_file_that_does_not_run_there(state: State) -> None:
    from ai_edge_litert import schema_py_generated as schema

    assert state.tflite is not None
    data = bytearray(state.tflite.read_bytes())
    code = schema.Model.GetRootAs(data, 0).OperatorCodes(0)._tab
    for slot, write in ((4, 1), (10, 4)):  # the op's number stands in a byte, and again in four
        place = code.Pos + code.Offset(slot)
        data[place : place + write] = int(schema.BuiltinOperator.ATAN2 if write == 4 else 127).to_bytes(write, "little")
    state.tflite.write_bytes(data)
    told = RecordingReporter()
    MicroTarget(interpreter=False)(State(**{**vars(state), "runnable": False}), told)
    assert "deploy/main.cc" not in told.kept
    assert "deploy/ is not written: TensorFlow Lite Micro does not run the file" in told.warnings


@pytest.mark.slow
@builds
@pytest.mark.parametrize("tflm", EITHER)
def test_a_run_leaves_sources_that_build(tflm: str, here: Path, cli: Any) -> None:
    pytest.importorskip("tflite_micro", reason="the extra is not here: pip install 'tflite_recipes[micro]'")
    overrides = ("target=cortex_m4", "source.epochs=1", "evaluation.max_drop=null", "tracking=none")
    done = cli("run", "digits_integer_only", *overrides)
    assert done.status == 0, done.out + done.err
    (main,) = here.rglob("deploy/main.cc")
    assert "Of a calibration sample" in (main.parent / "sample_data.h").read_text()
    if tflm == "stubs":
        assert made(main.parent, {}, goal="build/main").returncode == 0
        return
    ran = made(main.parent, {}, tflm=TFLM)
    assert status(ran) == 0, ran.stdout + ran.stderr
    assert "digit: 0 of 10 differ too much" in ran.stdout
