"""The layer that an op belongs to, by the names of its graph."""

import pytest

from tflite_recipes.core.shapes import keeps, layer_finder, meant_shape, suits
from tflite_recipes.core.state import TensorSpec


@pytest.mark.parametrize(
    ("names", "layers", "found"),
    [
        # Keras 3 exports each layer under its second scope.
        (["m_1/dense_1_1/MatMul", "m_1/dense_2/MatMul"], ["dense", "dense_1"], ["dense_1", "dense"]),
        (["m_1/relu_1/Relu;m_1/conv_1/Conv2D"], ["relu", "relu_1", "conv"], ["relu"]),
        # tf_keras exports plain names.
        (["m/dense/MatMul", "m/dense_1/MatMul"], ["dense", "dense_1"], ["dense", "dense_1"]),
        # A layer that is called twice has a number the second time, beside its plain name.
        (["m/head/MatMul", "m/head_1/MatMul"], ["head"], ["head", "head"]),
        # An op's own name is no scope, whatever layers are called.
        (["m_1/norm_1/add", "m_1/Add"], ["norm", "add"], ["norm", ""]),
        (["PartitionedCall:0"], ["dense"], [""]),
        # The innermost counts.
        (["m_1/attention_1/query_1/MatMul"], ["attention", "query"], ["query"]),
    ],
)
def test_the_layer_of_a_name(names, layers, found):
    find = layer_finder(names, layers)
    assert [find(name.partition(";")[0]) for name in names] == found


@pytest.mark.parametrize(
    ("given", "suited"),
    [
        ([("x", (1, 4), "float32")], True),
        ([("x", (None, None), "float16")], True),
        ([("y", (None, 4), "float32")], False),
        ([("x", (None, 5), "float32")], False),
        ([("x", (None, 4, 1), "float32")], False),
        ([("x", (None, 4), "int32")], False),
        ([("x", (None, 4), "float32"), ("y", (None, 4), "float32")], False),
    ],
)
def test_suits_compares_names_kinds_and_inner_sizes(given, suited):
    assert suits([TensorSpec(*spec) for spec in given], [TensorSpec("x", (None, 4), "float32")]) is suited


@pytest.mark.parametrize(
    ("asked", "own", "meant"),
    [
        ((8, 8), (None, 8, 8, 1), [None, 8, 8, 1]),
        ((8,), (4, 8, 8, 1), [4, 8, 8, 1]),
        ((16, 24), (None, None, None, 3), [None, 16, 24, 3]),
        ((7,), (None, 10, None), [None, 10, 7]),
        ((1, 1, 5), (None, 5), [1, 5]),
        ((9, 9), (None, 8, 8, 1), [None, 8, 8, 1]),
        ((2,), (), []),
        ((), (None, 4), [None, 4]),
    ],
)
def test_meant_shape_has_the_rank_and_the_fixed_sizes_of_the_model(asked, own, meant):
    assert meant_shape(asked, own) == meant
    assert keeps(asked, own) == (set(asked) <= set(meant))
