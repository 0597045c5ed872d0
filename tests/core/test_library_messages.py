"""The line of a library's message that tells most."""

import pytest

from tflite_recipes.core.errors import gist

GRAPH = """Graph execution error:

Detected at node StatefulPartitionedCall/scope/Add defined at (most recent call last):
<stack traces unavailable>
Incompatible shapes: [8,4] vs. [1,3]
\t [[{{node StatefulPartitionedCall/scope/Add}}]] [Op:__inference_run_12]"""
EAGER = "{{function_node __wrapped__MatMul_device_/job:localhost/device:CPU:0}} sizes differ [Op:MatMul] name: "
KERAS = "Exception encountered when calling Dense.call().\n\n\x1b[1mwrong\x1b[0m"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("in user code:\n\n  File x\n\n  ValueError: last"), "ValueError: last"),
        (ValueError(KERAS), "calling Dense.call(). wrong"),
        (RuntimeError(GRAPH), "Incompatible shapes: [8,4] vs. [1,3] (in scope/Add)"),
        (RuntimeError(EAGER), "sizes differ"),
        (OSError("Unable to synchronously open file (file signature not found)"), "it is not an HDF5 file"),
        (OSError("Unable to open file (truncated file: eof = 96, stored_eof = 2048)"), "the file ends too early"),
        (ValueError("Unable to open object (object 'w' doesn't exist)"), "object 'w' doesn't exist"),
        (ValueError(""), "ValueError"),
    ],
)
def test_gist_is_the_line_that_tells_most(error, words):
    assert gist(error) == words
