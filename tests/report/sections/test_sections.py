"""The sections of a run's page, from the files that they show."""

import json

from support.page_check import Checked, text_of

from tflite_recipes.config import recipe_inputs
from tflite_recipes.files.tflite import activation_ranges
from tflite_recipes.files.tflite.activation_ranges import ActivationRange
from tflite_recipes.report.html_page import document
from tflite_recipes.report.sections import origins, quantization, scores, size

HOSTILE = "<script>alert(1)</script>"


def said(html):
    """The text of a section; that it is whole and safe."""
    return text_of(document("page", ["<h1>head</h1>", html]))


def test_a_folder_without_files_has_no_sections(tmp_path):
    sections = (
        scores.by_class(tmp_path),
        scores.by_output(tmp_path, {}),
        size.compression({}, {}),
        size.by_layer(tmp_path),
        quantization.errors(tmp_path),
        quantization.calibration(tmp_path),
        origins.started_from(tmp_path, {}),
        origins.ran_on(tmp_path),
    )
    assert sections == ("",) * 8


def test_classes_worst_first_and_the_others_folded(tmp_path):
    lines = [f"{n},40,0.900000,{0.5 + n / 25:.6f},{0.4 - n / 25:.6f}" for n in range(12)]
    lines[0] = f"{HOSTILE},40,0.900000,0.500000,0.400000"
    (tmp_path / "per_class.csv").write_text("class,samples,source_recall,tflite_recall,drop\n" + "\n".join(lines))
    html = scores.by_class(tmp_path)
    text = said(html)
    assert "Of 12 classes 10 lost and 1 gained" in text
    assert HOSTILE + " 40 90.00% 50.00% +40.00%" in text
    assert "10 40 90.00% 90.00% 0 " in text + " "
    assert html.index("<details>") < html.index(">11<")
    assert "2 other classes" in text


def test_outputs_with_and_without_delegates(tmp_path):
    figures = {"max_abs_error": 0.5, "mean_abs_error": 0.25, "cosine": 0.99, "sqnr_db": 20.0, "relative_rmse": 0.125}
    found = {HOSTILE: {**figures, "without_delegates": {**figures, "samples": 64, "sqnr_db": 30.0}}, "b": figures}
    (tmp_path / "parity.json").write_text(json.dumps(found))
    text = said(scores.by_output(tmp_path, {"parity.data": "<held> out"}))
    for part in (HOSTILE, "20.0 dB", "30.0 dB", "without delegates, first 64 samples", "Samples: <held> out."):
        assert part in text


def test_bytes_by_layer_with_the_rest_as_one(tmp_path):
    layers = [
        {"layer": f"{HOSTILE} {n}", "ops": ["CONV_2D"], "bytes": 100 - n, "constants": 2, "dtypes": {"int8": 100 - n}}
        for n in range(17)
    ]
    layers[1] |= {"layer": ""}
    sizes = {"file": 2000, "weights": 1500, "other_constants": 64, "metadata": 36, "graph": 400, "layers": layers}
    (tmp_path / "sizes.json").write_text(json.dumps(sizes))
    text = said(size.by_layer(tmp_path))
    for part in ("1,500 B 75.0%", "400 B 20.0%", "36 B 1.8%", "2,000 B 100.0%", "read by no op CONV_2D int8 99 B"):
        assert part in text
    assert f"{HOSTILE} 14 CONV_2D int8 86 B 4.3%" in text
    assert "2 others 169 B 8.5%" in text


def test_samples_and_the_widest_ranges(tmp_path):
    entry = {"shape": [8, 8, 1], "dtype": "float32", "min": 0.0, "max": 1.0, "mean": 0.25}
    manifest = {"source": "<cal>.npz", "samples": 60, "seed": 7, "sha256": "f" * 64, "inputs": {HOSTILE: entry}}
    manifest |= {"labels": {"<cat>": 40, "dog": 20}, "ranges": {"method": "percentile", "percentile": 99.9}}
    (tmp_path / "calibration.json").write_text(json.dumps(manifest))
    rows = [ActivationRange(f"t{n:02}", "layer", "ADD", "int8", 0.5, 3, -10.0 + n, 12.0) for n in range(12)]
    activation_ranges.write_csv(tmp_path / activation_ranges.RANGES, rows)
    text = said(quantization.calibration(tmp_path))
    for part in (
        "60 samples of <cal>.npz, seed 7; ranges by percentile (percentile 99.9).",
        f"{HOSTILE} float32 (8, 8, 1) 0 1 0.25",
        "samples by label",
        "<cat> 40",
        "the 10 widest of 12",
        "t00 layer ADD int8 -10 12 0.5 3",
        "t09",
    ):
        assert part in text
    assert "t10" not in text


def test_inputs_with_no_figures_have_none(tmp_path):
    entry = {"shape": [4], "dtype": "str", "min": None}
    manifest = {"source": "x", "samples": 2, "seed": None, "sha256": "f", "inputs": {"words": entry}}
    (tmp_path / "calibration.json").write_text(json.dumps(manifest))
    assert "2 samples of x; ranges from the least to the largest value." in said(quantization.calibration(tmp_path))


def test_what_a_run_started_from_has_its_digests(tmp_path):
    given = [recipe_inputs.Input("source.path", f"models/{HOSTILE}.keras", "ab" * 32, 12345)]
    (tmp_path / recipe_inputs.INPUTS).write_text(recipe_inputs.to_text(given))
    text = said(origins.started_from(tmp_path, {"tflite_recipes.tflite_sha256": "cd" * 32, "other": "x"}))
    assert f"source.path models/{HOSTILE}.keras 12,345 B {'ab' * 32}" in text
    assert f"tflite_recipes.tflite_sha256 {'cd' * 32}" in text
    assert "other" not in text


def test_the_packages_that_matter_stand_out_and_all_are_there(tmp_path):
    lines = [
        "# python 3.11.7 (CPython)",
        "# cpu <Fast> 3000 (2 cores)",
        "# features ",
        "numpy==2.4.6",
        "tf_keras==2.21.0",
    ]
    (tmp_path / "environment.txt").write_text("\n".join([*lines, "zzz==1.0"]) + "\n")
    html = origins.ran_on(tmp_path)
    text = said(html)
    for part in ("python 3.11.7 (CPython)", "cpu <Fast> 3000 (2 cores)", "numpy 2.4.6", "tf-keras 2.21.0"):
        assert part in text
    assert html.index("<details>") < html.index("zzz==1.0")
    assert "features" not in text[: text.index("all packages")]
    assert Checked(html).open == []
