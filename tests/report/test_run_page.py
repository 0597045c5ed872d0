"""The page of a run: complete, self-contained, and safe whatever a model's names hold."""

import json

import pytest
from support.page_check import Checked, text_of
from support.tensor_error_rows import activation

from tflite_recipes.config import composition
from tflite_recipes.conversion.quality import tensor_errors
from tflite_recipes.core import number_format
from tflite_recipes.core.errors import Problem
from tflite_recipes.core.state import Gate
from tflite_recipes.report import run_page
from tflite_recipes.report.bar_chart import bars, columns

HOSTILE = "<script>alert(1)</script>"


def page(folder, gates=(), warnings=(), outcome="passed", name="image", metrics=None, tags=None, **more):
    recipe = composition.compose("digits_integer_only")
    tensor = {"shape": [None, 8], "dtype": "int8", "scale": 0.5, "zero_point": 3}
    contract = {"inputs": [{"name": name, "source": tensor, "tflite": tensor}], "outputs": []}
    (folder / "io_contract.json").write_text(json.dumps(contract))
    (folder / "ops.json").write_text(json.dumps({"op_counts": {"CONV_2D": 2}, "tensor_dtypes": {"int8": 12}}))
    metrics = metrics or {"size.tflite_bytes": 28416.0, "parity.sqnr_db": 42.36, "time.source_s": 5.4}
    tags = {"tflite_recipes.outcome": outcome, **(tags or {})}
    return run_page.render(recipe, metrics, gates, warnings, tags, folder, **more)


def test_it_holds_results_gates_warnings_contract_and_recipe(here):
    gate = Gate("evaluation.max_drop", 0.05, 0.02, False, fix="calibration.samples=8 calibration.path=FILE")
    text = text_of(page(here, [gate], ["7 ops stayed float"], "gate_failed"))
    for part in (
        "28,416 B",
        "42.4 dB",
        "evaluation.max_drop",
        "calibration.samples=8 calibration.path=FILE",
        "failed",
        "7 ops stayed float",
        "CONV_2D",
        "int8 (?, 8)",
    ):
        assert part in text
    assert "_target_: tflite_recipes.steps.DigitsSource" in text


def test_a_gate_says_what_is_left_what_is_estimated_and_what_would_fit(here):
    fails = Gate("target.ram_kb", 96.5, 64.0, False, "KiB", True, "optimization=integer_only")
    text = text_of(page(here, [fails, Gate("target.npu_op_percent", 24.0, 32.0, False, "%", at_least=True)]))
    assert "target.ram_kb failed ≈ 96.5 64 -32.5 KiB would fit:  optimization=integer_only" in text
    assert "target.npu_op_percent failed 24 ≥ 32 -8 %" in text
    assert "≈ is an estimate" in text
    assert "no gate was set" in text_of(page(here))


def test_the_answer_stands_first(here):
    headings = Checked(page(here, [Gate("g", 1.0, 2.0, True)], ["a word"])).headings
    assert headings[:3] == ["Gates", "Results", "Warnings"]
    assert headings[-2:] == ["Run it again", "Recipe"]


@pytest.mark.slow
def test_a_run_that_repeats_another_says_how_it_went(here):
    tags = {"tflite_recipes.reproduces": "a1b2c3", "tflite_recipes.differences": "numpy 2.1 → 2.2\n" + HOSTILE}
    same, other = ({**tags, "tflite_recipes.verdict": verdict} for verdict in ("identical bytes", "differs"))
    text = page(here, tags=same)
    assert "class='verdict passed'><b>passed</b><p>Repeats the run <code>a1b2c3</code>: <b>identical bytes</b>" in text
    for part in ("tflite-recipes reproduce a1b2c3", "numpy 2.1 → 2.2", HOSTILE):
        assert part in text_of(text)
    assert "tflite-recipes run digits_integer_only" not in text
    assert "What differs" not in page(here, tags={**same, "tflite_recipes.differences": "none"})
    text = page(here, tags=other)
    assert "class='verdict failed'><b>passed</b><p>Repeats the run <code>a1b2c3</code>: <b>differs</b>" in text


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        *(("passed", "passed"), ("done", "passed"), ("gate_failed", "failed")),
        *(("failed", "failed"), ("not_evaluated", "failed")),
    ],
)
def test_page_of_a_run_opens_with_its_outcome(here, outcome, kind):
    assert f"class='verdict {kind}'><b>{outcome}</b>" in page(here, outcome=outcome)


def test_a_run_that_failed_says_why_and_how_to_mend_it(here):
    problem = Problem("no kernel for " + HOSTILE, "layer a", "conversion.select_tf_ops=true", ("target=generic",))
    recipe = composition.compose("digits_integer_only")
    tags = {"tflite_recipes.outcome": "failed"}
    html = run_page.render(
        recipe, {"time.total_s": 1.5}, [], [], tags, here, problems=[problem], log_tail="<last> line"
    )
    checked = Checked(html)
    text = " ".join(checked.text)
    for part in ("layer a: no kernel for " + HOSTILE, "fix: conversion.select_tf_ops=true", "or: target=generic"):
        assert part in text
    assert "<last> line" in text
    assert checked.headings == ["Last lines of the log", "All figures", "Run it again", "Recipe"]


def test_numbers_have_the_unit_that_their_name_says():
    told = {"target.macs": 2656768.0, "target.cpu_ops": 3.0, "target.npu_op_percent": 87.5, "latency.p50_ms": 1.2}
    assert [number_format.figure(name, value) for name, value in told.items()] == [
        "2,656,768",
        "3",
        "87.5 %",
        "1.200 ms",
    ]


def test_what_compression_gave_stands_together(here):
    metrics = {"size.tflite_bytes": 1000.0, "size.gzip_bytes": 400.0, "sparsity.overall": 0.5, "latency.p50_ms": 1.25}
    text = text_of(page(here, metrics=metrics))
    part = text[text.rindex("Size, sparsity, speed") : text.rindex("Inputs and outputs")]
    for said in ("1,000 B", "400 B", "sparsity.overall 0.5", "latency.p50_ms 1.250 ms"):
        assert said in part


def test_an_estimate_is_called_one_wherever_its_figure_stands(here):
    metrics = {"target.cycles": 5000.0, "target.inference_ms": 1.25, "target.macs": 7.0}
    text = text_of(page(here, metrics=metrics, tags=number_format.estimated(["target.inference_ms"])))
    assert text.count("target.inference_ms estimated 1.250 ms") == 2
    assert "inference  estimated 1.250 ms" in text or "inference estimated 1.250 ms" in text
    assert "target.cycles 5,000" in text
    assert "estimated" not in text_of(page(here, metrics=metrics))


def test_it_shows_the_worst_tensors_and_their_plot(here):
    rows = [activation(f"t{i:02}", "CONV_2D", 5.0 + i, 40.0) for i in range(30)]
    tensor_errors.write_csv(here / tensor_errors.TABLE, rows)
    text = text_of(page(here))
    for part in ("Quantization error", "layer_t00  CONV_2D", "5.0 dB", "40.0 dB", "int8 (?, 8)", "0.00%"):
        assert part in text
    assert "t19" in text
    assert "t20" not in text
    (here / tensor_errors.TABLE).unlink()
    assert "Quantization error" not in page(here)


def test_names_from_a_model_are_text(here):
    checked = Checked(page(here, warnings=[HOSTILE], name="<img src=x onerror=alert(1)>"))
    assert HOSTILE in "".join(checked.text)
    assert "<img src=x onerror=alert(1)>" in "".join(checked.text)


@pytest.mark.slow
def test_what_was_asked_for_is_quoted_for_the_shell_and_for_html(here):
    asked = ["calibration.samples=9", "tracking.run_name='<b>two words</b>'"]
    recipe = composition.compose("digits_integer_only", asked)
    text = text_of(run_page.render(recipe, {}, [], [], {}, here))
    assert "tflite-recipes run digits_integer_only calibration.samples=9 'tracking.run_name=" in text
    assert "<b>two words</b>" in text
    assert "tflite-recipes reproduce RUN_ID" in text
    untracked = composition.compose("digits_integer_only", ["tracking=none"])
    assert "reproduce" not in text_of(run_page.render(untracked, {}, [], [], {}, here))


def test_columns_have_their_kinds_and_short_rows_end_early():
    table = columns(("name", "bytes"), [("<a>", "1"), ("b",)], ("long", "n"), dense=True)
    assert table == (
        "<table class=dense><tr><th class='long'>name</th><th class='n'>bytes</th></tr>"
        "<tr><td class='long'>&lt;a&gt;</td><td class='n'>1</td></tr><tr><td class='long'>b</td></tr></table>"
    )


def test_the_longest_bar_is_the_largest_value():
    plot = bars({"a": 1.0, "b": 4.0}, "B")
    widths = [float(part.split("'")[0]) for part in plot.split("width='")[2:]]
    assert widths[1] == 4 * widths[0]


def test_nothing_to_show_is_said():
    assert "nothing to show" in bars({}, "B")


def test_a_long_label_ends_before_the_bars():
    name = "model/" + "x" * 60 + "/conv_1"
    drawn = bars({name: 1.0, "short": 2.0}, "B")
    assert f"<title>{name}</title>model/" in drawn
    assert "/conv_1</text>" in drawn
    assert drawn.count("<title>") == 1
