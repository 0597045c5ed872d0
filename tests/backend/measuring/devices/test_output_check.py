"""A device's outputs against those of LiteRT here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tflite_recipes.backend.measuring.devices.output_check import differences
from tflite_recipes.files.tflite import Operator, Signature, Subgraph, Tensor, TFLiteFile


def file(tensor: Tensor, *others: Tensor, operators=()) -> TFLiteFile:
    graph = Subgraph("main", (tensor, *others), tuple(operators), (), (0,))
    signature = Signature("serving_default", (), (("y", 0),), 0)
    return TFLiteFile(Path("model.tflite"), 0, 3, "", (graph,), (signature,), ())


INT8 = file(Tensor(0, "y", (1, 3), "int8", (0.5,), (0,)))
FLOAT = file(Tensor(0, "y", (1, 3), "float32"))
DEQUANTIZED = file(
    Tensor(0, "y", (1, 3), "float32"),
    Tensor(1, "q", (1, 3), "int8", (0.5,), (3,)),
    operators=[Operator(0, "DEQUANTIZE", "", (1,), (0,))],
)


def difference(model, here, there, dtype):
    (found,) = differences(model, "serving_default", {"y": np.array([here], dtype)}, {"y": np.array([there], dtype)})
    return found


@pytest.mark.parametrize(
    ("model", "dtype", "here", "there", "largest", "warned"),
    [
        (INT8, "int8", [1, 2, 3], [1, 2, 3], 0.0, ""),
        (INT8, "int8", [1, 2, -128], [1, 3, -128], 0.5, ""),
        (INT8, "int8", [1, 2, -128], [1, 2, 127], 127.5, "255 quantization steps"),
        (DEQUANTIZED, "float32", [1.0, 2.0, 3.0], [1.0, 2.5, 3.0], 0.5, ""),
        (DEQUANTIZED, "float32", [1.0, 2.0, 3.0], [1.0, 3.0, 3.0], 1.0, "2 quantization steps"),
        (FLOAT, "float32", [1.0, 2.0, 1000.0], [1.0, 2.5, 1000.0], 0.5, ""),
        (FLOAT, "float32", [1.0, 2.0, 3.0], [1.0, 2.5, 3.0], 0.5, "167 times what rounding explains"),
        (FLOAT, "float32", [np.nan, np.inf, 1.0], [np.nan, np.inf, 1.0], 0.0, ""),
        (FLOAT, "float32", [1.0, 2.0, 3.0], [1.0, np.nan, 3.0], np.inf, "differs from LiteRT here by inf"),
        (FLOAT, "int64", [1, 2, 3], [1, 2, 3], 0.0, ""),
        (FLOAT, "int64", [1, 2, 3], [1, 2, 4], 1.0, "should not differ at all"),
        (FLOAT, "bool", [True, False, True], [True, True, True], 1.0, "should not differ at all"),
        (FLOAT, "float32", [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], 0.0, ""),
    ],
)
def test_the_largest_difference_and_what_is_said_of_it(model, dtype, here, there, largest, warned):
    found = difference(model, here, there, dtype)
    assert found.largest == largest
    warnings = list(found.warnings)
    assert bool(warnings) == bool(warned)
    assert not warned or warned in warnings[0]


@pytest.mark.parametrize("there", [{}, {"y": np.zeros((1, 4), "int8")}, {"y": np.zeros((1, 3), "uint8")}])
def test_outputs_of_another_kind_are_an_error(there):
    with pytest.raises(ValueError, match="output 'y'"):
        differences(INT8, "serving_default", {"y": np.zeros((1, 3), "int8")}, there)
