"""The report's section on a compiled file."""

import json

from support.page_check import Checked

from tflite_recipes.report.sections import vela

FOUND = {
    "accelerator": "ethos-u55-128",
    "system_config": "Board",
    "core_clock_mhz": 500.0,
    "clock_mhz": 400.0,
    "memory_mode": "Shared_Sram",
    "optimise": "Size",
    "cycles": 220870,
    "inference_ms": 0.552175,
    "memory": {"sram_bytes": 74480, "dram_bytes": 0, "flash_bytes": 83248},
    "weights": {"bytes": 208128, "encoded_bytes": 47456},
    "npu": {"ops": 31, "op_percent": 96.77, "mac_percent": 99.5},
    "cpu": [{"op": "SHAPE", "layer": "<up>", "output": "a", "reason": "Unsupported", "advice": "another"}],
    "layers": [{"layer": f"layer{i}", "op": "CONV_2D", "index": i, "cycles": i} for i in range(1, 31)],
}


def page(folder, **changes):
    (folder / vela.FILE).write_text(json.dumps({**FOUND, **changes}))
    return " ".join(Checked(vela.section(folder)).text)


def test_it_says_what_runs_where_and_that_cycles_are_estimated(tmp_path):
    text = page(tmp_path)
    for part in (
        "ethos-u55-128",
        "Vela's estimate",
        "not a measurement",
        "220,870 cycles, 0.552 ms at 400 MHz",
        "74,480 B",
        "208,128 B, encoded 47,456 B",
        "96.8 % of 31",
        "99.5 %",
        "<up>",
        "Unsupported",
        "another",
    ):
        assert part in text
    assert "Every op runs on the NPU" not in text


def test_the_slowest_layers_have_bars_and_the_others_one_together(tmp_path):
    text = page(tmp_path)
    assert "layer30" in text
    assert "layer10 " not in text
    assert "10 others" in text
    assert "55 cycles" in text


def test_cycles_of_one_layer_are_added_up_and_ops_without_one_stand_alone(tmp_path):
    ops = [
        {"layer": "conv", "op": "CONV_2D", "index": 0, "cycles": 3},
        {"layer": "conv", "op": "ADD", "index": 1, "cycles": 4},
        {"layer": "", "op": "MEAN", "index": 2, "cycles": 5},
        {"layer": "", "op": "made by Vela", "index": None, "cycles": 6},
    ]
    text = page(tmp_path, layers=ops, cpu=[])
    for part in ("7 cycles", "MEAN 2", "made by Vela", "Every op runs on the NPU"):
        assert part in text


def test_nothing_on_the_npu_has_no_time(tmp_path):
    text = page(tmp_path, inference_ms=None, cycles=None, layers=[])
    assert "estimated time" not in text
    assert "by layer" not in text


def test_a_run_without_vela_has_no_section(tmp_path):
    assert vela.section(tmp_path) == ""
