"""Ethos-U targets: what Vela, run for real, makes of tiny files, and what is refused before."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
from support import float_files, integer_files, npu_files
from support.checkout import REPOSITORY, first_way, write
from support.reporters import RecordingReporter

from tflite_recipes.config import catalog
from tflite_recipes.conversion.schemes import IOType, Quantizer, Scheme
from tflite_recipes.core import schema
from tflite_recipes.core.errors import StepError
from tflite_recipes.core.state import Gate, Intent, State, TensorSpec
from tflite_recipes.files.tflite.metadata import read_metadata
from tflite_recipes.steps.ethos_u_settings import Accelerator, Strategy
from tflite_recipes.steps.ethos_u_target import EthosUTarget
from tflite_recipes.steps.optimization import Optimization
from tflite_recipes.targets.vela import config as vela_config

OPTIONS = sorted(path.stem for path in (REPOSITORY / "conf" / "target").glob("ethos_u*.yaml"))


def target(option="ethos_u55_128", **keys):
    values = catalog.option_values(REPOSITORY / "conf" / "target" / f"{option}.yaml")
    built, problems = schema.build(schema.load_target(values.pop("_target_")), {**values, **keys}, "target")
    assert not problems
    return built


def compiled(tmp_path, *layers, option="ethos_u55_128", intent=None, file=None, keys=None, **how):
    # What a run makes has a signature with names, which other files have not: they are not deployed.
    keys = {"deploy": file is None, **(keys or {})}
    file = file or npu_files.write(tmp_path / "tiny.tflite", *layers, **how)
    shape = [None if axis in how.get("open_axes", ()) else size for axis, size in enumerate((1, 8, 8, 4))]
    inputs, outputs = ((TensorSpec(name, tuple(shape), "float32"),) for name in "xy")
    work = tmp_path / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    state = State(work, intent or Intent(), layers=npu_files.LAYERS, tflite=file, inputs=inputs, outputs=outputs)
    state, told = replace(state, signature=npu_files.SIGNATURE), RecordingReporter(tmp_path / "out")
    after = target(option, **keys)(state, told)
    assert after == (replace(state, tflite=after.tflite) if keys.get("metadata") else state)
    return told


def test_there_is_an_option_for_each_accelerator():
    assert sorted(Accelerator.__members__) == OPTIONS
    assert all(kind.value == kind.name.replace("_", "-") for kind in Accelerator)


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_each_compiles_a_file_all_of_which_runs_on_the_npu(tmp_path, option):
    told = compiled(tmp_path, "conv", "last", option=option)
    assert target(option).accelerator.name == option
    assert told.metrics["target.npu_op_percent"] == told.metrics["target.npu_mac_percent"] == 100.0
    assert told.metrics["target.cpu_ops"] == 0
    assert told.metrics["target.cycles"] > 0
    clock = target(option).clock_mhz
    assert told.metrics["target.inference_ms"] == pytest.approx(told.metrics["target.cycles"] / clock / 1e3)
    found = json.loads((tmp_path / "out" / "vela.json").read_text())
    assert (found["accelerator"], found["core_clock_mhz"]) == (option.replace("_", "-"), clock)
    assert told.warnings == []
    assert told.gates == [Gate("target.npu_op_percent", 100.0, 1.0, True, "%", at_least=True)]
    assert told.tags["tflite_recipes.compiled_verified"] == "false"


@pytest.mark.slow
def test_what_vela_estimates_is_tagged_as_that(tmp_path):
    told = compiled(tmp_path, "conv")
    estimates = told.tags["tflite_recipes.estimated"].split(", ")
    assert {"target.cycles", "target.inference_ms", "target.sram_bytes"} <= set(estimates) <= set(told.metrics)
    assert "target.flash_bytes" not in estimates


@pytest.mark.slow
def test_more_macs_a_cycle_take_fewer_cycles(tmp_path):
    cycles = [
        compiled(tmp_path, "conv", "last", option=f"ethos_u55_{macs}").metrics["target.cycles"] for macs in (32, 256)
    ]
    assert cycles[0] > cycles[1]


@pytest.mark.slow
def test_what_is_left_to_the_cpu_is_told_with_its_layer_and_velas_reason(tmp_path):
    told = compiled(tmp_path, "conv", "shuffle", "last")
    assert told.metrics["target.npu_op_percent"] == pytest.approx(100 * 2 / 3)
    assert told.metrics["target.cpu_ops"] == 1
    assert told.metrics["target.npu_mac_percent"] == 100.0
    fallen, beside = told.warnings
    assert fallen.startswith("left to the CPU: SPACE_TO_DEPTH in layer 'shuffle'; Vela: Unsupported opType;")
    assert "another layer" in fallen
    assert "comes on top" in beside
    found = json.loads((tmp_path / "out" / "vela.json").read_text())
    (op,) = found["cpu"]
    assert (op["index"], op["op"], op["layer"]) == (1, "SPACE_TO_DEPTH", "shuffle")
    assert (op["output"], op["reason"]) == ("model/shuffle/SpaceToDepth", "Unsupported opType")
    assert [entry["layer"] for entry in found["layers"]] == ["conv", "last"]
    assert sum(entry["cycles"] for entry in found["layers"]) == told.metrics["target.cycles"]
    assert found["npu"]["counted_by_vela"]["CPU"] == 1


@pytest.mark.slow
def test_a_float_file_of_which_nothing_runs_on_the_npu_fails_a_gate(tmp_path):
    told = compiled(tmp_path, "conv", "last", dtype="float32", keys={"ram_kb": 1, "max_latency_ms": 1})
    gate = told.gate("npu_op_percent")
    assert (gate.measured, gate.passed, gate.estimated) == (0.0, False, False)
    assert (gate.fix, gate.alternatives) == ("", ("optimization=integer_only calibration=npz calibration.path=FILE",))
    assert len(told.gates) == 1
    fallen, nothing = told.warnings
    assert "CONV_2D in layer 'conv', CONV_2D in layer 'last'" in fallen
    assert "DataType Float32" in fallen
    assert "optimization=integer_only" in fallen
    assert "nothing of the file runs on the NPU" in nothing
    assert not {"target.cycles", "target.inference_ms", "target.sram_bytes"} & set(told.metrics)
    assert "tflite_recipes.estimated" not in told.tags


@pytest.mark.slow
@pytest.mark.parametrize("option", ["ethos_u55_128", "ethos_u65_256"])
def test_an_op_that_no_kernel_runs_on_the_cpu_either_is_told_and_what_vela_made_is_kept(tmp_path, option):
    told = compiled(tmp_path, "conv", "choose", option=option)
    (said,) = [text for text in told.warnings if "has no kernel" in text and not text.startswith("deploy/")]
    assert said.startswith("SELECT in layer 'choose': TensorFlow Lite Micro has no kernel for it")
    assert "deploy/ has no sources for firmware: TensorFlow Lite Micro has no kernel for SELECT" in told.warnings
    assert "deploy/model_vela.tflite" in told.kept
    assert "deploy/main.cc" not in told.kept
    # Only an Ethos-U55 is never beside a Cortex-A, where LiteRT runs it.
    judged = [(gate.measured, gate.passed) for gate in told.gates if gate.name == "target.unsupported_ops"]
    assert judged == ([(1, False)] if option == "ethos_u55_128" else [])


@pytest.mark.slow
def test_labels_and_metadata_are_written_into_the_file_where_that_is_asked_for(tmp_path, here):
    write(here / "labels.txt", "".join(f"{number}\n" for number in range(8)))
    keys = {"metadata": True, "labels": "labels.txt"}
    told = compiled(tmp_path, "conv", keys=keys)
    assert read_metadata(tmp_path / "work" / "described.tflite").files == {"labels.txt": b"0\n1\n2\n3\n4\n5\n6\n7\n"}
    assert "deploy/main.cc" in told.kept
    asked = {"optimization": optimization(Scheme.integer_only)}
    assert list(target(**keys).problems(asked)) == []
    (problem,) = target(labels="labels.txt").problems(asked)
    assert (problem.where, problem.fix) == ("target.labels", "target.metadata=true")


@pytest.mark.slow
def test_float_inputs_and_outputs_are_converted_on_the_cpu_and_the_fix_says_how_not(tmp_path):
    told = compiled(tmp_path, "to_integer", "conv", "to_float", keys={"min_npu_op_percent": 100})
    gate = told.gate("npu_op_percent")
    assert gate.measured == pytest.approx(100 / 3)
    assert (gate.passed, gate.fix) == (False, "optimization.input_type=int8 optimization.output_type=int8")
    whole = compiled(tmp_path, "conv", keys={"min_npu_op_percent": 100})
    assert whole.gate("npu_op_percent").passed


@pytest.mark.slow
def test_what_no_override_brings_to_the_npu_has_no_fix(tmp_path):
    intent = Intent(scheme="integer_only")
    gate = compiled(tmp_path, "conv", "shuffle", intent=intent, keys={"min_npu_op_percent": 100}).gate("npu_op_percent")
    assert (gate.measured, gate.passed, gate.fix) == (50.0, False, "")


@pytest.mark.slow
def test_an_open_batch_is_told_as_vela_takes_it_for_one(tmp_path):
    (said,) = compiled(tmp_path, "conv", open_axes=[0]).warnings
    assert "the batch of input 'x' is open, and Vela takes it for 1" in said
    assert compiled(tmp_path, "conv").warnings == []


@pytest.mark.slow
def test_ops_of_another_open_size_are_left_to_the_cpu_and_what_helps_is_a_fixed_one(tmp_path):
    told = compiled(tmp_path, "conv", open_axes=[1, 2])
    assert told.metrics["target.npu_op_percent"] == 0.0
    assert "CONV_2D in layer 'conv'; Vela: Dynamic non-batch dimension at axis 1" in told.warnings[0]
    assert told.warnings[0].endswith("what would help: fixed sizes in source.input_shapes")
    assert told.warnings[-1].startswith("deploy/ has no sources for firmware: input x: TensorFlow Lite Micro takes no")
    assert "deploy/model_vela.tflite" in told.kept
    assert told.gate("npu_op_percent").fix == ""


@pytest.mark.slow
@pytest.mark.parametrize("deploy", [True, False])
def test_the_compiled_file_and_velas_tables_are_for_the_developer(tmp_path, deploy):
    told = compiled(tmp_path, "conv", keys={"deploy": deploy})
    tables = ["deploy/model_vela.tflite", "deploy/model_summary_Ethos_U55_High_End_Embedded.csv"]
    wanted = ["deploy/vela.log", "vela.json", *([*tables, "deploy/model_per-layer.csv"] if deploy else [])]
    assert [kept for kept in told.kept if kept in wanted] == wanted
    assert ("deploy/main.cc" in told.kept) == (len(told.kept) > len(wanted)) == deploy
    assert "Network summary" in (tmp_path / "out" / "deploy" / "vela.log").read_text()
    if deploy:
        assert told.metrics["target.flash_bytes"] == (tmp_path / "out" / "deploy" / "model_vela.tflite").stat().st_size


@pytest.mark.slow
def test_weights_that_lie_in_sram_are_counted_there(tmp_path):
    shared = compiled(tmp_path, "conv", "last", filters=64)
    alone = compiled(tmp_path, "conv", "last", filters=64, keys={"memory_mode": "Sram_Only"})
    encoded = alone.metrics["target.encoded_weight_bytes"]
    assert shared.metrics["target.sram_bytes"] < encoded
    assert alone.metrics["target.sram_bytes"] > encoded
    assert alone.metrics["target.cycles"] < shared.metrics["target.cycles"]


@pytest.mark.slow
def test_the_time_is_that_of_the_targets_clock(tmp_path):
    own = compiled(tmp_path, "conv", keys={"clock_mhz": None})
    assert own.warnings == []
    assert own.metrics["target.inference_ms"] == pytest.approx(own.metrics["target.cycles"] / 500e3)
    slower = compiled(tmp_path, "conv", keys={"clock_mhz": 250})
    assert slower.metrics["target.inference_ms"] == pytest.approx(2 * own.metrics["target.inference_ms"])
    (said,) = slower.warnings
    assert "a clock of 500 MHz and the target 250" in said
    assert "target.clock_mhz=null" in said


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["flash_kb", "ram_kb", "max_latency_ms"])
def test_limits_are_gates_and_velas_figures_are_estimates(tmp_path, limit):
    told = compiled(tmp_path, "conv", keys={limit: 1000})
    gate = told.gate(limit)
    assert (gate.passed, gate.fix, gate.estimated) == (True, "", limit != "flash_kb")
    none = compiled(tmp_path, "conv", keys={limit: 1e-6}).gate(limit)
    assert (none.passed, none.fix) == (False, "")


@pytest.mark.slow
def test_a_gate_that_fails_names_what_fits_and_it_does(tmp_path):
    how = {"filters": 64}
    whole = compiled(tmp_path, "conv", "last", **how).metrics["target.inference_ms"]
    gate = compiled(tmp_path, "conv", "last", keys={"max_latency_ms": whole * 0.9}, **how).gate("max_latency_ms")
    assert not gate.passed
    keys = dict(part.removeprefix("target.").split("=") for part in gate.fix.split())
    assert keys.get("memory_mode") == "Sram_Only"
    fixed = compiled(tmp_path, "conv", "last", keys={"max_latency_ms": whole * 0.9, **keys}, **how)
    assert fixed.gate("max_latency_ms").passed
    # What breaks another limit is no fix.
    limits = {"max_latency_ms": whole * 0.9, "ram_kb": 20}
    assert compiled(tmp_path, "conv", "last", keys=limits, **how).gate("max_latency_ms").fix == ""


@pytest.mark.slow
def test_zeros_shrink_the_encoded_weights_and_pruning_that_does_not_is_told(tmp_path):
    sizes, said = {}, {}
    for zeros in (0.0, 0.5, 0.8):
        told = compiled(tmp_path, "conv", "last", filters=64, zeros=zeros, intent=Intent(pruned=True))
        sizes[zeros], said[zeros] = told.metrics["target.encoded_weight_bytes"], told.warnings
        assert told.metrics["target.weight_bytes"] == 64 * 9 * 4 + 64 * 9 * 64
    assert sizes[0.5] < 0.7 * sizes[0.0]
    assert sizes[0.8] < 0.4 * sizes[0.0]
    assert ["pruning gives this target nothing" in " ".join(lines) for lines in said.values()] == [True, False, False]
    assert compiled(tmp_path, "conv", "last", filters=64).warnings == []


BOARD = """
[System_Config.Board]
core_clock=400e6
axi0_port=Sram
axi1_port=OffChipFlash
Sram_clock_scale=1.0
OffChipFlash_clock_scale=0.0625
[Memory_Mode.Ours]
const_mem_area=Axi1
arena_mem_area=Axi0
cache_mem_area=Axi0
"""


@pytest.mark.slow
def test_a_board_of_ones_own_is_taken_also_by_a_short_path(tmp_path, here):
    write(here / "boards" / "mine.ini", BOARD)
    keys = {"config": "boards/mine.ini", "system_config": "Board", "memory_mode": "Ours", "clock_mhz": 400}
    told = compiled(tmp_path, "conv", keys=keys)
    assert told.warnings == []
    found = json.loads((tmp_path / "out" / "vela.json").read_text())
    assert (found["config"], found["system_config"], found["core_clock_mhz"]) == ("boards/mine.ini", "Board", 400.0)
    assert list(target(**keys).problems({})) == []


@pytest.mark.slow
def test_a_memory_that_a_board_says_nothing_of_is_refused_as_vela_does(tmp_path, here):
    write(here / "mine.ini", BOARD.replace("Sram_clock_scale=1.0\n", ""))
    keys = {"config": "mine.ini", "system_config": "Board", "memory_mode": "Ours", "clock_mhz": 400}
    (problem,) = target(**keys).problems({})
    assert "has no line on Sram" in problem.what
    assert "memory not configured" in compiled(tmp_path, "conv", keys=keys).failure.what


@pytest.mark.slow
def test_a_file_that_vela_does_not_compile_is_an_error_with_its_words_and_its_log(tmp_path):
    (tmp_path / "broken.tflite").write_bytes(b"no model at all")
    told = compiled(tmp_path, file=tmp_path / "broken.tflite")
    assert "No networks defined" in told.failure.what
    assert told.failure.where == "target"
    assert told.gates == []
    assert "Compilation failed" in (tmp_path / "out" / "deploy" / "vela.log").read_text()


def script(path, line):
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.slow
def test_vela_that_dies_or_does_not_end_is_an_error(tmp_path, monkeypatch):
    from tflite_recipes.backend.compilers import vela

    file = npu_files.write(tmp_path / "tiny.tflite", "conv")
    names = ("Ethos_U55_High_End_Embedded", "Shared_Sram")
    options = vela.Options("ethos-u55-128", vela_config.arm_ini(), *names)
    with pytest.raises(StepError, match=r"did not end within 0\.01 s"):
        vela.compile_file(file, options, tmp_path / "late", timeout_s=0.01)
    with pytest.raises(StepError, match=r"Section System_Config\.Other not found"):
        vela.compile_file(file, vela.Options("ethos-u55-128", options.config, "Other", names[1]), tmp_path / "other")
    monkeypatch.setattr(sys, "executable", script(tmp_path / "dies.sh", "kill -SEGV $$"))
    with pytest.raises(StepError, match="died of signal 11"):
        vela.compile_file(file, options, tmp_path / "late")
    monkeypatch.setattr(sys, "executable", script(tmp_path / "idle.sh", "exit 0"))
    with pytest.raises(StepError, match=r"it wrote no model_vela\.tflite"):
        vela.compile_file(file, options, tmp_path / "late")


# Refused by check


def optimization(scheme, **keys):
    types = {"int16x8": IOType.int16, "int16x8_fallback": IOType.int16}
    io = keys.pop("io", types.get(scheme.name, IOType.int8))
    return Optimization(scheme, io, io, True, Quantizer.litert_quantizer, **keys)


def steps(scheme, **keys):
    return {"optimization": optimization(scheme, **keys), "calibration": object()}


INTEGER = ("full_integer", "integer_only", "int16x8", "int16x8_fallback")


@pytest.mark.parametrize("scheme", Scheme)
def test_schemes_of_which_nothing_runs_on_the_npu_are_refused(scheme):
    problems = list(target().problems(steps(scheme)))
    assert [problem.where for problem in problems] == ([] if scheme.name in INTEGER else ["optimization"])
    assert all(problem.fix == "optimization=integer_only" for problem in problems)


def test_the_fix_brings_samples_where_there_are_none():
    for source, samples in ((object(), "npz calibration.path=FILE"), (type("DigitsSource", (), {})(), "digits")):
        asked = {"source": source, "optimization": optimization(Scheme.none, io=IOType.float32)}
        (problem,) = target().problems(asked)
        assert first_way(problem) == f"optimization=integer_only calibration={samples}"
        assert problem.alternatives[-1] == "target=generic"


def test_rules_that_make_ops_integer_are_something_for_the_npu():
    rules = [{"op": "CONV_2D", "scheme": "full_integer"}]
    assert [p for p in target().problems(steps(Scheme.dynamic_range, rules=rules)) if p.where == "optimization"] == []
    floats = [{"op": "CONV_2D", "scheme": "float16"}]
    (problem,) = target().problems(steps(Scheme.dynamic_range, rules=floats))
    assert problem.where == "optimization"


def test_float_inputs_are_refused_with_an_integer_type_as_the_fix():
    found = [(p.where, p.fix) for p in target().problems(steps(Scheme.full_integer, io=IOType.float32))]
    types = ("optimization.input_type", "optimization.output_type")
    assert found == [(where, f"{where}=int8") for where in types]


@pytest.mark.parametrize(
    ("option", "keys", "where", "fix", "says"),
    [
        ("ethos_u55_128", {"system_config": "Nothing"}, "system_config", "Ethos_U55_High_End_Embedded", "which has"),
        (
            "ethos_u85_256",
            {"system_config": "Ethos_U85_SYS_DRAM_Hi"},
            "system_config",
            "Ethos_U85_SYS_DRAM_High",
            "is not in",
        ),
        (
            "ethos_u55_64",
            {"system_config": "Ethos_U65_Mid_End"},
            "system_config",
            "Ethos_U55_High_End_Embedded",
            "another accelerator",
        ),
        ("ethos_u55_64", {"memory_mode": "Shared_Sam"}, "memory_mode", "Shared_Sram", "Dedicated_Sram_384KB"),
        ("ethos_u55_64", {"memory_mode": "Dedicated_Sram"}, "memory_mode", "Shared_Sram", "cannot be written to"),
        ("ethos_u65_256", {"system_config": "Ethos_U65_Embedded"}, "memory_mode", "Shared_Sram", "cannot be had"),
    ],
)
def test_systems_and_memory_modes_that_cannot_be_had_are_refused(option, keys, where, fix, says):
    (problem,) = target(option, **keys).problems({})
    assert (problem.where, problem.fix) == (f"target.{where}", f"target.{where}={fix}")
    assert says in problem.what
    assert list(target(option, **{**keys, where: fix}).problems({})) == []


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [("mine.txt", BOARD, "end in .ini"), ("mine.ini", "core_clock=1", "no configuration file")],
)
def test_a_configuration_file_that_is_none_is_refused(here, name, text, says):
    write(here / name, text)
    (problem,) = target(config=name).problems({})
    assert problem.where == "target.config"
    assert says in problem.what


def test_a_missing_vela_is_told_with_the_line_that_installs_it(monkeypatch, here):
    monkeypatch.setattr(vela_config, "installed", lambda: False)
    (problem,) = target().problems(steps(Scheme.integer_only))
    assert "pip install 'tflite_recipes[vela]'" in problem.what
    assert (problem.where, problem.fix) == ("target", "target=generic")
    write(here / "mine.ini", BOARD)
    wrong = target(config="mine.ini", system_config="Bord", memory_mode="Ours")
    assert [p.where for p in wrong.problems({})] == ["target", "target.system_config"]


def test_the_dataclass_alone_is_the_one_for_128_macs():
    default, option = EthosUTarget(), target()
    keys = ("accelerator", "system_config", "memory_mode", "config", "optimise", "min_npu_op_percent")
    assert all(getattr(default, key) == getattr(option, key) for key in keys)
    assert default.optimise is Strategy.Performance


# Published files, and files of the quantizer's


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vww_96_int8", "kws_int8", "ad01_int8", "str_ww_int8"])
def test_published_files_run_on_the_npu_entirely(tmp_path, shared, name):
    told = compiled(tmp_path, file=shared / "models" / f"{name}.tflite")
    assert told.metrics["target.npu_op_percent"] == 100.0
    assert told.metrics["target.npu_mac_percent"] == 100.0
    assert all("is open" in said for said in told.warnings)


@pytest.mark.slow
@pytest.mark.parametrize("ram_kb", [64, 50])
def test_the_quickest_way_that_fits_is_named_for_a_published_file(tmp_path, shared, ram_kb):
    file = shared / "models" / "vww_96_int8.tflite"
    told = compiled(tmp_path, file=file, keys={"ram_kb": ram_kb})
    gate = told.gate("ram_kb")
    assert not gate.passed
    keys = dict(part.removeprefix("target.").split("=") for part in gate.fix.split())
    if "arena_cache_size_kb" in keys:
        keys["arena_cache_size_kb"] = float(keys["arena_cache_size_kb"])
    fixed = compiled(tmp_path, file=file, keys={"ram_kb": ram_kb, **keys})
    assert fixed.gate("ram_kb").passed
    small = compiled(tmp_path, file=file, keys={"ram_kb": ram_kb, "optimise": "Size"})
    assert (small.metrics["target.sram_bytes"], small.gate("ram_kb").passed) == (48 * 1024, True)
    assert fixed.metrics["target.cycles"] <= small.metrics["target.cycles"]
    assert told.metrics["target.cycles"] < fixed.metrics["target.cycles"]


@pytest.mark.slow
def test_the_sram_that_vela_aims_for_can_be_given(tmp_path, shared):
    file = shared / "models" / "vww_96_int8.tflite"
    told = compiled(tmp_path, file=file, keys={"arena_cache_size_kb": 60})
    assert 48 * 1024 < told.metrics["target.sram_bytes"] <= 60 * 1024


@pytest.fixture(scope="module")
def integer(tmp_path_factory):
    import numpy as np

    place = tmp_path_factory.mktemp("integer")
    np.save(place / "x.npy", np.random.default_rng(0).standard_normal((8, *float_files.PICTURE)).astype("float32"))
    float_files.write(place, "separable", "decoder")
    integer_files.write(place, "separable", "decoder")
    return place


@pytest.mark.slow
@pytest.mark.parametrize("grain", ["per_channel", "per_tensor"])
def test_a_quantized_network_leaves_only_its_float_edges(tmp_path, integer, grain):
    told = compiled(tmp_path, file=integer / f"separable_{grain}.tflite")
    found = json.loads((tmp_path / "out" / "vela.json").read_text())
    assert [op["op"] for op in found["cpu"]] == ["QUANTIZE", "DEQUANTIZE"]
    assert len(found["cpu"]) == found["npu"]["counted_by_vela"]["CPU"]
    assert told.metrics["target.npu_mac_percent"] == 100.0
    assert sum(entry["cycles"] for entry in found["layers"]) == pytest.approx(told.metrics["target.cycles"], rel=0.01)
    assert all(entry["index"] is not None for entry in found["layers"])


@pytest.mark.slow
def test_ops_of_open_shape_and_without_an_integer_form_say_why(tmp_path, integer):
    told = compiled(tmp_path, file=integer / "decoder_per_channel.tflite")
    found = json.loads((tmp_path / "out" / "vela.json").read_text())
    assert len(found["cpu"]) == found["npu"]["counted_by_vela"]["CPU"] == told.metrics["target.cpu_ops"]
    reasons = {op["op"]: (op["reason"], op["advice"]) for op in found["cpu"]}
    assert "constant shape" in reasons["PACK"][0]
    assert "source.input_shapes" in reasons["PACK"][1]
    assert reasons["SPACE_TO_BATCH_ND"][0] == "Unsupported opType"


@pytest.mark.slow
def test_a_whole_run_compiles_and_reports(here, cli):
    asked = ("digits_integer_only", "target=ethos_u55_128", "tracking=none", "hydra.run.dir=out", "target.ram_kb=16")
    answer = cli("run", *asked, "source.epochs=1", "evaluation.max_drop=null")
    assert answer.status == 0, answer.err
    out = here / "out"
    assert "gate target.npu_op_percent" in answer.out + answer.err
    assert "estimated 3 of 16 KiB" in answer.out + answer.err
    assert (out / "deploy" / "model_vela.tflite").read_bytes() != (out / "model.tflite").read_bytes()
    found = json.loads((out / "vela.json").read_text())
    assert found["npu"]["op_percent"] == 100.0
    assert all(entry["layer"] for entry in found["layers"])
    page = (out / "report.html").read_text()
    assert "ethos-u55-128" in page
    assert "Estimated cycles by layer" in page
