"""Targets that LiteRT runs on: what is refused of them, what is warned of, and how limits become gates."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.reporters import RecordingReporter

from tflite_recipes import api
from tflite_recipes.core.state import State
from tflite_recipes.steps.litert_target import Architecture, CpuTarget, Runner, faster, foreign


def problems(*overrides):
    return {problem.where: problem for problem in api.check("digits_integer_only", overrides)}


ARM = ("raspberry_pi4", "android_arm64", "ios_arm64")


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cpu", "linux_x86_64"])
def test_what_is_measured_here_may_have_limits(here, target):
    limits = ("target.max_latency_ms=5", "target.ram_kb=4096")
    assert problems(f"target={target}", *limits) == {}
    assert problems(f"target={target}", "optimization=auto", "optimization.objective=latency") == {}


@pytest.mark.slow
@pytest.mark.parametrize("target", ARM)
def test_what_is_not_measured_has_no_limit(here, target):
    assert problems(f"target={target}", "target.flash_kb=4096") == {}
    found = problems(f"target={target}", "target.max_latency_ms=5", "target.ram_kb=4096")
    assert set(found) == {"target.max_latency_ms", "target.ram_kb"}
    problem = found["target.max_latency_ms"]
    assert problem.what == "the latency has a limit, and with target.runner=none it is not measured"
    assert problem.fix == "target.runner=ssh target.host=USER@DEVICE"
    assert problem.alternatives == ("target.runner=local", "target.max_latency_ms=null")
    for other in problem.alternatives:
        mended = problems(f"target={target}", "target.max_latency_ms=5", other)
        assert mended == {}


@pytest.mark.parametrize("target", ARM)
def test_nor_can_the_fastest_file_be_looked_for(here, target):
    found = problems(f"target={target}", "optimization=auto", "optimization.objective=latency")
    assert "measures no latency" in found["target"].what


@pytest.mark.parametrize("overrides", [["target=generic"], ["target=cpu", "target.runner=none"], ["target=ios_arm64"]])
def test_the_fix_gives_a_target_that_measures_latency(here, overrides):
    asked = [*overrides, "optimization=auto", "optimization.objective=latency"]
    fix = problems(*asked)["target"].fix
    assert "target" not in problems(*asked, *fix.split())


@pytest.mark.parametrize(
    ("target", "key"),
    [("cpu", "known_hosts"), ("cpu", "identity_file"), ("cpu", "labels"), ("ethos_u55_128", "config")],
)
def test_a_file_that_may_be_left_out_has_to_be_there(here, target, key):
    given = [f"target={target}", *(["target.runner=ssh", "target.host=pi"] if target == "cpu" else [])]
    found = problems(*given, f"target.{key}=none.ini")
    assert found[f"target.{key}"].what.startswith("there is no none.ini")
    (here / "none.ini").write_text("a\n")
    assert "there is no" not in str(problems(*given, f"target.{key}=none.ini").get(f"target.{key}"))


def test_a_sweep_is_over_numbers_of_threads(here):
    assert problems("target=cpu", "target.sweep=[1,8]") == {}
    assert problems("target=cpu", "target.sweep=[]") == {}
    found = problems("target=cpu", "target.sweep=[2,0,1000]")
    assert found["target.sweep"].fix == "'target.sweep=[2]'"
    assert found["target.sweep"].what == "0 is no number of threads: 1 to 256"


def test_a_sweep_is_capped_at_the_machines_processors():
    heard = RecordingReporter()
    settings = CpuTarget(sweep=[2, 1, 2, 8, 64])._settings(2, heard)
    assert settings.sweep == ((2, True), (2, False), (1, True), (1, False))
    assert heard.warnings == ["target.sweep: 8, 64 threads are left out, the machine has 2 processors"]
    heard = RecordingReporter()
    assert CpuTarget(sweep=[1, 2])._settings(2, heard).sweep[0] == (1, True)
    assert heard.warnings == []


@pytest.mark.parametrize(
    ("architecture", "machine", "said"),
    [
        (Architecture.arm64, "x86_64", "latency was measured on x86_64, which says nothing of the target's arm64"),
        (Architecture.x86_64, "aarch64", "latency was measured on aarch64, which says nothing of the target's x86_64"),
        (Architecture.arm64, "armv7l", "latency was measured on armv7l, which says nothing of the target's arm64"),
        (Architecture.arm64, "aarch64", ""),
        (Architecture.arm64, "arm64", ""),
        (Architecture.x86_64, "AMD64", ""),
        (Architecture.any, "riscv64", ""),
    ],
)
def test_another_processor_is_told(architecture, machine, said):
    assert foreign(architecture, machine) == said


SWEEP = [
    {"threads": 1, "xnnpack": True, "p50_ms": 9.0},
    {"threads": 4, "xnnpack": True, "p50_ms": 2.0},
    {"threads": 2, "xnnpack": False, "p50_ms": 4.5},
    {"threads": 2, "xnnpack": True, "p50_ms": 4.0},
    {"threads": 1, "xnnpack": False, "error": "it died"},
]


@pytest.mark.parametrize(
    ("bound", "fix"),
    [
        (5.0, "target.threads=2 target.xnnpack=true"),
        (3.0, "target.threads=4 target.xnnpack=true"),
        (1.0, ""),
        (None, ""),
    ],
)
def test_the_setting_that_would_fit_is_known_from_the_sweep(bound, fix):
    assert faster({"sweep": SWEEP}, bound) == fix
    assert faster({"sweep": []}, bound) == ""


@pytest.fixture
def measured(monkeypatch, tmp_path):
    from tflite_recipes.backend.measuring import latency

    result = {"p50_ms": 6.0, "peak_memory_bytes": 3 << 20, "machine": "x86_64", "sweep": SWEEP}
    monkeypatch.setattr(latency, "measure", lambda state, settings, reporter: result)
    file = tmp_path / "model.tflite"
    file.write_bytes(b"x" * 2048)
    return State(tmp_path, tflite=file)


def judged(target, state):
    heard = RecordingReporter()
    replace(target, metadata=False, deploy=False)(state, heard)  # what is measured alone
    return {gate.name: gate for gate in heard.gates}, heard.warnings


def test_every_limit_is_a_gate(measured):
    gates, warned = judged(CpuTarget(flash_kb=3.0, ram_kb=4096.0, max_latency_ms=5.0), measured)
    assert {name: gate.measured for name, gate in gates.items()} == {
        "target.flash_kb": 2.0,
        "target.ram_kb": 3072.0,
        "target.max_latency_ms": 6.0,
    }
    assert [name for name, gate in gates.items() if not gate.passed] == ["target.max_latency_ms"]
    assert gates["target.max_latency_ms"].fix == "target.threads=2 target.xnnpack=true"
    assert gates["target.max_latency_ms"].unit == "ms"
    assert not any(gate.estimated for gate in gates.values())
    assert warned == []


def test_without_limits_there_is_no_gate(measured):
    assert judged(CpuTarget(), measured) == ({}, [])


def test_an_arm_target_measured_on_an_x86_warns(measured):
    gates, warned = judged(CpuTarget(architecture=Architecture.arm64, ram_kb=1.0, max_latency_ms=9.0), measured)
    assert [gate.estimated for gate in gates.values()] == [True, True]
    assert warned == ["latency was measured on x86_64, which says nothing of the target's arm64"]


def test_with_no_runner_nothing_is_measured(measured, monkeypatch):
    from tflite_recipes.backend.measuring import latency

    monkeypatch.setattr(latency, "measure", lambda *_: pytest.fail("it was measured"))
    monkeypatch.setattr("tflite_recipes.steps.litert_target.smaller_scheme", lambda *_: "optimization=float16")
    gates, (warned,) = judged(CpuTarget(flash_kb=1.0, runner=Runner.none), replace(measured, runnable=False))
    assert warned.startswith("neither latency nor memory is measured: target.runner=ssh")
    assert [(gate.passed, gate.fix) for gate in gates.values()] == [(False, "optimization=float16")]


def test_failing_measurement_is_reported_and_keeps_the_file(measured):
    heard, state = RecordingReporter(), replace(measured, runnable=False)
    assert CpuTarget(flash_kb=3.0, metadata=False, deploy=False)(state, heard) == state
    ((problem, judges),) = heard.failures
    assert (problem.where, problem.fix, judges) == ("target", "target=generic", True)
    assert [gate.name for gate in heard.gates] == ["target.flash_kb"]
