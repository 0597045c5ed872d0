"""A fixed fifth of the hard cases, swept as `benchmarks/gauntlet.py` sweeps all of them, and the judge of the files."""

import json
import sys

import numpy as np
import pytest
from support import runnable_files
from support.checkout import REPOSITORY
from support.tf_scripts import run_script

sys.path.insert(0, str(REPOSITORY / "benchmarks"))

import gauntlet
import gauntlet_judge
import gauntlet_models
import gauntlet_table

# Every fifth case by name, in one scheme by turns; not `qat_transpose`, whose training takes as long as all others.
FIFTH = (
    *("argmax_head", "cell_by_hand", "crop_resize", "dict_inputs", "embedding_pool", "gnn_segment"),
    *("integer_and_float_inputs", "legacy_depthwise_h5", "lstm_16x8", "many_outputs", "mean_channels", "nms_count"),
    *("resize_bicubic", "scalar_input", "stft_phase", "tensor_array_loop", "topk_twice", "unstack_concat"),
    "vocabulary",
)
PAIRS = [(case, list(gauntlet.SCHEMES)[number % 3]) for number, case in enumerate(FIFTH)]
FLEX = "conversion.select_tf_ops=true"
# Files with TensorFlow's own ops, which no Python runtime can run.
UNVERIFIED = {
    ("argmax_head", "float"): [FLEX],
    ("crop_resize", "int16x8"): [FLEX, "optimization=dynamic_range"],
    ("vocabulary", "float"): [FLEX],
}
# No file: a scalar output, samples of a scalar.
NO_FILE = ("nms_count", "scalar_input")
# The phase of a value near 0 is lost in integers.
INEXACT = [("stft_phase", "int16x8")]


@pytest.fixture(scope="module")
def rows(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gauntlet")
    results = folder / "results.jsonl"
    (folder / "models").mkdir()
    gauntlet_models.build(shared / "gauntlet", folder / "models", FIFTH, run_script)
    gauntlet.sweep(shared / "gauntlet", folder / "models", PAIRS, results, 120.0)
    return {(row["case"], row["scheme"]): row for row in gauntlet.read(results)}


@pytest.mark.slow
@pytest.mark.parametrize(("case", "scheme"), PAIRS)
def test_case_ends_as_the_table_says(rows, case, scheme):
    row = rows[case, scheme]
    if row["class"] in ("right", "right after a fix"):
        assert row["error"] <= gauntlet.LIMITS[scheme][0]
    elif (case, scheme) in UNVERIFIED:
        assert (row["class"], row["fixes"]) == ("not verified", UNVERIFIED[case, scheme]), row
    elif (case, scheme) in INEXACT:
        assert row["class"] == "inexact", row
    else:
        assert case in NO_FILE, row
        assert row["class"] in ("refused", "crash"), row
        assert row["problems"], row


@pytest.fixture
def file_of_a_case(tmp_path):
    """A file with its case: samples, and the outputs of a plain interpreter."""
    folder = tmp_path / "case"
    folder.mkdir()
    file = runnable_files.write(tmp_path / "model.tflite")
    (tmp_path / "io_contract.json").write_text(json.dumps({"outputs": [{"name": "scores"}]}))
    x = np.random.default_rng(0).normal(size=(3, 64)).astype("float32")
    np.savez(folder / "inputs.npz", features=x)
    np.save(folder / "expected.npy", np.stack([runnable_files.reference(file, row[None]) for row in x]))
    return file, folder


def test_judge_of_a_right_file_finds_no_error(file_of_a_case):
    verdict = gauntlet_judge.judge(*file_of_a_case)
    assert verdict["error"] < gauntlet.LIMITS["float"][0]
    assert verdict["repeated"] == 0.0


def test_judge_of_a_wrong_value_finds_its_share_of_the_range(file_of_a_case):
    file, folder = file_of_a_case
    expected = np.load(folder / "expected.npy")
    least, most = expected.min(), expected.max()
    expected[np.unravel_index(expected.argmin(), expected.shape)] += 0.5 * (most - least)
    np.save(folder / "expected.npy", expected)
    assert gauntlet_judge.judge(file, folder)["error"] == pytest.approx(0.5, abs=0.01)


def test_judge_of_another_output_size_finds_no_match(file_of_a_case):
    file, folder = file_of_a_case
    np.save(folder / "expected.npy", np.load(folder / "expected.npy")[..., :100])
    assert gauntlet_judge.judge(file, folder)["error"] == float("inf")


def test_table_counts_classes_and_names_each_case_without_a_right_file():
    shared = {"seconds": 1.0, "fixes": [], "problems": []}
    problem = {"where": "optimization", "what": "no kernel", "fix": ""}
    rows = [
        {"case": "a", "scheme": "float", "class": "right", "error": 1e-7, **shared},
        {"case": "b", "scheme": "float", "class": "refused", **shared, "problems": [problem]},
    ]
    text = gauntlet_table.table(rows, ["float"])
    assert "| right | 1 |" in text
    assert "| `a` | right 1.0e-07 |" in text
    assert "- `b`, float: refused. optimization: no kernel" in text
