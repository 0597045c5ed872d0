"""The converter's messages, as TensorFlow 2.21 gives them, in the user's terms."""

import keras_models
import pytest

from tflite_recipes import api
from tflite_recipes.diagnosis import diagnose
from tflite_recipes.errors import ExitStatus
from tflite_recipes.state import TensorSpec

AT = (
    'loc(callsite(fused["{0}:", "net/{1}/{0}@__inference_pruned_9"] at fused["PartitionedCall:", "PartitionedCall"])): '
)
FRAMES = (TensorSpec("frames", (None, 12, 6), "float32"),)
IMAGE = (TensorSpec("image", (None, None, None, 3), "float32"),)
FLOAT_IO = "optimization.input_type=float32 optimization.output_type=float32"
NO_KERNEL = "'tf.{0}' op is neither a custom op nor a flex op"


def test_a_loop_over_time_is_given_its_batch():
    message = (
        AT.format("TensorListReserve", "lstm") + "requires element_shape to be static during TF Lite transformation"
    )
    problem = diagnose(message, "none", FRAMES)
    assert "TensorListReserve in net/lstm/TensorListReserve" in problem.what
    assert problem.fix == "'source.input_shapes={frames:[1,12,6]}'"


def test_an_op_without_a_kernel_is_named_with_its_layer():
    problem = diagnose(AT.format("MaxPool3D", "pool") + NO_KERNEL.format("MaxPool3D"), "none", FRAMES)
    assert problem.what == "LiteRT has no kernel for MaxPool3D (MaxPool3D in net/pool/MaxPool3D)"
    assert problem.fix == ""


def test_an_open_size_is_named_rather_than_the_op_that_it_breaks():
    problem = diagnose(AT.format("Conv2D", "conv") + NO_KERNEL.format("Conv2D"), "none", IMAGE)
    assert problem.where == "source.input_shapes"
    assert "image (?, ?, ?, 3) float32" in problem.what


@pytest.mark.parametrize(("scheme", "fix"), [("none", ""), ("integer_only", f"optimization=full_integer {FLOAT_IO}")])
def test_anything_else_is_passed_on(scheme, fix):
    problem = diagnose("first\nerror: Quantization to 16x8-bit not yet supported for op: 'NEG'", scheme, FRAMES)
    assert problem.what == "the converter refused: Quantization to 16x8-bit not yet supported for op: 'NEG'"
    assert problem.fix == fix


@pytest.mark.parametrize("message", ["", "\n\n", "loc(", 'fused["'])
def test_no_message_is_too_strange(message):
    assert diagnose(message, "none", ()).what


@pytest.mark.slow
def test_the_fix_for_a_real_lstm_works(here):
    import shlex

    keras_models.write("sequential_lstm", here)
    overrides = ["source=keras", "source.path=model.keras", "tracking=none"]
    refused = api.run("convert", overrides, progress=False)
    assert refused.status == ExitStatus.FAILED
    mended = api.run("convert", [*overrides, *shlex.split(refused.problems[0].fix)], progress=False)
    assert mended.status == ExitStatus.DONE
