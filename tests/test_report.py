"""The page of a run: complete, self-contained, and safe whatever a model's names hold."""

import json
from html.parser import HTMLParser

from test_quantization_error import activation

from tflite_recipes import composition, figures, quantization_error, report
from tflite_recipes.state import Gate

VOID = ("meta", "rect")


class Checked(HTMLParser):
    """Collects text and refuses what is not closed in order, and what would load or run something."""

    def __init__(self, page):
        super().__init__()
        self.open, self.text = [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "link", "img", "iframe")
        assert not any(name in ("src", "href") or name.startswith("on") for name, _ in attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag not in ("script", "link", "img", "iframe")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def page(folder, gates=(), warnings=(), verdict="passed", name="image", metrics=None, tags=None):
    recipe = composition.compose("digits_integer_only")
    tensor = {"shape": [None, 8], "dtype": "int8", "scale": 0.5, "zero_point": 3}
    contract = {"inputs": [{"name": name, "source": tensor, "tflite": tensor}], "outputs": []}
    (folder / "io_contract.json").write_text(json.dumps(contract))
    (folder / "ops.json").write_text(json.dumps({"op_counts": {"CONV_2D": 2}, "tensor_dtypes": {"int8": 12}}))
    metrics = metrics or {"size.tflite_bytes": 28416.0, "parity.sqnr_db": 42.36, "time.source_s": 5.4}
    tags = {"tflite_recipes.verdict": verdict, **(tags or {})}
    return report.render(recipe, metrics, gates, warnings, tags, folder)


def test_it_holds_results_gates_warnings_contract_and_recipe(here):
    gate = Gate("evaluation.max_drop", 0.05, 0.02, False)
    text = " ".join(Checked(page(here, [gate], ["7 ops stayed float"], "gate failed")).text)
    for part in (
        "28,416 B",
        "42.4 dB",
        "evaluation.max_drop",
        "failed",
        "7 ops stayed float",
        "CONV_2D",
        "int8 (?, 8)",
    ):
        assert part in text
    assert "_target_: tflite_recipes.steps.source.DigitsSource" in text


def test_a_gate_says_what_is_left_what_is_estimated_and_what_would_fit(here):
    fails = Gate("target.ram_kb", 96.5, 64.0, False, "KiB", True, "optimization=integer_only")
    text = " ".join(Checked(page(here, [fails, Gate("target.flash_kb", 24.0, 32.0, True, "KiB", True)])).text)
    assert "≈ 96.5 KiB 64 KiB -32.5 KiB failed optimization=integer_only" in text
    assert "≈ 24 KiB 32 KiB 8 KiB passed an estimate" in text


def test_numbers_have_the_unit_that_their_name_says():
    told = {"target.macs": 2656768.0, "target.cpu_ops": 3.0, "target.npu_op_percent": 87.5, "latency.p50_ms": 1.2}
    assert [figures.figure(name, value) for name, value in told.items()] == ["2,656,768", "3", "87.5 %", "1.200 ms"]


def test_what_compression_gave_stands_together(here):
    metrics = {"size.tflite_bytes": 1000.0, "size.gzip_bytes": 400.0, "sparsity.overall": 0.5, "latency.p50_ms": 1.25}
    text = " ".join(Checked(page(here, metrics=metrics)).text)
    part = text[text.index("Size, sparsity, speed") : text.index("Inputs and outputs")]
    for said in ("1,000 B", "400 B", "sparsity.overall 0.5", "latency.p50_ms 1.250 ms"):
        assert said in part


def test_an_estimate_is_called_one_wherever_its_figure_stands(here):
    metrics = {"target.cycles": 5000.0, "target.inference_ms": 1.25, "target.macs": 7.0}
    text = " ".join(Checked(page(here, metrics=metrics, tags=figures.estimated(["target.inference_ms"]))).text)
    assert text.count("target.inference_ms estimated 1.250 ms") == 2
    assert "target.cycles 5,000" in text
    assert "estimated" not in " ".join(Checked(page(here, metrics=metrics)).text)


def test_it_shows_the_worst_tensors_and_their_plot(here):
    rows = [activation(f"t{i:02}", "CONV_2D", 5.0 + i, 40.0) for i in range(30)]
    quantization_error.write_csv(here / quantization_error.TABLE, rows)
    text = " ".join(Checked(page(here)).text)
    for part in ("Quantization error", "layer_t00  CONV_2D", "5.0 dB", "40.0 dB", "int8 (?, 8)", "0.00%"):
        assert part in text
    assert "t19" in text
    assert "t20" not in text
    (here / quantization_error.TABLE).unlink()
    assert "Quantization error" not in page(here)


def test_names_from_a_model_are_text(here):
    checked = Checked(page(here, warnings=["<script>alert(1)</script>"], name="<img src=x onerror=alert(1)>"))
    assert "<script>alert(1)</script>" in "".join(checked.text)


def test_the_longest_bar_is_the_largest_value():
    plot = report.bars({"a": 1.0, "b": 4.0}, "B")
    widths = [float(part.split("'")[0]) for part in plot.split("width='")[2:]]
    assert widths[1] == 4 * widths[0]


def test_nothing_to_show_is_said():
    assert "nothing to show" in report.bars({}, "B")


def test_a_long_label_ends_before_the_bars():
    name = "model/" + "x" * 60 + "/conv_1"
    drawn = report.bars({name: 1.0, "short": 2.0}, "B")
    assert f"<title>{name}</title>model/" in drawn
    assert "/conv_1</text>" in drawn
    assert drawn.count("<title>") == 1
