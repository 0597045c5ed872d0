"""A measurement as a section of the report."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest
from support.page_check import Checked

from tflite_recipes.report import run_page
from tflite_recipes.report.sections import latency
from tflite_recipes.targets import latency_result

RESULT = {
    **{"runtime": "ai-edge-litert 2.3.0", "machine": "x86_64", "system": "Linux-6", "cpus": 2, "threads": 1},
    **{"xnnpack": True, "warmup": 10, "measured_runs": 100, "p50_ms": 1.5, "p90_ms": 2.0, "p99_ms": 3.0},
    **{"mean_ms": 1.6, "load_ms": 4.0, "first_invoke_ms": 5.0, "first_ms": 9.0, "peak_memory_bytes": 4096},
    **{"sample": "seeded random values, 0 to 1", "integer": True, "sweep": [], "profile": None},
}


def rows(count=3, **more):
    return [
        {"index": n, "name": f"OP_{n % 8}", "layer": f"layer_{n}", "ms": float(n + 1), "share": 0.1, **more}
        for n in range(count)
    ]


def section(folder, **changes):
    (folder / latency_result.RESULT).write_text(json.dumps({**RESULT, **changes}))
    html = latency.section(folder)
    return " ".join(Checked(run_page.document("page", [html])).text)


def test_nothing_was_measured(tmp_path):
    assert latency.section(tmp_path) == ""


def test_percentiles_and_what_they_were_measured_with(tmp_path):
    text = section(tmp_path)
    for part in ("1.500 ms", "2.000 ms", "3.000 ms", "9.000 ms", "4,096 B", "ai-edge-litert 2.3.0 on x86_64"):
        assert part in text
    assert "1 thread, XNNPACK; 100 single invokes after 10, on seeded random values, 0 to 1" in text


@pytest.mark.parametrize(
    ("machine", "integer", "said"),
    [("x86_64", True, True), ("AMD64", True, True), ("x86_64", False, False), ("aarch64", True, False)],
)
def test_integers_on_an_x86_say_nothing_of_arm(tmp_path, machine, integer, said):
    text = section(tmp_path, machine=machine, integer=integer)
    assert ("say nothing of Arm" in text) is said


def test_the_sweep_has_a_row_for_each_setting(tmp_path):
    good = {"threads": 2, "xnnpack": False, "p50_ms": 7.5, "p90_ms": 8.0, "p99_ms": 8.5, "measured_runs": 33}
    bad = {"threads": 4, "xnnpack": True, "error": "killed"}
    text = section(tmp_path, sweep=[good, bad])
    assert "By threads and XNNPACK" in text
    assert re.search(r"2 threads, without XNNPACK\s+7\.500 ms\s+8\.000 ms\s+8\.500 ms\s+33", text)
    assert "4 threads, XNNPACK not measured" in text
    assert "By threads" not in section(tmp_path)


@pytest.mark.parametrize(("method", "words"), [("c_profiler", "runtime's own profiler"), ("prefix", "cut after")])
def test_the_ops_that_take_longest_and_how_that_is_known(tmp_path, method, words):
    profile = {"method": method, "xnnpack": False, "runs": 50, "total_ms": 78.0, "ops": rows(12)}
    text = section(tmp_path, profile=profile)
    assert words in text
    assert "78.000 ms in all" in text
    assert re.search(r"OP_3\s+layer_11\s+11\s+12\.0000\s+10\.0%", text)
    assert "With XNNPACK" not in text
    delegated = {"total_ms": 9.0, "ops": [{"index": 0, "name": "GEMM", "ms": 9.0, "share": 1.0, "by": "XNNPACK"}]}
    text = section(tmp_path, profile={**profile, "delegated": delegated})
    assert re.search(r"XNNPACK's own ops.*9\.000 ms in all.*GEMM\s+XNNPACK\s+0\s+9\.0000\s+100\.0%", text)


def test_why_there_is_no_profile(tmp_path):
    text = section(tmp_path, profile_error="c_profiler: <gone>; prefix: too slow")
    assert "c_profiler: <gone>; prefix: too slow" in text
    assert "Ops that take longest" not in text


def test_the_plot_has_a_bar_for_each_of_the_slowest_and_a_colour_for_each_kind():
    root = ElementTree.fromstring(latency.plot(rows(30), count=20))
    space = "{http://www.w3.org/2000/svg}"
    bars = [(group.find(f"{space}title").text, group.find(f"{space}rect")) for group in root.iter(f"{space}g")]
    assert len(bars) == 20
    widths = [float(bar.get("width")) for _, bar in bars]
    assert widths == sorted(widths, reverse=True)
    colours = {}
    for kind, bar in bars:
        assert colours.setdefault(kind, bar.get("fill")) == bar.get("fill")
    assert len(set(colours.values())) == 7  # six kinds and the others
    keys = {text.text for text in root.findall(f"{space}text")}
    assert "other" in keys
    assert len(keys) == 7


def test_few_kinds_have_no_others_and_names_are_text():
    named = rows(3, layer="<b>", name="CONV_2D")
    root = ElementTree.fromstring(latency.plot(named))
    text = "".join(root.itertext())
    assert "<b>" in text
    assert "other" not in text


def test_a_plot_of_no_ops_has_no_bars():
    root = ElementTree.fromstring(latency.plot([]))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert list(root) == []


def test_names_of_settings():
    assert latency_result.setting_name({"threads": 1, "xnnpack": True}) == "1 thread, XNNPACK"
    assert latency_result.setting_name({"threads": 3, "xnnpack": False}) == "3 threads, without XNNPACK"
