"""What the converter says of an op, in words."""

import pytest

from tflite_recipes.conversion.converter_messages import in_words
from tflite_recipes.conversion.diagnosis import Case, diagnose

OPERAND = (
    "'tfl.fully_connected' op operand #0 must be tensor of 32-bit float or QI8 type values, but got 'tensor<?x16xi8>'"
)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (OPERAND, "FULLY_CONNECTED takes no int8 as operand 0"),
        (OPERAND.replace("i8>", "f64>"), "FULLY_CONNECTED takes no float64 as operand 0"),
        (
            "'tf.BatchMatMulV2' op found invalid output dimension on col, expected 6 but got 1",
            "BatchMatMulV2 would give 6 in its last col dimension where the model has 1",
        ),
        ("Failed to convert element type 'f8E4M3FN': Unsupported type", "LiteRT has no type f8E4M3FN"),
        (
            "PartitionedCall/PartitionedCall/pick/indexed_case/merge/_15 only has 3 inputs, while only merge nodes "
            "with two inputs supported.",
            "pick/indexed_case chooses among 3 branches in TensorFlow 1's form, and it takes two",
        ),
        ("'tfl.add' op is odd", "ADD: is odd"),
        ("something else", "something else"),
    ],
)
def test_reason_is_put_in_words(reason, words):
    assert in_words(reason) == words


def test_reason_without_a_place_gets_that_of_another_line():
    line = 'loc(callsite(fused["Add:", "model/sum/add"] at "x")): note: see current operation'
    problem = diagnose(f"error: something else\n{line}", Case("none", layers=("sum",)))
    assert problem.what == "the converter refused: something else (Add in sum)"


def test_custom_op_that_cannot_be_calibrated_gets_a_scheme_without_samples():
    message = "Failed to initialize op resolver for calibration:\nEncountered unresolved custom op: Svd."
    assert diagnose(message, Case("integer_only")).fix == "optimization=dynamic_range"
