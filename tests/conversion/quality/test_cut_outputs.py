"""What the rule `logits` left out, put back in numpy."""

import numpy as np
import pytest

from tflite_recipes.conversion.quality import cut_outputs

LOGITS = np.array([[0.0, np.log(3.0)], [1000.0, 0.0]], "float32")


@pytest.mark.parametrize(
    ("op", "wanted"),
    [
        ("Softmax", [[0.25, 0.75], [1.0, 0.0]]),
        ("LogSoftmax", [[np.log(0.25), np.log(0.75)], [0.0, -1000.0]]),
        ("Sigmoid", [[0.5, 0.75], [1.0, 0.5]]),
    ],
)
def test_restored_output_is_that_of_the_function_without_overflow(op, wanted):
    found = cut_outputs.restored({"y": LOGITS, "z": LOGITS}, {"y": op})
    np.testing.assert_allclose(found["y"], wanted, rtol=1e-6, atol=1e-7)
    assert found["y"].dtype == np.float32
    assert found["z"] is LOGITS
