"""Models with attention masks: integers keep the scores, and the remedy is recorded; without it the run warns."""

import json
import shlex

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from support.tf_scripts import run_code, run_script

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus

pytestmark = pytest.mark.slow

CASES = ("masked_scores", "padded_ids", "decoder_lm", "masked_attention")


@pytest.fixture(scope="module")
def masked(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked")
    run_script(shared / "gauntlet" / "cases2.py", folder, *CASES)
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


WIDTH, LENGTH = 16, 12
# By name: how a mask of 1 and 0 meets the scores.
WRITINGS = {
    "sum_of_three": "tf.add_n([s, off * -1e9 + 0.0 * s, off * -1e9 + 0.0 * s])",
    "clipped": "tf.maximum(s + off * -1e9, -1e9)",
    "squared": "s - tf.square(3e4 * off)",
    "of_logarithm": "s + tf.math.log(1.0 - off)",
    "from_integers": "s + tf.cast(tf.cast(off, tf.int32) * -1000000, tf.float32)",
    "soft": "s + off * -1e9 * 1e-3 * tf.sigmoid(s)",
    # Every place of a row is masked, each to a depth of its own.
    "deep": "s - 1e9 * tf.cumsum(off + 1.0, -1)",
}
SCRIPT = """
import sys, numpy as np, tensorflow as tf
rng = np.random.default_rng(5)
x = rng.standard_normal((24, {length}, {width})).astype("f4")
mask = (np.arange({length}) < rng.integers(4, {length} + 1, 24)[:, None]).astype("f4")
weights = [tf.constant(rng.standard_normal(({width}, {width})).astype("f4") * 0.25) for _ in range(3)]
def model(masked):
    def run(x, mask):
        s = tf.matmul(x @ weights[0], x @ weights[1], transpose_b=True) / 4.0
        return {{"y": tf.nn.softmax(masked(s, (1.0 - mask)[:, None])) @ (x @ weights[2])}}
    return tf.function(run, input_signature=[
        tf.TensorSpec([1, {length}, {width}], name="x"), tf.TensorSpec([1, {length}], name="mask")])
for name, text in {writings}.items():
    owner = tf.Module()
    owner.run = model(eval("lambda s, off: " + text))
    folder = sys.argv[1] + "/" + name
    tf.saved_model.save(owner, folder + "/saved_model", {{"serving_default": owner.run}})
    rows = [owner.run(x[k : k + 1], mask[k : k + 1])["y"].numpy() for k in range(24)]
    np.savez(folder + "/calibration.npz", x=x, mask=mask)
    np.savez(folder + "/inputs.npz", x=x, mask=mask)
    np.save(folder + "/expected.npy", np.array(rows))
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    script = SCRIPT.format(length=LENGTH, width=WIDTH, writings=WRITINGS)
    run_code(script, folder)
    return folder


@pytest.mark.parametrize(
    ("case", "scheme"),
    [
        ("sum_of_three", "integer_only"),
        ("clipped", "integer_only"),
        ("squared", "integer_only"),
        ("of_logarithm", "int16x8"),
        ("from_integers", "full_integer"),
        ("soft", "full_integer"),
    ],
)
def test_integers_keep_scores_whose_mask_shows_in_its_values(here, written, case, scheme):
    edges = ["optimization.input_type=float32", "optimization.output_type=float32"] if scheme == "integer_only" else []
    result = convert(written / case, scheme, *edges)
    assert result.status == ExitStatus.DONE, result.problems
    assert relative_error(result.path, written / case) < 0.05
    assert "bound_masks" in result.tags["tflite_recipes.remedies"]


def test_mask_that_cannot_be_bounded_is_named_with_a_fix_that_helps(here, written):
    result = convert(written / "deep", "full_integer")
    assert relative_error(result.path, written / "deep") > 0.2
    (warning,) = [text for text in result.warnings if "Softmax" in text and "fix: " in text]
    fix = warning.rpartition("fix: ")[2]
    result = convert(written / "deep", "none", fix)
    assert result.status == ExitStatus.DONE, result.problems
    assert relative_error(result.path, written / "deep") < 0.02
