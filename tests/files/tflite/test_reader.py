"""The reader, on small files built here, on damaged copies of them, and on published models where there are any."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tflite_builders import (
    BIAS,
    HALF,
    KERNEL,
    MODELS,
    buffer,
    needs_models,
    operator,
    pack,
    tensor_map,
    tiny_model,
)

from tflite_recipes.core.errors import RequestError
from tflite_recipes.files import tflite as tf_file
from tflite_recipes.files.tflite import read_tflite


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Any], Path]:
    def save(model: Any) -> Path:
        path = tmp_path / "model.tflite"
        path.write_bytes(model if isinstance(model, bytes) else pack(model))
        return path

    return save


@pytest.fixture
def tiny(save: Callable[[Any], Path]) -> tf_file.TFLiteFile:
    return read_tflite(save(tiny_model()))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "model.tflite"


def test_header(tiny: tf_file.TFLiteFile) -> None:
    assert (tiny.version, tiny.description, tiny.metadata) == (3, "tiny", ("min_runtime_version",))
    assert tiny.size_bytes == tiny.path.stat().st_size
    assert tiny.signatures == (tf_file.Signature("serve", (("features", 0),), (("scores", 10),), 0),)
    main = tiny.subgraphs[0]
    assert (main.name, main.inputs, main.outputs) == ("main", (0,), (10, 9))


def test_tensors(tiny: tf_file.TFLiteFile) -> None:
    tensors = {tensor.name: tensor for tensor in tiny.subgraphs[0].tensors}
    assert [tensor.index for tensor in tensors.values()] == list(range(12))
    assert (tensors["x"].shape, tensors["x"].dtype, tensors["x"].scales) == ((None, 3), "float32", ())
    assert (tensors["q"].scales, tensors["q"].zero_points) == ((0.5,), (-1,))
    assert tensors["bias"].scales == (0.125, 0.25)
    assert {name for name, tensor in tensors.items() if tensor.is_constant} == {"half", "kernel", "bias", "tied"}
    assert tensors["half"].buffer_bytes == 24
    assert tensors["state"].is_variable
    assert tensors["state"].dtype == "resource"


def test_operators(tiny: tf_file.TFLiteFile) -> None:
    operators = tiny.subgraphs[0].operators
    dense, flex, custom, gelu = operators[1], operators[5], operators[6], operators[7]
    assert (dense.name, dense.inputs, dense.outputs) == ("FULLY_CONNECTED", (0, 2, -1), (3,))
    assert (flex.name, flex.label, flex.is_flex, flex.is_custom) == ("CUSTOM", "FlexErf", True, False)
    assert (custom.name, custom.label, custom.is_flex, custom.is_custom) == ("CUSTOM", "MyOp", False, True)
    assert (gelu.name, gelu.is_flex, gelu.is_custom) == ("GELU", False, False)


def test_ops_and_dtypes_newer_than_this_reader_are_numbered(save: Callable[[Any], Path]) -> None:
    model = tiny_model()
    model.operatorCodes[5].builtinCode = 9999
    model.subgraphs[0].tensors[0].type = 99
    main = read_tflite(save(model)).subgraphs[0]
    assert main.operators[7].name == "UNKNOWN_9999"
    assert main.tensors[0].dtype == "unknown_99"


def test_counts(tiny: tf_file.TFLiteFile) -> None:
    counts = tf_file.op_counts(tiny)
    assert counts == {"FULLY_CONNECTED": 3, "DEQUANTIZE": 1, "FlexErf": 1, "GELU": 1, "MyOp": 1, "QUANTIZE": 1}
    assert next(iter(counts)) == "FULLY_CONNECTED"
    assert tf_file.op_metrics(tiny) == {
        "ops.total": 8,
        "ops.flex": 1,
        "ops.custom": 1,
        "ops.quantize_dequantize": 2,
        "ops.float": 3,
    }
    assert tf_file.float_operators(tiny) == (("FULLY_CONNECTED", "y"), ("FlexErf", "erf"), ("GELU", "y"))


def test_constants(tiny: tf_file.TFLiteFile) -> None:
    tensors = tiny.subgraphs[0].tensors
    for index, expected in ((1, HALF), (5, KERNEL), (6, BIAS), (8, KERNEL)):
        found = tf_file.constant_array(tiny, tensors[index])
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(RequestError, match="'x' is not a plain constant"):
        tf_file.constant_array(tiny, tensors[0])


def test_constant_whose_bytes_do_not_fit_its_shape(save: Callable[[Any], Path]) -> None:
    model = tiny_model()
    model.subgraphs[0].tensors[5].shape = [2, 5]
    file = read_tflite(save(model))
    with pytest.raises(RequestError, match="'kernel' has 8 bytes"):
        tf_file.sparsity(file)


def test_constant_of_a_file_that_changed(tiny: tf_file.TFLiteFile) -> None:
    kernel = tiny.subgraphs[0].tensors[5]
    tiny.path.write_bytes(b"")
    with pytest.raises(RequestError, match="the file has changed"):
        tf_file.constant_array(tiny, kernel)
    tiny.path.unlink()
    with pytest.raises(RequestError, match="cannot be read: No such file"):
        tf_file.constant_array(tiny, kernel)


def test_sparsity_counts_shared_kernel_once_and_zero_is_the_zero_point(tiny: tf_file.TFLiteFile) -> None:
    assert [tensor.name for tensor in tf_file.weight_tensors(tiny)] == ["half", "kernel"]
    # 5 of 12 half floats are 0, and 3 of 8 kernel values are 3, the zero point
    assert tf_file.sparsity(tiny) == pytest.approx(8 / 20)


def test_sparsity_without_weights_and_with_compressed_ones(save: Callable[[Any], Path]) -> None:
    model = tiny_model()
    model.subgraphs[0].tensors[1].sparsity = schema.SparsityParametersT()
    assert tf_file.sparsity(read_tflite(save(model))) == pytest.approx(3 / 8)
    model.subgraphs[0].operators = []
    assert tf_file.sparsity(read_tflite(save(model))) == 0.0


def test_absent_input_of_a_graph_without_tensors(save: Callable[[Any], Path]) -> None:
    model = tiny_model()
    graph = model.subgraphs[0]
    graph.tensors, graph.inputs, graph.outputs, model.signatureDefs = [], [], [], []
    graph.operators = [operator(0, [-1], []), operator(1, [-1], [])]
    file = read_tflite(save(model))
    assert tf_file.sparsity(file) == 0.0
    assert tf_file.to_json(file)["operators"][0]["inputs"] == [None]


def test_constants_behind_the_flatbuffer(save: Callable[[Any], Path]) -> None:
    def moved(offset: int) -> bytes:
        model = tiny_model()
        model.buffers = [buffer(offset=1, size=1), buffer(HALF), buffer(offset=offset, size=KERNEL.nbytes)]
        model.buffers.append(buffer(BIAS, offset=1, size=1))
        return pack(model)

    # Two passes, as the offset is known only once the flatbuffer has its size
    end = len(moved(1 << 40))
    file = read_tflite(save(moved(end) + KERNEL.tobytes()))
    tensors = file.subgraphs[0].tensors
    assert not tensors[0].is_constant
    assert tensors[5].buffer_offset == end
    np.testing.assert_array_equal(tf_file.constant_array(file, tensors[5]), KERNEL)
    np.testing.assert_array_equal(tf_file.constant_array(file, tensors[6]), BIAS)
    with pytest.raises(RequestError, match="a constant reaches beyond the end of the file"):
        read_tflite(save(moved(end) + KERNEL.tobytes()[:-1]))


def test_buffer_zero_is_empty_whatever_it_holds(save: Callable[[Any], Path]) -> None:
    model = tiny_model()
    model.buffers[0] = buffer(BIAS)
    assert not read_tflite(save(model)).subgraphs[0].tensors[0].is_constant


def test_to_json(tiny: tf_file.TFLiteFile) -> None:
    listing = json.loads(json.dumps(tf_file.to_json(tiny)))
    assert listing["op_counts"]["FULLY_CONNECTED"] == 3
    assert listing["tensor_dtypes"] == {"int8": 5, "float32": 4, "float16": 1, "int32": 1, "resource": 1}
    assert listing["operators"][1] == {
        "subgraph": 0,
        "index": 1,
        "name": "FULLY_CONNECTED",
        "inputs": [
            {"name": "x", "dtype": "float32", "shape": [None, 3]},
            {"name": "dense", "dtype": "float32", "shape": [4, 3]},
            None,
        ],
        "outputs": [{"name": "y", "dtype": "float32", "shape": [1, 4]}],
    }


def test_describe(tiny: tf_file.TFLiteFile) -> None:
    inspection = tf_file.describe(tiny)
    tensors = tiny.subgraphs[0].tensors
    assert inspection.size_bytes == tiny.size_bytes
    assert inspection.signatures == (
        tf_file.SignaturePorts("serve", (("features", tensors[0]),), (("scores", tensors[10]),)),
    )
    assert list(inspection.constant_bytes.items()) == [("float16", 24), ("int32", 8), ("int8", 8)]
    assert [tensor.name for tensor in inspection.largest_constants] == ["half", "kernel", "bias"]
    json.dumps(asdict(inspection))


def test_describe_without_signatures_shows_the_main_subgraph(save: Callable[[Any], Path]) -> None:
    model = tiny_model()
    model.signatureDefs = []
    (signature,) = tf_file.describe(read_tflite(save(model))).signatures
    assert signature.key == ""
    assert [name for name, _ in signature.inputs + signature.outputs] == ["x", "mine", "erf"]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b"TFL3", "is not a TFLite file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "is not a TFLite file"),
        (b"\x1c\0\0\0TFL3", "is truncated or corrupt"),
        (b"\x08\0\0\0TFL3" + bytes(64), "is truncated or corrupt"),
    ],
)
def test_not_a_model(save: Callable[[Any], Path], data: bytes, what: str) -> None:
    path = save(data)
    with pytest.raises(RequestError) as caught:
        read_tflite(path)
    (problem,) = caught.value.problems
    assert problem.what.startswith(what)
    assert problem.where == str(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot be read: No such file"):
        read_tflite(tmp_path / "none.tflite")
    with pytest.raises(RequestError, match="cannot be read: it is a folder"):
        read_tflite(tmp_path)


def spoil_operator_code(model: Any) -> None:
    model.subgraphs[0].operators[0].opcodeIndex = 6


def spoil_operator_input(model: Any) -> None:
    model.subgraphs[0].operators[0].inputs = [12]


def spoil_operator_output(model: Any) -> None:
    model.subgraphs[0].operators[0].outputs = [-1]


def spoil_graph_input(model: Any) -> None:
    model.subgraphs[0].inputs = [-1]


def spoil_buffer(model: Any) -> None:
    model.subgraphs[0].tensors[0].buffer = 4


def spoil_signature_tensor(model: Any) -> None:
    model.signatureDefs[0].inputs[0].tensorIndex = 12


def spoil_signature_subgraph(model: Any) -> None:
    model.signatureDefs[0].subgraphIndex = 1


def spoil_subgraphs(model: Any) -> None:
    model.subgraphs = []


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_operator_code,
        spoil_operator_input,
        spoil_operator_output,
        spoil_graph_input,
        spoil_buffer,
        spoil_signature_tensor,
        spoil_signature_subgraph,
        spoil_subgraphs,
    ],
)
def test_index_out_of_range(save: Callable[[Any], Path], spoil: Callable[[Any], None]) -> None:
    model = tiny_model()
    spoil(model)
    with pytest.raises(RequestError, match="is truncated or corrupt"):
        read_tflite(save(model))


def test_constant_with_more_axes_than_numpy_has(save: Callable[[Any], Path]) -> None:
    model = tiny_model()
    model.subgraphs[0].tensors[5].shape = [1] * 99 + [8]
    with pytest.raises(RequestError, match="'kernel' is not a plain constant"):
        tf_file.sparsity(read_tflite(save(model)))


def test_parts_that_overlap_are_refused_before_they_cost_time(save: Callable[[Any], Path]) -> None:
    # One name of 100 kB that 1000 tensors share: 100 MB of text in a file of 130 kB
    builder = flatbuffers.Builder(1024)
    name = builder.CreateString("n" * 100_000)
    tensors = []
    for _ in range(1000):
        schema.TensorStart(builder)
        schema.TensorAddName(builder, name)
        tensors.append(schema.TensorEnd(builder))
    schema.SubGraphStartTensorsVector(builder, len(tensors))
    for offset in tensors:
        builder.PrependUOffsetTRelative(offset)
    vector = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, vector)
    graph = schema.SubGraphEnd(builder)
    schema.ModelStartSubgraphsVector(builder, 1)
    builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, graphs)
    builder.Finish(schema.ModelEnd(builder), file_identifier=b"TFL3")
    with pytest.raises(RequestError, match="its parts overlap"):
        read_tflite(save(bytes(builder.Output())))


TINY = pack(tiny_model())


@given(
    end=st.one_of(st.just(len(TINY)), st.integers(0, len(TINY))),
    flips=st.lists(st.tuples(st.integers(0, len(TINY) - 1), st.integers(0, 255)), max_size=20),
)
@settings(max_examples=8 * settings().max_examples)
def test_damaged_file_is_read_or_refused(scratch: Path, end: int, flips: list[tuple[int, int]]) -> None:
    data = bytearray(TINY)
    for position, value in flips:
        data[position] = value
    scratch.write_bytes(data[:end])
    refused = []
    try:
        file = read_tflite(scratch)
        json.dumps(tf_file.to_json(file))
        tf_file.describe(file)
        tf_file.op_metrics(file)
        tf_file.sparsity(file)
    except RequestError as error:
        refused = [problem.where for problem in error.problems]
    assert set(refused) <= {str(scratch)}


@needs_models
@pytest.mark.parametrize(
    ("name", "ops", "inputs", "outputs"),
    [
        ("kws_int8", {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 4, "FULLY_CONNECTED": 1}, (None, 49, 10, 1), (None, 12)),
        ("ad01_int8", {"FULLY_CONNECTED": 10}, (None, 640), (None, 640)),
        ("str_ww_int8", {"CONV_2D": 4, "DEPTHWISE_CONV_2D": 4, "FULLY_CONNECTED": 1}, (None, 30, 1, 40), (None, 3)),
        ("vww_96_int8", {"CONV_2D": 14, "DEPTHWISE_CONV_2D": 13, "FULLY_CONNECTED": 1}, (None, 96, 96, 3), (None, 2)),
    ],
)
def test_published_model(name: str, ops: dict[str, int], inputs: tuple[int], outputs: tuple[int]) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    file = read_tflite(MODELS / f"{name}.tflite")
    assert ops.items() <= tf_file.op_counts(file).items()
    assert tf_file.op_metrics(file)["ops.float"] == 0
    (signature,) = tf_file.describe(file).signatures
    assert [tensor.shape for _, tensor in signature.inputs] == [inputs]
    assert [tensor.shape for _, tensor in signature.outputs] == [outputs]
    assert len(tf_file.weight_tensors(file)) == sum(ops.values())
    assert 0 < tf_file.sparsity(file) < 1

    # The runtime reads the same tensors; it appends scratch tensors of its own
    runtime = interpreter.Interpreter(str(file.path))
    # Before it allocates, which widens some scales to one per channel in place
    details = runtime.get_tensor_details()
    runtime.allocate_tensors()
    for tensor, expected in zip(file.subgraphs[0].tensors, details, strict=False):
        assert tensor.name == expected["name"]
        assert np.dtype(tensor.dtype) == expected["dtype"]
        assert [-1 if d is None else d for d in tensor.shape] == list(expected["shape_signature"])
        np.testing.assert_array_equal(
            np.array(tensor.scales, np.float32), expected["quantization_parameters"]["scales"]
        )
        np.testing.assert_array_equal(tensor.zero_points, expected["quantization_parameters"]["zero_points"])
        if tensor.is_constant:
            np.testing.assert_array_equal(tf_file.constant_array(file, tensor), runtime.get_tensor(tensor.index))


def test_reading_and_reordering_a_file_takes_no_copy_of_its_constants(tmp_path: Path) -> None:
    model = tiny_model()
    model.buffers.append(buffer(np.zeros(4_000_000, np.uint8)))
    path = tmp_path / "model.tflite"
    path.write_bytes(pack(model))
    tracemalloc.start()
    file = read_tflite(path)
    tf_file.in_order(path, "serve", ["features"], ["scores"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert file.size_bytes > 4_000_000
    assert peak < 1_000_000


def test_in_order_lists_the_outputs_as_named(tmp_path: Path) -> None:
    model = tiny_model()
    model.signatureDefs[0].outputs.append(tensor_map("erf", 9))
    path = tmp_path / "model.tflite"
    path.write_bytes(pack(model))
    before = path.read_bytes()
    tf_file.in_order(path, "serve", ["features"], ["erf", "scores"])
    assert read_tflite(path).subgraphs[0].outputs == (9, 10)
    assert len(path.read_bytes()) == len(before)
    tf_file.in_order(path, "serve", ["features"], ["scores", "erf"])
    assert path.read_bytes() == before
