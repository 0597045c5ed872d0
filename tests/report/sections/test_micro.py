"""The report's section on a microcontroller."""

import json

from support.page_check import Checked

from tflite_recipes.report import bar_chart
from tflite_recipes.report.sections import micro

MACS = [{"subgraph": 0, "index": i, "op": "CONV_2D", "layer": f"layer{i}", "macs": i} for i in range(1, 31)]
FLASH = {"estimated": True, "total_bytes": 60362, "file_bytes": 27520, "core_bytes": 10788, "kernels_bytes": 22054}
FOUND = {
    "unsupported_ops": [],
    "macs": {"total": 320832, "ops": MACS},
    "flash": {**FLASH, "kernels": {"CONV_2D": 10717}, "median_stands_for": ["EXP"], "how": "reference kernels"},
    "inference": {"estimated": True, "ms": 25.66656, "cycles_per_mac": 9.6},
    "tflite_micro_version": "0.dev1",
    "arena": {"bytes": 6016, "how": "smallest, on a 64-bit host", "recorded_bytes": 6016},
    "outputs": {
        **{"against": "LiteRT without delegates", "samples": 16, "data": "calibration samples"},
        "differences": [{"output": "a", "steps": 1.0, "relative": None}],
    },
}


def page(folder, without=(), **changes):
    found = {key: value for key, value in {**FOUND, **changes}.items() if key not in without}
    (folder / micro.FILE).write_text(json.dumps(found))
    return " ".join(Checked(micro.section(folder)).text)


def test_what_is_measured_and_what_is_an_estimate(tmp_path):
    text = page(tmp_path)
    for part in (
        "arena, measured 6,016 B: smallest, on a 64-bit host",
        "flash, an estimate 60,362 B: file 27,520 B, interpreter 10,788 B, kernels 22,054 B (reference kernels)",
        "EXP: the median stands for each",
        "inference, an estimate 25.667 ms: 9.6 cycles",
        "at most 1 quantization steps from LiteRT without delegates, on 16 calibration samples",
        "tflite-micro 0.dev1, on this machine",
        "a kernel for every op",
        "10 others",
    ):
        assert part in text, part


def test_what_was_not_run_has_no_figures(tmp_path):
    text = page(tmp_path, without=("arena", "outputs", "inference", "tflite_micro_version"))
    assert "not run: ops judged by a table" in text
    assert "arena" not in text
    assert "inference, an estimate" not in text


def test_ops_that_do_not_run_are_named_with_their_layer(tmp_path):
    lacking = [
        {"op": "<ERF>", "index": 3, "layer": "", "output": "", "why": ""},
        {"op": "Y", "index": 5, "layer": "", "output": "act/z", "why": ""},
        {"op": "X", "index": 4, "layer": "up", "output": "o", "why": "no"},
    ]
    text = page(tmp_path, unsupported_ops=lacking, macs={"total": 0, "ops": []})
    assert "<ERF> op 3 no kernel Y act/z no kernel X up no" in text
    assert "a kernel for every op" not in text


def test_no_section_for_other_targets(tmp_path):
    assert micro.section(tmp_path) == ""


def test_a_long_label_ends_before_the_bars():
    name = "model/" + "x" * 60 + "/conv_1"
    drawn = bar_chart.bars({name: 1.0, "short": 2.0}, "B")
    assert f"<title>{name}</title>model/" in drawn
    assert "/conv_1</text>" in drawn
    assert drawn.count("<title>") == 1
    assert len(bar_chart.short(name, 32)) == 32
