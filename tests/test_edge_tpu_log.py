"""What the Edge TPU's compiler prints, in the form that its users show in public issues; none of it is run here."""

import pytest

from tflite_recipes.accelerators.edge_tpu_log import parse, telling_line

# The figures are made up, the lines are those of compiler 16.0.
LOG = """\
Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 42 ms.

Input model: model.tflite
Input size: 26.88KiB
Output model: model_edgetpu.tflite
Output size: 53.16KiB
On-chip memory used for caching model parameters: 1.50MiB
On-chip memory remaining for caching model parameters: 7.75KiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 7
Operation log: model_edgetpu.log

Operator                       Count      Status

CONV_2D                        2          Mapped to Edge TPU
MAX_POOL_2D                    1          Mapped to Edge TPU
FULLY_CONNECTED                1          More than one subgraph is not supported
FULLY_CONNECTED                1          Mapped to Edge TPU
QUANTIZE                       2          Operation is otherwise supported, but not mapped due to some unspecified \
limitation
Compilation child process completed within timeout period.
Compilation succeeded!
"""
FAILED = """\
Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.
ERROR: Attempting to use a delegate that only supports static-sized tensors with a graph that has dynamic-sized tensors.
Compilation failed: Model failed in Tflite interpreter. Please ensure model can be loaded/run in Tflite interpreter.
Compilation child process completed within timeout period.
Compilation failed!
"""


def test_figures_and_table():
    log = parse(LOG)
    assert (log.version, log.subgraphs) == ("16.0.384591198", 1)
    assert (log.on_chip, log.left, log.off_chip) == (1_572_864, 7936, 0)
    assert (log.mapped, log.total) == (4, 7)
    assert ("FULLY_CONNECTED", 1, "More than one subgraph is not supported") in log.statuses


def test_what_is_not_said_is_not_made_up():
    log = parse("hello\n")
    assert (log.version, log.statuses, log.subgraphs, log.on_chip, log.off_chip) == ("", (), None, None, None)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (FAILED, "ERROR: Attempting to use a delegate that only supports"),
        (
            "Edge TPU Compiler version 15.0\n\nInternal compiler error. Aborting!\n",
            "Internal compiler error. Aborting!",
        ),
        ("something else\n", "something else"),
        ("", "it said nothing"),
    ],
)
def test_the_line_that_tells_why(text, line):
    assert telling_line(text).startswith(line)
