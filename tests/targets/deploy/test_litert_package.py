"""What comes under deploy/ for LiteRT: each language's code is of the model's own names, types and scales; the C++ is
built and run, against stand-ins for the runtime that keep what they are fed and give back what they are told."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert.tools import flatbuffer_utils
from hypothesis import given
from hypothesis import strategies as st
from support.checkout import REPOSITORY
from support.tflite_builders import MODELS, dense, needs_models, operator, operator_code

from tflite_recipes.core.errors import RequestError
from tflite_recipes.files.tflite import read_tflite
from tflite_recipes.files.tflite.metadata import op_versions, read_metadata
from tflite_recipes.files.tflite.metadata_table import ColorSpace, Content
from tflite_recipes.targets.deploy import label_list, litert_package, runtimes, snippets
from tflite_recipes.targets.deploy.code_ports import PLAIN, Port, identifiers, other_types, ports
from tflite_recipes.targets.deploy.file_description import describe, normalization
from tflite_recipes.targets.deploy.template_text import comment, literal

DIGEST = "0123456789abcdef" * 4


# Labels


def label_file(folder, data):
    (folder / "l.txt").write_bytes(data)
    return folder / "l.txt"


@pytest.mark.parametrize("data", [b"cat\nd\xc3\xb6g\n", b"cat\r\nd\xc3\xb6g\r\n\r\n", b"\xef\xbb\xbf cat \nd\xc3\xb6g"])
def test_labels_are_lines(tmp_path, data):
    assert label_list.read_labels(label_file(tmp_path, data)) == ("cat", "dög")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "has no labels"),
        (b"\n \n", "has no labels"),
        (b"cat\n\ndog\n", "has an empty line where label 2 should be"),
        (b"cat\nd\xf6g\n", "is not UTF-8: byte 5 cannot be read"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path, data, what):
    with pytest.raises(RequestError, match=what) as refused:
        label_list.read_labels(label_file(tmp_path, data))
    (problem,) = refused.value.problems
    assert (problem.where, problem.fix, problem.alternatives) == (
        "target.labels",
        "",
        ("target.labels=OTHER.txt", "target.labels=null"),
    )


def test_labels_are_those_of_an_output_with_as_many_places():
    shapes = {"embedding": [None, 3], "scores": [None, 2], "mask": [1, 8, 8, 2]}
    assert label_list.labelled_outputs(shapes, ("cat", "dog")) == ["scores", "mask"]
    with pytest.raises(RequestError, match=r"4 labels, and places in the last axis of the outputs: 3 of 'embedding'"):
        label_list.labelled_outputs(shapes, tuple("abcd"))
    with pytest.raises(RequestError, match="an open number of 'y', 1 of 'z'"):
        label_list.labelled_outputs({"y": [None, None], "z": []}, ("a", "b"))


# Metadata


@pytest.mark.parametrize(
    ("done", "mean", "std"),
    [
        ({"mean": 127.5, "std": [1.0, 2.0]}, (127.5,), (1.0, 2.0)),
        ({"std": 2.0}, (0.0,), (2.0,)),
        ({"scale": 0.25}, (0.0,), (4.0,)),
        ({"scale": [0.25, 0.5], "offset": -1.0}, (4.0, 2.0), (4.0, 2.0)),
        ({"offset": 3.0}, (-3.0,), (1.0,)),
        ({"size": [4, 4]}, (0.0,), (1.0,)),
        ({"columns": ["a"]}, (), ()),
    ],
)
def test_every_scaling_is_said_as_mean_and_std(done, mean, std):
    assert normalization(done) == (mean, std)


def contract(**more):
    about = {"tensor": "x", "shape": [None, 3], "dtype": "float32"}
    out = {"tensor": "y", "shape": [None, 2], "dtype": "float32"}
    return {
        "signature": "serve",
        "stateful": False,
        "inputs": [{"name": "features", "tflite": about}],
        "outputs": [{"name": "scores", "tflite": out}],
        "remedies": [],
        "notes": [],
        **more,
    }


@pytest.fixture
def file(tmp_path):
    (tmp_path / "model.tflite").write_bytes(dense())
    return read_tflite(tmp_path / "model.tflite")


def preprocessed(**done):
    made = contract()
    made["inputs"][0]["preprocessing"] = done
    return made


def test_a_picture_is_described_as_one(file):
    done = {"size": [48, 64], "resize": "bilinear", "antialias": True, "crop": "pad", "channels": "rgb"}
    scaling = {"mean": [127.5, 0.0, 0.0], "std": [127.5, 255.0, -1.0]}
    made = describe(file, preprocessed(**done, **scaling), "net", " Sees. ", DIGEST, "scores")
    (picture,), (scores,) = made.inputs, made.outputs
    assert made.description == f"Sees. Made by tflite_recipes; recipe digest {DIGEST}."
    assert (picture.name, picture.content, picture.color_space) == ("features", Content.image, ColorSpace.rgb)
    assert picture.size == (64, 48)
    assert (picture.minimum, picture.maximum) == ((-1.0, 0.0, -255.0), (1.0, 1.0, 0.0))
    words = "a picture resized to 64 x 48 pixels (bilinear with antialiasing, crop pad); channels rgb; (x - [127.5"
    assert f"float32 of any x 3. To be fed: {words}" in picture.description
    assert scores.labels == "labels.txt"


def test_blue_first_is_said_in_words_alone(file):
    done = {"size": [4, 4], "resize": "nearest", "antialias": False, "crop": "stretch", "channels": "bgr"}
    (picture,) = describe(file, preprocessed(**done), "net", "", DIGEST).inputs
    assert picture.color_space is ColorSpace.unknown
    assert "channels bgr" in picture.description
    assert (picture.minimum, picture.maximum) == ((0.0,), (255.0,))


def test_a_sound_and_a_table_are_described_as_such(file):
    sound = {"sample_rate": 16000, "frames": 400, "channels": 1, "values": "unit"}
    (found,) = describe(file, preprocessed(**sound), "net", "", "").inputs
    assert (found.content, found.sample_rate, found.channels, found.std) == (Content.audio, 16000, 1, ())
    assert "sound of 16000 Hz, 1 channel(s), 400 frames; samples as unit" in found.description
    made = describe(file, preprocessed(columns=["a", "b"], scale=2.0, offset=1.0), "net", "", "")
    assert made.description == "Made by tflite_recipes."
    assert "columns a, b; x * 2.0 + 1.0" in made.inputs[0].description
    assert (made.inputs[0].content, made.inputs[0].mean, made.inputs[0].std) == (Content.features, (-0.5,), (0.5,))


# The oldest runtime


@pytest.mark.parametrize(
    ("stated", "ops", "version", "source"),
    [
        ("2.3.0", [("ADD", 2)], "2.3.0", "the file's own entry min_runtime_version"),
        ("1.5.0", [("ADD", 2)], "1.14.0", "the versions of its ops; its own entry min_runtime_version says 1.5.0"),
        ("", [("ADD", 1), ("CONV_2D", 4), ("FULLY_CONNECTED", 9)], "2.3.0", "the versions of its ops"),
        ("", [("ADD", 99), ("CONV_2D", 3)], None, "not stated by the file, and not known of ADD of version 99"),
        ("1.5.0", [("ADD", 99), ("CONV_2D", 3)], "1.14.0", "the versions of its ops; its own"),
        ("1.15.0", [("ADD", 99)], "1.15.0", "the file's own entry"),
        ("", [], None, "not stated by the file"),
    ],
)
def test_the_oldest_runtime_is_the_newer_of_what_the_file_states_and_what_its_ops_need(stated, ops, version, source):
    found = runtimes.minimum_runtime(stated, ops)
    assert found["version"] == version
    assert found["from"].startswith(source)


@needs_models
@pytest.mark.parametrize("name", ["ad01_int8", "kws_int8", "str_ww_int8", "vww_96_int8"])
def test_the_versions_of_ops_are_known_and_no_older_than_what_the_converter_stated(name):
    path = MODELS / f"{name}.tflite"
    stated, found = read_metadata(path).min_runtime_version, runtimes.minimum_runtime("", op_versions(path))["version"]
    assert found is not None
    assert not runtimes.older(found, stated)


# Names and words


@given(st.lists(st.text(max_size=12), max_size=8))
def test_identifiers_are_plain_and_each_another(names):
    found = identifiers(names)
    assert len({name.lower() for name in found}) == len(names)
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9]*", name) for name in found)


def test_identifiers_are_near_what_they_name():
    names = ["serving_default_x:0", "dense/BiasAdd", "in", "3d", "x", "X", "xBytes", ""]
    expected = ["servingDefaultX0", "denseBiasAdd", "tensorIn", "tensor3d", "x", "x2", "xBytes2", "tensor"]
    assert identifiers(names) == expected


def test_text_ends_no_comment_and_no_literal():
    assert comment('a"""b*/c\\\nd') == "a'''b* /c/ d"
    assert literal('a"b\\c\nd\u2028e é') == '"a\\"b\\\\c d e é"'


# The files


def about(**more):
    given_ = litert_package.About("net", "Sees.", DIGEST, "ab" * 32, "2.3.0", frozenset())
    return replace(given_, **more)


def test_the_files_of_a_plain_model(file):
    made = litert_package.files(file, contract(), about())
    assert list(made) == ["predict.py", "predict.cc", "Predict.kt", "Predict.swift", "runtime.json", "README.txt"]
    facts = json.loads(made["runtime.json"])
    assert facts["model"]["sha256"] == "ab" * 32
    assert facts["minimum_runtime_version"]["version"] == "2.3.0"
    assert facts["tested_with"] is None
    assert facts["inputs"] == [{"name": "features", "tensor": "x", "shape": [None, 3], "dtype": "float32"}]
    assert facts["ops"] == {"FULLY_CONNECTED": 1}
    assert not any(facts["libraries"][key]["needed"] for key in ("select_tf_ops", "custom_ops", "gpu_delegate"))
    assert "Flex" not in made["README.txt"]
    for text in made.values():
        assert "@{" not in text


def test_labels_are_delivered_and_named_where_they_belong(file):
    made = litert_package.files(
        file, contract(), about(labels=("cat", 'd"$\\ö'), labelled="scores", runtime="litert 9")
    )
    assert made["labels.txt"] == 'cat\nd"$\\ö\n'
    assert json.loads(made["runtime.json"])["outputs"][0]["labels"] == "labels.txt"
    assert "- scores: float32, any x 2, labels.txt" in made["README.txt"]
    assert "run here with litert 9" in made["README.txt"]
    assert 'LABELLED = "scores"' in made["predict.py"]
    assert '"d\\"$\\\\ö",' in made["predict.cc"]
    assert "fun named(scores: FloatArray" in made["Predict.kt"]
    assert "func named(_ scores: [Float]" in made["Predict.swift"]


def with_ops(tmp_path, *codes):
    """The dense model with custom ops of these names behind it."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(dense()))
    for number, code in enumerate(codes, 1):
        model.operatorCodes.append(operator_code("CUSTOM", code))
        model.subgraphs[0].operators.append(operator(number, [2], [2]))
    (tmp_path / "ops.tflite").write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return read_tflite(tmp_path / "ops.tflite")


def test_flex_and_custom_ops_are_named_with_what_brings_them(tmp_path):
    made = litert_package.files(
        with_ops(tmp_path, "FlexErf", "My::Op", "FlexErf"), contract(), about(min_runtime="2.19.0")
    )
    facts = json.loads(made["runtime.json"])["libraries"]
    assert (facts["select_tf_ops"]["needed"], facts["select_tf_ops"]["ops"]) == (True, ["FlexErf"])
    assert facts["custom_ops"] == {"needed": True, "ops": ["My::Op"]}
    assert "TfLiteOperator* CreateMyOp();" in made["predict.cc"]
    assert "TfLiteInterpreterOptionsAddOperator(options, CreateMyOp());" in made["predict.cc"]
    assert "tensorflow-lite-select-tf-ops" in made["Predict.kt"]
    assert "TensorFlowLiteSelectTfOps" in made["Predict.swift"]
    for name in ("predict.py", "predict.cc", "Predict.kt", "Predict.swift", "README.txt"):
        assert "custom ops that the application registers: My::Op" in made[name], name
        assert "of 2.16.1, and the file's ops are of 2.19.0" in made[name], name
    made = litert_package.files(with_ops(tmp_path, "FlexErf"), contract(), about(min_runtime="2.16.1"))
    assert "AARs of your own." not in made["README.txt"]


def test_types_that_a_language_lacks_leave_python_alone(file):
    made = contract()
    made["outputs"][0]["tflite"]["dtype"] = "string"
    found = litert_package.files(file, made, about())
    assert list(found) == ["predict.py", "runtime.json", "README.txt"]
    assert "no code for C++, Kotlin and Swift: it would not know tensors of string" in found["README.txt"]
    assert other_types(ports(made)[1]) == ["string"]


MIXED = [
    Port("x", "x", (None, 4), "float32"),
    *(Port(f"q_{kind}", f"q{kind.title()}", (1, 4), kind, 0.5, 3) for kind in ("int8", "uint8", "int16")),
    *(Port(f"n_{kind}", f"n{kind.title()}", (2, 2), kind) for kind in PLAIN[1:]),
]


def mixed(**more):
    labels = ("a", "b", "c", "d")
    return snippets.Model("mixed", "serve", tuple(MIXED), tuple(MIXED[::-1]), labels, "x", **more)


def balanced(text):
    """Brackets outside strings and comments."""
    text = re.sub(r'"(\\.|[^"\\\n])*"|/\*.*?\*/|//[^\n]*', "", text, flags=re.DOTALL)
    closing, open_ = {")": "(", "]": "[", "}": "{"}, []
    for letter in text:
        if letter in "([{":
            open_.append(letter)
        elif letter in closing and (not open_ or open_.pop() != closing[letter]):
            return False
    return not open_


def test_the_code_of_each_language_is_closed_and_names_every_tensor():
    for made in (snippets.cpp(mixed()), snippets.kotlin(mixed()), snippets.swift(mixed())):
        assert balanced(made)
        assert all(port.name in made for port in MIXED)
    kotlin, swift = snippets.kotlin(mixed()), snippets.swift(mixed())
    assert "for (value in qUint8) qUint8Bytes.put((stored(value, 0.5, 3, 0, 255)).toByte())" in kotlin
    assert "real(qUint8Bytes.get().toInt() and 0xFF, 0.5, 3)" in kotlin
    assert "interpreter.resizeInput(0, xShape)" in kotlin
    assert kotlin.count("resizeInput") == 1
    assert "let qInt16Stored: [Int16] = qInt16.map { stored($0, 0.5, 3) }" in swift
    assert "try resize(0, xShape)" in swift
    for made in (kotlin, swift):
        assert len(re.findall(r"\bnInt64: (LongArray|\[Int64\])", made)) == 2


# C++, built and run

STUBS = REPOSITORY / "tests" / "support" / "litert_stubs"
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++ to build predict.cc with")
# The values of TfLiteType, by numpy's names.
CODES = {"float32": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9}


def built(folder, code):
    (folder / "predict.cc").write_text(code, encoding="utf-8")
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{STUBS}", "predict.cc", "-o", "predict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder / "predict"


def stand_in(folder, inputs, outputs, given_):
    """A file that the stand-in runtime reads: types and sizes, then what the outputs are to be."""
    lines = [f"{len(inputs)} {len(outputs)}"]
    for port in (*inputs, *outputs):
        lines.append(f"{CODES[port.dtype]} {int(np.prod(port.sizes)) * np.dtype(port.dtype).itemsize}")
    for number, values in enumerate(given_):
        values.tofile(folder / f"given{number}.bin")
    (folder / "model.txt").write_text("\n".join(lines))


@pytest.mark.slow
@needs_compiler
def test_the_cpp_code_feeds_and_reads_every_type(tmp_path):
    rng = np.random.default_rng(0)
    inputs, outputs = mixed().inputs, mixed().outputs
    given_ = [rng.integers(0, 2 if p.dtype == "bool" else 100, p.sizes).astype(p.dtype) for p in outputs]
    stand_in(tmp_path, inputs, outputs, given_)
    fed = [rng.integers(0, 2 if p.dtype == "bool" else 90, p.sizes) + (0.3 if p.scale else 0) for p in inputs]
    for number, values in enumerate(fed):
        (tmp_path / f"in{number}.txt").write_text(" ".join(map(str, values.reshape(-1))))
    program = built(tmp_path, snippets.cpp(mixed()))
    names = [f"in{number}.txt" for number in range(len(fed))]
    done = subprocess.run([program, "model.txt", *names], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for number, (port, values) in enumerate(zip(inputs, fed, strict=True)):
        stored = np.rint(values / port.scale) + port.zero_point if port.scale else values
        low, high = (np.iinfo(port.dtype).min, np.iinfo(port.dtype).max) if port.scale else (None, None)
        expected = np.clip(stored, low, high).astype(port.dtype) if port.scale else stored.astype(port.dtype)
        np.testing.assert_array_equal(np.fromfile(tmp_path / f"fed{number}.bin", port.dtype), expected.reshape(-1))
    assert (tmp_path / "resized.txt").read_text() == "".join(
        f"{n}: {' '.join(map(str, p.sizes))} \n" for n, p in enumerate(inputs)
    )
    printed = iter(done.stdout.splitlines())
    for port, values in zip(outputs, given_, strict=True):
        assert next(printed) == port.name
        real = values.reshape(-1).astype("float64")
        real = port.scale * (real - port.zero_point) if port.scale else real
        order = np.argsort(-real, kind="stable") if port.name == "x" else np.arange(len(real))
        for place in order[:5]:
            number, *label = next(printed).split()
            assert float(number) == pytest.approx(real[place], rel=1e-5)
            assert label == (["abcd"[place]] if port.name == "x" else [])


@pytest.mark.slow
@needs_compiler
def test_the_cpp_code_refuses_another_model(tmp_path):
    model = replace(mixed(), custom=("MyOp",))
    with_custom = snippets.cpp(model) + "\nTfLiteOperator* CreateMyOp() { return nullptr; }\n"
    program = built(tmp_path, with_custom)
    inputs = (replace(MIXED[0], dtype="int8"), *MIXED[1:])
    stand_in(tmp_path, inputs, model.outputs, [])
    done = subprocess.run([program, "model.txt"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "another model: x\n")
    assert (tmp_path / "operators.txt").read_text() == "added\n"


@pytest.mark.slow
@needs_compiler
def test_cpp_code_of_a_file_whose_state_is_not_its_sources_resets_it_before_the_invoke(file, tmp_path):
    stateful = contract(stateful=True, reset="before each invoke")
    codes = litert_package.files(file, stateful, about())
    program = built(tmp_path, codes["predict.cc"])
    ports_ = [Port("x", "x", (None, 3), "float32")], [Port("y", "y", (None, 2), "float32")]
    stand_in(tmp_path, *ports_, [np.zeros(2, "float32")])
    subprocess.run([program, "model.txt"], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "resets.txt").read_text() == "reset\n"


@pytest.mark.parametrize(
    ("state", "resets", "keeps"),
    [
        ({"stateful": False}, False, False),
        ({"stateful": True, "reset": "before each invoke"}, True, False),
        ({"stateful": True, "reset": "before each new sequence"}, False, True),
        ({"stateful": True}, False, True),
    ],
)
def test_code_resets_state_that_is_not_the_sources_and_keeps_state_that_is(file, state, resets, keeps):
    codes = litert_package.files(file, contract(**state), about())
    for name, call in (
        ("predict.cc", "TfLiteInterpreterResetVariableTensors(interpreter)"),
        ("Predict.kt", "interpreter.resetVariableTensors()"),
        ("Predict.swift", "TfLiteInterpreterResetVariableTensors(interpreter)"),
    ):
        assert (call in codes[name]) is resets
    assert f"STATEFUL = {keeps}" in codes["predict.py"]
    assert json.loads(codes["runtime.json"]).get("reset") == state.get("reset")


# Python, run


def python(folder, code, *arguments):
    (folder / "predict.py").write_text(code, encoding="utf-8")
    command = [sys.executable, str(folder / "predict.py"), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    return done


@pytest.mark.slow
def test_the_python_code_runs_the_file(file, tmp_path):
    labels = ("cat", "dog")
    code = litert_package.files(file, contract(), about(labels=labels, labelled="scores"))["predict.py"]
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    x = np.random.default_rng(0).random((5, 3), "float32")
    np.save(tmp_path / "x.npy", x)
    done = python(tmp_path, code, "x.npy", "--output", "y.npz")
    assert done.returncode == 0, done.stderr
    expected = x @ np.arange(6, dtype="float32").reshape(2, 3).T
    np.testing.assert_allclose(np.load(tmp_path / "y.npz")["scores"], expected, rtol=1e-5)
    assert "scores (5, 2) float32" in done.stdout
    assert re.search(r"[\d.]+ dog\n  [\d.]+ cat\n", done.stdout)
    np.savez(tmp_path / "other.npz", z=x)
    done = python(tmp_path, code, "other.npz")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "other.npz has no array for features; it has z"
    assert python(tmp_path, code).returncode == 0
