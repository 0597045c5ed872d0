"""What LiteRT's runtime refuses, by the op's name and its output."""

import pytest
from support import runnable_files

from tflite_recipes.backend.running.runtime_messages import in_words


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            "x/tflite/kernels/activations.cc:217 shift <= 0 was not true.Node number 1 (TANH) failed to prepare.",
            "TANH (net/squash/Tanh) cannot be prepared: shift <= 0 was not true",
        ),
        ("Node number 1 (SUB) failed to invoke.", "SUB cannot be run"),  # the number is another op's
        (
            "failed to create XNNPACK runtimeNode number 911 (TfLiteXNNPackDelegate) failed to prepare.",
            "what XNNPACK took over cannot be prepared: failed to create XNNPACK runtime",
        ),
        ("Type INT64 is unsupported by op SQUARE.\nmore", "Type INT64 is unsupported by op SQUARE."),
        ("", "RuntimeError"),
    ],
)
def test_refusal_names_the_op(tmp_path, message, words):
    assert in_words(RuntimeError(message), runnable_files.write(tmp_path / "m.tflite")) == words
