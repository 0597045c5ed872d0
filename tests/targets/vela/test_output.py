"""What Vela prints and writes, read from texts in its form."""

import pytest

from tflite_recipes.targets.vela import output
from tflite_recipes.targets.vela.output import Row

COLUMNS = {
    "system_config": "Ethos_U55_High_End_Embedded",
    "memory_mode": "Sram_Only",
    "core_clock": "500000000.0",
    "sram_memory_used": "1.5",
    "dram_memory_used": "0.0",
    "on_chip_flash_memory_used": "74.09375",
    "off_chip_flash_memory_used": "2",
    "total_original_weights": "208128",
    "total_npu_encoded_weights": "47456",
    "nn_macs": "7491972",
    "cycles_total": "220870",
}
PERFORMANCE = """
Original Operator,NNG Operator,Target,Op Cycles,MAC Count,Name
Conv2D,Conv2D,NPU,20974,497664,"a, with a comma"
Conv2D,Passthrough,CPU,0,0,b
"""
PRINTED = """Tensor 'x' has a dynamic signature in axis 0. Setting shape axis 0 to 1 and proceeding.

Warning (supported operators) operator: CONV_2D, ofm: 'it's/Relu;other'
Reason: Operation has tensor with unsupported DataType Float32 (x)
Feature-map dataTypes must be one of {"INT16", "INT8"}

Warning (supported operators) operator: SHAPE, ofm: 'b'
Reason: Unsupported opType
Warning (supported operators) operator: PACK, ofm: 'c'
Reason: Operation has shapeless tensor

Reason: of nothing
CPU operators = 2 (16.7%)
   CPU: Passthrough = b (outputs [1, 8, 8, 32])
NPU operators = 10 (83.3%)
"""


def summary(**changes):
    columns = {**COLUMNS, **changes}
    return f"{','.join(columns)}\n{','.join(columns.values())}\n"


def test_the_summary_is_read_in_bytes():
    found = output.read_summary(summary())
    assert (found.sram_bytes, found.on_chip_flash_bytes, found.off_chip_flash_bytes) == (1536, 75872, 2048)
    assert (found.cycles, found.macs, found.core_clock_hz) == (220870, 7491972, 5e8)
    assert (found.weight_bytes, found.encoded_weight_bytes) == (208128, 47456)
    assert (found.system_config, found.memory_mode) == ("Ethos_U55_High_End_Embedded", "Sram_Only")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "0 lines"),
        (summary() + summary().splitlines()[1], "2 lines"),
        (summary().replace("cycles_total", "cycles"), "no column 'cycles_total'"),
        (summary(cycles_total="many"), "many"),
        (summary().replace(",220870", ""), "shorter"),
    ],
)
def test_another_summary_is_refused(text, why):
    with pytest.raises(ValueError, match=why):
        output.read_summary(text)


def test_the_performance_by_layer_is_read_in_order():
    first, second = output.read_rows(PERFORMANCE)
    assert first == Row("Conv2D", "Conv2D", True, 20974, 497664, "a, with a comma")
    assert second == Row("Conv2D", "Passthrough", False, 0, 0, "b")
    for text, why in ((PERFORMANCE.replace("Op Cycles", "C"), "Op Cycles"), (PERFORMANCE + "Conv2D\n", "shorter")):
        with pytest.raises(ValueError, match=why):
            output.read_rows(text)


def test_reasons_are_found_by_the_output_and_joined():
    assert output.read_reasons(PRINTED) == {
        "it's/Relu;other": "Operation has tensor with unsupported DataType Float32 (x); "
        'Feature-map dataTypes must be one of {"INT16", "INT8"}',
        "b": "Unsupported opType",
        "c": "Operation has shapeless tensor",
    }
    assert output.read_reasons("") == {}


def test_velas_own_counts_are_read():
    assert output.read_counts(PRINTED) == {"CPU": 2, "NPU": 10}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "Warning: x\nTraceback (most recent call last):\n    raise ConfigOptionError(x)\nE: 'Error: bad area'",
            "bad area",
        ),
        ("RuntimeError: Compilation failed: No networks defined\n\n", "No networks defined"),
        ("Failed to load TfLite model.\nWarning: an error", "Failed to load"),
        ("something else\nlast words\n", "last words"),
        ("", "it says nothing"),
    ],
)
def test_the_line_that_tells_most_of_a_failure(text, line):
    assert line in output.failure(text)


def rows(*pairs):
    return [Row(original, "any", True, 1, 0, name) for original, name in pairs]


def test_rows_go_to_the_op_that_they_were_made_of():
    made = rows(
        ("Conv2D", "a_act"),
        ("Conv2D", "a"),
        ("Conv2D", "a"),
        ("Conv2D", "#81"),
        ("Conv2D", "b"),
        ("Softmax", "b_softmax_0"),
        ("Softmax", "b"),  # what is named like the input belongs to the op that follows
        ("Softmax", "c"),
        ("Relu", "c_relu"),
    )
    assert output.owners(made, ["a", "b", "c"]) == [0, 0, 0, 1, 1, 2, 2, 2, None]


def test_rows_after_an_ops_own_belong_to_it_as_well():
    made = rows(("Mean", "m"), ("Mean", "m_2"), ("Conv2D", "n_1"))
    assert output.owners(made, ["m", "n"]) == [0, 0, None]
    assert output.owners([], ["m"]) == []
