"""TFLite Metadata: read back as written, by this package's reader and by an archive's, in files that run as before."""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from flatbuffers import flexbuffers
from hypothesis import given
from hypothesis import strategies as st
from support.metadata_samples import LABELS, NET
from support.tflite_builders import MODELS, WEIGHTS, appended, dense, needs_models, npu_file, tiny_model

from tflite_recipes.core.errors import StepError
from tflite_recipes.files.tflite import constant_array, metadata_table, read_tflite
from tflite_recipes.files.tflite.metadata import RECIPE_DIGEST, STANDARD, op_versions, read_metadata, write_metadata
from tflite_recipes.files.tflite.metadata_table import ColorSpace, Content, ModelMetadata, TensorMetadata

DIGEST = "0123456789abcdef" * 4

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
floats = st.lists(st.floats(width=32, allow_nan=False), max_size=4).map(tuple)


@st.composite
def tensors(draw):
    content = draw(st.sampled_from([Content.features, Content.image, Content.audio]))
    image, audio = content is Content.image, content is Content.audio
    std = draw(floats)
    return TensorMetadata(
        draw(texts),
        draw(texts),
        content,
        draw(st.sampled_from(ColorSpace)) if image else ColorSpace.unknown,
        draw(st.none() | st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 9999))) if image else None,
        draw(st.integers(0, 192000)) if audio else 0,
        draw(st.integers(0, 8)) if audio else 0,
        draw(floats) if std else (),
        std,
        draw(floats),
        draw(floats),
        draw(texts),
    )


sides = st.lists(tensors(), max_size=3).map(tuple)


@pytest.mark.slow
@given(st.builds(ModelMetadata, texts, texts, sides, sides))
def test_a_buffer_reads_as_it_was_written(metadata):
    audio = any(tensor.content is Content.audio for tensor in (*metadata.inputs, *metadata.outputs))
    data = metadata_table.to_buffer(metadata)
    assert data[4:8] == b"M001"
    assert data == metadata_table.to_buffer(metadata)
    read = metadata_table.from_buffer(data)
    assert read == replace(metadata, min_parser_version="1.3.0" if audio else "1.0.0")


def test_what_is_no_buffer_of_metadata_is_refused():
    with pytest.raises(ValueError, match="M001"):
        metadata_table.from_buffer(b"TFL3" * 8)


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source.tflite").write_bytes(dense())
    return tmp_path / "source.tflite"


def outputs(path):
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    rng = np.random.default_rng(0)
    for details in interpreter.get_input_details():
        values = rng.uniform(-100, 100, details["shape"]).astype(details["dtype"])
        interpreter.set_tensor(details["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(details["index"]) for details in interpreter.get_output_details()]


def test_a_file_says_what_it_is_told_and_runs_as_before(source, tmp_path):
    path = tmp_path / "described.tflite"
    write_metadata(source, path, NET, DIGEST, LABELS)
    stated = read_metadata(path)
    assert stated.model == NET
    assert stated.files == LABELS
    assert stated.recipe_digest == DIGEST
    assert stated.entries[RECIPE_DIGEST] == DIGEST.encode()
    for was, is_ in zip(outputs(source), outputs(path), strict=True):
        np.testing.assert_array_equal(was, is_)
    again = tmp_path / "again.tflite"
    write_metadata(source, again, NET, DIGEST, LABELS)
    assert again.read_bytes() == path.read_bytes()


def test_the_file_stands_in_the_new_one_byte_for_byte_and_aligned(source, tmp_path):
    write_metadata(source, tmp_path / "new.tflite", NET, DIGEST, LABELS)
    at = (tmp_path / "new.tflite").read_bytes().find(source.read_bytes())
    assert at > 0
    assert at % 16 == 0


def test_an_archiver_finds_the_associated_files_and_their_bytes_do_not_tell_the_time(source, tmp_path):
    path = tmp_path / "new.tflite"
    write_metadata(source, path, NET, DIGEST, {**LABELS, "more.txt": b"more"})
    with zipfile.ZipFile(path) as archive:
        assert {info.filename: info.date_time for info in archive.infolist()} == dict.fromkeys(
            ["labels.txt", "more.txt"], (1980, 1, 1, 0, 0, 0)
        )
        assert archive.read("labels.txt") == LABELS["labels.txt"]
        assert archive.testzip() is None
        # from the beginning of the file, as the standard has it, not from that of the archive
        assert path.read_bytes()[archive.infolist()[0].header_offset :][:4] == b"PK\x03\x04"


def test_metadata_is_replaced_not_added_to(source, tmp_path):
    once, twice = tmp_path / "once.tflite", tmp_path / "twice.tflite"
    write_metadata(source, once, NET, DIGEST, LABELS)
    write_metadata(once, twice, replace(NET, name="other"), DIGEST[::-1])
    stated = read_metadata(twice)
    assert stated.model is not None
    assert (stated.model.name, stated.files, stated.recipe_digest) == ("other", {}, DIGEST[::-1])
    assert [name for name in read_tflite(twice).metadata if name == STANDARD] == [STANDARD]
    np.testing.assert_array_equal(outputs(twice)[0], outputs(source)[0])


def test_a_file_without_metadata_says_nothing(source):
    stated = read_metadata(source)
    assert (stated.model, stated.files, stated.recipe_digest, stated.min_runtime_version) == (None, {}, "", "")


def test_a_damaged_buffer_of_metadata_reads_as_none(source, tmp_path):
    path = tmp_path / "new.tflite"
    write_metadata(source, path, NET, DIGEST)
    path.write_bytes(path.read_bytes().replace(b"M001", b"M002"))
    assert read_metadata(path).model is None
    assert read_metadata(path).recipe_digest == DIGEST


def test_everything_else_of_a_file_stays(tmp_path):
    (tmp_path / "tiny.tflite").write_bytes(flatbuffer_utils.convert_object_to_bytearray(tiny_model()))
    write_metadata(tmp_path / "tiny.tflite", tmp_path / "new.tflite", NET, DIGEST, LABELS)
    was, is_ = read_tflite(tmp_path / "tiny.tflite"), read_tflite(tmp_path / "new.tflite")
    assert is_.metadata == (*was.metadata, STANDARD, RECIPE_DIGEST)
    assert (is_.version, is_.description, is_.signatures) == (was.version, was.description, was.signatures)
    moved = {tensor.buffer_offset - old.buffer_offset for tensor, old in constants(is_, was)}
    assert len(moved) == 1
    here = [replace(tensor, buffer_offset=0) for graph in is_.subgraphs for tensor in graph.tensors]
    there = [replace(tensor, buffer_offset=0) for graph in was.subgraphs for tensor in graph.tensors]
    assert here == there
    assert [graph.operators for graph in is_.subgraphs] == [graph.operators for graph in was.subgraphs]
    assert op_versions(tmp_path / "new.tflite") == op_versions(tmp_path / "tiny.tflite")


def constants(one, other):
    for graph, old in zip(one.subgraphs, other.subgraphs, strict=True):
        yield from ((a, b) for a, b in zip(graph.tensors, old.tensors, strict=True) if a.is_constant)


def test_a_described_file_can_be_taken_apart_and_packed_again(source, tmp_path):
    write_metadata(source, tmp_path / "new.tflite", NET, DIGEST, LABELS)
    data = (tmp_path / "new.tflite").read_bytes()
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    (tmp_path / "packed.tflite").write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    assert read_metadata(tmp_path / "packed.tflite").model == NET
    assert read_metadata(tmp_path / "packed.tflite").files == {}


def test_the_versions_of_ops_are_those_of_the_file(tmp_path):
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(dense()))
    model.operatorCodes[0].version = 4
    code = schema.OperatorCodeT()
    code.builtinCode, code.customCode = schema.BuiltinOperator.CUSTOM, "Mine"
    model.operatorCodes.append(code)
    (tmp_path / "m.tflite").write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    assert op_versions(tmp_path / "m.tflite") == {("FULLY_CONNECTED", 4)}


@pytest.fixture
def behind(tmp_path):
    """The file of `source` with its weights behind the flatbuffer."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(dense(), 0))
    (tmp_path / "behind.tflite").write_bytes(appended(model, {1: WEIGHTS.tobytes()}))
    return tmp_path / "behind.tflite"


def test_constants_behind_the_flatbuffer_move_with_it(source, behind, tmp_path):
    first, second = tmp_path / "first.tflite", tmp_path / "second.tflite"
    write_metadata(behind, first, NET, DIGEST, LABELS)
    write_metadata(first, second, replace(NET, name="other"), DIGEST, LABELS)
    for path in (behind, first, second):
        (weights,) = [t for t in read_tflite(path).subgraphs[0].tensors if t.is_constant]
        assert weights.buffer_offset % 16 == 0
        np.testing.assert_array_equal(constant_array(read_tflite(path), weights), WEIGHTS)
        np.testing.assert_array_equal(outputs(path)[0], outputs(source)[0])
    assert (read_metadata(first).model, read_metadata(first).files) == (NET, LABELS)
    assert (read_metadata(second).model.name, read_metadata(second).files) == ("other", LABELS)


def test_metadata_behind_the_flatbuffer_is_read_and_replaced(source, tmp_path):
    described, behind, new = (tmp_path / name for name in ("described.tflite", "behind.tflite", "new.tflite"))
    write_metadata(source, described, NET, DIGEST)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(described.read_bytes(), 0))
    (number,) = [entry.buffer for entry in model.metadata if entry.name == STANDARD.encode()]
    behind.write_bytes(appended(model, {number: bytes(model.buffers[number].data), 1: WEIGHTS.tobytes()}))
    assert (read_metadata(behind).model, read_metadata(behind).recipe_digest) == (NET, DIGEST)
    write_metadata(behind, new, replace(NET, name="other"), DIGEST)
    assert read_metadata(new).model.name == "other"
    np.testing.assert_array_equal(outputs(new)[0], outputs(source)[0])


@pytest.mark.parametrize("alignment", [16, 1024, 4096])
def test_data_of_custom_ops_behind_the_flatbuffer_moves_with_it_and_stays_aligned(tmp_path, alignment):
    bytecode, options = b"bytecode" * 99, b"options"
    (tmp_path / "npu.tflite").write_bytes(npu_file(bytecode, options, alignment))
    write_metadata(tmp_path / "npu.tflite", tmp_path / "new.tflite", NET, DIGEST, LABELS)
    data = (tmp_path / "new.tflite").read_bytes()
    dispatch, mine = (schema.Model.GetRootAs(data, 0).Subgraphs(0).Operators(index) for index in (0, 1))
    stated = flexbuffers.GetRoot(bytes(dispatch.CustomOptionsAsNumpy())).AsMap
    start, size = stated["bytecode_offset"].AsInt, stated["bytecode_size"].AsInt
    assert start % alignment == 0
    assert data[start : start + size] == bytecode
    start = mine.LargeCustomOptionsOffset()
    assert data[start : start + mine.LargeCustomOptionsSize()] == options
    assert stated["name"].AsString == "subgraph_0"


def test_a_file_that_would_pass_2_gib_is_left_alone(source, tmp_path):
    with source.open("r+b") as stream:
        stream.truncate(2**31 - 64)  # a hole, not bytes on the disk
    with pytest.raises(StepError, match="leaves no room for metadata below 2 GiB"):
        write_metadata(source, tmp_path / "new.tflite", NET, DIGEST)
    assert not (tmp_path / "new.tflite").exists()


@given(st.binary(max_size=200), st.booleans())
def test_bytes_that_look_like_an_archives_end_are_no_archive(tail, marked):
    from tflite_recipes.files.tflite.metadata import archive_start

    directory = b"PK\x01\x02" + tail
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), 120, 0)
    data = b"TFL3" * 30 + (directory + end if marked else b"PK\x05\x06" + tail)
    assert archive_start(data) is None


def test_an_archive_that_counts_from_itself_is_none_of_the_standards(source):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("labels.txt", "a")
    source.write_bytes(source.read_bytes() + made.getvalue())
    assert read_metadata(source).files == {}


@needs_models
@pytest.mark.parametrize("name", ["ad01_int8", "kws_int8", "str_ww_int8", "vww_96_int8"])
def test_published_files_run_as_before_also_with_the_microcontrollers_kernels(name, tmp_path):
    micro = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    source, path = MODELS / f"{name}.tflite", tmp_path / "new.tflite"
    write_metadata(source, path, NET, DIGEST, LABELS)
    assert read_metadata(path).min_runtime_version == read_metadata(source).min_runtime_version != ""
    assert set(read_metadata(path).entries) == {*read_metadata(source).entries, STANDARD, RECIPE_DIGEST}
    np.testing.assert_array_equal(outputs(path)[0], outputs(source)[0])
    results = []
    for file in (source, path):
        interpreter = micro.Interpreter.from_file(str(file))
        shape, dtype = (interpreter.get_input_details(0)[key] for key in ("shape", "dtype"))
        interpreter.set_input(np.random.default_rng(0).integers(-128, 127, shape).astype(dtype), 0)
        interpreter.invoke()
        results.append(interpreter.get_output(0))
    np.testing.assert_array_equal(*results)


def test_the_root_and_its_identifier_are_where_every_reader_looks(source, tmp_path):
    write_metadata(source, tmp_path / "new.tflite", NET, DIGEST)
    data = (tmp_path / "new.tflite").read_bytes()
    assert data[4:8] == b"TFL3"
    assert struct.unpack_from("<I", data)[0] < data.find(source.read_bytes())
