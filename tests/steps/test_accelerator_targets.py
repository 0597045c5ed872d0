"""The targets gpu_delegate and edge_tpu: what they refuse, say and keep.

The Edge TPU's compiler cannot be had here: where a test needs one, a stand-in takes its place that prints what the real
one prints (see test_edge_tpu_log.py for where that is known from).
"""

import json
import stat
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from support.accelerator_files import write
from support.checkout import first_way
from support.edge_tpu_logs import FAILED, LOG
from support.reporters import RecordingReporter

from tflite_recipes.conversion.schemes import Scheme
from tflite_recipes.core.state import State
from tflite_recipes.report.sections.accelerators import section
from tflite_recipes.steps.edge_tpu_target import EdgeTpuTarget
from tflite_recipes.steps.gpu_target import GpuTarget

# Neither metadata nor files for developers: these tests are about what is particular to an accelerator.
PLAIN = {"metadata": False, "deploy": False}


def asked(target, tmp_path, *names, scheme="integer_only", **values):
    workdir = tmp_path / "work"
    workdir.mkdir()
    path = write(workdir / "some.tflite", names, **values)
    layers = tuple(f"layer_{i}" for i in range(len(names) + 1))
    heard = RecordingReporter()
    target(State(workdir, tflite=path, signature="serving_default", layers=layers, scheme=scheme), heard)
    return heard


def refused(target, scheme="integer_only", **steps):
    optimization = SimpleNamespace(scheme=Scheme[scheme], input_type=None, output_type=None)
    return {p.where: first_way(p) for p in target.problems({"optimization": optimization, **steps})}


@pytest.mark.parametrize("kind", [GpuTarget, EdgeTpuTarget])
def test_limits_that_only_the_device_shows_are_refused(kind):
    assert refused(kind()) == {}
    fixes = {"target.max_latency_ms": "target.max_latency_ms=null", "target.ram_kb": "target.ram_kb=null"}
    assert refused(kind(max_latency_ms=3.0, ram_kb=64.0)) == fixes


@pytest.mark.parametrize("scheme", Scheme)
def test_schemes(scheme):
    gpu, edge = (refused(kind(), scheme.name) for kind in (GpuTarget, EdgeTpuTarget))
    assert gpu == ({"optimization": "optimization=float16"} if "int16" in scheme.name else {})
    ok = scheme in (Scheme.integer_only, Scheme.full_integer)
    assert edge == ({} if ok else {"optimization": "optimization=integer_only calibration=npz calibration.path=FILE"})
    calibrated = refused(EdgeTpuTarget(), scheme.name, calibration=object())
    assert calibrated == ({} if ok else {"optimization": "optimization=integer_only"})


def test_a_search_has_no_scheme_to_refuse():
    assert not list(EdgeTpuTarget().problems({"optimization": None}))
    assert not list(GpuTarget().problems({}))


def test_gpu_names_op_layer_and_reason(tmp_path):
    heard = asked(GpuTarget(**PLAIN), tmp_path, "RELU", "CEIL", "RELU", "RELU", dtype="FLOAT32", scheme="none")
    assert heard.warnings == [
        "RELU of layer_1 stays on the CPU: "
        "the GPU could run it, but of 2 groups the delegate takes over the largest 1 only",
        "CEIL of layer_2 stays on the CPU: the delegate has no such op",
    ]
    assert heard.metrics == {"target.gpu_op_percent": 50.0, "target.gpu_partitions": 2}
    gate = heard.gate("cpu_ops")
    assert (gate.measured, gate.limit, gate.passed, gate.estimated) == (
        2,
        3,
        True,
        True,
    )
    found = json.loads(heard.files["gpu.json"])
    assert [place["runs_on"] for place in found["places"]] == ["CPU", "CPU", "GPU", "GPU"]
    assert "f67457790c9c" in found["rules"]


def test_ops_that_control_flow_runs_are_not_counted_as_accelerated(tmp_path):
    heard = asked(GpuTarget(**PLAIN), tmp_path, "RELU", dtype="FLOAT32", graphs=2)
    assert heard.warnings == [
        "RELU of layer_1 stays on the CPU: it stands in a graph that control flow runs, which is not judged"
    ]
    assert heard.metrics["target.gpu_op_percent"] == 50.0
    assert [place["subgraph"] for place in json.loads(heard.files["gpu.json"])["places"]] == [0, 1]


def test_gpu_takes_all_of_a_float_file_in_silence(tmp_path):
    heard = asked(
        GpuTarget(min_gpu_op_percent=100.0, **PLAIN),
        tmp_path,
        "RELU",
        "LOGISTIC",
        dtype="FLOAT32",
    )
    assert heard.warnings == []
    assert heard.gate("cpu_ops").passed
    assert heard.metrics["target.gpu_op_percent"] == 100.0


def test_gpu_says_that_integers_are_computed_in_float(tmp_path):
    heard = asked(GpuTarget(**PLAIN), tmp_path, "RELU")
    assert [text for text in heard.warnings if "floating point" in text] == heard.warnings != []


@pytest.mark.parametrize(
    ("values", "names", "scheme", "fix"),
    [
        ({"min_gpu_op_percent": 75.0}, ("RELU", "CEIL", "RELU", "RELU"), "none", "target.max_delegated_partitions=2"),
        ({"min_gpu_op_percent": 100.0}, ("RELU", "CEIL"), "none", ""),
        ({"min_gpu_op_percent": 100.0}, ("RELU", "CEIL"), "dynamic_range", "optimization=float16"),
        ({}, ("CEIL",), "none", ""),
    ],
)
def test_gpu_gate_names_the_nearest_way(tmp_path, values, names, scheme, fix):
    gate = asked(GpuTarget(**values, **PLAIN), tmp_path, *names, dtype="FLOAT32", scheme=scheme).gate("cpu_ops")
    assert (gate.passed, gate.fix) == (False, fix)


def test_gpu_takes_as_many_groups_as_the_application_lets_it(tmp_path):
    target = GpuTarget(max_delegated_partitions=2, min_gpu_op_percent=75.0, **PLAIN)
    heard = asked(target, tmp_path, "RELU", "CEIL", "RELU", "RELU", dtype="FLOAT32")
    assert heard.gate("cpu_ops").passed
    assert heard.metrics["target.gpu_op_percent"] == 75.0


def test_edge_tpu_by_rules_says_that_nothing_was_compiled(tmp_path):
    heard = asked(EdgeTpuTarget(compiler="no-such-compiler", **PLAIN), tmp_path, "RELU", "HARD_SWISH", "RELU")
    assert heard.warnings[0].startswith("no-such-compiler is not on PATH: judged by Coral's documentation")
    assert heard.warnings[1:] == [
        "HARD_SWISH of layer_2 stays on the CPU: the Edge TPU has no such op",
        "RELU of layer_3 stays on the CPU: "
        "only the first group of ops that can be mapped is, and it lies behind one that cannot",
    ]
    assert heard.metrics == {"target.edge_tpu_op_percent": pytest.approx(100 / 3)}
    assert heard.gate("cpu_ops").estimated
    assert "not compiled" in heard.tags["tflite_recipes.edge_tpu"]
    assert list(heard.kept) == ["edge_tpu.json"]


def test_edge_tpu_of_a_file_that_fits_warns_of_the_missing_compiler_alone(tmp_path):
    heard = asked(EdgeTpuTarget(compiler=None, min_edge_tpu_op_percent=100.0, **PLAIN), tmp_path, "RELU", "TANH")
    assert len(heard.warnings) == 1
    assert heard.warnings[0].startswith("no compiler was asked for")
    assert heard.gate("cpu_ops").passed


def test_edge_tpu_of_a_float_file_fails(tmp_path):
    target = EdgeTpuTarget(compiler=None, **PLAIN)
    gate = asked(target, tmp_path, "RELU", dtype="FLOAT32", scheme="full_integer").gate("cpu_ops")
    assert (gate.passed, gate.fix) == (False, "optimization=integer_only")


@pytest.mark.parametrize("large", [True, False])
def test_parameters_that_the_chip_cannot_hold_are_told(tmp_path, monkeypatch, large):
    from tflite_recipes.targets.accelerators import edge_tpu

    monkeypatch.setattr(edge_tpu, "PARAMETER_CACHE_BYTES", 11 if large else 12)  # of which the file has 12
    heard = asked(EdgeTpuTarget(compiler=None, **PLAIN), tmp_path, "RELU")
    assert any("fetched at each invoke" in text for text in heard.warnings) == large


def stand_in(folder: Path, text: str, status: int = 0, makes: bool = True, body: str = "") -> str:
    """A program that does as the compiler does: `-s -o FOLDER FILE`."""
    folder.mkdir()
    (folder / "says").write_text(text)
    made = 'cp "$4" "$3/model_edgetpu.tflite"' if makes else ":"
    program = folder / "edgetpu_compiler"
    program.write_text(
        f'#!/bin/sh\ntest "$1 $2" = "-s -o" || exit 9\n{body}\ncat {folder}/says\n{made}\nexit {status}\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


def test_edge_tpu_compiles(tmp_path, monkeypatch):
    program = stand_in(tmp_path / "bin", LOG)
    monkeypatch.setenv("PATH", str(Path(program).parent), prepend=":")
    heard = asked(EdgeTpuTarget(**PLAIN), tmp_path, "QUANTIZE", "RELU", "QUANTIZE")
    assert heard.warnings == [
        "FULLY_CONNECTED stays on the CPU: More than one subgraph is not supported",
        "QUANTIZE (2 of them) of layer_1, layer_3 stays on the CPU: "
        "Operation is otherwise supported, but not mapped due to some unspecified limitation",
    ]
    assert heard.metrics == {
        "target.edge_tpu_op_percent": pytest.approx(400 / 7),
        "target.edge_tpu_subgraphs": 1,
        "target.edge_tpu_on_chip_bytes": 1_572_864,
        "target.edge_tpu_off_chip_bytes": 0,
    }
    gate = heard.gate("cpu_ops")
    assert (gate.measured, gate.limit, gate.passed, gate.estimated) == (3, 6, True, False)
    assert heard.tags["tflite_recipes.edge_tpu"] == "compiled by Edge TPU Compiler 16.0.384591198"
    assert set(heard.kept) == {"edge_tpu.json", "deploy/model_edgetpu.tflite", "deploy/edgetpu_compiler.log"}
    assert json.loads(heard.files["edge_tpu.json"])["compiler"]["left_on_chip_bytes"] == 7936
    assert b"Compilation succeeded" in heard.files["deploy/edgetpu_compiler.log"]


def test_what_is_streamed_and_what_is_below_the_limit(tmp_path):
    program = stand_in(tmp_path / "bin", LOG.replace("parameters: 0.00B", "parameters: 3.00KiB"))
    target = EdgeTpuTarget(compiler=program, min_edge_tpu_op_percent=60.0, **PLAIN)
    heard = asked(target, tmp_path, "RELU", scheme="full_integer")
    assert any("3,072 bytes" in text for text in heard.warnings)
    assert (heard.gate("cpu_ops").passed, heard.gate("cpu_ops").fix) == (False, "optimization=integer_only")


def test_the_table_may_stand_in_the_operation_log(tmp_path):
    head, table = LOG.split("Operator   ")
    (tmp_path / "table").write_text(f"Operator   {table}")
    body = f'cp {tmp_path}/table "$3/model_edgetpu.log"'
    program = stand_in(tmp_path / "bin", head, body=body)
    heard = asked(EdgeTpuTarget(compiler=program, **PLAIN), tmp_path, "RELU")
    assert heard.metrics["target.edge_tpu_op_percent"] == pytest.approx(400 / 7)
    assert b"Mapped to Edge TPU" in heard.files["deploy/edgetpu_compiler.log"]


@pytest.mark.parametrize(
    ("text", "status", "makes", "says"),
    [
        (FAILED, 1, False, "static-sized tensors"),
        (FAILED, 0, False, "made no file"),
        ("Edge TPU Compiler version 17\n", 0, True, "lists no ops"),
    ],
)
def test_a_compiler_that_fails(tmp_path, text, status, makes, says):
    program = stand_in(tmp_path / "bin", text, status, makes)
    heard = asked(EdgeTpuTarget(compiler=program, **PLAIN), tmp_path, "RELU")
    assert says in heard.failure.what
    assert heard.failure.where == program
    assert heard.gates == []


@pytest.mark.slow
def test_a_compiler_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    body = f"sleep 60 & echo $! > {tmp_path}/child\nsleep 60"
    program = stand_in(tmp_path / "bin", LOG, body=body)
    started = time.monotonic()
    heard = asked(EdgeTpuTarget(compiler=program, compiler_timeout_s=0.5, **PLAIN), tmp_path, "RELU")
    assert "0.5 s" in heard.failure.what
    assert heard.failure.fix == "target.compiler_timeout_s=1.0"
    assert time.monotonic() - started < 20
    child = int((tmp_path / "child").read_text())
    assert ended_within(child, 5)


def ended_within(process, seconds):
    """The kernel takes its time to end what was killed, on a busy machine."""
    ends = time.monotonic() + seconds
    while psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > ends:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("compiled", [True, False])
def test_the_report_has_a_section(tmp_path, compiled):
    assert section(tmp_path) == ""
    program = stand_in(tmp_path / "bin", LOG) if compiled else None
    heard = asked(EdgeTpuTarget(compiler=program, **PLAIN), tmp_path, "RELU", "HARD_SWISH")
    (tmp_path / "edge_tpu.json").write_bytes(heard.files["edge_tpu.json"])
    page = section(tmp_path)
    assert "1 of 2 ops on the Edge TPU" in page
    assert "<td>HARD_SWISH</td><td>layer_2</td>" in page
    assert ("Compiler 16.0.384591198" in page) == compiled


@pytest.mark.slow
def test_a_run_on_the_gpu(here, cli):
    """Dense layers of dynamic range are of a version that the delegate does not know."""
    arguments = (
        "run",
        "digits_float",
        "target=gpu_delegate",
        "tracking=none",
        "target.min_gpu_op_percent=100",
        "source.epochs=1",
    )
    answer = cli(*arguments, "optimization=dynamic_range", "hydra.run.dir=first")
    said = answer.out + answer.err
    assert answer.status == 1
    assert "FULLY_CONNECTED (2 of them) of dense, digit stays on the CPU" in said
    assert "optimization=float16" in said
    assert json.loads((here / "first" / "gpu.json").read_text())["accelerator"] == "GPU"
    assert cli(*arguments, "optimization=float16", "hydra.run.dir=second").status == 0


@pytest.mark.slow
def test_a_run_for_the_edge_tpu(here, cli, tmp_path):
    program = stand_in(tmp_path / "bin", LOG)
    arguments = (
        "run",
        "digits_float",
        "target=edge_tpu",
        "tracking=none",
        "evaluation=none",
        "hydra.run.dir=out",
        "source.epochs=1",
    )
    integer = ("optimization=integer_only", "calibration=digits")
    answer = cli(*arguments, *integer, f"target.compiler={program}")
    assert answer.status == 0, answer.err
    assert (here / "out" / "deploy" / "model_edgetpu.tflite").read_bytes() == (
        here / "out" / "model.tflite"
    ).read_bytes()
