"""Between which numbers indices lie, by the ops between an input and its table. The files run at both ends."""

import numpy as np
import pytest
from ai_edge_litert import interpreter
from support import micro_files

from tflite_recipes.core.state import TensorSpec
from tflite_recipes.files.samples import npz
from tflite_recipes.files.tflite import read_tflite
from tflite_recipes.files.tflite.index_limits import index_limits

ROWS, COLUMNS = 300, 3
OFFSETS = [0, 100, 200]
OPTIONS = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "FLOOR_MOD": "FloorModOptions"}
OPTIONS |= {"FLOOR_DIV": "FloorDivOptions", "MINIMUM": "MaximumMinimumOptions", "MAXIMUM": "MaximumMinimumOptions"}
OPTIONS |= {"CAST": "CastOptions", "NEG": "NegOptions", "RESHAPE": "ReshapeOptions", "SELECT_V2": "SelectV2Options"}


def write(path, ops, rows=ROWS, kind="INT32"):
    """Write a file with ops between the input `ids` and a table. Each op is its name and what it reads, ... for ids."""
    builder = micro_files.Builder()
    shape = [1, COLUMNS]
    ids = now = builder.tensor("ids", shape, kind)
    for number, (name, *inputs) in enumerate(ops):
        read = [now if given is ... else constant(builder, given) for given in inputs]
        kind = "INT32" if name == "CAST" else kind
        now = builder.tensor(f"t{number}", shape, kind)
        builder.op(name, read, [now], OPTIONS.get(name, ""))
    table = builder.tensor("table", [rows, 2], "FLOAT32", values=np.zeros((rows, 2), "float32"))
    out = builder.tensor("out", [*shape, 2], "FLOAT32")
    builder.op("GATHER", [table, now], [out], "GatherOptions")
    return builder.write(path, [ids], [out])


def constant(builder, values):
    array = np.array(values)
    array = array if array.dtype == bool else array.astype("int32")
    kind = array.dtype.name.upper()
    return builder.tensor(f"c{len(builder.graph.tensors)}", list(array.shape), kind, values=array)


def test_negative_indices_that_a_selection_wraps_do_not_count(tmp_path):
    """Keras 3: where(ids < 0, ids + rows, ids)."""
    builder = micro_files.Builder()
    ids = builder.tensor("ids", [1, COLUMNS], "INT32")
    names = {"below": "BOOL", "wrapped": "INT32", "chosen": "INT32"}
    below, wrapped, chosen = (builder.tensor(name, [1, COLUMNS], kind) for name, kind in names.items())
    builder.op("LESS", [ids, constant(builder, 0)], [below], "LessOptions")
    builder.op("ADD", [ids, constant(builder, ROWS)], [wrapped], "AddOptions")
    builder.op("SELECT_V2", [below, wrapped, ids], [chosen], "SelectV2Options")
    table = builder.tensor("table", [ROWS, 2], "FLOAT32", values=np.zeros((ROWS, 2), "float32"))
    out = builder.tensor("out", [1, COLUMNS, 2], "FLOAT32")
    builder.op("GATHER", [table, chosen], [out], "GatherOptions")
    path = builder.write(tmp_path / "model.tflite", [ids], [out])
    assert index_limits(read_tflite(path), "serving_default") == {"ids": (0, ROWS - 1)}


@pytest.mark.parametrize(
    ("ops", "limits"),
    [
        ([], (0, 299)),
        ([("SUB", ..., 1)], (1, 300)),
        ([("ADD", ..., OFFSETS)], (0, 99)),
        ([("ADD", OFFSETS, ...)], (0, 99)),
        ([("ADD", ..., -5)], (5, 304)),
        ([("SUB", 299, ...)], (0, 299)),
        ([("MUL", ..., 7)], (0, 42)),
        ([("FLOOR_DIV", ..., 10)], (0, 2999)),
        ([("NEG", ...)], (-299, 0)),
        ([("FLOOR_MOD", ..., 300)], (0, 16 * 300 - 1)),
        ([("MUL", ..., 7), ("FLOOR_MOD", ..., 300)], (0, (16 * 300 - 1) // 7)),
        ([("FLOOR_MOD", ..., 1000)], (0, 299)),
        ([("MINIMUM", ..., 299), ("MAXIMUM", 0, ...), ("SUB", ..., 0)], (0, 299)),
        ([("SELECT_V2", [True, False, True], 7, ...)], (0, 299)),
        ([("MUL", ..., 2), ("ADD", ..., 1), ("RESHAPE", ..., [1, COLUMNS])], (0, 149)),
    ],
)
def test_limits_of_indices_go_back_through_arithmetic(tmp_path, ops, limits):
    path = write(tmp_path / "model.tflite", ops)
    assert index_limits(read_tflite(path), "serving_default") == {"ids": limits}
    runner = interpreter.Interpreter(str(path)).get_signature_runner()
    for end in limits:
        runner(ids=np.full((1, COLUMNS), end, "int32"))


@pytest.mark.parametrize("end", [-1, ROWS])
def test_file_fails_beyond_the_limits(tmp_path, end):
    runner = interpreter.Interpreter(str(write(tmp_path / "model.tflite", []))).get_signature_runner()
    with pytest.raises(RuntimeError):
        runner(ids=np.full((1, COLUMNS), end, "int32"))


def test_offsets_that_leave_no_common_index_give_no_limits(tmp_path):
    path = write(tmp_path / "model.tflite", [("ADD", ..., [0, 150, 300])])
    assert index_limits(read_tflite(path), "serving_default") == {}


def test_float_indices_are_whole_numbers_of_the_table(tmp_path):
    path = write(tmp_path / "model.tflite", [("CAST", ...), ("SUB", ..., 1)], kind="FLOAT32")
    assert index_limits(read_tflite(path), "serving_default") == {"ids": (1, 300)}


def test_random_arrays_reach_both_limits():
    (ids,) = npz.random_arrays((TensorSpec("ids", (1, 3), "int32"),), 64, 0, 0.0, 1.0, {"ids": (1, 4)}).values()
    assert set(np.unique(ids)) == {1, 2, 3, 4}
