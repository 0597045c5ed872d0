"""What the Edge TPU's compiler prints, in the form that its users show in public issues; none of it is run here."""

import pytest
from support.edge_tpu_logs import FAILED, LOG

from tflite_recipes.targets.accelerators.edge_tpu_log import parse, telling_line


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
