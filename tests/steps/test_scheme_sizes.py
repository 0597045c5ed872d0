"""Every scheme on a model of some megabytes: litert_quantizer appends the constants of such files to the flatbuffer."""

import numpy as np
import pytest
from support import keras_models
from support.checkout import REPOSITORY

from tflite_recipes import api
from tflite_recipes.conversion.schemes import CALIBRATED, Scheme
from tflite_recipes.core.errors import ExitStatus
from tflite_recipes.files.tflite import read_tflite
from tflite_recipes.files.tflite.appended_data import statements
from tflite_recipes.files.tflite.metadata import read_metadata

pytestmark = pytest.mark.slow

OPTIONS = {path.stem for path in (REPOSITORY / "conf" / "optimization").glob("[!_]*.yaml")} - {"auto"}
RUNS = [*((name, None) for name in sorted(OPTIONS)), ("integer_only", "litert_quantizer")]
# Bytes of a weight, and what the file has besides.
BYTES = {"none": 4, "float16": 2, "weight_only_int4": 0.5, "dynamic_range_int4": 0.5}
WEIGHTS, BESIDES = 1_334_000, 120_000


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several_megabytes")
    keras_models.write("several_megabytes", folder)
    np.savez(folder / "samples.npz", picture=np.random.default_rng(0).random((8, 16, 16, 3), "float32"))
    return folder


def convert(model, *overrides):
    given = ("source=keras", f"source.path={model / 'model.keras'}", "tracking=none", "conversion.fallback=[]")
    return api.run("convert", [*given, *overrides], progress=False)


def test_every_scheme_is_an_option():
    assert {scheme.name for scheme in Scheme} == OPTIONS


@pytest.mark.parametrize(("scheme", "quantizer"), RUNS)
def test_a_large_model_becomes_a_right_file_with_metadata(here, model, scheme, quantizer):
    samples = ("calibration=npz", f"calibration.path={model / 'samples.npz'}") if Scheme[scheme] in CALIBRATED else ()
    asked = (f"optimization.quantizer={quantizer}",) if quantizer else ()
    result = convert(model, f"optimization={scheme}", *samples, *asked)
    assert result.status == ExitStatus.DONE, result.problems
    assert read_metadata(result.path).model is not None
    assert statements(result.path.read_bytes()) == ()
    assert not [text for text in result.warnings if text.startswith("optimization.inline_constants")]
    assert abs(read_tflite(result.path).size_bytes - BYTES.get(scheme, 1) * WEIGHTS) < BESIDES
    assert result.metrics["parity.cosine"] > (0.97 if scheme.endswith("int4") else 0.999)


def test_a_recipe_without_the_key_keeps_constants_behind_the_flatbuffer_and_says_so(here, model):
    result = convert(model, "optimization=weight_only_int8", "optimization.inline_constants=false")
    assert result.status == ExitStatus.DONE, result.problems
    assert [text for text in result.warnings if text.startswith("optimization.inline_constants=false")]
    assert statements(result.path.read_bytes())
    assert read_metadata(result.path).model is not None
    assert result.metrics["parity.cosine"] > 0.999
