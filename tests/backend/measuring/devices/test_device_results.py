"""What a device brings back is taken only as what it should be."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from tflite_recipes.backend.measuring.devices import device_results
from tflite_recipes.backend.measuring.latency import Settings

SETTINGS = Settings(1, True, 10, 100, True, ((2, True), (2, False)))
TIMES = {"p50_ms": 1.0, "p90_ms": 1.5, "p99_ms": 2, "mean_ms": 1.1, "measured_runs": 100}
ROW = {"index": 0, "name": "CONV_2D", "ms": 1.0, "share": 1.0}
PROFILE = {"method": "c_profiler", "xnnpack": False, "runs": 50, "total_ms": 1.0, "ops": [ROW]}
RESULT = {
    **{"runtime": "ai-edge-litert 2.3.0", "machine": "aarch64", "system": "Linux", "python": "3.11.2", "cpus": 4},
    **{"threads": 1, "xnnpack": True, "warmup": 10, "runs": 100, **TIMES},
    **{"load_ms": 1.0, "first_invoke_ms": 2.0, "first_ms": 3.0, "peak_memory_bytes": 4096},
    "sweep": [{"threads": 2, "xnnpack": True, **TIMES}, {"threads": 2, "xnnpack": False, "error": "why\nnot"}],
    "profile": {**PROFILE, "delegated": {**PROFILE, "xnnpack": True, "ops": [{**ROW, "by": "XNNPACK"}]}},
}


def checked(tmp_path, result):
    path = tmp_path / "result.json"
    path.write_text(result if isinstance(result, str) else json.dumps(result), encoding="utf-8")
    device_results.checked(path, SETTINGS)
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_whole_result_stays_as_it_is_in_plain_text(tmp_path):
    sent = {**RESULT, "machine": "\x1b[2Jaarch64", "profile_error": "XNNPACK:\tno"}
    plain = {**RESULT, "machine": "[2Jaarch64", "profile_error": "XNNPACK:no"}
    plain["sweep"] = [RESULT["sweep"][0], {**RESULT["sweep"][1], "error": "whynot"}]
    assert checked(tmp_path, sent) == plain
    assert checked(tmp_path, {**RESULT, "more": "x"}).keys() == RESULT.keys()
    assert checked(tmp_path, {**RESULT, "profile": None})["profile"] is None


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"p50_ms": float("nan")}, "p50_ms is nan"),
        ({"p50_ms": -5.0}, "p50_ms is -5"),
        ({"peak_memory_bytes": 10**400}, "peak_memory_bytes is out of range"),
        ({"cpus": float("inf")}, "cpus is inf"),
        ({"p90_ms": "1"}, "p90_ms is no number"),
        ({"machine": 5}, "machine is no text"),
        ({"sweep": []}, "sweep has not the settings"),
        ({"sweep": [{**RESULT["sweep"][0], "threads": "2 $(reboot)"}, RESULT["sweep"][1]]}, "sweep has not"),
        ({"sweep": RESULT["sweep"][::-1]}, "sweep has not the settings"),
        ({"sweep": "12"}, "sweep is no list"),
        ({"profile": {**PROFILE, "method": "guess"}}, "by no method"),
        ({"profile": {**PROFILE, "runs": "<script>"}}, "runs is no number"),
        ({"profile": {**PROFILE, "ops": [{**ROW, "index": "<img src=x>"}]}}, "index is no number"),
        ({"profile": {**PROFILE, "ops": [{**ROW, "index": 0.5}]}}, "index is no whole number"),
        ({"profile": {**PROFILE, "ops": [5]}}, "profile is no table"),
        ({"profile": {**PROFILE, "delegated": {**PROFILE, "ops": [{**ROW, "by": 1}]}}}, "by is no text"),
    ],
)
def test_what_would_be_judged_or_shown_is_refused(tmp_path, changed, what):
    with pytest.raises(ValueError, match=what):
        checked(tmp_path, {**RESULT, **changed})


@pytest.mark.parametrize("text", ["", "[1]", "[" * 200_000, "5"])
def test_no_result_at_all(tmp_path, text):
    with pytest.raises(ValueError):
        checked(tmp_path, text)


def test_arrays_of_savez_are_read(tmp_path):
    np.savez(tmp_path / "outputs.npz", a=np.arange(3), text=np.array([b"x"]))
    found = device_results.arrays(tmp_path / "outputs.npz")
    assert sorted(found) == ["a", "text"]
    assert found["a"].tolist() == [0, 1, 2]


def test_arrays_that_are_none_are_refused(tmp_path):
    path, header = tmp_path / "outputs.npz", "{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000,), }"
    np.save(path.with_suffix(".npy"), np.zeros(3))
    packed, huge = tmp_path / "packed.npz", tmp_path / "huge.npz"
    np.savez_compressed(packed, a=np.zeros(1000))
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    with zipfile.ZipFile(huge, "w") as made:
        made.writestr("a.npy", b"\x93NUMPY\x01\x00v\x00" + f"{header.ljust(117)}\n".encode())
    texts = [b"", b"PK\x03\x04" + b"x" * 100, path.with_suffix(".npy").read_bytes(), packed.read_bytes()]
    for data in [*texts, huge.read_bytes(), (tmp_path / "objects.npz").read_bytes()]:
        path.write_bytes(data)
        with pytest.raises(ValueError):
            device_results.arrays(path)
