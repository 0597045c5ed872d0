"""Firmware's sources: their texts, and what they do when they are built (see support/firmware.py)."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.firmware import EITHER, TFLM, builds, made, status, subtraction

from tflite_recipes.core.errors import StepError
from tflite_recipes.targets.deploy import cpp_text
from tflite_recipes.targets.deploy import firmware as micro
from tflite_recipes.targets.micro.kernels import ADD_METHODS, CUSTOM_ADD_METHODS

SCALE, ZERO = 0.003921568859368563, -128
# TfLiteType of c_api_types.h
TYPES = {"float32": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9, "uint32": 16, "uint16": 17}


def tensor(name: str, dtype: str = "int8", shape: Sequence[int | None] = (None, 3), **more: Any) -> dict[str, Any]:
    """An entry of a contract; scale and zero point as given, else SCALE and ZERO for int8."""
    quantized = {"scale": SCALE, "zero_point": ZERO} if dtype == "int8" else {}
    stored = {"tensor": f"{name}:0", "shape": list(shape), "dtype": dtype, **quantized, **more}
    preprocessing = {"preprocessing": stored.pop("preprocessing")} if "preprocessing" in stored else {}
    return {"name": name, "source": {"shape": list(shape), "dtype": "float32"}, "tflite": stored, **preprocessing}


def contract(inputs: Sequence[Any], outputs: Sequence[Any]) -> dict[str, Any]:
    return {"signature": "serving_default", "stateful": False, "inputs": list(inputs), "outputs": list(outputs)}


ONE = contract([tensor("image")], [tensor("digit")])


def stub_model(described: Mapping[str, Any], ops: int) -> bytes:
    """What the stub's interpreter takes for a model with these inputs and outputs."""
    entries = [entry["tflite"] for entry in (*described["inputs"], *described["outputs"])]
    data = struct.pack("<4i", 3, ops, len(described["inputs"]), len(described["outputs"]))
    for entry in entries:
        size = int(np.prod([n or 1 for n in entry["shape"]])) * np.dtype(entry["dtype"]).itemsize
        data += struct.pack("<iifi", TYPES[entry["dtype"]], size, entry.get("scale", 0), entry.get("zero_point", 0))
    return data


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(StepError) as caught:
        call()
    (problem,) = caught.value.problems
    assert problem.fix == "target.deploy=false"
    return f"{problem.where}: {problem.what}"


# Texts


def test_the_model_is_an_aligned_constant_that_reads_back() -> None:
    data = bytes(range(256)) * 3 + b"\x00"
    texts = micro.files(data, ONE, ["CONV_2D"], 100, "kws")
    assert "alignas(16) MODEL_DATA_SECTION const unsigned char model_data[kModelBytes]" in texts["model_data.cc"]
    assert "kModelBytes = 769" in texts["model_data.h"]
    found = re.findall(r"0x([0-9a-f]{2}),?", texts["model_data.cc"])
    assert bytes.fromhex("".join(found)) == data
    assert max(map(len, texts["model_data.cc"].splitlines())) <= 100


def test_the_resolver_has_each_op_once_and_no_other() -> None:
    text = micro.files(b"x", ONE, ["CONV_2D", "SOFTMAX", "CONV_2D", "ethos-u"], 100, "kws")["op_resolver.h"]
    assert re.findall(r"resolver\.(\w+)\(\)", text) == ["AddConv2D", "AddEthosU", "AddSoftmax"]
    assert "MicroMutableOpResolver<3>" in text


def test_an_op_without_a_kernel_is_refused_by_name() -> None:
    said = refused(lambda: micro.files(b"x", ONE, ["CONV_2D", "FlexErf", "my_op"], 100, "kws"))
    assert said == "target: TensorFlow Lite Micro has no kernel for FlexErf, my_op"


@builds
@pytest.mark.parametrize("tflm", ["stubs"])
def test_a_custom_op_that_the_firmware_registers_builds_with_its_kernel(tflm: str, tmp_path: Path) -> None:
    ops = ["ADD", "my op"]
    texts = micro.files(stub_model(ONE, 2), ONE, ops, 64, "kws", registered={"my op"})
    assert 'resolver.AddCustom("my op", Register_my_op())' in texts["op_resolver.h"]
    assert "EXTRA_SOURCES" in texts["README.txt"]
    assert "EXTRA_SOURCES" not in micro.files(b"x", ONE, ["ADD"], 64, "kws", registered={"my op"})["README.txt"]
    kernel = """#include "op_resolver.h"
        TFLMRegistration* model_kws::Register_my_op() { static TFLMRegistration made = {}; return &made; }"""
    done = made(tmp_path, {**texts, "kernel.cc": kernel}, "EXTRA_SOURCES=kernel.cc")
    assert status(done) == 0, done.stdout + done.stderr


def test_the_arena_is_the_measured_one_up_to_a_multiple_of_16() -> None:
    assert "#define ARENA_BYTES 1008\n" in micro.files(b"x", ONE, [], 1000, "kws")["arena.h"]
    assert "#define ARENA_BYTES 1008\n" in micro.files(b"x", ONE, [], 1008, "kws")["arena.h"]
    unknown = micro.files(b"x", ONE, [], None, "kws")["arena.h"]
    assert "#error" in unknown
    assert "#define" not in unknown


def test_inputs_and_outputs_state_what_the_contract_states() -> None:
    prepared = {"mean": [0.5, 0.5], "path": 'C:\\pictures"\n'}
    described = contract([tensor("image", shape=(None, 8, 8, 1), preprocessing=prepared)], [tensor("y", "float32")])
    text = micro.files(b"x", described, [], 100, "kws")["tensor_io.h"]
    assert "std::array<int, 4> kDims = {1, 8, 8, 1};" in text
    assert "kElements = 64;" in text
    assert "kScale = 0.00392156886f;" in text
    assert "kZeroPoint = -128;" in text
    assert '//   "mean": [0.5, 0.5]\n' in text
    assert '//   "path": "C:\\\\pictures\\"\\n"\n' in text
    assert "inline std::int8_t quantize_image(float value)" in text
    assert "inline float dequantize_y(float value) {\n  return value;" in text
    assert "raw data" not in micro.files(b"x", ONE, [], 100, "kws")["tensor_io.h"]


@pytest.mark.parametrize("dtype", ["string", "float16", "int4"])
def test_a_type_that_firmware_has_not_is_refused(dtype: str) -> None:
    described = contract([tensor("words", dtype)], [tensor("y")])
    said = refused(lambda: micro.files(b"x", described, [], 100, "kws"))
    assert said == f"input words: firmware has no type for {dtype} as an input or output"


def test_an_open_size_is_refused_and_an_open_batch_is_one() -> None:
    said = refused(lambda: micro.files(b"x", contract([tensor("x", shape=(None, None))], []), [], 100, "kws"))
    assert said == "input x: TensorFlow Lite Micro takes no open sizes besides the batch, and it has [None, None]"
    assert "{1, 5}" in micro.files(b"x", contract([tensor("x", shape=(None, 5))], []), [], 100, "kws")["tensor_io.h"]


def test_tensors_have_the_places_of_the_files_main_graph() -> None:
    described = contract([tensor("a"), tensor("b")], [tensor("y")])
    order = {"inputs": ["b:0", "a:0"], "outputs": ["y:0"]}
    text = micro.files(b"x", described, [], 100, "kws", order=order)["tensor_io.h"]
    assert re.findall(r"struct (\w+)|kIndex = (\d)", text) == [
        *(("Input_a", ""), ("", "1"), ("Input_b", ""), ("", "0"), ("Output_y", ""), ("", "0"))
    ]
    said = refused(lambda: micro.files(b"x", described, [], 100, "kws", order={**order, "inputs": ["b:0", "c:0"]}))
    assert said == "input a: its tensor 'a:0' is not among the inputs of the file's main graph: b:0, c:0"


def test_a_sample_of_another_size_is_refused() -> None:
    sample = micro.Sample({"image": np.zeros(4)}, {"digit": np.zeros(3)})
    said = refused(lambda: micro.files(b"x", ONE, [], 100, "kws", sample=sample))
    assert said == "input image: the sample has 4 values, the tensor 3"


@given(st.lists(st.text(), max_size=6))
def test_words_are_identifiers_and_no_two_alike(names: list[str]) -> None:
    words = cpp_text.words(names)
    assert len(set(words)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*", word) for word in words)


def test_words_keep_what_can_be_read() -> None:
    names = ["café/logits:0", "a.b", "a/b", "a_b_2", "温度", "class"]
    assert cpp_text.words(names) == ["cafe_logits_0", "a_b", "a_b_2", "a_b_2_2", "x", "class"]


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_real_literal_reads_back_as_the_same_float32(value: float) -> None:
    text = cpp_text.number(value, "float32")
    assert np.float32(text.removesuffix("f")) == np.float32(value)
    assert re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?f", text)
    assert "." in text or "e" in text


@given(st.text())
def test_a_comment_is_one_line_and_does_not_reach_into_the_next(text: str) -> None:
    quoted = cpp_text.quoted(text)
    assert quoted.isascii()
    assert quoted.isprintable()
    assert not quoted.endswith("\\")


# What the sources do


@pytest.fixture(scope="module")
def quantizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program of the sources' own quantization.h: type, scale, zero point, real value in; stored and real out."""
    folder = tmp_path_factory.mktemp("quantizer")
    (folder / "quantization.h").write_text(micro.files(b"x", ONE, [], 100, "kws")["quantization.h"])
    (folder / "main.cc").write_text("""
        #include <cstdio>
        #include "quantization.h"
        struct Asked { std::int32_t type; float scale; std::int32_t zero_point; float value; };
        template <typename T> void answer(const Asked& a) {
          const T stored = model_kws::quantized<T>(a.value, a.scale, a.zero_point);
          const std::int32_t told = stored;
          const float real = model_kws::dequantized<T>(stored, a.scale, a.zero_point);
          std::fwrite(&told, 4, 1, stdout);
          std::fwrite(&real, 4, 1, stdout);
        }
        int main() {
          Asked a;
          while (std::fread(&a, sizeof a, 1, stdin) == 1) {
            if (a.type == 9) answer<std::int8_t>(a);
            if (a.type == 3) answer<std::uint8_t>(a);
            if (a.type == 7) answer<std::int16_t>(a);
            if (a.type == 2) answer<std::int32_t>(a);
          }
        }""")
    flags = ["-std=c++17", "-Os", "-Wall", "-Wextra", "-Werror", "-fno-exceptions", "-fno-rtti"]
    subprocess.run(["g++", *flags, "-o", "quantizer", "main.cc"], cwd=folder, check=True, timeout=120)
    return folder / "quantizer"


scales = st.floats(width=32, min_value=2.0**-30, max_value=2.0**20) | st.sampled_from([SCALE, 0.00390625, 0.1, 1.0])


@builds
@given(st.sampled_from(["int8", "uint8", "int16", "int32"]), scales, st.data())
def test_helpers_compute_what_the_runtime_computes(
    quantizer: Path, dtype: str, scale: float, data: st.DataObject
) -> None:
    from tflite_recipes.backend.running import runtime

    scale = float(np.float32(scale))
    limits = np.iinfo(dtype)
    zero = data.draw(st.integers(int(limits.min), int(limits.max)) | st.just(0))
    # Ties and their neighbours, values at and beyond the range, anything at all.
    halves = data.draw(st.lists(st.integers(-600, 600), min_size=1, max_size=30))
    ties = np.float32(scale) * (np.array(halves, "float32") / 2)
    beside = [np.nextafter(ties, np.float32(side), dtype="float32") for side in (-np.inf, np.inf)]
    edges = np.array([scale * (float(end) - zero) for end in (limits.min, limits.max)], "float32")
    free = np.array(data.draw(st.lists(st.floats(width=32, allow_nan=False), max_size=20)), "float32")
    real = np.concatenate([ties, *beside, edges, edges * 2, free])
    asked = np.empty(len(real), np.dtype("<i4,<f4,<i4,<f4"))
    asked["f0"], asked["f1"], asked["f2"], asked["f3"] = TYPES[dtype], scale, zero, real
    done = subprocess.run([quantizer], input=asked.tobytes(), capture_output=True, timeout=60, check=True)
    answered = np.frombuffer(done.stdout, np.dtype("<i4,<f4"))
    details = {"dtype": dtype, "quantization": (scale, zero)}
    with np.errstate(over="ignore"):
        stored = runtime.quantize(real, details)
        back = runtime.dequantize(stored, details)
    np.testing.assert_array_equal(answered["f0"], stored)
    np.testing.assert_array_equal(answered["f1"], back)


HARD = ["class", "a/b:0", "a.b:0", "温度", "x\\\n??/", 'q"', "kIndex", "", "1", "linux", "\u202e"]


@builds
@pytest.mark.parametrize("tflm", ["stubs"])
def test_any_names_and_types_build_and_agree_with_their_sample(tflm: str, tmp_path: Path) -> None:
    """Each output is the input of its number, so what is expected of it is what quantize_ makes of the sample."""
    kinds = ["int8", "float32", "int16", "uint8", "int32", "int64", "bool", "uint32", "uint16", "int8", "float32"]
    quantized = {"int16": {"scale": 0.5, "zero_point": 0}, "uint8": {"scale": 2.0, "zero_point": 7}}
    entries = [tensor(name, kind, **quantized.get(kind, {})) for name, kind in zip(HARD, kinds, strict=True)]
    shapes = [[], [1], [None, 2, 3]]
    for entry, shape in zip(entries, shapes, strict=False):
        entry["tflite"]["shape"] = shape
    described = contract(entries, entries)
    real = {"bool": [True, False, True], "int64": [-(2**63), 2**63 - 1, 5], "int32": [-(2**31), 2**31 - 1, 0]}
    real |= {"uint32": [2**32 - 1, 0, 1], "uint16": [65535, 0, 1], "int8": [0.1, 0.5, 0.9], "uint8": [-8.0, 2.0, 400.0]}
    values: dict[str, Any] = {}
    for entry in entries:
        count, kind = int(np.prod([n or 1 for n in entry["tflite"]["shape"]])), entry["tflite"]["dtype"]
        values[entry["name"]] = np.resize(np.array(real.get(kind, [-1.5, 3.0, 1e-9])), count)
    sample = micro.Sample(values, values)
    texts = micro.files(stub_model(described, 2), described, ["CONV_2D", "SOFTMAX"], 4096, "a model: 7", sample=sample)
    done = made(tmp_path, texts)
    assert status(done) == 0, done.stdout + done.stderr
    for name in HARD:
        assert f"{name}: stored, real, stored by LiteRT\n" in done.stdout
        assert f"{name}: 0 of " in done.stdout
    assert "  [0] -9223372036854775808 -9223372036854775808 -9223372036854775808\n" in done.stdout


@builds
@pytest.mark.parametrize("tflm", ["stubs"])
def test_main_says_whether_outputs_are_a_step_or_more_away(tflm: str, tmp_path: Path) -> None:
    def run(steps: int, *settings: str) -> subprocess.CompletedProcess[str]:
        real = SCALE * np.array([26, 128, 230])
        sample = micro.Sample({"image": real}, {"digit": real + steps * SCALE})
        return made(tmp_path, micro.files(stub_model(ONE, 0), ONE, [], 64, "kws", sample=sample), *settings)

    assert status(one := run(1)) == 0
    assert "digit: 0 of 3 differ too much" in one.stdout
    assert status(two := run(2)) == 1
    assert "  [0] -102 0.101961 -100  <- differs\n" in two.stdout
    assert "digit: 3 of 3 differ too much" in two.stdout
    assert status(zeros := run(2, "NO_SAMPLE=1")) == 0
    assert "digit: stored, real\n  [0] -128 0\n" in zeros.stdout


@builds
@pytest.mark.parametrize("tflm", ["stubs"])
def test_main_resets_state_that_is_not_the_sources(tflm: str, tmp_path: Path) -> None:
    stateful = {**ONE, "stateful": True, "reset": "before each invoke"}
    run = made(tmp_path, micro.files(stub_model(ONE, 0), stateful, [], 64, "lstm"))
    assert status(run) == 0
    assert "reset\n" in run.stdout
    assert "Reset() before each" in (tmp_path / "README.txt").read_text()
    assert (
        "Reset()" not in micro.files(b"", {**stateful, "reset": "before each new sequence"}, [], 64, "lstm")["main.cc"]
    )


@builds
@pytest.mark.parametrize("tflm", ["stubs"])
def test_main_says_what_does_not_run(tflm: str, tmp_path: Path) -> None:
    small = made(tmp_path / "small", micro.files(stub_model(ONE, 0), ONE, [], 16, "kws"))
    assert status(small) == 2
    assert "failed: the tensors cannot be allocated" in small.stdout
    other = contract([tensor("image", scale=0.5)], ONE["outputs"])
    differs = made(tmp_path / "other", micro.files(stub_model(other, 0), ONE, [], 64, "kws"))
    assert status(differs) == 2
    assert "image is not what tensor_io.h says of it\n" in differs.stdout
    unknown = made(tmp_path / "unknown", micro.files(stub_model(ONE, 0), ONE, [], None, "kws"))
    assert "the arena was not measured" in unknown.stderr
    given_one = made(tmp_path / "unknown", {}, "ARENA_BYTES=64")
    assert status(given_one) == 0


@builds
@pytest.mark.parametrize("tflm", ["stubs"])
def test_every_op_has_a_method_of_this_name_and_variables_have_their_place(tflm: str, tmp_path: Path) -> None:
    ops = [*ADD_METHODS, *CUSTOM_ADD_METHODS]
    model = stub_model(ONE, len(ops))
    done = made(tmp_path, micro.files(model, ONE, ops, 64, "kws", resource_variables=3))
    assert status(done) == 0, done.stdout + done.stderr
    assert "MicroResourceVariables::Create(allocator, 3)" in (tmp_path / "main.cc").read_text()


def test_the_makefile_asks_for_what_it_needs(tmp_path: Path) -> None:
    if not shutil.which("make"):
        pytest.skip("no make here")
    (tmp_path / "Makefile").write_text(micro.files(b"x", ONE, [], 64, "kws")["Makefile"])

    def said(*settings: str) -> str:
        environment = {name: value for name, value in os.environ.items() if name != "TFLM_DIR"}
        command = ["make", "-n", *settings]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=environment, check=False
        )
        assert done.returncode == 2
        return done.stderr

    assert "TFLM_DIR is not set" in said()
    assert "found 0 libraries" in said(f"TFLM_DIR={tmp_path}")


# Real files


def of_file(path: Path) -> tuple[dict[str, Any], micro.Sample]:
    """The contract of a file without a signature, in alphabetical order, and what LiteRT without delegates makes of
    random values."""
    from tflite_recipes.backend.running import runtime

    interpreter = runtime.interpreter(path, xnnpack=False)
    sides = {"inputs": interpreter.get_input_details(), "outputs": interpreter.get_output_details()}
    described: dict[str, Any] = {}
    draw, values = np.random.default_rng(7), {}
    for side, all_details in sides.items():
        described[side] = []
        for details in sorted(all_details, key=lambda one: str(one["name"])):
            scale, zero = details["quantization"]
            shape, dtype = [int(n) for n in details["shape"]], np.dtype(details["dtype"]).name
            entry = tensor(details["name"], dtype, shape, scale=scale, zero_point=zero, tensor=details["name"])
            described[side].append(entry)
    for details in sides["inputs"]:
        scale, zero = details["quantization"]
        real = (scale * (draw.integers(-128, 128, details["shape"]) - zero)).astype("float32")
        values[details["name"]] = real
        interpreter.set_tensor(details["index"], runtime.quantize(real, details))
    interpreter.invoke()
    outputs = {one["name"]: runtime.dequantize(interpreter.get_tensor(one["index"]), one) for one in sides["outputs"]}
    return described, micro.Sample(values, outputs)


REAL = ["subtraction", "kws_int8", "vww_96_int8", "ad01_int8"]


@pytest.mark.slow
@builds
@pytest.mark.parametrize("tflm", EITHER)
@pytest.mark.parametrize("name", REAL)
def test_a_real_file_builds_and_runs_as_in_litert(
    name: str, tflm: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """With the stubs it is only built: their interpreter does not know the file format."""
    if name == "subtraction":
        path = subtraction(tmp_path / "subtraction.tflite")
    else:
        path = request.getfixturevalue("shared") / "models" / f"{name}.tflite"
    described, sample = of_file(path)
    folder = tmp_path / "deploy"
    written = micro.write(folder, path, described, arena_bytes=200_000, name=name, sample=sample)
    assert set(written) == set(folder.iterdir())
    if tflm == "stubs":
        done = made(folder, {}, goal="build/main")
        assert done.returncode == 0, done.stderr
        assert os.access(folder / "build" / "main", os.X_OK)
        return
    done = made(folder, {}, tflm=TFLM)
    assert status(done) == 0, done.stdout + done.stderr
    for entry in described["outputs"]:
        assert f"{entry['name']}: 0 of " in done.stdout


@pytest.mark.parametrize(("offset", "refuses"), [(0, False), (8, True)])
def test_an_npu_needs_its_data_aligned(offset: int, refuses: bool) -> None:
    from tflite_recipes.files.tflite import Subgraph, Tensor, TFLiteFile

    data = Tensor(0, "commands", (4,), "uint8", buffer_bytes=4, buffer_offset=160 + offset)
    file = TFLiteFile(Path("x"), 1, 3, "", (Subgraph("", (data,), (), (), ()),), (), ())
    if refuses:
        said = refused(lambda: micro.check_alignment(file))
        assert said == "target: 'commands' lies at byte 168: the NPU needs it at a multiple of 16"
    else:
        micro.check_alignment(file)


@pytest.mark.slow
def test_what_vela_compiled_is_deployed_by_the_contract_of_its_source(tmp_path: Path, shared: Path) -> None:
    vela = shutil.which("vela")
    if vela is None:
        pytest.skip("no vela here: pip install 'tflite_recipes[vela]'")
    path = shared / "models" / "kws_int8.tflite"
    command = [vela, "--accelerator-config", "ethos-u55-128", "--output-dir", str(tmp_path), str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    described, sample = of_file(path)
    compiled = tmp_path / "kws_int8_vela.tflite"
    micro.write(tmp_path / "deploy", compiled, described, arena_bytes=None, name="kws", sample=sample)
    assert re.findall(r"resolver\.(\w+)\(\)", (tmp_path / "deploy" / "op_resolver.h").read_text()) == ["AddEthosU"]
    assert "CO_PROCESSOR=ethos_u" in (tmp_path / "deploy" / "README.txt").read_text()
