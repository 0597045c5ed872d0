"""The shipped recipes for hardware, with the models that they are meant for, beside the published int8 files."""

from __future__ import annotations

import json

import pytest

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus

# Of the published int8 files, by the same tools (`benchmarks/references.py`).
ARENA = {"keyword_spotting": 24_272, "anomaly_detection": 4_640}
CYCLES, SRAM = 220_870, 74_480
VWW = "source.arguments={input_shape: [96, 96, 3], alpha: 0.25, classes: 2}"


def done(recipe, *overrides):
    samples = ("calibration=random", "calibration.samples=8", "calibration.low=-1.0", "tracking=none")
    result = api.run(recipe, [*samples, *overrides], progress=False)
    assert result.status is ExitStatus.DONE, result.problems
    assert all(gate.passed for gate in result.gates)
    return result


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "model"), [("keyword_spotting", "kws_saved_model"), ("anomaly_detection", "ad01.h5")]
)
def test_a_published_model_takes_the_arena_of_its_published_file(here, shared, recipe, model):
    result = done(recipe, f"source.path={shared / 'models' / model}")
    assert result.metrics["target.arena_bytes"] == pytest.approx(ARENA[recipe], rel=0.02)
    assert result.metrics["target.max_difference_steps"] <= 1
    assert {path.name for path in (result.output_dir / "deploy").iterdir()} >= {"main.cc", "op_resolver.h", "Makefile"}


@pytest.mark.slow
def test_a_network_of_the_published_shape_runs_on_the_npu_entirely(here):
    result = done("visual_wake_words", "source=keras_application", "source.name=MobileNet", VWW)
    assert result.metrics["target.npu_op_percent"] == 100
    assert result.metrics["target.sram_bytes"] == pytest.approx(SRAM, rel=0.02)
    # Most of the published weights are zero, which Vela skips; of these none is.
    assert result.metrics["target.cycles"] > CYCLES
    assert (result.output_dir / "deploy" / "model_vela.tflite").read_bytes()[4:8] == b"TFL3"


@pytest.mark.slow
def test_mobilenet_v2_is_made_ready_for_a_raspberry_pi(here):
    size = "source.arguments={input_shape: [96, 96, 3], alpha: 0.35}"
    result = done("mobilenet_v2_raspberry_pi", size, "target.profile=false", "target.sweep=[]")
    assert not [name for name in result.metrics if name.startswith("latency.")]
    stated = json.loads((result.output_dir / "deploy" / "runtime.json").read_text())
    assert [entry["dtype"] for entry in stated["inputs"]] == ["float32"]
