"""Which ops the GPU delegate and the Edge TPU take, op by op, and how a graph falls into parts."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.accelerator_files import chain, op, value, write

from tflite_recipes.core.errors import RequestError
from tflite_recipes.files.tflite import read_tflite
from tflite_recipes.files.tflite.operators import operator_details
from tflite_recipes.targets.accelerators import edge_tpu, gpu
from tflite_recipes.targets.accelerators.accelerator_graph import Op, main_graph, without_unpacking
from tflite_recipes.targets.accelerators.partitions import delegated, partitions
from tflite_recipes.targets.accelerators.placement import Place, Placement

FLOAT = {"dtype": "float32"}
X, AXES = value(0, **FLOAT), value(1, (1,), "int32", constant=True)
KERNEL = value(1, (8, 3, 3, 4), constant=True)


def picture(index, **values):
    return value(index, **{**FLOAT, **values})


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (op("RELU", X), ""),
        (op("SHAPE", X), "no such op"),
        (op("FULLY_CONNECTED", X, KERNEL, version=9), ""),
        (op("FULLY_CONNECTED", X, KERNEL, version=12), "up to version 9"),
        (op("FULLY_CONNECTED", X, KERNEL, options={"weightsFormat": 1}), "default format"),
        (op("RESHAPE", X, value(1, (2,), "int32")), "1 computed input"),
        (op("RESHAPE", X, AXES), ""),
        (op("MEAN", X, AXES), ""),
        (op("SUM", X, value(1, (1,), "int64", constant=True)), "constant int32 axes"),
        (op("RELU", picture(0, shape=(1, 2, 2, 2, 2))), "more than 4 dimensions"),
        (op("RELU", value(0, dtype="int16"), output=value(9, dtype="int16")), "int16"),
        (op("ADD", X, picture(1, shape=(4,))), ""),
        (op("ADD", X, picture(1, shape=(3, 4))), "broadcast"),
        (op("ADD", X, picture(1, shape=(8, 4))), ""),
        (op("STRIDED_SLICE", X, AXES, AXES, AXES, options={"shrinkAxisMask": 1}), "an axis taken away"),
        (op("STRIDED_SLICE", X, AXES, AXES, AXES, options={"shrinkAxisMask": 0}), ""),
        (op("SLICE", picture(0, shape=(1, 4)), AXES, AXES), "3 or 4 dimensions"),
        (op("SOFTMAX", X, options={"beta": 2.0}), "beta"),
        (op("SOFTMAX", X, options={"beta": 1.0}), ""),
        (op("SPACE_TO_DEPTH", X, options={"blockSize": 1}), "do nothing"),
        (op("DEPTH_TO_SPACE", X, options={"blockSize": 2}), ""),
        (op("MIRROR_PAD", X, value(1, (4, 2), "int32", constant=True), options={"mode": 1}), "reflection"),
        (op("PAD", X, value(1, (4, 2), "int32", constant=True)), ""),
        (op("PAD", X, value(1, (2, 2), "int32", constant=True)), "3 or 4"),
        (op("CAST", value(0, dtype="int32"), output=picture(1)), ""),
        (op("CAST", value(0, dtype="int64"), output=picture(1)), "int64 to float32"),
        (op("CAST", value(0, dtype="bool"), output=value(1, dtype="int32")), "bool to int32"),
        (op("CAST", value(0, dtype="bool"), output=value(1, dtype="int32"), fed_by="LESS"), ""),
        (op("LESS", X, X, output=value(9, dtype="bool"), users=(("CAST", "float32"),)), ""),
        (op("LESS", X, X, output=value(9, dtype="bool"), users=(("WHERE", "int64"),)), "by one CAST or SELECT"),
        (op("LESS", X, X, output=value(9, dtype="bool"), users=(("CAST", "float32"),) * 2), "nothing else"),
        (op("GATHER", X, value(1, (3,), "int32", constant=True)), ""),
        (op("GATHER", X, value(1, (3, 1), "int32", constant=True)), "1 dimension"),
        (op("RESIZE_BILINEAR", X, AXES, options={"alignCorners": True, "halfPixelCenters": True}), "exclude"),
        (op("RESIZE_BILINEAR", X, AXES, options={"alignCorners": True, "halfPixelCenters": False}), ""),
        (op("DEQUANTIZE", value(0, dtype="int16"), output=X), "int16"),
        (op("DEQUANTIZE", value(0), output=X), ""),
        (op("CUMSUM", X, AXES), ""),
        (op("CUMSUM", value(0), AXES), "floating point only"),
        (op("EXP", value(0, constant=True)), "1 computed input"),
        (op("SUB", X, X, options={"fusedActivationFunction": 5}), "SIGN_BIT"),
        (op("SELECT_V2", value(0, dtype="bool"), picture(1), picture(2), output=picture(3)), ""),
        (op("SELECT_V2", value(0, dtype="int32"), picture(1), picture(2), output=picture(3)), "not by int32"),
        (op("LSTM", *[picture(i) for i in range(5)], options={"kernelType": 1}), "computed inputs"),
        (op("MyOwn", X), "no such op"),
    ],
    ids=lambda case: case.name if isinstance(case, Op) else None,
)
def test_gpu(case, words):
    reason = gpu.refusal(Op(**{**vars(case), "outputs": tuple(_as_read(case, t) for t in case.outputs)}))
    assert bool(reason) == bool(words), reason
    assert words in reason


def _as_read(case, tensor):
    """An output that a case leaves open is float, as its input is."""
    return picture(99) if tensor == value(99) else tensor


@pytest.mark.parametrize("wrong", ["depth", "rank"])
def test_a_depthwise_convolution_has_the_channels_of_its_multiplier(wrong):
    kernel = value(1, (1, 3, 3, 8), **FLOAT, constant=True)
    depth = {"depthMultiplier": 2}
    assert gpu.refusal(op("DEPTHWISE_CONV_2D", X, kernel, output=picture(2, shape=(1, 8, 8, 8)), options=depth)) == ""
    shape = (1, 8, 8, 6) if wrong == "depth" else (8, 8)
    assert gpu.refusal(op("DEPTHWISE_CONV_2D", X, kernel, output=picture(2, shape=shape), options=depth))


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (op("RELU"), ""),
        (op("HARD_SWISH"), "no such op"),
        (op("CONV_2D", value(0), KERNEL), ""),
        (op("CONV_2D", value(0), value(1, (8, 3, 3, 4))), "constant weights"),
        (op("CONV_2D", value(0), KERNEL, options={"dilationHFactor": 2, "dilationWFactor": 1}), "dilation"),
        (op("CONV_2D", value(0), KERNEL, output=value(2, dtype="float32")), "float32"),
        (op("RELU", value(0, (None, 8, 8, 4))), "fixed sizes"),
        (op("RELU", value(0, (2, 8, 8, 4))), "3 innermost"),
        (op("AVERAGE_POOL_2D", options={"fusedActivationFunction": 1}), "fused"),
        (op("MAX_POOL_2D"), ""),
        (op("CONCATENATION", value(0), value(1)), ""),
        (op("CONCATENATION", value(0), value(1, constant=True)), ""),
        (op("CONCATENATION", value(0), value(1), value(2, constant=True)), "2 inputs"),
        (op("FULLY_CONNECTED", value(0, (1, 4)), KERNEL, output=value(9, (1, 4))), ""),
        (op("FULLY_CONNECTED", value(0, (5, 4)), KERNEL, output=value(9, (5, 4))), "one row"),
        (op("MEAN", value(0), AXES, values={1: (1, 2)}), ""),
        (op("MEAN", value(0), AXES, values={1: (0,)}), "batch"),
        (op("MEAN", value(0), AXES, values={1: (-4,)}), "batch"),
        (op("MEAN", value(0, (1, 8, 8, 6)), AXES, values={1: (3,)}), "multiple of 4"),
        (op("MEAN", value(0, (1, 8, 8, 8)), AXES, values={1: (-1,)}), ""),
        (op("SUM", value(0), value(1, (1,), "int8")), "constant axes"),
        (op("SPLIT", AXES, value(0), values={0: (0,)}), "batch"),
        (op("SPLIT", AXES, value(0), values={0: (3,)}), ""),
        (op("PACK", value(0), options={"axis": 0}), "batch"),
        (op("PAD", value(0), AXES, values={1: (0, 0, 1, 1, 1, 1, 0, 0)}), ""),
        (op("PAD", value(0), AXES, values={1: (1, 0, 0, 0, 0, 0, 0, 0)}), "batch"),
        (op("PRELU", value(0), value(1, (1, 1, 4), constant=True)), ""),
        (op("PRELU", value(0), value(1, (8, 8, 4), constant=True)), "shared_axes"),
        (op("SOFTMAX", value(0, (1, 10)), output=value(1, (1, 10))), ""),
        (op("SOFTMAX", value(0, (1, 4, 10)), output=value(1, (1, 4, 10))), "1 dimension"),
        (op("SOFTMAX", value(0, (1, 20_000)), output=value(1, (1, 20_000))), "16,000"),
        (op("SQUEEZE", value(0, (1, 1, 10))), ""),
        (op("SQUEEZE", value(0, (1, 5, 1, 10))), "leading"),
        (op("STRIDED_SLICE", value(0), AXES, AXES, AXES, values={3: (1, 1)}), ""),
        (op("STRIDED_SLICE", value(0), AXES, AXES, AXES, values={3: (1, 2)}), "strides of 1"),
        (op("STRIDED_SLICE", value(0), values={3: (1,)}, options={"newAxisMask": 1}), "new axis"),
    ],
    ids=lambda case: case.name if isinstance(case, Op) else None,
)
def test_edge_tpu(case, words):
    reason = edge_tpu.refusal(case)
    assert bool(reason) == bool(words), reason
    assert words in reason


# What users of compiler 16.0 were told, as reported in the issues that the module names.
@pytest.mark.parametrize(("name", "newest"), [("CONV_2D", 5), ("QUANTIZE", 2), ("EXP", 1), ("TRANSPOSE_CONV", 3)])
def test_the_compiler_reads_no_op_that_is_newer_than_it(name, newest):
    assert edge_tpu.unreadable(op(name, version=newest)) == ""
    assert f"version {newest}" in edge_tpu.unreadable(op(name, version=newest + 1))


def test_one_op_that_it_cannot_read_leaves_all_on_the_cpu():
    ops = (op("RELU", output=value(1)), op("GELU", value(1), output=value(2)))
    verdicts = edge_tpu.judge(ops)
    assert all("GELU version 1" in reason for reason in verdicts.reasons)
    assert verdicts.groups == 0


def test_only_the_first_group_is_mapped():
    verdicts = edge_tpu.judge(chain("RELU", "ADD", "HARD_SWISH", "RELU", "TANH"))
    assert [bool(reason) for reason in verdicts.reasons] == [False, False, True, True, True]
    assert "no such op" in verdicts.reasons[2]
    assert "first group" in verdicts.reasons[3]
    assert verdicts.groups == 2
    assert edge_tpu.judge(chain("HARD_SWISH", "RELU")).reasons[1] == ""
    assert edge_tpu.judge(chain("RELU", "RESIZE_BILINEAR")).notes[0].startswith("RESIZE_BILINEAR")
    assert edge_tpu.judge(chain("RELU")).notes == ()


def test_parts_follow_what_can_run_and_not_the_order_in_the_file():
    """Two branches from one input: the delegate's op of the second branch joins the first part."""
    ops = (
        op("A", value(0), output=value(1)),
        op("B", value(1), output=value(2)),
        op("C", value(0), output=value(3)),
        op("D", value(2), value(3), output=value(4)),
    )
    assert partitions(ops, {0, 2, 3}) == ((True, (0, 2)), (False, (1,)), (True, (3,)))
    assert delegated(partitions(ops, {0, 2, 3}), 1) == ((0, 2),)
    assert delegated(partitions(ops, {0, 2, 3}), 2) == ((0, 2), (3,))
    with pytest.raises(ValueError, match="wait"):
        partitions((op("A", value(1), output=value(1)),), set())


@given(st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 6), max_size=3)), max_size=12))
def test_each_op_is_in_one_part_behind_all_that_it_reads(graph):
    ops, taken = [], set()
    for at, (is_taken, reads) in enumerate(graph):
        inputs = tuple(value(100 + at - back - 1) for back in reads if back < at)
        ops.append(op("X", *(inputs or (value(0),)), output=value(100 + at), index=at))
        taken |= {at} if is_taken else set()
    parts = partitions(ops, taken)
    assert sorted(at for _, part in parts for at in part) == list(range(len(ops)))
    assert all((at in taken) == kind for kind, part in parts for at in part)
    assert all(a[0] != b[0] for a, b in itertools.pairwise(parts))
    where = {at: number for number, (_, part) in enumerate(parts) for at in part}
    for at, one in enumerate(ops):
        assert all(where[t.index - 100] <= where[at] for t in one.inputs if t.index >= 100)


def test_constants_stored_as_float16_cost_no_op():
    half = value(1, (4,), "float16", constant=True)
    wide = value(2, (4,), "float32")
    ops = (op("DEQUANTIZE", half, output=wide), op("ADD", X, wide), op("DEQUANTIZE", value(5), output=picture(6)))
    assert [one.name for one in without_unpacking(ops)] == ["ADD", "DEQUANTIZE"]
    assert without_unpacking(ops)[0].inputs[1] == half


def test_a_file_is_read_with_versions_and_neighbours(tmp_path):
    file = read_tflite(write(tmp_path / "a.tflite", ("RELU", "LOGISTIC", "RELU"), versions={"LOGISTIC": 3}))
    ops = main_graph(file)
    assert [(one.name, one.version, one.fed_by) for one in ops] == [
        ("RELU", 1, ""),
        ("LOGISTIC", 3, "RELU"),
        ("RELU", 1, "LOGISTIC"),
    ]
    assert [one.users for one in ops] == [(("LOGISTIC", "int8"),), (("RELU", "int8"),), ()]


def test_details_of_a_damaged_file_are_refused(tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(RequestError, match="corrupt"):
        operator_details(path)


@pytest.mark.parametrize(("percent", "most"), [(None, 3), (100, 0), (50, 2), (51, 1), (1, 3), (75, 1), (75.1, 0)])
def test_a_share_leaves_whole_ops_for_the_cpu(percent, most):
    assert Placement("GPU", tuple(Place(i, "RELU", "") for i in range(4)), 1, "").most_on_cpu(percent) == most


def test_warnings_name_the_layers_of_each_reason_once():
    places = [Place(i, "GATHER", f"layer_{i}", "old") for i in range(7)] + [Place(7, "GATHER", "", "new")]
    placement = Placement("GPU", (*places, Place(8, "RELU", "layer_8")), 1, "")
    first, second = placement.warnings()
    assert first.startswith("GATHER (7 of them) of layer_0, layer_1, layer_2, layer_3, layer_4 and 2 more stays")
    assert second == "GATHER stays on the CPU: new"
    assert placement.percent == pytest.approx(100 / 9)
    assert Placement("GPU", (), 0, "").percent == 100.0
