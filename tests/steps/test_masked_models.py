"""Models with attention masks: integers keep the scores, and the remedy is recorded; without it the run warns."""

import json
import shlex
import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus

pytestmark = pytest.mark.slow

CASES = ("masked_scores", "padded_ids", "decoder_lm", "masked_attention")


@pytest.fixture(scope="module")
def masked(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked")
    command = [sys.executable, str(shared / "gauntlet" / "cases2.py"), str(folder), *CASES]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def convert(folder, scheme, *overrides):
    file = folder / "model.keras"
    source = ["source=keras", f"source.path={file}"]
    if not file.exists():
        source = ["source=saved_model", f"source.path={folder / 'saved_model'}"]
    data = ["calibration=npz", f"calibration.path={folder / 'calibration.npz'}"]
    request = [*source, *data, f"optimization={scheme}", "tracking=none", *overrides]
    return api.run("convert", request, progress=False)


def relative_error(path, folder):
    """The greatest error of the first output, as a share of its range."""
    runner = Interpreter(str(path), num_threads=1).get_signature_runner()
    samples, expected = np.load(folder / "inputs.npz"), np.load(folder / "expected.npy")
    rows = [runner(**{key: samples[key][k : k + 1] for key in samples.files}) for k in range(len(expected))]
    return np.abs(np.array([next(iter(row.values())) for row in rows]) - expected).max() / np.ptp(expected)


# Without the remedy, in this order: .26, .57, .46, .29, SIGABRT, .45.
@pytest.mark.parametrize(
    ("case", "scheme", "quantizer", "limit"),
    [
        ("masked_scores", "full_integer", "tflite_converter", 0.03),
        ("masked_scores", "int16x8", "litert_quantizer", 0.005),
        ("padded_ids", "int16x8", "litert_quantizer", 0.005),
        ("decoder_lm", "full_integer", "tflite_converter", 0.04),
        ("masked_attention", "full_integer", "tflite_converter", 0.03),
        ("masked_attention", "int16x8", "litert_quantizer", 0.02),
    ],
)
def test_integers_keep_masked_scores(here, masked, case, scheme, quantizer, limit):
    overrides = [f"optimization.quantizer={quantizer}"]
    result = convert(masked / case, scheme, *overrides)
    if case == "decoder_lm":  # of any length, which only Flex ops can be had of
        assert [problem.fix for problem in result.problems] == ["'source.input_shapes={ids:[null,9]}'"]
        result = convert(masked / case, scheme, *overrides, *shlex.split(result.problems[0].fix))
    assert result.status == ExitStatus.DONE, result.problems
    assert relative_error(result.path, masked / case) < limit
    assert result.tags["tflite_recipes.remedies"] == "bound_masks"
    assert result.metrics["masks.bounded"] == (2 if case == "decoder_lm" else 1)
    contract = json.loads((result.output_dir / "io_contract.json").read_text())
    assert any(words.startswith("bound_masks: ") for words in contract["remedies"])


def test_a_recipe_of_a_past_run_goes_without_the_remedy_and_warns(here, masked):
    result = convert(masked / "masked_scores", "full_integer", "conversion.fallback=[unroll,integer_ops]")
    assert result.status == ExitStatus.DONE, result.problems
    assert relative_error(result.path, masked / "masked_scores") > 0.2
    assert "tflite_recipes.remedies" not in result.tags
    (warning,) = [text for text in result.warnings if text.startswith("bound_masks: ")]
    assert warning.endswith("'conversion.fallback=[unroll,integer_ops,bound_masks]'")
