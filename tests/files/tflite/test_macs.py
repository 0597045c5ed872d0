"""MACs by op from shapes alone."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflite_recipes.files.tflite import Operator, Subgraph, Tensor, TFLiteFile, read_tflite
from tflite_recipes.files.tflite.macs import macs, op_macs

# MLPerf Tiny's reference files; the first two were added up by hand from their layers.
PUBLISHED = {"ad01": 264_192, "kws": 2_656_768, "str_ww": 826_368, "vww_96": 7_489_664}


def one_op(name, shapes, output, constants=()):
    """A graph of one op with inputs of these shapes; None is an input that is left out."""
    tensors = [Tensor(i, f"t{i}", shape, "int8") for i, shape in enumerate(s for s in shapes if s is not None)]
    tensors = [Tensor(t.index, t.name, t.shape, t.dtype, buffer_bytes=t.index in constants) for t in tensors]
    numbers = iter(range(len(tensors)))
    inputs = tuple(-1 if shape is None else next(numbers) for shape in shapes)
    tensors.append(Tensor(len(tensors), "y", output, "int8"))
    op = Operator(0, name, "", inputs, (len(tensors) - 1,))
    return op, Subgraph("", tuple(tensors), (op,), (), ())


@pytest.mark.parametrize(
    ("name", "shapes", "output", "expected"),
    [
        ("CONV_2D", [(1, 8, 8, 3), (16, 5, 3, 3), (16,)], (1, 4, 6, 16), 4 * 6 * 16 * 5 * 3 * 3),
        ("CONV_2D", [(None, 8, 8, 3), (16, 1, 1, 3), None], (None, 8, 8, 16), 8 * 8 * 16 * 3),
        ("CONV_2D", [(1, 8, 8, 4), (6, 3, 3, 2), (6,)], (1, 6, 6, 6), 6 * 6 * 6 * 3 * 3 * 2),  # two groups
        ("DEPTHWISE_CONV_2D", [(1, 8, 8, 4), (1, 3, 2, 8), (8,)], (1, 6, 7, 8), 6 * 7 * 8 * 3 * 2),
        ("CONV_3D", [(1, 4, 4, 4, 2), (3, 2, 1, 2, 5)], (1, 2, 3, 4, 5), 2 * 3 * 4 * 5 * 3 * 2 * 1 * 2),
        ("TRANSPOSE_CONV", [(4,), (5, 2, 3, 4), (1, 7, 7, 4)], (1, 14, 14, 5), 7 * 7 * 4 * 5 * 2 * 3),
        ("CONV_3D_TRANSPOSE", [(5,), (2, 2, 2, 3, 4), (1, 3, 3, 3, 4)], (1, 6, 6, 6, 3), 27 * 4 * 8 * 3),
        ("FULLY_CONNECTED", [(3, 10), (7, 10), (7,)], (3, 7), 3 * 7 * 10),
        ("BATCH_MATMUL", [(2, 4, 6), (2, 6, 5)], (2, 4, 5), 2 * 4 * 5 * 6),
        ("BATCH_MATMUL", [(2, 6, 4), (2, 6, 5)], (2, 4, 5), 2 * 4 * 5 * 6),  # the first lies the other way round
        ("ADD", [(1, 8), (1, 8)], (1, 8), 0),
        ("AVERAGE_POOL_2D", [(1, 8, 8, 4)], (1, 4, 4, 4), 0),
    ],
)
def test_an_op(name, shapes, output, expected):
    assert op_macs(*one_op(name, shapes, output)) == expected


def test_a_recurrent_layer_multiplies_each_matrix_once_a_step():
    matrices = [(8, 3)] * 4 + [(8, 8)] * 4
    shapes = [(1, 5, 3), *matrices, None, None, None, (8,), (8,), (1, 8)]
    op, graph = one_op("UNIDIRECTIONAL_SEQUENCE_LSTM", shapes, (1, 5, 8), constants=range(1, 12))
    # the state, (1, 8), is no constant
    states = (Tensor(t.index, t.name, t.shape, t.dtype) for t in graph.tensors[11:])
    graph = Subgraph("", (*graph.tensors[:11], *states), graph.operators, (), ())
    assert op_macs(op, graph) == 5 * (4 * 8 * 3 + 4 * 8 * 8)


@given(*(st.integers(1, 6) for _ in range(4)))
def test_a_dense_layer_is_a_pointwise_convolution(batch, size, filters, depth):
    dense = op_macs(*one_op("FULLY_CONNECTED", [(batch * size, depth), (filters, depth)], (batch * size, filters)))
    shapes = [(batch, size, 1, depth), (filters, 1, 1, depth)]
    assert dense == op_macs(*one_op("CONV_2D", shapes, (batch, size, 1, filters)))
    assert dense == np.ones((batch * size, filters)).sum() * depth


def test_all_graphs_of_a_file_count():
    op, graph = one_op("FULLY_CONNECTED", [(1, 10), (7, 10)], (1, 7))
    file = TFLiteFile(Path("x"), 1, 3, "", (graph, graph), (), ())
    assert macs(file) == 2 * op_macs(op, graph) == 140


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files(name, shared):
    assert macs(read_tflite(shared / "models" / f"{name}_int8.tflite")) == PUBLISHED[name]
