"""Calibrated once, quantized many times: the bytes are those of TensorFlow's own converter."""

import numpy as np
import pytest
from support import keras_models
from support.reporters import RecordingReporter

pytestmark = pytest.mark.slow

TYPES = {"integer_only": "int8", "full_integer": "float32", "int16x8": "float32", "int16x8_fallback": "int16"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A frozen CNN as a SavedModel, and samples for it."""
    import keras
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("saved")
    keras_models.write("cnn", folder)
    model = keras.models.load_model(folder / "model.keras")
    model.export(folder / "model", verbose=False)
    samples = {"picture": np.random.default_rng(0).random((24, 16, 16, 3)).astype("float32")}
    assert tf.saved_model.contains_saved_model(str(folder / "model"))
    return folder, samples


def request_for(scheme, samples, **more):
    from tflite_recipes.backend.converting.conversion_request import Request

    kind = TYPES[scheme]
    return Request(scheme, kind, kind, True, samples, calibration_sha256="samples", **more)


def plainly(folder, scheme, samples):
    """As a script would do it with TensorFlow alone."""
    import tensorflow as tf

    sets = tf.lite.OpsSet
    made = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=["serving_default"])
    made.optimizations = [tf.lite.Optimize.DEFAULT]
    made.representative_dataset = lambda: (("serving_default", {"picture": row[None]}) for row in samples["picture"])
    int16 = sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    made.target_spec.supported_ops = {
        "integer_only": [sets.TFLITE_BUILTINS_INT8],
        "full_integer": [sets.TFLITE_BUILTINS],
        "int16x8": [int16],
        "int16x8_fallback": [int16, sets.TFLITE_BUILTINS],
    }[scheme]
    made.inference_input_type = made.inference_output_type = tf.as_dtype(TYPES[scheme])
    return made.convert()


@pytest.mark.parametrize("scheme", TYPES)
def test_bytes_are_the_plain_converters_also_from_what_was_calibrated_before(saved, tmp_path, scheme):
    from tflite_recipes.backend.converting import converter

    folder, samples = saved
    asked = request_for(scheme, samples)
    path = tmp_path / "float.tflite"
    first, second = (
        converter.convert(folder / "model", "serving_default", asked, RecordingReporter(), path).data for _ in range(2)
    )
    assert first == second == plainly(folder / "model", scheme, samples)


def test_a_second_scheme_calibrates_no_more(saved, tmp_path):
    from dataclasses import replace

    from tflite_recipes.backend.converting import converter

    folder, samples = saved
    reporter = RecordingReporter()
    for scheme in ("integer_only", "full_integer"):
        asked = replace(request_for(scheme, samples), calibration_sha256="of this test alone")
        converter.convert(folder / "model", "serving_default", asked, reporter, tmp_path / "f")
    read = [what for what, _, _ in reporter.progressed]
    assert read.count("calibration samples") == len(samples["picture"])


def test_other_samples_are_calibrated_anew(saved, tmp_path):
    from dataclasses import replace

    from tflite_recipes.backend.converting import converter

    folder, samples = saved
    asked = request_for("integer_only", samples)
    brighter = replace(asked, samples={"picture": 2 * samples["picture"]}, calibration_sha256="brighter")
    first, second = (
        converter.convert(folder / "model", "serving_default", each, RecordingReporter(), tmp_path / "f").data
        for each in (asked, brighter)
    )
    assert first != second
