"""The script that measures a file where it is run, by its contract, and the arithmetic of percentiles."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import runnable_files

from tflite_recipes.backend.measuring import benchmark_script

FOLDER = Path(benchmark_script.__file__).parent
X = np.random.default_rng(1).normal(size=(1, 64)).astype("float32")


@pytest.mark.parametrize("name", benchmark_script.FILES)
def test_a_device_needs_numpy_litert_and_an_old_python(name):
    tree = ast.parse((FOLDER / name).read_text(encoding="utf-8"), feature_version=(3, 9))
    imports = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imports |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    tops = {name.partition(".")[0] for name in imports} - set(sys.stdlib_module_names)
    assert tops <= {"numpy", "ai_edge_litert", "op_profiler"}
    assert "numpy" in tops


@given(st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=50))
def test_percentiles_are_in_order_and_within_what_was_measured(times):
    found = benchmark_script.summary(times)
    ordered = [found["p50_ms"], found["p90_ms"], found["p99_ms"]]
    assert ordered == sorted(ordered)
    assert all(min(times) * (1 - 1e-9) <= value <= max(times) * (1 + 1e-9) for value in found.values())
    assert found["mean_ms"] == pytest.approx(sum(times) / len(times))


def test_percentiles_of_a_hundred_times():
    found = benchmark_script.summary([float(n) for n in range(101)])
    assert found == {"p50_ms": 50.0, "p90_ms": 90.0, "p99_ms": 99.0, "mean_ms": 50.0}


def count(warmup, runs, least, most):
    calls = []
    times = benchmark_script.timed(lambda: calls.append(1), warmup, runs, least, most, lambda *_: None)
    assert len(calls) == warmup + len(times)
    return len(times)


def test_as_many_invokes_as_asked_for_after_the_warm_up():
    assert count(3, 5, 0.0, float("inf")) == 5


def test_quick_invokes_are_measured_for_a_while():
    assert count(0, 5, 0.05, float("inf")) > 5


def test_a_setting_of_the_sweep_ends_with_its_time():
    assert count(1, 1000, 0.0, 0.0) == 1


def test_text_is_described_by_its_bytes():
    one, other = (np.array([b"ab", b"c"], dtype=object) for _ in range(2))
    described = [benchmark_script.description_of(benchmark_script.as_plain(value)) for value in (one, other)]
    assert described[0] == described[1]
    assert described[0]["shape"] == [2]


def folder_with(tmp_path, keys=("serve",), arrays=None, **job):
    runnable_files.write(tmp_path / "model.tflite", keys)
    np.savez(tmp_path / "inputs.npz", **(arrays or {"features": X}))
    whole = {"signature": keys[-1], "threads": 1, "xnnpack": True, "warmup": 2, "runs": 7, "profile": False}
    (tmp_path / "job.json").write_text(json.dumps({**whole, "sweep": [], "min_seconds": 0.0, **job}))
    return tmp_path


def start(folder, script=FOLDER / benchmark_script.FILES[0]):
    done = subprocess.run([sys.executable, str(script), str(folder)], capture_output=True, text=True, timeout=120)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, lines


@pytest.mark.slow
def test_the_contract(tmp_path):
    sweep = [{"threads": threads, "xnnpack": on} for threads in (1, 2) for on in (True, False)]
    status, lines = start(folder_with(tmp_path, sweep=sweep, profile=True))
    assert status == 0, lines
    told = [line["progress"] for line in lines]
    assert all(done <= total for done, total in told)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1]
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["runtime"].startswith("ai-edge-litert ")
    assert {"machine", "system", "python", "cpus"} < set(result)
    assert 0 < result["p50_ms"] <= result["p90_ms"] <= result["p99_ms"]
    assert result["first_ms"] == pytest.approx(result["load_ms"] + result["first_invoke_ms"])
    assert (result["measured_runs"], result["threads"], result["xnnpack"]) == (7, 1, True)
    assert [{"threads": s["threads"], "xnnpack": s["xnnpack"]} for s in result["sweep"]] == sweep
    assert all(0 < one["p50_ms"] <= one["p90_ms"] for one in result["sweep"])
    assert result["sweep"][0]["p50_ms"] == result["p50_ms"]  # the job's own setting is not measured twice
    expected = runnable_files.reference(tmp_path / "model.tflite", X)
    digest = hashlib.sha256(expected.tobytes()).hexdigest()
    assert result["outputs"] == {"scores": {"dtype": "float32", "shape": [1, 512], "sha256": digest}}
    with np.load(tmp_path / "outputs.npz") as stored:
        assert (stored["scores"] == expected).all()
    kept = {"model.tflite", "inputs.npz", "job.json", "result.json", "outputs.npz"}
    assert {path.name for path in tmp_path.iterdir()} == kept


@pytest.mark.slow
def test_memory_is_at_least_the_weights_that_are_packed_and_not_the_runtimes(tmp_path):
    assert start(folder_with(tmp_path))[0] == 0
    peak = json.loads((tmp_path / "result.json").read_text())["peak_memory_bytes"]
    weights = 4 * (64 * 512 + 512 * 512)
    assert weights < peak < 64 << 20


@pytest.mark.slow
def test_each_op_has_its_time_and_its_name(tmp_path):
    assert start(folder_with(tmp_path, profile=True))[0] == 0
    profile = json.loads((tmp_path / "result.json").read_text())["profile"]
    assert profile["method"] in ("c_profiler", "prefix")
    assert [(row["index"], row["name"]) for row in profile["ops"]] == list(enumerate(runnable_files.OPS))
    assert sum(row["share"] for row in profile["ops"]) == pytest.approx(1.0)
    assert sum(row["ms"] for row in profile["ops"]) == pytest.approx(profile["total_ms"])


@pytest.mark.slow
def test_of_several_signatures_the_one_asked_for_is_run(tmp_path):
    status, lines = start(folder_with(tmp_path, ("first", "second"), profile=True))
    assert status == 0, lines
    result = json.loads((tmp_path / "result.json").read_text())
    expected = runnable_files.reference(tmp_path / "model.tflite", X)
    assert result["outputs"]["scores"]["sha256"] == hashlib.sha256(expected.tobytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "arrays", "said"),
    [
        ({}, {"other": X}, "takes ['features'], and there is ['other']"),
        ({"signature": "none"}, None, "Invalid signature_key"),
        ({"timeout_seconds": 0.0}, None, "longer than it may"),
    ],
)
def test_what_fails_is_the_last_line_and_leaves_no_result(tmp_path, job, arrays, said):
    status, lines = start(folder_with(tmp_path, arrays=arrays, **job))
    assert status == 1
    assert said in lines[-1]["error"]
    assert {path.name for path in tmp_path.iterdir()} == {"model.tflite", "inputs.npz", "job.json"}


@pytest.mark.slow
def test_a_file_that_is_none(tmp_path):
    folder = folder_with(tmp_path)
    (folder / "model.tflite").write_bytes(b"TFL3" * 8)
    status, lines = start(folder)
    assert status == 1
    assert lines[-1]["error"]


@pytest.mark.slow
def test_without_the_profile_beside_it_the_rest_is_measured(tmp_path):
    """A profile is an extra: what fails there, be it by a signal, is told beside the rest."""
    shutil.copy(FOLDER / "benchmark_script.py", tmp_path / "benchmark_script.py")
    (tmp_path / "op_profiler.py").write_text("import os\nos.kill(os.getpid(), 11)\n")
    (tmp_path / "job").mkdir()
    status, lines = start(folder_with(tmp_path / "job", profile=True), tmp_path / "benchmark_script.py")
    assert status == 0, lines
    result = json.loads((tmp_path / "job" / "result.json").read_text())
    assert result["profile"] is None
    assert "c_profiler: the process ended by signal 11" in result["profile_error"]
    assert result["p50_ms"] > 0
