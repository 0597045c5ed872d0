"""Bounded masks: the same function in float, and scores that keep their scale in integers."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from support import masked_files
from support.reporters import RecordingReporter

from tflite_recipes.backend.converting import float_calibration
from tflite_recipes.backend.converting.attention_masks import bound_masks, find, in_pairs
from tflite_recipes.backend.converting.conversion_request import Request
from tflite_recipes.backend.converting.mask_preparation import prepare_masks
from tflite_recipes.core.errors import StepError
from tflite_recipes.files import tflite

pytestmark = pytest.mark.slow

SELECTED = ["where", "where_lowest", "where_infinite", "where_subtracted", "where_filled", "scaled_behind"]
ADDED = ["added", "added_lowest", "added_constant", "added_selected", "subtracted", "multiplied", "twice"]
ADDED += ["whole_rows", "distances", "shared", "combined", "steep_scores"]
WRITINGS = ["negated", "clipped", "lesser", "squared", "from_integers", "of_logarithm", "taken_from"]
WRITINGS += ["scaled_by_computed", "scaled_by_rows", "sum_of_three", "negated_selection", "within_limits"]
WRITINGS += ["of_kept_logarithm", "of_sum_logarithm", "through_half"]
SOFTMAXES = ["written_out", "by_logarithm", "with_a_sink", "exponent_of_logarithm"]
# Eight bits are coarse for a logarithm: .065 without any mask.
LIMITS = {"by_logarithm": 0.25, **dict.fromkeys(masked_files.SOFT, 0.1)}
PLACES = {"twice": 2, "shared": 2, "sum_of_three": 2}
AS_BEFORE = ["near", "no_mask", "scores_are_an_output", "taken_and_given"]


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    """A folder with float files, and inputs for them."""
    folder = tmp_path_factory.mktemp("masked")
    masked_files.write(folder)
    return folder, dict(np.load(folder / "samples.npz"))


def samples_of(name, samples):
    """Samples with the mask that a file takes."""
    mask = samples["mask"].astype("float32")
    if name in masked_files.SOFT:  # quarters, which eight bits tell apart; the first place is never masked
        shares = np.random.default_rng(1).integers(1, 5, mask.shape) / 4
        return {**samples, "mask": np.where(np.arange(mask.shape[1]) == 0, 1.0, mask * shares).astype("float32")}
    if sign := masked_files.TAKEN.get(name):  # the distances of ALiBi, and -1e9 where the causal mask or padding is
        length = mask.shape[1]
        distances = -0.5 * np.abs(np.arange(length)[:, None] - np.arange(length))
        causal = np.triu(np.ones((length, length)), 1)
        deep = -np.inf if name == "taken_infinite" else -1e9
        added = np.where((mask[:, None] == 0) | (causal > 0), deep, distances)
        return {**samples, "mask": (sign * added).astype("float32")}
    return samples


def bounded(folder, name, samples):
    path = folder / f"{name}.tflite"
    if name == "sum_of_three":
        path = folder / "in_pairs.tflite"
        path.write_bytes(in_pairs((folder / f"{name}.tflite").read_bytes(), 0))
    return bound_masks(
        path.read_bytes(),
        0,
        lambda: float_calibration.activations(path, "serving_default", samples, 1, lambda *_: None),
    )


def outputs(data, samples, name="y"):
    runner = Interpreter(model_content=data, num_threads=1).get_signature_runner()
    rows = range(len(samples["x"]))
    return np.array([runner(**{key: array[k : k + 1] for key, array in samples.items()})[name] for k in rows])


def quantized(data, samples):
    """As TensorFlow's converter makes it, int8 inside."""
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize
    from tensorflow.lite.python.optimize import calibrator

    def rows():
        for k in range(len(samples["x"])):
            yield "serving_default", {key: array[k : k + 1] for key, array in samples.items()}

    ready = calibrator.add_intermediate_tensors(data)
    calibrated = calibrator.Calibrator(ready, [], []).calibrate(rows)
    return mlir_quantize(calibrated, False, input_data_type=tf.float32, output_data_type=tf.float32)


@pytest.mark.parametrize("name", [*SELECTED, *ADDED, *WRITINGS, *SOFTMAXES, *masked_files.SOFT])
def test_bounded_masks_are_exact_in_float_and_keep_the_scale_in_int8(masked, name):
    folder, samples = masked
    samples = samples_of(name, samples)
    made = bounded(folder, name, samples)
    assert len(made.bounded) == PLACES.get(name, 1)
    assert all(-120 < mask.value < -10 for mask in made.bounded)
    expected = outputs((folder / f"{name}.tflite").read_bytes(), samples)
    span = np.ptp(expected)
    assert np.abs(outputs(made.data, samples) - expected).max() < 1e-7 * span
    limit = LIMITS.get(name, 0.06)
    assert np.abs(outputs(quantized(made.data, samples), samples) - expected).max() < limit * span


@pytest.mark.parametrize("name", ["taken", "taken_negated", "taken_infinite"])
def test_mask_that_is_an_input_is_bounded_in_what_calibration_sees(masked, name):
    """The file stays as it is, and its input ends at the bound in integers: what lies below saturates there."""
    folder, samples = masked
    samples = samples_of(name, samples)
    made = bounded(folder, name, samples)
    data = (folder / f"{name}.tflite").read_bytes()
    assert made.data == data
    assert len(made.bounded) == 1
    sign, ((low, high),) = masked_files.TAKEN[name], made.limits.values()
    assert -120 < (low if sign > 0 else -high) < -10
    expected, span = outputs(data, samples), np.ptp(outputs(data, samples))
    limited = {**samples, "mask": np.clip(samples["mask"], low, high)}
    assert np.abs(outputs(data, limited) - expected).max() < 1e-7 * span
    assert np.abs(outputs(quantized(data, limited), samples) - expected).max() < 0.06 * span


def test_soft_mask_that_every_place_of_a_row_has_stays_as_it_is(masked):
    """Such a row's softmax depends on how deep each place is masked, which a bound would make equal."""
    folder, samples = masked
    samples = samples_of("soft", samples)
    made = bounded(folder, "soft", {**samples, "mask": samples["mask"] * np.float32(0.5)})
    assert made.bounded == ()
    assert made.unbounded[0].span > 4e8


def test_an_unbounded_mask_ruins_int8(masked):
    folder, samples = masked
    data = (folder / "where.tflite").read_bytes()
    expected = outputs(data, samples)
    assert np.abs(outputs(quantized(data, samples), samples) - expected).max() > 0.2 * np.ptp(expected)


@pytest.mark.parametrize("name", AS_BEFORE)
def test_what_is_no_mask_or_near_enough_stays_as_it_is(masked, name):
    folder, samples = masked
    made = bounded(folder, name, samples_of(name, samples))
    assert made.data == (folder / f"{name}.tflite").read_bytes()
    assert not made.bounded
    assert not made.limits


@pytest.mark.parametrize("name", ["whole_rows", "whole_rows_negated", "whole_rows_squared"])
def test_rows_that_are_masked_throughout_stay_uniform(masked, name):
    """1e9 swallows the scores, so that such a row is a plain mean. A mask of -30 would leave them as they are."""
    folder, samples = masked
    made = bounded(folder, name, samples)
    assert made.bounded
    padded = {"x": samples["x"], "mask": np.zeros_like(samples["mask"])}
    expected = outputs((folder / f"{name}.tflite").read_bytes(), padded)
    assert np.abs(outputs(made.data, padded) - expected).max() < 1e-6 * np.ptp(expected)


def test_samples_without_padding_are_told(masked):
    folder, samples = masked
    (mask,) = bounded(folder, "added", {**samples, "mask": np.ones_like(samples["mask"])}).masks
    assert mask.is_unseen
    assert mask.value is None


def test_softmax_behind_an_unbounded_mask_is_named_with_its_span(masked):
    folder, samples = masked
    (softmax,) = bounded(folder, "scores_are_an_output", samples).unbounded
    assert softmax.name == "Softmax"
    assert softmax.span > 9e8
    assert bounded(folder, "added", samples).unbounded == ()


def test_the_file_has_nothing_left_of_what_was_replaced(masked, tmp_path):
    folder, samples = masked
    path = tmp_path / "bounded.tflite"
    path.write_bytes(bounded(folder, "where_subtracted", samples).data)
    (graph,) = tflite.read_tflite(path).subgraphs
    assert "SUB" not in [op.name for op in graph.operators]
    used = {index for op in graph.operators for index in (*op.inputs, *op.outputs)} | {*graph.inputs, *graph.outputs}
    assert used - {-1} == set(range(len(graph.tensors)))


def test_find_names_masked_scores_without_samples(masked):
    folder, _ = masked
    assert len(find((folder / "shared.tflite").read_bytes(), 0)) == 2
    assert find((folder / "no_mask.tflite").read_bytes(), 0) == []


def prepared(folder, name, samples):
    request = Request("integer_only", "int8", "int8", True, samples, fallback=("bound_masks",), calibration_sha256="s")
    path = folder / "prepared.tflite"
    path.write_bytes((folder / f"{name}.tflite").read_bytes())
    return prepare_masks(path, "serving_default", request, RecordingReporter())


def test_samples_of_a_mask_end_at_its_bound(masked):
    folder, samples = masked
    samples = samples_of("taken", samples)
    made = prepared(folder, "taken", samples)
    assert -120 < made.request.samples["mask"].min() < -10
    assert made.request.samples["mask"].max() == samples["mask"].max()
    assert made.request.samples["x"] is samples["x"]
    assert made.request.calibration_sha256 != "s"  # what was measured on the samples as they are does not hold


def test_scores_without_a_float32_scale_are_refused(masked):
    """TensorFlow's quantizer ends its process there."""
    folder, samples = masked
    samples = samples_of("soft_lowest", samples)
    with pytest.raises(StepError) as error:
        prepared(folder, "soft_lowest", {**samples, "mask": samples["mask"] * np.float32(0.5)})
    assert [(one.where, one.fix) for one in error.value.problems] == [("optimization", "optimization=dynamic_range")]
