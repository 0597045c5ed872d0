"""A float `.tflite` as the source: what it says of itself, what is refused, and what is made of it."""

import shlex

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from support import keras_models
from support.tflite_builders import dense, pack

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus, RequestError
from tflite_recipes.core.state import TensorSpec
from tflite_recipes.files import tflite
from tflite_recipes.files.models import read_float_tflite


def said(path):
    with pytest.raises(RequestError) as refused:
        read_float_tflite(path)
    (problem,) = refused.value.problems
    assert problem.where == "source.path"
    return problem


def test_inputs_and_outputs_are_the_signatures(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(dense())
    found = read_float_tflite(path)
    assert (found.signature, found.parameters) == ("serve", 6)
    assert found.inputs == (TensorSpec("features", (None, 3), "float32"),)
    assert found.outputs == (TensorSpec("scores", (1, 2), "float32"),)


def test_without_a_signature_the_tensors_names_stand_in(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(dense(keys=()))
    found = read_float_tflite(path)
    assert found.signature == ""
    assert [spec.name for spec in (*found.inputs, *found.outputs)] == ["x", "y"]
    path.write_bytes(dense(keys=(), names=("", "y")))
    assert "cannot stand in" in said(path).what


def test_several_signatures_are_refused(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(dense(keys=("embed", "classify")))
    assert "(embed, classify)" in said(path).what


@pytest.mark.parametrize(("weights", "quantization"), [("INT8", {"scale": [0.5], "zeroPoint": [0]}), ("FLOAT16", {})])
def test_quantized_files_are_refused(tmp_path, weights, quantization):
    path = tmp_path / "model.tflite"
    path.write_bytes(dense(weights=weights, **quantization))
    assert f"quantized already (w is {weights.lower()})" in said(path).what


@pytest.mark.parametrize(
    ("content", "what", "fix"),
    [
        (b"PK\x03\x04" + bytes(40), "is a Keras file", "source=keras source.path={path}"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "is a Keras file", "source=keras source.path={path}"),
        (b"\x1c\0\0\0TFL3" + bytes(40), "corrupt", ""),
        (b"text", "is not a TFLite file", ""),
        (b"", "is empty", ""),
    ],
)
def test_what_is_no_tflite_file_is_refused(tmp_path, content, what, fix):
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    problem = said(path)
    assert what in problem.what
    assert problem.fix == fix.format(path=path)


def test_a_folder_is_refused(tmp_path):
    assert "is a folder" in said(tmp_path).what
    (tmp_path / "saved_model.pb").touch()
    assert said(tmp_path).fix == f"source=saved_model source.path={tmp_path}"


def check(*overrides):
    return {problem.where: problem.fix for problem in api.check("convert", ["source=tflite", *overrides])}


@pytest.mark.slow
def test_what_needs_a_model_in_memory_is_refused_with_its_fix(here):
    (here / "model.tflite").write_bytes(dense())
    path = "source.path=model.tflite"
    assert check(path) == {}
    quantizing = (path, "optimization=int16x8", "calibration=random")
    assert check(*quantizing) == {"optimization.quantizer": "optimization.quantizer=litert_quantizer"}
    assert check(*quantizing, "optimization.quantizer=litert_quantizer") == {}
    assert check(path, "pruning=constant", "pruning.epochs=0") == {"pruning": "pruning=none"}
    assert check(path, "freeze.variables=keep") == {"freeze.variables": "freeze.variables=auto"}
    np.savez("other.npz", features=np.zeros((3, 4), "float32"))
    assert "calibration.path" in check(path, "calibration=npz", "calibration.path=other.npz")


@pytest.mark.slow
def test_a_tflite_file_given_as_keras_is_sent_here(here):
    (here / "model.tflite").write_bytes(dense())
    problems = api.check("convert", ["source=keras", "source.path=model.tflite"])
    assert [problem.fix for problem in problems] == ["source=tflite source.path=model.tflite"]
    assert check("source.path=model.tflite") == {}


@pytest.fixture(scope="module")
def floats(tmp_path_factory):
    """A converted float file with its samples, and the same without a signature."""
    folder = tmp_path_factory.mktemp("floats")
    keras_models.write("cnn", folder)
    rng = np.random.default_rng(0)
    np.savez(folder / "samples.npz", picture=rng.random((40, 16, 16, 3)).astype("float32"))
    result = api.run(
        "convert",
        ["source=keras", f"source.path={folder / 'model.keras'}", "tracking=none"],
        output_dir=folder / "run",
        progress=False,
    )
    (folder / "model.tflite").write_bytes(result.path.read_bytes())
    model = schema.ModelT.InitFromPackedBuf(bytearray(result.path.read_bytes()), 0)
    model.signatureDefs = []
    (folder / "bare.tflite").write_bytes(pack(model))
    model = schema.ModelT.InitFromPackedBuf(bytearray(result.path.read_bytes()), 0)
    for code in model.operatorCodes:
        code.builtinCode = 0
    (folder / "old.tflite").write_bytes(pack(model))
    return folder


def convert(path, *more):
    return api.run("convert", ["source=tflite", f"source.path={path}", "tracking=none", *more], progress=False)


@pytest.mark.slow
def test_a_float_file_is_passed_as_it_is(here, floats):
    result = convert(floats / "model.tflite", "target.metadata=false")
    assert result.status == ExitStatus.DONE, result.problems
    assert result.path.read_bytes() == (floats / "model.tflite").read_bytes()
    assert result.tags["tflite_recipes.source_sha256"] == result.tags["tflite_recipes.tflite_sha256"]
    assert result.metrics["parity.max_abs_error"] == 0
    assert not result.warnings


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["dynamic_range", "float16", "integer_only", "int16x8"])
def test_a_float_file_is_quantized(here, floats, scheme):
    data = (
        () if scheme in ("dynamic_range", "float16") else ("calibration=npz", f"calibration.path={floats}/samples.npz")
    )
    result = convert(
        floats / "model.tflite", f"optimization={scheme}", "optimization.quantizer=litert_quantizer", *data
    )
    assert result.status == ExitStatus.DONE, result.problems
    assert result.metrics["parity.cosine"] > 0.999
    assert result.metrics["size.ratio"] < 0.9
    (signature,) = tflite.read_tflite(result.path).signatures
    assert [name for name, _ in signature.inputs] == ["picture"]


@pytest.mark.slow
def test_a_file_without_a_signature_gets_one(here, floats):
    (given,) = read_float_tflite(floats / "bare.tflite").inputs
    with np.load(floats / "samples.npz") as samples:
        np.savez("samples.npz", **{given.name: samples["picture"]})
    data = ("calibration=npz", "calibration.path=samples.npz")
    result = convert(
        floats / "bare.tflite", "optimization=integer_only", "optimization.quantizer=litert_quantizer", *data
    )
    assert result.status == ExitStatus.DONE, result.problems
    assert any("has no signature" in warning for warning in result.warnings)
    assert result.metrics["parity.cosine"] > 0.999
    (signature,) = tflite.read_tflite(result.path).signatures
    assert [signature.key, *(name for name, _ in signature.inputs)] == ["serving_default", given.name]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["dynamic_range", "integer_only"])
def test_a_file_from_before_tensorflow_2_4_is_quantized(here, floats, scheme):
    data = ("calibration=npz", f"calibration.path={floats}/samples.npz") if scheme == "integer_only" else ()
    quantizing = (f"optimization={scheme}", "optimization.quantizer=litert_quantizer", "target.metadata=false", *data)
    old, new = (convert(floats / name, *quantizing) for name in ("old.tflite", "model.tflite"))
    assert old.status == ExitStatus.DONE, old.problems
    assert old.path.read_bytes() == new.path.read_bytes()


@pytest.mark.slow
def test_a_recipe_without_the_key_takes_the_ops_of_an_old_file_for_others_and_says_so(here, floats):
    quantizing = ("optimization=dynamic_range", "optimization.quantizer=litert_quantizer", "target.metadata=false")
    result = convert(floats / "old.tflite", *quantizing, "optimization.require_change=false")
    assert result.status == ExitStatus.DONE, result.problems
    assert [text for text in result.warnings if text.startswith("optimization.require_change=false")]
    (graph,) = tflite.read_tflite(result.path).subgraphs
    (kernel,) = [graph.tensors[op.inputs[1]] for op in graph.operators if op.name == "DEPTHWISE_CONV_2D"]
    assert kernel.dtype == "float32"


@pytest.mark.slow
def test_a_scheme_that_changes_no_tensor_fails_with_a_fix_that_helps(here, floats):
    kept = "optimization.rules=[{op: CONV_2D, scheme: float}, {op: DEPTHWISE_CONV_2D, scheme: float}, "
    kept += "{op: FULLY_CONNECTED, scheme: float}]"
    quantizing = ("optimization=dynamic_range", "optimization.quantizer=litert_quantizer", kept)
    result = convert(floats / "model.tflite", *quantizing)
    assert result.status == ExitStatus.FAILED
    (problem,) = result.problems
    assert (problem.where, problem.fix) == ("optimization", "optimization=none 'optimization.rules=[]'")
    mended = convert(floats / "model.tflite", *quantizing, *shlex.split(problem.fix))
    assert mended.status == ExitStatus.DONE, mended.problems
