"""Every scheme, on real models, holds what it says: the type of every tensor in the file."""

import numpy as np
import pytest
from support import keras_models
from support.scheme_types import CALIBRATED, assert_types

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus
from tflite_recipes.files import tflite

pytestmark = pytest.mark.slow

SCHEMES = ("none", "dynamic_range", "float16", *CALIBRATED)


def convert(scheme, source, calibration, **more):
    wanted = calibration if scheme in CALIBRATED else []
    values = [f"{key}={value}" for key, value in more.items()]
    return api.run("convert", [*source, *wanted, f"optimization={scheme}", "tracking=none", *values], progress=False)


@pytest.fixture(scope="module")
def cnn(tmp_path_factory):
    """A small CNN with an input name of its own, and samples for it."""
    folder = tmp_path_factory.mktemp("cnn")
    keras_models.write("cnn", folder)
    rng = np.random.default_rng(0)
    np.savez(folder / "samples.npz", picture=rng.random((40, 16, 16, 3)).astype("float32"))
    return folder


@pytest.mark.parametrize("scheme", SCHEMES)
def test_types_of_every_tensor(here, cnn, scheme):
    calibration = ["calibration=npz", f"calibration.path={cnn / 'samples.npz'}"]
    result = convert(scheme, ["source=keras", f"source.path={cnn / 'model.keras'}"], calibration)
    assert result.status == ExitStatus.DONE, result.problems
    file = tflite.read_tflite(result.path)
    assert_types(file, scheme)
    (signature,) = file.signatures
    assert signature.key == "serving_default"
    assert [name for name, _ in signature.inputs] == ["picture"]
    assert [name for name, _ in signature.outputs] == ["scores"]
    assert result.metrics["parity.cosine"] > 0.98
    if scheme in ("none", "float16"):
        assert result.metrics["parity.max_abs_error"] < (1e-6 if scheme == "none" else 1e-2)


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [
        ("full_integer", "int8"),
        ("full_integer", "uint8"),
        ("integer_only", "uint8"),
        ("integer_only", "float32"),
        ("int16x8", "int16"),
    ],
)
def test_io_types(here, cnn, scheme, kind):
    calibration = ["calibration=npz", f"calibration.path={cnn / 'samples.npz'}"]
    more = {"optimization.input_type": kind, "optimization.output_type": kind}
    result = convert(scheme, ["source=keras", f"source.path={cnn / 'model.keras'}"], calibration, **more)
    assert result.status == ExitStatus.DONE, result.problems
    (graph,) = tflite.read_tflite(result.path).subgraphs
    assert {graph.tensors[i].dtype for i in (*graph.inputs, *graph.outputs)} == {kind}
    assert result.metrics["parity.cosine"] > 0.98


def test_per_tensor_weights_have_one_scale(here, cnn):
    calibration = ["calibration=npz", f"calibration.path={cnn / 'samples.npz'}"]
    source = ["source=keras", f"source.path={cnn / 'model.keras'}"]
    scales = {}
    for per_channel in ("true", "false"):
        result = convert("integer_only", source, calibration, **{"optimization.per_channel": per_channel})
        (graph,) = tflite.read_tflite(result.path).subgraphs
        scales[per_channel] = max(len(t.scales) for t in graph.tensors if t.is_constant and len(t.shape) == 4)
    assert scales["false"] == 1 < scales["true"]


# Reference sizes are those of the published int8 files beside the models. ad01's reference has per-tensor Dense
# layers; per-channel scales cost 15 % there.
REAL = {
    "kws": (
        ["source=saved_model", "source.path={shared}/models/kws_saved_model"],
        "kws_int8.tflite",
        -10.0,
        10.0,
        1.10,
    ),
    "ad01": (["source=keras", "source.path={shared}/models/ad01.h5"], "ad01_int8.tflite", -5.0, 5.0, 1.20),
}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("model", REAL)
def test_published_models(here, shared, model, scheme):
    source, reference, low, high, most = REAL[model]
    calibration = ["calibration=random", f"calibration.low={low}", f"calibration.high={high}", "calibration.samples=50"]
    result = convert(scheme, [text.format(shared=shared) for text in source], calibration)
    assert result.status == ExitStatus.DONE, result.problems
    file = tflite.read_tflite(result.path)
    assert_types(file, scheme)
    assert result.metrics["parity.cosine"] > {"none": 0.9999, "float16": 0.9999, "int16x8": 0.999}.get(scheme, 0.97)
    if scheme == "integer_only":
        size = (shared / "models" / reference).stat().st_size
        assert 0.9 < result.metrics["size.tflite_bytes"] / size < most
    if model == "kws":
        assert [name for name, _ in file.signatures[0].inputs] == ["input_1"]
        assert [name for name, _ in file.signatures[0].outputs] == ["dense"]
