"""The folder that measuring takes, and what a run tells of its result."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from support import runnable_files
from support.checkout import write
from support.reporters import RecordingReporter

from tflite_recipes import api
from tflite_recipes.backend.measuring import benchmark_script, latency
from tflite_recipes.core.errors import ExitStatus, StepError
from tflite_recipes.core.state import State, TensorSpec
from tflite_recipes.files.samples import npz
from tflite_recipes.report.sections import latency as latency_page

SETTINGS = latency.Settings(1, True, 2, 5, profile=True, sweep=((1, True), (1, False)), seconds=60.0)
SAMPLES = np.random.default_rng(0).normal(size=(9, 64)).astype("float32")


@pytest.fixture
def state(tmp_path):
    file = runnable_files.write(tmp_path / "model.tflite")
    spec = TensorSpec("features", (None, 64), "float32")
    return State(tmp_path, tflite=file, signature="serve", inputs=(spec,), layers=tuple(runnable_files.LAYERS))


def test_the_folder_holds_all_that_measuring_takes(state):
    folder, drawn = latency.prepare(state, SETTINGS)
    assert {path.name for path in folder.iterdir()} == {
        *benchmark_script.FILES,
        "model.tflite",
        "inputs.npz",
        "job.json",
    }
    assert (folder / "model.tflite").read_bytes() == state.tflite.read_bytes()
    job = json.loads((folder / "job.json").read_text())
    assert job["sweep"] == [{"threads": 1, "xnnpack": True}, {"threads": 1, "xnnpack": False}]
    assert (job["signature"], job["threads"], job["warmup"], job["runs"]) == ("serve", 1, 2, 5)
    assert drawn == "seeded random values, 0 to 1"
    with np.load(folder / "inputs.npz") as stored:
        assert stored["features"].shape == (1, 64)
        first = stored["features"]
    again, _ = latency.prepare(state, SETTINGS)
    with np.load(again / "inputs.npz") as stored:
        assert (stored["features"] == first).all()


def test_the_sample_is_from_the_calibration_where_there_is_one(state, tmp_path):
    from dataclasses import replace

    saved = npz.save_arrays(tmp_path / "calibration", {"features": SAMPLES})
    folder, drawn = latency.prepare(replace(state, calibration=saved), SETTINGS)
    assert drawn == "the first calibration samples"
    with np.load(folder / "inputs.npz") as stored:
        assert (stored["features"] == SAMPLES[:1]).all()


def test_lines_of_a_script():
    heard = RecordingReporter()
    lines = ["INFO: loaded\n", '{"progress": [50, 200]}\n', "42\n", '{"progress": [200, 200]}\n']
    assert latency.follow(lines, heard) == "42"
    assert [told[1:] for told in heard.progressed] == [(25, 100), (100, 100)]
    assert latency.follow([*lines, '{"error": "no such file"}\n'], heard) == "no such file"


RESULT = {
    **{"p50_ms": 1.0, "p90_ms": 2.0, "p99_ms": 3.0, "load_ms": 4.0, "first_invoke_ms": 5.0, "first_ms": 9.0},
    "peak_memory_bytes": 4096,
    "sweep": [
        {"threads": 1, "xnnpack": True, "p50_ms": 1.0},
        {"threads": 2, "xnnpack": False, "p50_ms": 6.0},
        {"threads": 4, "xnnpack": True, "error": "it died"},
    ],
    "profile": None,
}


def test_metrics_are_of_the_setting_asked_for_and_medians_of_the_others():
    assert latency.metrics(RESULT) == {
        **{"latency.p50_ms": 1.0, "latency.p90_ms": 2.0, "latency.p99_ms": 3.0, "latency.load_ms": 4.0},
        **{"latency.first_invoke_ms": 5.0, "latency.first_ms": 9.0, "latency.peak_memory_bytes": 4096.0},
        **{"latency.threads_1_p50_ms": 1.0, "latency.threads_2_without_xnnpack_p50_ms": 6.0},
    }


WHERE = {"machine": "riscv64", "cpus": 3, "runtime": "ai-edge-litert 9"}


def tell(state, **changes):
    folder = state.workdir / "measuring"
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps({**RESULT, **WHERE, **changes}))
    heard = RecordingReporter()
    return latency.tell(state, folder, "random", heard), heard


def test_what_could_not_be_measured_is_told(state):
    result, heard = tell(state, profile_error="c_profiler: gone; prefix: slow")
    assert heard.warnings == [
        "latency with 4 threads, XNNPACK could not be measured: it died",
        "the ops' times are not known: c_profiler: gone; prefix: slow",
    ]
    assert heard.params == {
        **{"latency.sample": "random", "latency.machine": "riscv64", "latency.processors": "3"},
        "latency.runtime": "ai-edge-litert 9",
    }
    assert result["integer"] is False
    assert heard.kept == ["latency.json"]


def test_each_op_is_told_with_its_layer(state):
    ops = [{"index": n, "name": name, "ms": 1.0, "share": 0.25} for n, name in enumerate(runnable_files.OPS)]
    profile = {"method": "prefix", "xnnpack": False, "runs": 5, "total_ms": 4.0, "ops": ops}
    _, heard = tell(state, profile=profile, sweep=[])
    assert heard.warnings == []
    with (state.workdir / "profile.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["index", "op", "layer", "ms", "share"]
    assert [row["op"] for row in rows] == runnable_files.OPS
    assert [row["layer"] for row in rows] == runnable_files.LAYERS
    assert set(heard.kept) == {"profile.csv", "latency.json"}


@pytest.mark.slow
def test_a_file_is_measured_by_a_process_of_its_own(state):
    heard = RecordingReporter()
    result = latency.measure(state, SETTINGS, heard)
    assert heard.metrics["latency.p50_ms"] == result["p50_ms"] > 0
    assert heard.progressed[-1][1:] == (100, 100)
    assert [row["name"] for row in result["profile"]["ops"]] == runnable_files.OPS
    assert not (state.workdir / "measuring").exists()


@pytest.mark.slow
def test_what_fails_is_one_line(state):
    from dataclasses import replace

    settings = replace(SETTINGS, seconds=0.0)
    with pytest.raises(StepError) as caught:
        latency.measure(state, settings, RecordingReporter())
    (problem,) = caught.value.problems
    assert problem.what == "latency could not be measured: measuring took longer than it may"
    assert problem.where == "target"
    assert not (state.workdir / "measuring").exists()


@pytest.mark.slow
def test_a_script_that_hangs_is_ended_with_what_it_started(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", "import subprocess as s; print(s.Popen(['sleep', '60']).pid, flush=True); input()"],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    import psutil

    grandchild = psutil.Process(int(child.stdout.readline()))
    latency.end_with_children(child)
    assert child.returncode == -9
    psutil.wait_procs([grandchild], timeout=10)
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE
    latency.end_with_children(child)
    child.stdout.close()
    child.stdin.close()


FACTORY = """
def build():
    import keras
    i = keras.Input((12, 12, 3), name="x")
    h = keras.layers.Conv2D(8, 3, activation="relu", name="first")(i)
    h = keras.layers.GlobalAveragePooling2D(name="pooled")(h)
    return keras.Model(i, keras.layers.Dense(2, name="y")(h))
"""


@pytest.mark.slow
def test_a_whole_run(here):
    write(here / "make.py", FACTORY)
    factory = ["source=factory", "source.function=make.py:build", "tracking=none", "target=cpu", "target.runs=20"]
    integer = ["optimization=integer_only", "calibration=random"]
    limits = ["target.max_latency_ms=1000", "target.ram_kb=100000", "target.sweep=[1]"]
    result = api.run("convert", [*factory, *integer, *limits], progress=False)
    assert result.status == ExitStatus.DONE, result.problems
    metrics = result.metrics
    assert 0 < metrics["latency.p50_ms"] <= metrics["latency.p90_ms"] <= metrics["latency.p99_ms"]
    assert metrics["latency.threads_1_p50_ms"] == metrics["latency.p50_ms"]
    assert metrics["latency.threads_1_without_xnnpack_p50_ms"] > 0
    assert {gate.name for gate in result.gates if gate.passed} == {"target.max_latency_ms", "target.ram_kb"}
    folder = result.output_dir
    stored = json.loads((folder / "latency.json").read_text())
    assert stored["integer"] is True
    assert stored["sample"] == "the first calibration samples"
    with (folder / "profile.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    counts = json.loads((folder / "ops.json").read_text())["op_counts"]
    assert len(rows) == sum(counts.values())
    assert ("CONV_2D", "first") in [(row["op"], row["layer"]) for row in rows]
    assert (folder / "profile.svg").read_text().startswith("<svg")
    page = (folder / "report.html").read_text()
    assert "Ops that take longest" in page
    assert ("say nothing of Arm" in page) is latency_page.says_nothing_of_arm(stored)
