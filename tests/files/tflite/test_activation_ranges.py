"""What activations of a quantized file can hold."""

from pathlib import Path

import pytest

from tflite_recipes.files.tflite import Operator, Subgraph, Tensor, TFLiteFile
from tflite_recipes.files.tflite.activation_ranges import ActivationRange, activation_ranges, read_csv, write_csv


def quantized(index, dtype="int8", scale=0.5, zero=3, **more):
    return Tensor(index, f"t{index}", (1, 4), dtype, (scale,), (zero,), **more)


def found(*tensors, inputs=(0,)):
    ops = [Operator(number, "ADD", "", (0,), (tensor.index,)) for number, tensor in enumerate(tensors) if number]
    graph = Subgraph("main", tensors, tuple(ops), inputs, ())
    owners = {op.index: f"layer_{op.index}" for op in ops}
    return activation_ranges(TFLiteFile(Path("x"), 1, 3, "", (graph,), (), ()), [owners])


@pytest.mark.parametrize(
    ("dtype", "zero", "ends"),
    [("int8", 3, (-65.5, 62.0)), ("uint8", 128, (-64.0, 63.5)), ("int16", 0, (-16384.0, 16383.5))],
)
def test_the_ends_follow_from_type_scale_and_zero_point(dtype, zero, ends):
    (row,) = found(quantized(0, dtype, zero=zero))
    assert (row.op, row.layer, row.scale, row.zero_point) == ("INPUT", "", 0.5, zero)
    assert (row.least, row.greatest) == ends


def test_the_widest_first_with_what_makes_them():
    rows = found(quantized(0), quantized(1, scale=2.0), quantized(2, scale=2.0))
    assert [(row.tensor, row.layer, row.op) for row in rows] == [
        ("t1", "layer_1", "ADD"),
        ("t2", "layer_2", "ADD"),
        ("t0", "", "INPUT"),
    ]


def test_constants_floats_and_what_has_many_scales_are_left_out():
    weights = quantized(1, buffer_bytes=4)
    per_channel = Tensor(2, "t2", (1, 2), "int8", (0.5, 0.25), (0, 0))
    assert found(Tensor(0, "x", (1,), "float32"), weights, per_channel, quantized(3, "int32")) == []
    assert found(quantized(0), inputs=()) == []  # made by no op, and no input


def test_the_table_reads_as_it_was_written(tmp_path):
    rows = [ActivationRange('a,"b"\n', "läyer", "ADD", "int8", 0.1, -3, -12.5, 13.0)]
    write_csv(tmp_path / "r.csv", rows)
    assert read_csv(tmp_path / "r.csv") == rows
