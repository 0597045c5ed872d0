"""Two `.tflite` files held against each other: what counts as another graph, and what is only said of one."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from support import runnable_files
from support.tflite_builders import npu_file

from tflite_recipes.core.errors import RequestError
from tflite_recipes.files.tflite.differences import compare
from tflite_recipes.files.tflite.metadata import write_metadata
from tflite_recipes.files.tflite.metadata_table import ModelMetadata


@pytest.fixture
def file(tmp_path):
    return runnable_files.write(tmp_path / "a.tflite")


def changed(file, change):
    """A copy of the file with `change` made to its model."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file.read_bytes(), 0))
    change(model)
    copy = file.with_name("b.tflite")
    copy.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return copy


def said(file, change):
    return [(found.where, found.what) for found in compare(file, changed(file, change)).differences]


def test_a_file_and_its_copy(file):
    copy = file.with_name("b.tflite")
    shutil.copyfile(file, copy)
    assert compare(file, copy).differences == ()


def test_metadata_description_and_names_are_not_the_graph(file):
    told = file.with_name("told.tflite")
    write_metadata(file, told, ModelMetadata("other", "said of it"), "0" * 64, {"labels.txt": b"a\nb\n"})
    assert told.read_bytes() != file.read_bytes()
    assert compare(file, told).differences == ()

    def rename(model):
        model.description = b"made by another"
        model.subgraphs[0].name = b"other"
        model.subgraphs[0].tensors[2].name = b"net/first_7/MatMul"

    found = compare(file, changed(file, rename))
    assert (found.differences, found.renamed) == ((), 1)


def test_data_behind_the_flatbuffer_counts_and_its_position_does_not(tmp_path):
    files = {
        "npu": npu_file(b"code", b"mine", 16),
        "moved": npu_file(b"code", b"mine", 4096),
        "bytecode": npu_file(b"mode", b"mine", 16),
        "options": npu_file(b"code", b"ours", 16),
    }
    paths = [tmp_path / f"{name}.tflite" for name in files]
    for path in paths:
        path.write_bytes(files[path.stem])
    found = [[difference.where for difference in compare(paths[0], path).differences] for path in paths]
    assert found == [[], [], ["op 0 DISPATCH_OP"], ["op 1 Mine"]]


def test_buffers_count_by_what_is_in_them(file):
    def reorder(model):
        model.buffers.append(model.buffers[1])
        model.subgraphs[0].tensors[1].buffer = len(model.buffers) - 1

    assert said(file, reorder) == []


def test_weights(file):
    def nudge(model):
        values = np.frombuffer(bytes(model.buffers[1].data), "float32").copy()
        values[:3] += 0.5
        model.buffers[1].data = np.frombuffer(values.tobytes(), "uint8")

    assert said(file, nudge) == [("tensor 1 'net/first/kernel'", "3 of 32,768 values, by up to 0.5")]


def test_options_of_an_op(file):
    def activate(model):
        model.subgraphs[0].operators[0].builtinOptions.fusedActivationFunction = 1

    ((where, what),) = said(file, activate)
    assert where == "op 0 FULLY_CONNECTED"
    assert what.startswith("builtinOptions")


def test_ops(file):
    def shorten(model):
        del model.subgraphs[0].operators[1:3]

    assert said(file, shorten)[0] == ("op 1", "2 ops, not 4; SOFTMAX where TANH was")


def test_version_of_an_op(file):
    def newer(model):
        model.operatorCodes[0].version = 7

    assert all("version 7, not 1" in what for _, what in said(file, newer))
    assert said(file, newer)


def test_shapes_types_and_quantization(file):
    def change(model):
        tensors = model.subgraphs[0].tensors
        tensors[0].shape = [2, 64]
        tensors[2].quantization = schema.QuantizationParametersT()
        tensors[2].quantization.scale, tensors[2].quantization.zeroPoint = [0.5], [3]
        tensors[3].type = schema.TensorType.INT8
        tensors[4].quantization = schema.QuantizationParametersT()
        tensors[4].quantization.min, tensors[4].quantization.max = [0.0], [1.0]  # recorded, and read by nobody

    assert [what for _, what in said(file, change)] == [
        "shape [2, 64], not [1, 64]",
        "scale 0.5, not none; zeroPoint 3, not none",
        f"type {schema.TensorType.INT8}, not 0",
    ]


def test_long_lists_are_counted(file):
    def per_channel(scale):
        def change(model):
            quantization = schema.QuantizationParametersT()
            quantization.scale = [0.123456789] * 500 + [scale] * 12
            model.subgraphs[0].tensors[1].quantization = quantization

        return change

    before = file.with_name("before.tflite")
    changed(file, per_channel(0.5)).rename(before)
    assert said(before, per_channel(0.25)) == [("tensor 1 'net/first/kernel'", "scale (12 of 512)")]


def test_names_in_signatures_are_bound_by_and_count(file):
    def rename(model):
        model.signatureDefs[0].inputs[0].name = b"other"

    assert said(file, rename) == [("signature 'serve'", "binds other names or tensors")]

    def rekey(model):
        model.signatureDefs[0].signatureKey = b"other"

    assert said(file, rekey) == [("signature 'serve'", "is gone"), ("signature 'other'", "is new")]


def test_graphs_beside_the_first(file):
    two = runnable_files.write(file.with_name("two.tflite"), ("serve", "again"))
    assert [found.where for found in compare(file, two).differences] == ["signature 'again'", "file"]


def test_what_is_no_file_is_refused(file):
    broken = file.with_name("broken.tflite")
    broken.write_bytes(file.read_bytes()[:300])
    with pytest.raises(RequestError):
        compare(file, broken)
