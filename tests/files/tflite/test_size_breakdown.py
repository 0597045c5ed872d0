"""Where the bytes of a file are."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from support import runnable_files

from tflite_recipes.files.tflite import Operator, Subgraph, Tensor, TFLiteFile, read_tflite
from tflite_recipes.files.tflite.op_layers import scopes_of_ops
from tflite_recipes.files.tflite.size_breakdown import breakdown


def file_of(tensors, operators, size=10_000):
    graph = Subgraph("main", tuple(tensors), tuple(operators), (0,), (len(tensors) - 1,))
    return TFLiteFile(Path("x.tflite"), size, 3, "", (graph,), (), ())


def constant(index, size, offset, shape=(4, 4), dtype="int8"):
    return Tensor(index, f"t{index}", shape, dtype, buffer_bytes=size, buffer_offset=offset)


def test_a_real_file_by_layer(tmp_path):
    file = read_tflite(runnable_files.write(tmp_path / "m.tflite", ("one", "two")))
    owners = [scopes_of_ops(file, graph, "one", ("first", "squash", "second", "chances")) for graph in file.subgraphs]
    found = breakdown(file, owners, 0)
    first, second = 64 * 512 * 4, 512 * 512 * 4  # each once, though two graphs read them
    assert [(part.layer, part.ops, part.bytes) for part in found.layers] == [
        ("second", ("FULLY_CONNECTED",), second),
        ("first", ("FULLY_CONNECTED",), first),
    ]
    assert found.weights == first + second
    assert found.layers[0].dtypes == {"float32": second}
    assert found.file == (tmp_path / "m.tflite").stat().st_size
    assert found.file == found.weights + found.other_constants + found.metadata + found.graph


def test_without_layers_the_scope_stands_for_them(tmp_path):
    file = read_tflite(runnable_files.write(tmp_path / "m.tflite"))
    owners = [scopes_of_ops(file, graph, "serve", ()) for graph in file.subgraphs]
    assert [part.layer for part in breakdown(file, owners, 0).layers] == ["net/second", "net/first"]


def test_biases_are_no_weights_and_what_no_op_reads_is_told():
    tensors = [Tensor(0, "x", (1,), "int8"), constant(1, 100, 10), constant(2, 8, 200, (2,), "int32")]
    tensors += [constant(3, 50, 300), Tensor(4, "y", (1,), "int8")]
    op = Operator(0, "FULLY_CONNECTED", "", (0, 1, 2), (4,))
    found = breakdown(file_of(tensors, [op]), [{}], 40)
    assert (found.weights, found.other_constants, found.metadata, found.graph) == (150, 8, 40, 9802)
    assert [(part.layer, part.bytes, part.constants) for part in found.layers] == [
        ("FULLY_CONNECTED 0", 108, 2),
        ("", 50, 1),
    ]
    assert found.layers[0].dtypes == {"int8": 100, "int32": 8}


def test_what_is_stored_as_float16_is_the_op_that_computes_with_it():
    tensors = [
        Tensor(0, "x", (1,), "float32"),
        constant(1, 100, 10, dtype="float16"),
        Tensor(2, "w", (4, 4), "float32"),
    ]
    tensors.append(Tensor(3, "y", (1,), "float32"))
    ops = [Operator(0, "DEQUANTIZE", "", (1,), (2,)), Operator(1, "CONV_2D", "", (0, 2, -1), (3,))]
    (part,) = breakdown(file_of(tensors, ops), [{0: "other", 1: "conv"}], 0).layers
    assert (part.layer, part.ops) == ("conv", ("CONV_2D",))


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 5), st.booleans()), max_size=12))
def test_every_byte_is_counted_once(drawn):
    tensors = [Tensor(0, "x", (1,), "int8")]
    size = {}
    for index, (length, place, flat) in enumerate(drawn, 1):
        length = size.setdefault(place, length)
        tensors.append(constant(index, length, 1000 + place, (2,) if flat else (2, 2)))
    op = Operator(0, "CONCATENATION", "", tuple(range(0, len(tensors), 2)), (0,))
    found = breakdown(file_of(tensors, [op]), [{}], 7)
    assert sum(part.bytes for part in found.layers) == sum(size.values()) == found.weights + found.other_constants
    assert found.weights + found.other_constants + found.metadata + found.graph == found.file
