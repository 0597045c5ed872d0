"""litert_quantizer: what it makes of each scheme, what it takes that the converter refuses, what it cannot."""

import numpy as np
import pytest
from support import keras_models
from support.scheme_types import CALIBRATED, assert_types

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus
from tflite_recipes.files import tflite

pytestmark = pytest.mark.slow

SCHEMES = ("dynamic_range", "float16", *CALIBRATED)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Writes each model once, with samples for its inputs."""
    root = tmp_path_factory.mktemp("models")

    def get(name, **samples):
        folder = root / name
        if not folder.exists():
            folder.mkdir()
            keras_models.write(name, folder)
            np.savez(folder / "samples.npz", **samples)
        return folder

    return get


def pictures():
    return np.random.default_rng(0).random((40, 16, 16, 3)).astype("float32")


def convert(scheme, folder, *more, quantizer="litert_quantizer"):
    overrides = [
        "source=keras",
        f"source.path={folder / 'model.keras'}",
        f"optimization={scheme}",
        f"optimization.quantizer={quantizer}",
        "calibration=npz",
        f"calibration.path={folder / 'samples.npz'}",
        "tracking=none",
        "conversion.fallback=[]",  # what the quantizer does by itself
    ]
    return api.run("convert", [*overrides, *more], progress=False)


def constants(result):
    """Of the main graph: (dtype, number of scales, shape) of each constant with two axes or more."""
    (graph,) = tflite.read_tflite(result.path).subgraphs
    return [(t.dtype, len(t.scales), t.shape) for t in graph.tensors if t.is_constant and len(t.shape) > 1]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_types_of_every_tensor(here, models, scheme):
    result = convert(scheme, models("cnn", picture=pictures()))
    assert result.status == ExitStatus.DONE, result.problems
    file = tflite.read_tflite(result.path)
    assert_types(file, scheme)
    (signature,) = file.signatures
    assert [name for name, _ in signature.inputs] == ["picture"]
    assert [name for name, _ in signature.outputs] == ["scores"]
    assert result.metrics["parity.cosine"] > 0.999
    assert not result.warnings


@pytest.mark.parametrize(
    ("scheme", "given", "asked"),
    [
        ("full_integer", "uint8", "int8"),
        ("full_integer", "float32", "uint8"),
        ("integer_only", "uint8", "uint8"),
        ("integer_only", "float32", "int8"),
        ("int16x8", "int16", "float32"),
    ],
)
def test_input_and_output_types(here, models, scheme, given, asked):
    types = (f"optimization.input_type={given}", f"optimization.output_type={asked}")
    result = convert(scheme, models("cnn", picture=pictures()), *types)
    assert result.status == ExitStatus.DONE, result.problems
    (graph,) = tflite.read_tflite(result.path).subgraphs
    assert [graph.tensors[i].dtype for i in (*graph.inputs, *graph.outputs)] == [given, asked]
    assert result.metrics["parity.cosine"] > 0.999


@pytest.mark.parametrize(
    ("scheme", "kind"), [("full_integer", "float32"), ("integer_only", "int8"), ("int16x8", "int16")]
)
def test_an_output_that_is_read_in_another_scale_keeps_its_own(here, models, scheme, kind):
    samples = np.random.default_rng(0).standard_normal((40, 8, 8, 1)).astype("float32")
    types = (f"optimization.input_type={kind}", f"optimization.output_type={kind}")
    result = convert(scheme, models("output_read_in_another_scale", x=samples), *types)
    assert result.status == ExitStatus.DONE, result.problems
    file = tflite.read_tflite(result.path)
    (graph,), (signature,) = file.subgraphs, file.signatures
    note, onset = (graph.tensors[index] for _, index in sorted(signature.outputs))
    assert set(graph.outputs) == {note.index, onset.index}
    assert {note.dtype, onset.dtype} == {kind}
    if kind == "int8":
        assert note.scales == (1 / 256,)
    assert result.metrics["parity.cosine"] > 0.999


def test_blocks_that_fit_no_weights_are_said_to_have_no_effect(here, models):
    samples = np.random.default_rng(0).random((40, 64), "float32")
    asked = ((), ("optimization.block_size=256",))
    plain = "target.metadata=false"  # which would state the recipe
    made = [convert("weight_only_int4", models("wide_dense", x=samples), plain, *more) for more in asked]
    assert made[0].path.read_bytes() == made[1].path.read_bytes()
    assert not [text for text in made[0].warnings if "block_size" in text]
    (said,) = [text for text in made[1].warnings if "block_size" in text]
    assert said.startswith("optimization.block_size=256 has no effect")


def test_ranges_and_a_quantizer_that_nothing_takes_are_said_to_have_no_effect(here, models):
    folder = models("cnn", picture=pictures())
    ranges = convert("dynamic_range", folder, "calibration.method=mse")
    assert [text for text in ranges.warnings if text.startswith("calibration.method=mse has no effect")]
    nothing = convert("none", folder)
    assert [text for text in nothing.warnings if text.startswith("optimization.quantizer=litert_quantizer has no")]


def test_per_tensor_weights_have_one_scale(here, models):
    result = convert("integer_only", models("cnn", picture=pictures()), "optimization.per_channel=false")
    assert result.metrics["parity.cosine"] > 0.99
    (graph,) = tflite.read_tflite(result.path).subgraphs
    assert {len(t.scales) for t in graph.tensors if t.is_constant and len(t.shape) == 4} == {1}


def test_ranges_are_those_of_the_samples_and_not_their_moving_average(here, models):
    """One sample in forty is ten times as bright: an average would clip it."""
    samples = pictures()
    samples[20] *= 10
    np.savez("bright.npz", picture=samples)
    result = convert("integer_only", models("cnn", picture=pictures()), "calibration.path=bright.npz")
    (graph,) = tflite.read_tflite(result.path).subgraphs
    (image,) = (graph.tensors[i] for i in graph.inputs)
    assert image.scales[0] * 255 == pytest.approx(samples.max(), rel=0.02)


@pytest.mark.parametrize("method", ["percentile", "mse", "moving_average"])
def test_how_ranges_are_chosen_reaches_the_file(here, models, method):
    """Of an input one value of which is three times the others."""
    samples = pictures()
    samples[20, 0, 0, 0] = 3.0
    np.savez("spiked.npz", picture=samples)
    scales = {}
    for name in ("min_max", method):
        more = ("calibration.path=spiked.npz", f"calibration.method={name}", "calibration.percentile=99.99")
        result = convert("integer_only", models("cnn", picture=pictures()), *more)
        assert result.status == ExitStatus.DONE, result.problems
        (graph,) = tflite.read_tflite(result.path).subgraphs
        scales[name] = graph.tensors[graph.inputs[0]].scales[0]
    assert scales["min_max"] * 255 == pytest.approx(3.0, rel=0.01)
    # For one value in thirty thousand the least error clips a little only.
    assert scales[method] < (0.98 if method == "mse" else 0.5) * scales["min_max"]
    if method == "percentile":
        assert scales[method] * 255 < 1.1


@pytest.mark.parametrize(
    ("scheme", "more", "dtypes", "scaled"),
    [
        ("weight_only_int8", (), {"int8"}, "channels"),
        ("weight_only_int8", ("optimization.per_channel=false",), {"int8"}, "one"),
        ("weight_only_int4", (), {"int4", "int8"}, "channels"),
        ("dynamic_range_int4", (), {"int4", "int8"}, "channels"),
        ("weight_only_int4", ("optimization.block_size=32",), {"int4", "int8"}, "blocks"),
        ("weight_only_int8", ("optimization.block_size=32",), {"int8"}, "blocks"),
    ],
)
def test_small_weights(here, models, scheme, more, dtypes, scaled):
    data = models("wide_dense", x=np.random.default_rng(0).random((40, 64), "float32"))
    result = convert(scheme, data, "target.metadata=false", *more)
    assert result.status == ExitStatus.DONE, result.problems
    found = [entry for entry in constants(result) if entry[1]]
    assert {dtype for dtype, _, _ in found} <= dtypes
    assert max(len(shape) for _, _, shape in found)
    for _, scales, shape in found:
        assert scales == (1 if scaled == "one" else shape[0])
        assert scaled != "blocks" or shape[1] == 32
    assert result.metrics["parity.cosine"] > (0.98 if "int4" in scheme else 0.9999)
    assert result.metrics["parity.xnnpack_relative_difference"] < (1e-2 if scheme.startswith("dynamic") else 1e-3)
    assert result.metrics["size.ratio"] < (0.3 if "int4" in scheme else 0.45)


def test_dense_layers_alone_have_one_scale(here, models):
    for quantizer in ("tflite_converter", "litert_quantizer"):
        more = ("optimization.per_channel_dense=false",)
        result = convert("integer_only", models("cnn", picture=pictures()), *more, quantizer=quantizer)
        found = constants(result)
        assert {scales for _, scales, shape in found if len(shape) == 2} == {1}
        assert min(scales for _, scales, shape in found if len(shape) == 4) > 1


@pytest.mark.parametrize("quantizer", ["tflite_converter", "litert_quantizer"])
def test_rules_leave_ops_float(here, models, quantizer):
    rules = "optimization.rules=[{op: CONV_2D, scheme: float}, {op: SOFTMAX, scheme: float}]"
    result = convert("full_integer", models("cnn", picture=pictures()), rules, quantizer=quantizer)
    assert result.status == ExitStatus.DONE, result.problems
    file = tflite.read_tflite(result.path)
    assert {op for op, _ in tflite.float_operators(file)} <= {"CONV_2D", "SOFTMAX"}
    assert result.metrics["ops.float"] == result.metrics["rules.0.matched_ops"] + result.metrics["rules.1.matched_ops"]
    assert not [warning for warning in result.warnings if "stayed float" in warning]
    nothing = convert(
        "full_integer", models("cnn", picture=pictures()), "optimization.rules=[{op: TANH, scheme: float}]"
    )
    assert nothing.status == ExitStatus.REQUEST
    assert "matches no op" in nothing.problems[0].what


def test_rules_find_layers_by_the_names_of_the_source(here, models):
    """Keras exports the layer `dense` in a scope `dense_1`, and an output under the signature's name."""
    folder = models("unnamed_dense", x=np.random.default_rng(0).random((8, 64), "float32"))
    written = (("dense_1", "full_integer"), ("scores", "float"), ("dense", "float"))
    listed = ",".join(f'{{name: "^{name}$", scheme: {scheme}}}' for name, scheme in written)
    result = convert("full_integer", folder, f"optimization.rules=[{listed}]")
    assert result.status == ExitStatus.DONE, result.problems
    assert [result.metrics[f"rules.{position}.matched_ops"] for position in range(3)] == [1, 2, 1]
    assert result.metrics["ops.float"] == 3
    assert not [warning for warning in result.warnings if "stayed float" in warning]
    rule = 'optimization.rules=[{name: "^dense$", scheme: float}]'
    result = convert("full_integer", folder, rule, quantizer="tflite_converter")
    (graph,) = tflite.read_tflite(result.path).subgraphs
    floats = {t.shape for t in graph.tensors if t.is_constant and t.dtype == "float32" and len(t.shape) == 2}
    assert floats == {(16, 64)}


def test_rules_that_leave_nothing_to_quantize(here, models):
    result = convert("full_integer", models("cnn", picture=pictures()), "optimization.rules=[{scheme: float}]")
    assert result.status == ExitStatus.REQUEST
    assert result.problems[0].fix == "optimization=none"


def test_rules_mix_schemes(here, models):
    rules = (
        "optimization.rules=[{op: CONV_2D, scheme: int16x8}, {op: FULLY_CONNECTED, scheme: weight_only_int4},"
        "{op: SOFTMAX, scheme: float}]"
    )
    result = convert("full_integer", models("cnn", picture=pictures()), rules)
    assert result.status == ExitStatus.DONE, result.problems
    (graph,) = tflite.read_tflite(result.path).subgraphs
    outputs = {op.name: graph.tensors[op.outputs[0]].dtype for op in graph.operators}
    assert outputs["CONV_2D"] == "int16"
    assert outputs["FULLY_CONNECTED"] == "float32"
    assert "int4" in {t.dtype for t in graph.tensors if t.is_constant}


def test_16x8_of_what_the_converter_refuses(here, models):
    rng = np.random.default_rng(0)
    ids, x = rng.integers(0, 30, (32, 6)).astype("int32"), rng.standard_normal((32, 6, 8)).astype("float32")
    folder = models("attention", ids=ids, x=x)
    refused = convert("int16x8", folder, quantizer="tflite_converter")
    assert refused.status == ExitStatus.FAILED
    result = convert("int16x8", folder)
    assert result.status == ExitStatus.DONE, result.problems
    assert result.metrics["parity.sqnr_db"] > 42
    assert any("stayed float though integer was asked" in warning for warning in result.warnings)
    again = convert("int16x8", folder)
    assert again.tags["tflite_recipes.tflite_sha256"] == result.tags["tflite_recipes.tflite_sha256"]


def test_a_result_that_nothing_reads_is_refused(here, models):
    """litert_quantizer finds no values of it; with values it writes a file that LiteRT does not load."""
    result = convert("integer_only", models("half_of_a_split", picture=pictures()))
    assert result.status == ExitStatus.FAILED
    assert "SPLIT (" in result.problems[0].what
    assert result.problems[0].fix == "optimization=dynamic_range"  # the converter was tried, and cannot either


def test_what_stays_float_is_said(here, models):
    folder = models("prelu", picture=pictures())
    mixed = convert("full_integer", folder)
    assert mixed.status == ExitStatus.DONE, mixed.problems
    assert any("PRELU" in warning for warning in mixed.warnings)
    only = convert("integer_only", folder)
    assert only.status == ExitStatus.FAILED
    assert only.problems[0].fix == "optimization=full_integer"


def test_a_loop_is_refused_where_ranges_are_needed(here, models):
    frames = np.random.default_rng(0).random((20, 12, 6)).astype("float32")
    folder, fixed = models("sequential_lstm", frames=frames), "source.input_shapes={frames:[1,12,6]}"
    result = convert("full_integer", folder, fixed)
    assert result.status == ExitStatus.FAILED
    (problem,) = result.problems
    assert "loops and branches" in problem.what
    # The other quantizer crashes on such a loop, which a trial shows.
    assert "optimization.quantizer=tflite_converter was tried and does not help" in problem.what
    assert problem.fix == "optimization=dynamic_range"
    weights = convert("dynamic_range", folder, fixed)
    assert weights.status == ExitStatus.DONE, weights.problems
    assert weights.metrics["parity.cosine"] > 0.999
