"""The converter's messages, as TensorFlow 2.21 gives them, in the user's terms."""

import shlex

import pytest
from support import keras_models

from tflite_recipes import api
from tflite_recipes.conversion.diagnosis import Case, diagnose, is_about_types
from tflite_recipes.core.errors import ExitStatus
from tflite_recipes.core.state import TensorSpec

AT = (
    'loc(callsite(fused["{0}:", "net/{1}/{0}@__inference_pruned_9"] at fused["PartitionedCall:", "PartitionedCall"])): '
)
FRAMES = (TensorSpec("frames", (None, 12, 6), "float32"),)
IMAGE = (TensorSpec("image", (None, None, None, 3), "float32"),)
FLOAT_IO = "optimization.input_type=float32 optimization.output_type=float32"
NO_KERNEL = "'tf.{0}' op is neither a custom op nor a flex op\n"


def lacking(*ops, flex=(), custom=()):
    lines = "".join(AT.format(op, layer) + NO_KERNEL.format(op) for op, layer in ops)
    lines += f"TF Select ops: {', '.join(flex)}\n" if flex else ""
    return lines + (f"Custom ops: {', '.join(custom)}\n" if custom else "")


def test_a_loop_over_time_is_unrolled_or_given_its_batch():
    message = (
        AT.format("TensorListReserve", "lstm") + "requires element_shape to be static during TF Lite transformation"
    )
    problem = diagnose(message, Case("none", FRAMES, ["lstm"]))
    assert "TensorListReserve in lstm" in problem.what
    assert problem.fix == "substitution=rules 'substitution.rules=[unroll]'"
    assert "'source.input_shapes={frames:[1,12,6]}'" in problem.alternatives
    assert problem.remedies[:2] == ("unroll", "fixed_batch")


def test_an_op_without_a_kernel_is_named_with_its_layer_and_what_stands_for_it():
    problem = diagnose(lacking(("MaxPool3D", "pool_1"), flex=["MaxPool3D"]), Case("none", FRAMES, ["pool"]))
    assert problem.what == "MaxPool3D in pool: LiteRT has no kernel"
    assert problem.fix == "substitution=rules 'substitution.rules=[pooling_3d]'"
    assert problem.alternatives == ("conversion.select_tf_ops=true",)


def test_every_op_is_said_and_one_line_mends_all_of_them():
    message = lacking(("Cholesky", "a"), ("Betainc", "b"), flex=["Cholesky"], custom=["Betainc"])
    problem = diagnose(message, Case("none", FRAMES))
    assert problem.what == "Cholesky in net/a: LiteRT has no kernel; Betainc in net/b: LiteRT has no kernel"
    assert problem.fix == "conversion.select_tf_ops=true conversion.allow_custom_ops=true"
    assert problem.remedies == ("select_tf_ops", "allow_custom_ops")


def test_two_substitutions_go_on_one_line():
    message = lacking(("MaxPool3D", "a"), ("ResizeArea", "b"))
    assert diagnose(message, Case("none")).fix == "substitution=rules 'substitution.rules=[pooling_3d,resize]'"


def test_a_slice_of_open_size_is_given_the_size_of_the_samples():
    """A decoder of any length converts with Flex ops only, which nothing here calibrates."""
    ids = TensorSpec("ids", (None, None), "int32")
    message = lacking(("StridedSlice", "net"), flex=["StridedSlice"])
    problem = diagnose(message, Case("full_integer", (ids,), sizes={"ids": [64, 9]}))
    assert (problem.where, problem.fix) == ("source.input_shapes", "'source.input_shapes={ids:[null,9]}'")


def test_text_is_cut_off():
    problem = diagnose(lacking(("StringLower", "text"), flex=["StringLower"]), Case("none"))
    assert problem.fix == "substitution=rules 'substitution.rules=[token_ids]'"
    assert problem.alternatives == ("conversion.select_tf_ops=true",)


def test_an_open_size_is_named_rather_than_the_op_that_it_breaks():
    problem = diagnose(lacking(("Conv2D", "conv")), Case("none", IMAGE))
    assert problem.where == "source.input_shapes"
    assert "image (?, ?, ?, 3) float32" in problem.what


def test_another_float_type_is_named_rather_than_the_op_that_it_breaks():
    assert diagnose(lacking(("Conv2D", "conv")), Case("none")).remedies == ("float32",)


def test_flex_ops_cannot_be_calibrated():
    message = "Select TensorFlow op(s), included in the given model, is(are) not supported by this interpreter."
    problem = diagnose(message, Case("integer_only"))
    assert problem.what.startswith("integer_only is calibrated by running the model")
    assert problem.fix == "optimization=dynamic_range"


@pytest.mark.parametrize("lookup", ["gather", "gather_nd", "Embedding Lookup:"])
def test_numbers_beyond_a_table_are_the_fault_of_the_samples(lookup):
    message = f"elements was not true.{lookup} index out of bounds. Node number 1 (GATHER) failed to invoke."
    problem = diagnose(message, Case("integer_only", FRAMES))
    assert (problem.where, problem.fix, problem.remedies) == ("calibration", "", ())


def test_what_16x8_lacks_has_another_quantizer():
    message = "Quantization to 16x8-bit not yet supported for op: 'NEG'.\n…not yet supported for op: 'PRELU'."
    problem = diagnose(message, Case("int16x8"))
    assert problem.what == "the converter cannot quantize NEG, PRELU to 16x8"
    assert problem.fix == "optimization.quantizer=litert_quantizer"
    assert problem.remedies == ("integer_ops", "litert_quantizer", "full_integer")


@pytest.mark.parametrize(("scheme", "fix"), [("none", ""), ("integer_only", f"optimization=full_integer {FLOAT_IO}")])
def test_anything_else_is_passed_on(scheme, fix):
    problem = diagnose("first\nerror: something new", Case(scheme, FRAMES))
    assert problem.what == "the converter refused: something new"
    assert problem.fix == fix


@pytest.mark.parametrize("message", ["", "\n\n", "loc(", 'fused["'])
def test_no_message_is_too_strange(message):
    assert diagnose(message, Case("none")).what


@pytest.mark.slow
def test_the_fix_for_a_real_lstm_works(here):
    keras_models.write("sequential_lstm", here)
    overrides = ["source=keras", "source.path=model.keras", "tracking=none", "conversion.fallback=[]"]
    refused = api.run("convert", overrides, progress=False)
    assert refused.status == ExitStatus.FAILED
    mended = api.run("convert", [*overrides, *shlex.split(refused.problems[0].fix)], progress=False)
    assert mended.status == ExitStatus.DONE


OF_TYPES = [
    "'tfl.add' op operand #0 must be tensor of 32-bit float values, but got 'tensor<?x6xi1>'",
    "LiteRT cannot run the file: Type INT64 is unsupported by op SQUARE.",
    "tensorflow/lite/kernels/mul.cc:75 input1->type != input2->type (FLOAT32 != INT32)",
    "'tf.Foo' op requires the same element type for all operands",
]
OF_SHAPES = [
    "'tfl.fill' op operand #0 must be statically shaped tensor of 32-bit float values, but got 'tensor<?x6xf32>'",
    "reshape_utils.h num_input_elements != num_output_elements (6 != 36)Node number 10 (RESHAPE) failed to invoke.",
    "something that says nothing of either",
]


@pytest.mark.parametrize(("message", "of_types"), [(m, True) for m in OF_TYPES] + [(m, False) for m in OF_SHAPES])
def test_type_problem_does_not_call_for_another_batch(message, of_types):
    assert is_about_types(message) is of_types
    assert ("fixed_batch" in diagnose(message, Case("none", FRAMES)).remedies) is not of_types
