"""The report's section on TensorFlow Lite Micro."""

import json

import micro_files
import pytest
from test_micro_target import ROWS, ran
from test_report import Checked

from tflite_recipes import micro_page
from tflite_recipes.steps.micro_target import MicroTarget


def page(folder, told):
    (folder / micro_page.FILE).write_text(json.dumps(told))
    return " ".join(Checked(micro_page.section(folder)).text)


def test_it_says_whose_arena_it_is_and_what_is_estimated(tmp_path):
    path = micro_files.dense(tmp_path / "x.tflite")
    heard, told = ran(path, MicroTarget(cycles_per_mac=5, clock_mhz=100), rows=ROWS)
    text = page(tmp_path, told)
    assert f"arena {heard.metrics['target.arena_bytes']:,.0f} B: the smallest arena that allocates and invokes" in text
    for part in ("on a 64-bit host", "flash, an estimate", "time, an estimate", "LiteRT without delegates", "24 MACs"):
        assert part in text
    assert "Does not run" not in text


@pytest.mark.parametrize("interpreter", [True, False])
def test_it_says_what_does_not_run(tmp_path, interpreter):
    path = micro_files.dense(tmp_path / "x.tflite", after="GELU")
    text = page(tmp_path, ran(path, MicroTarget(interpreter=interpreter), rows=ROWS)[1])
    assert "Does not run op layer why GELU act/z there is no kernel" in text
    assert "arena" not in text


def test_many_ops_are_not_all_bars_and_without_a_file_there_is_no_section(tmp_path):
    assert micro_page.section(tmp_path) == ""
    told = ran(micro_files.dense(tmp_path / "x.tflite"), MicroTarget(interpreter=False))[1]
    told["macs"]["ops"] = [{"index": i, "op": "CONV_2D", "layer": f"<{i}>", "macs": i} for i in range(1, 31)]
    assert "10 others" in page(tmp_path, told)
