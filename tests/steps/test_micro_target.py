"""A file in TensorFlow Lite Micro's own interpreter: ops, arena, outputs, and what the target refuses beforehand."""

import importlib.util
import json
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import micro_files
from support.reporters import RecordingReporter
from support.tf_scripts import run_code

from tflite_recipes.backend.compilers import micro_interpreter, micro_process
from tflite_recipes.conversion.schemes import Scheme
from tflite_recipes.core.state import State, TensorSpec
from tflite_recipes.files.samples import npz
from tflite_recipes.files.tflite import metadata
from tflite_recipes.steps import source
from tflite_recipes.steps.hardware import OpSet
from tflite_recipes.steps.micro_target import MicroTarget

pytest.importorskip("tflite_micro", reason="the extra `micro` is not installed")
# What each published file needs on this interpreter, and the arena of the visual wake words is known from elsewhere.
ARENAS = {"ad01": 4_640, "kws": 24_272, "str_ww": 16_640, "vww_96": 103_680}


def state_of(path, kind="float32", scheme="integer_only", rows=None, shape=(1, micro_files.IN), **more):
    workdir = path.parent / f"work_{path.stem}"
    workdir.mkdir()
    if rows is not None:
        more["calibration"] = npz.save_arrays(workdir / "calibration", {"x": rows})
    signature = "serving_default"
    return State(
        workdir, tflite=path, signature=signature, inputs=(TensorSpec("x", shape, kind),), scheme=scheme, **more
    )


def ran(path, target=None, **of_state):
    heard = RecordingReporter()
    state = state_of(path, **of_state)
    (target or MicroTarget())(state, heard)
    return heard, json.loads((state.workdir / "micro.json").read_text(encoding="utf-8"))


def failed(state, target=None):
    """Return the problem of a check that failed. The file stays as it is, and no gate is answered."""
    heard = RecordingReporter()
    assert (target or MicroTarget())(state, heard) == state
    assert heard.gates == []
    return heard.failure


ROWS = np.random.default_rng(1).normal(size=(5, micro_files.IN)).astype("float32")


# What runs


@pytest.mark.slow
def test_an_integer_file_fits_and_says_what_it_needs(tmp_path):
    path = micro_files.dense(tmp_path / "dense.tflite")
    target = MicroTarget(flash_kb=64, ram_kb=8, clock_mhz=120, cycles_per_mac=5, max_latency_ms=1)
    heard, told = ran(path, target, rows=ROWS)
    assert heard.warnings == []
    assert set(heard.judged) == {"unsupported_ops", "flash_kb", "ram_kb", "max_latency_ms", "max_difference"}
    assert all(gate.passed for gate in heard.judged.values())
    assert {name for name, gate in heard.judged.items() if gate.estimated} == {"flash_kb", "ram_kb", "max_latency_ms"}
    assert heard.metrics["target.macs"] == micro_files.IN * micro_files.OUT
    assert heard.metrics["target.inference_ms"] == pytest.approx(micro_files.IN * micro_files.OUT * 5 / 120e3)
    assert heard.metrics["target.arena_bytes"] == told["arena"]["bytes"]
    assert path.stat().st_size < heard.metrics["target.flash_bytes"] == told["flash"]["total_bytes"]
    assert heard.tags["tflite_recipes.tflite_micro_version"] == told["tflite_micro_version"]
    assert heard.kept[:2] == ["tflite_micro.log", "micro.json"]
    assert told["outputs"]["data"] == "calibration samples"
    assert told["outputs"]["samples"] == len(ROWS)
    assert told["outputs"]["differences"] == [{"output": "dense/BiasAdd", "steps": 0.0, "relative": None}]
    assert told["macs"]["ops"][0] | {"macs": 24, "op": "FULLY_CONNECTED"} == told["macs"]["ops"][0]
    assert told["flash"]["kernels"].keys() == {"FULLY_CONNECTED"}
    assert "64-bit host" in told["arena"]["how"]


@pytest.mark.slow
def test_the_arena_is_the_smallest_that_works(tmp_path):
    path = micro_files.dense(tmp_path / "dense.tflite")
    heard, _ = ran(path, rows=ROWS)
    arena = int(heard.metrics["target.arena_bytes"])
    held = micro_process.HeldModel(path.read_bytes(), {0: np.zeros((1, 1, micro_files.IN), "int8")}, True)
    assert micro_process.succeeds(lambda: held.once(arena))
    assert not micro_process.succeeds(lambda: held.once(arena - 16))


@pytest.mark.slow
def test_a_larger_layer_needs_more(tmp_path):
    small, _ = ran(micro_files.dense(tmp_path / "small.tflite"), rows=ROWS)
    large, _ = ran(micro_files.dense(tmp_path / "large.tflite", out=4096), rows=ROWS)
    assert large.metrics["target.arena_bytes"] - small.metrics["target.arena_bytes"] > 3500
    assert large.metrics["target.flash_bytes"] - small.metrics["target.flash_bytes"] > 4096 * micro_files.IN - 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "after", "measured"),
    [
        ("INT8", "", "max_difference_steps"),
        ("INT8", "DEQUANTIZE", "max_difference_steps"),
        ("FLOAT32", "", "max_relative_difference"),
    ],
)
def test_differences_are_steps_where_there_are_any(tmp_path, kind, after, measured):
    path = micro_files.dense(tmp_path / "x.tflite", kind, kind, after=after)
    heard, _ = ran(path, rows=ROWS)
    assert [name for name in heard.metrics if "difference" in name] == [f"target.{measured}"]


@pytest.mark.slow
def test_a_batch_of_its_own_is_filled_up(tmp_path):
    heard, told = ran(micro_files.dense(tmp_path / "x.tflite", batch=3), rows=ROWS, shape=(3, micro_files.IN))
    assert heard.judged["max_difference"].passed
    assert told["outputs"]["samples"] == len(ROWS)


@pytest.mark.slow
def test_a_picture_is_fed_as_it_is(tmp_path):
    rows = np.random.default_rng(2).normal(size=(4, 6, 6, 2)).astype("float32")
    heard, _ = ran(micro_files.convolution(tmp_path / "x.tflite"), rows=rows, scheme="none", shape=(1, 6, 6, 2))
    assert heard.judged["max_relative_difference"].measured < 1e-5
    assert heard.metrics["target.macs"] == 4 * 4 * 8 * 3 * 3 * 2


@pytest.mark.slow
def test_without_samples_random_ones_serve_and_are_told(tmp_path):
    heard, told = ran(micro_files.dense(tmp_path / "x.tflite"), MicroTarget(samples=3))
    assert len(heard.warnings) == 1
    assert "seeded random inputs" in heard.warnings[0]
    assert told["outputs"] | {"data": "seeded random inputs", "samples": 3} == told["outputs"]


# What does not


@pytest.mark.slow
def test_an_op_without_a_kernel_fails_the_gate_and_is_named_with_its_layer(tmp_path):
    path = micro_files.dense(tmp_path / "x.tflite", after="GELU")
    heard, told = ran(path, MicroTarget(ram_kb=1), rows=ROWS, layers=("act", "dense"))
    gate = heard.judged["unsupported_ops"]
    assert (gate.passed, gate.measured, gate.fix) == (False, 1, "target=generic")
    assert heard.warnings == [
        "GELU (act): TensorFlow Lite Micro has no kernel for it",
        "deploy/ is not written: TensorFlow Lite Micro does not run the file",
    ]
    assert told["unsupported_ops"] == [{"op": "GELU", "index": 1, "layer": "act", "why": "", "output": "act/z"}]
    assert "ram_kb" not in heard.judged
    assert "target.arena_bytes" not in heard.metrics


@pytest.mark.slow
def test_an_op_of_no_known_layer_is_named_by_what_it_makes(tmp_path):
    heard, _ = ran(micro_files.dense(tmp_path / "x.tflite", after="GELU"), rows=ROWS)
    assert heard.warnings[0] == "GELU (act/z): TensorFlow Lite Micro has no kernel for it"


@pytest.mark.slow
def test_an_estimate_says_what_it_does_not_hold_for(tmp_path):
    timed = MicroTarget(cycles_per_mac=5, clock_mhz=100)
    heard, _ = ran(micro_files.dense(tmp_path / "int8.tflite"), timed, rows=ROWS)
    assert heard.warnings == []
    asked = "target.arena_bytes, target.flash_bytes, target.inference_ms"
    assert heard.tags["tflite_recipes.estimated"] == asked
    (said,) = ran(micro_files.dense(tmp_path / "float.tflite", "FLOAT32", "FLOAT32"), timed, rows=ROWS)[0].warnings
    assert "100% of the MACs are in float32, and the cycles_per_mac of a part is that of int8" in said
    path = micro_files.dense(tmp_path / "more.tflite", after="GELU")
    timed = MicroTarget(cycles_per_mac=5, clock_mhz=100, interpreter=False)
    assert not any("too short" in said for said in ran(path, timed)[0].warnings)
    path = micro_files.dense(tmp_path / "most.tflite", after="GELU", times=2)
    assert any("2 of 3 ops have no MACs" in said for said in ran(path, timed)[0].warnings)


@pytest.mark.slow
def test_labels_and_metadata_are_written_into_the_file_where_that_is_asked_for(tmp_path):
    (tmp_path / "l.txt").write_text("a\nb\nc\nd\n")
    path = micro_files.dense(tmp_path / "x.tflite")
    state = state_of(path, rows=ROWS, outputs=(TensorSpec("dense/BiasAdd", (1, micro_files.OUT), "float32"),))
    labels, heard = str(tmp_path / "l.txt"), RecordingReporter()
    after = MicroTarget(metadata=True, labels=labels, deploy=False)(state, heard)
    assert metadata.read_metadata(after.tflite).files == {"labels.txt": b"a\nb\nc\nd\n"}
    assert heard.metrics["target.flash_bytes"] > after.tflite.stat().st_size > path.stat().st_size
    assert said(MicroTarget(metadata=True, labels=labels)) == []
    ((where, _, fix),) = said(MicroTarget(labels=labels))
    assert (where, fix) == ("target.labels", "target.metadata=true")
    (tmp_path / "l.txt").write_text("")
    assert [where for where, _, _ in said(MicroTarget(metadata=True, labels=labels))] == ["target.labels"]


@pytest.mark.slow
def test_a_type_that_a_kernel_refuses_is_told_in_its_own_words(tmp_path):
    path = micro_files.dense(tmp_path / "x.tflite", "FLOAT32", "INT8")
    heard, told = ran(path, rows=ROWS, scheme="dynamic_range", layers=("dense",))
    assert heard.judged["unsupported_ops"].fix == "optimization=integer_only"
    assert told["unsupported_ops"][0]["layer"] == "dense"
    assert "FLOAT32 with filter type: INT8 not supported" in heard.warnings[0]


@pytest.mark.slow
def test_a_custom_op_is_the_applications_where_the_target_takes_it(tmp_path):
    path = micro_files.dense(tmp_path / "x.tflite", after="MyOp")
    heard, _ = ran(path, rows=ROWS)
    assert not heard.judged["unsupported_ops"].passed
    takes = [OpSet.builtin, OpSet.custom]
    problem = failed(state_of(path.rename(tmp_path / "y.tflite")), MicroTarget(op_sets=takes))
    assert "none of the application's custom ops: MyOp" in problem.what
    assert problem.fix == "target.interpreter=false"
    table = MicroTarget(op_sets=takes, interpreter=False)
    heard, _ = ran((tmp_path / "y.tflite").rename(tmp_path / "z.tflite"), table, runnable=False)
    assert heard.judged["unsupported_ops"].passed
    assert "Register_MyOp()" in (tmp_path / "work_z" / "deploy" / "op_resolver.h").read_text(encoding="utf-8")


@pytest.mark.slow
def test_outputs_that_differ_fail_the_gate(tmp_path, monkeypatch):
    kept = micro_interpreter.litert_outputs
    monkeypatch.setattr(
        micro_interpreter, "litert_outputs", lambda *given: [values + np.int8(2) for values in kept(*given)]
    )
    heard, _ = ran(micro_files.dense(tmp_path / "x.tflite"), rows=ROWS * 0)
    gate = heard.judged["max_difference"]
    assert (gate.passed, gate.measured, gate.limit, gate.fix) == (False, 2, 1, "target.max_difference=2")
    kept_open, _ = ran(micro_files.dense(tmp_path / "y.tflite"), MicroTarget(max_difference=None), rows=ROWS * 0)
    assert "max_difference" not in kept_open.gates


@pytest.mark.parametrize(
    ("given", "ours", "step", "steps", "relative"),
    [
        ([1.0, 2.0], [1.0, 2.5], 0.25, 2.0, None),
        ([0.0, 4.0], [0.0, 3.0], 0.0, None, 0.25),
        ([np.nan, 1.0], [np.nan, 1.0], 0.0, None, 0.0),
        ([np.inf, 1.0], [np.inf, 1.0], 0.0, None, 0.0),
        ([np.nan, 1.0], [0.0, 1.0], 0.0, None, np.inf),
        ([0.0, 0.0], [0.0, 0.5], 0.0, None, 0.5),
    ],
)
def test_how_far_outputs_are_apart(given, ours, step, steps, relative):
    assert micro_interpreter.difference_of("y", given, ours, step) == micro_interpreter.Difference("y", steps, relative)


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "fixed"), [("none", True), ("integer_only", False)])
@pytest.mark.parametrize(
    ("name", "sizes", "shape"),
    # With few inputs an integer file would be the larger one: each output has scales of its own.
    [("flash_kb", {"out": 64, "wide": 512}, (1, 512)), ("ram_kb", {"out": 64, "batch": 64}, (64, micro_files.IN))],
)
def test_int8_is_offered_where_it_would_fit(tmp_path, scheme, fixed, name, sizes, shape):
    path = micro_files.dense(tmp_path / "x.tflite", "FLOAT32", "FLOAT32", **sizes)
    limit = path.stat().st_size / 1024 if name == "flash_kb" else 10
    heard, _ = ran(path, MicroTarget(**{name: limit}), rows=None, scheme=scheme, shape=shape)
    assert not heard.judged[name].passed
    offered = (heard.judged[name].fix, *heard.judged[name].alternatives)
    assert any(text.startswith("optimization=integer_only") for text in offered) == fixed
    path = path.rename(tmp_path / "y.tflite")
    heard, _ = ran(path, MicroTarget(**{name: 1}), rows=None, scheme=scheme, shape=shape)
    assert heard.judged[name].fix == ""  # nor would int8 fit


@pytest.mark.slow
def test_what_the_arena_holds_beside_activations_does_not_shrink(tmp_path):
    """Three quarters of the activations are saved, and each of 4,096 channels gets a multiplier and a shift."""
    path = micro_files.dense(tmp_path / "x.tflite", "FLOAT32", "FLOAT32", out=4096)
    heard, told = ran(path, MicroTarget(ram_kb=16), rows=ROWS, scheme="none")
    assert told["arena"]["bytes"] / 4 < 16 * 1024 < told["arena"]["bytes"]
    assert heard.judged["ram_kb"].fix == ""


def test_open_sizes_are_refused(tmp_path):
    builder = micro_files.Builder()
    x, y = builder.tensor("x", [1, 1, 3], "FLOAT32"), builder.tensor("y", [1, 1, 3], "FLOAT32")
    for tensor in builder.graph.tensors:
        tensor.shapeSignature = [1, -1, 3]
    builder.op("ABS", [x], [y], "AbsOptions")
    path = builder.write(tmp_path / "x.tflite", [x], [y])
    problem = failed(state_of(path, shape=(1, None, 3)))
    assert "no open sizes" in problem.what
    assert problem.fix == "'+source.input_shapes.x=[1,32,3]'"


# The process


def test_a_process_that_takes_too_long_is_ended_and_keeps_the_file_with_its_metadata(tmp_path):
    state, heard = state_of(micro_files.dense(tmp_path / "x.tflite")), RecordingReporter()
    after = MicroTarget(timeout_s=0.01, metadata=True)(state, heard)
    assert "did not come to an end in 0.01 s" in heard.failure.what
    assert heard.failure.fix == "target.timeout_s=0.04"
    assert metadata.read_metadata(after.tflite).model is not None


def test_a_process_that_dies_is_an_error_with_its_last_words(tmp_path, monkeypatch):
    script = tmp_path / "dies.sh"
    script.write_text("#!/bin/sh\necho 'Failed to do it'; echo 'arena is on fire'; kill -ABRT $$\n")
    script.chmod(0o755)
    monkeypatch.setattr(micro_interpreter.sys, "executable", str(script))
    problem = failed(state_of(micro_files.dense(tmp_path / "x.tflite")))
    assert problem.what.endswith("died (SIGABRT): arena is on fire")


@pytest.mark.slow
def test_a_kernel_that_aborts_on_a_scale_is_told_by_it(tmp_path):
    """Softmax does, without a word, on inputs that are all but constant."""
    builder = micro_files.Builder()
    x, y = builder.tensor("quiet", [1, 6], "INT8", 1e-9), builder.tensor("y", [1, 6], "INT8", 1 / 256)
    builder.graph.tensors[y].quantization.zeroPoint = [-128]
    builder.op("SOFTMAX", [x], [y], "SoftmaxOptions")
    builder.graph.operators[0].builtinOptions.beta = 1.0
    path = builder.write(tmp_path / "x.tflite", [x], [y])
    state = state_of(path)
    problem = failed(replace(state, inputs=(TensorSpec("quiet", (1, 6), "float32"),)))
    assert "died (SIGABRT): " in problem.what
    assert "; quiet has a scale of 1e-09: it is all but constant" in problem.what


@pytest.mark.slow
def test_what_it_cannot_load_for_another_reason_is_an_error(tmp_path, monkeypatch):
    path = micro_files.dense(tmp_path / "x.tflite")
    monkeypatch.setattr(micro_interpreter, "enough_arena", lambda _: 1024)
    problem = failed(state_of(path))
    assert "cannot load the file: " in problem.what
    assert problem.fix == "target.interpreter=false"


@given(st.integers(1, 10_000), st.integers(0, 5_000))
def test_bisection_finds_the_smallest_multiple_of_16(needed, slack):
    found = micro_process.smallest(lambda size: size >= needed, needed + slack)
    assert found == -(-needed // 16) * 16


def test_an_attempt_that_aborts_or_raises_is_none():
    assert micro_process.succeeds(lambda: None)
    assert not micro_process.succeeds(lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert not micro_process.succeeds(lambda: 1 / 0)


# Before it runs


INTEGERS = SimpleNamespace(input_type=None, output_type=None, scheme=Scheme.integer_only)
FLOAT = SimpleNamespace(input_type=None, output_type=None, scheme=Scheme.none)


def said(target, **steps):
    return [(problem.where, problem.what, problem.fix) for problem in target.problems({"optimization": FLOAT} | steps)]


def test_without_the_extra_the_interpreter_is_refused(monkeypatch):
    assert said(MicroTarget()) == []
    kept = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "tflite_micro" else kept(name, *a)
    )
    ((where, what, fix),) = said(MicroTarget())
    assert (where, fix) == ("target.interpreter", "target.interpreter=false")
    assert "pip install 'tflite_recipes[micro]'" in what
    assert said(MicroTarget(interpreter=False)) == []


def test_without_the_interpreter_a_table_judges_ops(tmp_path):
    target = MicroTarget(interpreter=False, ram_kb=1)
    heard, told = ran(micro_files.dense(tmp_path / "x.tflite", after="GELU"), target, layers=("act",))
    assert not heard.judged["unsupported_ops"].passed
    assert heard.warnings[0] == "GELU (act): TensorFlow Lite Micro has no kernel for it"
    assert "arena and outputs are not shown and ram_kb is not judged" in heard.warnings[1]
    assert not {"arena", "outputs", "tflite_micro_version"} & told.keys()
    heard, _ = ran(micro_files.dense(tmp_path / "y.tflite"), MicroTarget(interpreter=False))
    assert heard.judged["unsupported_ops"].passed
    assert "ram_kb" not in heard.warnings[0]


def test_a_latency_that_nothing_can_show_is_refused():
    asked = said(MicroTarget(max_latency_ms=5))
    assert [where for where, _, _ in asked] == ["target.max_latency_ms"] * 2
    assert {fix for _, _, fix in asked} == {"target.max_latency_ms=null"}
    assert said(MicroTarget(max_latency_ms=5, cycles_per_mac=5, clock_mhz=100)) == []
    assert len(said(MicroTarget(max_latency_ms=5, cycles_per_mac=5))) == 1


@pytest.mark.parametrize(
    ("after", "custom", "op"), [("GELU", False, "GELU"), ("MyOp", False, "MyOp"), ("MyOp", True, "")]
)
def test_ops_of_a_file_are_judged_by_the_table(tmp_path, after, custom, op):
    path = micro_files.dense(tmp_path / "x.tflite", "FLOAT32", "FLOAT32", after=after)
    target = MicroTarget(op_sets=[OpSet.builtin, *[OpSet.custom] * custom])
    found = said(target, source=source.TFLiteSource(str(path)))
    assert [what for _, what, _ in found] == [
        f"TensorFlow Lite Micro has no kernel for {op}, which is in act/z"
    ] * bool(op)


def keras_file(path, *layers):
    """A `.keras` file that holds a config alone."""
    import zipfile

    first = {
        "class_name": "InputLayer",
        "module": "keras.layers",
        "config": {"name": "x", "batch_shape": [None, 4, 4, 4, 2]},
    }
    entries = [first, *({"class_name": kind, "module": "keras.layers", "config": config} for kind, config in layers)]
    model = {"class_name": "Sequential", "module": "keras", "config": {"name": "m", "layers": entries}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(model))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.12.0"}))
        archive.writestr("model.weights.h5", b"")
    return source.KerasSource(str(path), [], False, {})


VOLUME = ("Conv3D", {"name": "volume", "activation": "relu"})
DENSE = ("Dense", {"name": "first", "activation": "gelu"})


@pytest.mark.parametrize(
    ("layers", "optimization", "named"),
    [
        ((VOLUME, DENSE), FLOAT, ["CONV_3D, which is in volume", "GELU, which is in first"]),
        ((VOLUME, DENSE), INTEGERS, ["GELU, which is in first"]),
        ((("Dense", {"name": "first", "activation": "relu"}),), FLOAT, []),
    ],
)
def test_layers_of_a_keras_file_are_judged_where_their_op_is_sure(tmp_path, layers, optimization, named):
    model = keras_file(tmp_path / "m.keras", *layers)
    found = said(MicroTarget(), source=model, optimization=optimization)
    assert [what for _, what, _ in found] == [f"TensorFlow Lite Micro has no kernel for {name}" for name in named]
    assert said(MicroTarget(), source=model, optimization=optimization, substitution=object()) == []


# For real


@pytest.mark.slow
@pytest.mark.parametrize("name", ARENAS)
def test_published_files(name, shared, tmp_path):
    from tflite_recipes.files.tflite import describe, read_tflite

    path = shared / "models" / f"{name}_int8.tflite"
    (ports,) = describe(read_tflite(path)).signatures
    inputs = tuple(TensorSpec(key, tensor.shape, "float32") for key, tensor in ports.inputs)
    heard = RecordingReporter()
    # deploy: what a run makes has a signature with names, which these have not.
    target = MicroTarget(ram_kb=128, deploy=False)
    target(State(tmp_path, tflite=path, signature=ports.key, inputs=inputs), heard)
    assert heard.metrics["target.arena_bytes"] == ARENAS[name]
    assert heard.metrics["target.max_difference_steps"] <= 1
    assert all(gate.passed for gate in heard.judged.values())
    assert json.loads((tmp_path / "micro.json").read_text())["arena"]["recorded_bytes"] <= ARENAS[name]


@pytest.mark.slow
def test_a_real_conversion_fits_a_real_part(here, cli):
    done = cli("run", "digits_integer_only", "target=cortex_m4", "source.epochs=1", "tracking=none")
    assert done.status == 0, done.err
    assert "gate target.ram_kb" in done.out
    (told,) = here.glob("outputs/**/micro.json")
    assert json.loads(told.read_text())["outputs"]["data"] == "calibration samples"
    hybrid = [
        "run",
        "digits_float",
        "target=cortex_m4",
        "source.epochs=1",
        "tracking=none",
        "optimization=dynamic_range",
    ]
    done = cli(*hybrid)
    assert done.status == 1, done.err
    assert "TensorFlow Lite Micro refuses it" in done.out + done.err


@pytest.mark.slow
@pytest.mark.parametrize("quantized", [False, True])
def test_layers_become_the_ops_that_the_table_says(here, cli, quantized):
    from tflite_recipes.steps.micro_checks import ACTIVATIONS, LAYERS, SURE_IN_INTEGERS

    script = """
import keras
L = keras.layers
layers = [L.UpSampling3D(2), *[L.Dense(40, activation=name) for name in ACTIVATIONS]]
if not QUANTIZED:
    layers += [L.Conv3D(4, 3), L.Conv3DTranspose(3, 2, strides=2)]
keras.Sequential([keras.Input((4, 4, 4, 2), name="x"), *layers]).save("m.keras")
"""
    run_code(script.replace("ACTIVATIONS", str(list(ACTIVATIONS))).replace("QUANTIZED", str(quantized)))
    scheme = ["optimization=integer_only", "calibration=random"] if quantized else []
    arguments = ["source=keras", "source.path=m.keras", "tracking=none", *scheme]
    done = cli("run", "convert", *arguments)
    assert done.status == 0, done.err
    (path,) = here.glob("outputs/**/model.tflite")
    from tflite_recipes.files.tflite import op_counts, read_tflite

    sure = SURE_IN_INTEGERS if quantized else {*ACTIVATIONS.values(), *LAYERS.values()}
    assert sure <= op_counts(read_tflite(path)).keys()
