"""A quantized file against its float file, tensor by tensor, in LiteRT."""

import csv
import dataclasses

import numpy as np
import pytest
from support import keras_models
from support.reporters import RecordingReporter

from tflite_recipes import api
from tflite_recipes.conversion.quality import tensor_errors as qe
from tflite_recipes.conversion.sensitivity import sensitivity
from tflite_recipes.core.errors import ExitStatus
from tflite_recipes.core.state import State
from tflite_recipes.files import tflite as tflite_file
from tflite_recipes.report.sections import tensor_error_plot

pytestmark = pytest.mark.slow

QUANTIZERS = ("tflite_converter", "litert_quantizer")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Writes a model with its samples once, converts it, and gives the result with its table."""
    root = tmp_path_factory.mktemp("runs")

    def convert(model, samples, scheme, *more, quantizer="tflite_converter"):
        folder = root / getattr(model, "__name__", model)
        if not folder.exists():
            folder.mkdir()
            model(folder) if callable(model) else keras_models.write(model, folder)
            np.savez(folder / "samples.npz", **samples)
        output = folder / "-".join([scheme, quantizer, str(len(list(folder.iterdir())))])
        overrides = [
            "source=keras",
            f"source.path={folder / 'model.keras'}",
            f"optimization={scheme}",
            f"optimization.quantizer={quantizer}",
            "calibration=npz",
            f"calibration.path={folder / 'samples.npz'}",
            "tracking=none",
            *more,
        ]
        result = api.run("convert", overrides, progress=False, output_dir=output)
        table = output / qe.TABLE
        return result, qe.read_csv(table) if table.exists() else []

    return convert


def pictures():
    return {"picture": np.random.default_rng(0).random((40, 16, 16, 3)).astype("float32")}


def of(rows, kind):
    return [row for row in rows if row.kind == kind]


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("scheme", ["full_integer", "integer_only", "int16x8"])
def test_every_activation_and_weight_is_compared(run, scheme, quantizer):
    result, rows = run("cnn", pictures(), scheme, quantizer=quantizer)
    assert result.status == ExitStatus.DONE, result.problems
    assert not [text for text in result.warnings if "tensor" in text]
    (graph,) = tflite_file.read_tflite(result.path).subgraphs
    computed = [
        graph.tensors[i]
        for op in graph.operators
        if op.name not in tflite_file.QUANTIZE_OPS
        for i in op.outputs
        if graph.tensors[i].scales
    ]
    activations = of(rows, "activation")
    assert len([row for row in activations if row.op != qe.INPUT]) == len(computed)
    assert {row.dtype for row in activations} == {"int16" if scheme == "int16x8" else "int8"}
    assert len(of(rows, "weight")) == sum(t.dtype == "int8" and t.is_constant for t in graph.tensors)
    assert [row.sqnr_db for row in rows] == sorted(row.sqnr_db for row in rows)
    assert result.metrics["quantization.worst_sqnr_db"] == pytest.approx(rows[0].sqnr_db, rel=1e-3)
    (output,) = (row for row in activations if row.tensor == graph_output(result))
    assert output.sqnr_db == pytest.approx(result.metrics["parity.sqnr_db"], abs=4)


def graph_output(result):
    """The float file's name of the only output: quantizers keep it on the output or on what is dequantized to it."""
    (graph,) = tflite_file.read_tflite(result.path).subgraphs
    name = graph.tensors[graph.outputs[0]].name
    return name.removesuffix("_dequant")


def test_figures_are_those_of_rounding(run):
    """The input is rounded and nothing else: RMSE over scale is 1/√12, and its own SQNR is all its SQNR."""
    _, rows = run("cnn", pictures(), "full_integer")
    (entry,) = (row for row in rows if row.op == qe.INPUT)
    assert entry.rmse_over_scale == pytest.approx(12**-0.5, rel=0.03)
    assert entry.sqnr_db == pytest.approx(entry.local_sqnr_db, abs=0.01)
    assert (entry.clipped, entry.input_sqnr_db) == (0.0, 200.0)
    assert entry.covered == pytest.approx(1.0, abs=0.02)
    for row in of(rows, "weight"):
        assert row.rmse_over_scale == pytest.approx(12**-0.5, rel=0.2)


def test_layers_are_those_of_the_source(run):
    _, rows = run(alike_names, {"x": np.random.default_rng(0).normal(size=(40, 12)).astype("float32")}, "full_integer")
    layers = {row.tensor: row.layer for row in of(rows, "weight")}
    assert sorted(layers.values()) == ["dense", "dense_1", "dense_2"]
    shapes = {row.layer: row.shape for row in of(rows, "weight")}
    assert shapes == {"dense_1": (9, 12), "dense": (8, 9), "dense_2": (7, 8)}
    assert {row.layer for row in of(rows, "activation")} == {"", "dense", "dense_1", "dense_2"}  # "": the input


def alike_names(folder):
    """Layers that are not in the order of their numbers, so that exported names are other layers' names."""
    import keras

    x = keras.Input((12,), name="x")
    h = keras.layers.Dense(9, activation="relu", name="dense_1")(x)
    h = keras.layers.Dense(8, activation="relu", name="dense")(h)
    keras.Model(x, keras.layers.Dense(7, name="dense_2")(h)).save(folder / "model.keras")


def amplifying(folder):
    """A depthwise convolution that brings out channels which are a thousandth of others, and so are mostly rounding."""
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 3), name="image")
    first = keras.layers.Conv2D(8, 1, name="first")
    second = keras.layers.DepthwiseConv2D(3, name="second")
    third = keras.layers.Conv2D(4, 1, name="third")
    model = keras.Model(image, third(second(first(image))))
    sizes = np.array([1000.0, 1, 1, 1, 1, 1, 1, 1])
    kernel, bias = first.get_weights()
    first.set_weights([kernel * sizes, bias])
    kernel, *rest = second.get_weights()
    second.set_weights([kernel / sizes[:, None], *rest])
    model.save(folder / "model.keras")


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_the_op_that_loses_is_named_with_what_it_needs(run, quantizer):
    samples = {"image": np.random.default_rng(0).random((32, 12, 12, 3)).astype("float32")}
    _, rows = run(amplifying, samples, "full_integer", quantizer=quantizer)
    worst = sensitivity(rows)[0]
    (first,) = (row.tensor for row in of(rows, "activation") if row.layer == "first")
    assert (worst.layer, worst.op) == ("second", "DEPTHWISE_CONV_2D")
    assert worst.together == (first,)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_weights_and_outputs_where_activations_stay_float(run, quantizer):
    samples = {"x": np.random.default_rng(0).normal(size=(40, 64)).astype("float32")}
    for scheme, dtype in (("dynamic_range", "int8"), ("float16", "float16")):
        result, rows = run(wide, samples, scheme, quantizer=quantizer)
        assert result.status == ExitStatus.DONE, result.problems
        (output,) = of(rows, "activation")
        assert (output.dtype, output.scale, output.local_sqnr_db) == ("float32", None, None)
        assert {row.dtype for row in of(rows, "weight") if len(row.shape) == 2} == {dtype}
        floor = {"int8": 30, "float16": 65}[dtype]
        assert all(floor < row.sqnr_db < floor + 50 for row in of(rows, "weight"))
        assert {op.layer for op in sensitivity(rows)} == {"hidden", "scores"}


def wide(folder):
    import keras

    keras.utils.set_random_seed(0)
    x = keras.Input((64,), name="x")
    h = keras.layers.Dense(64, activation="relu", name="hidden", bias_initializer="uniform")(x)
    keras.Model(x, keras.layers.Dense(32, name="scores")(h)).save(folder / "model.keras")


@pytest.mark.parametrize("grain", ["CHANNELWISE", "TENSORWISE", "BLOCKWISE_32"])
def test_packed_weights_and_weights_in_blocks(run, tmp_path, grain):
    """Of uniform weights, four bits keep about 24 dB, however they are stored."""
    from litert_quantizer.qtyping import QuantGranularity, TFLOperationName
    from litert_quantizer.quantizer import Quantizer
    from litert_quantizer.recipe_manager import RecipeManager

    from tflite_recipes.backend.running import error_analysis

    plain, _ = run(wide, {"x": np.random.default_rng(0).normal(size=(40, 64)).astype("float32")}, "none")
    plan = RecipeManager()
    plan.add_dynamic_config(".*", TFLOperationName.FULLY_CONNECTED, 4, QuantGranularity[grain])
    made = Quantizer(bytearray(plain.path.read_bytes()), plan.get_quantization_recipe()).quantize()
    (tmp_path / "int4.tflite").write_bytes(made.quantized_model)
    told = RecordingReporter()
    rows = error_analysis.analyse(plain.path, tmp_path / "int4.tflite", "serving_default", {}, (), told)
    assert told.warnings == []
    assert [(row.dtype, row.kind) for row in rows] == [("int4", "weight")] * 2
    for row in rows:
        assert 20 < row.sqnr_db < 28
        assert row.rmse_over_scale == pytest.approx(12**-0.5, rel=0.1)
        assert row.clipped == 0.0


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_a_fixed_batch_and_byte_inputs(run, quantizer):
    more = (
        "source.input_shapes={picture:[16,16,16,3]}",
        "optimization.input_type=uint8",
        "optimization.output_type=uint8",
    )
    result, rows = run("cnn", pictures(), "integer_only", *more, quantizer=quantizer)
    assert result.status == ExitStatus.DONE, result.problems
    _, free = run("cnn", pictures(), "integer_only", quantizer=quantizer)
    assert {row.tensor.partition(";")[0] for row in rows} == {row.tensor.partition(";")[0] for row in free}
    assert rows[0].sqnr_db == pytest.approx(free[0].sqnr_db, abs=3)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_several_inputs_of_which_one_is_whole_numbers(run, quantizer):
    rng = np.random.default_rng(0)
    samples = {"ids": rng.integers(0, 30, (32, 6)).astype("int32"), "x": rng.normal(size=(32, 6, 8)).astype("float32")}
    result, rows = run("attention", samples, "full_integer", quantizer=quantizer)
    assert result.status == ExitStatus.DONE, result.problems
    assert [row.tensor for row in rows if row.op == qe.INPUT] == ["serving_default_x:0"]
    assert all(row.sqnr_db > 20 for row in rows if row.layer != "embedding")
    (looked_up,) = (row for row in of(rows, "activation") if row.op == "GATHER")
    # The converter gives the table the scale of what is added to it, a seventieth of which it fills.
    assert (looked_up.covered < 0.1) == (looked_up.sqnr_db < 20) == (quantizer == "tflite_converter")


def test_an_unrolled_loop_is_compared_whole(run):
    """Its files number the outputs of their splits each in its own way."""
    samples = {"frames": np.random.default_rng(0).random((20, 12, 6)).astype("float32")}
    result, rows = run("sequential_lstm", samples, "full_integer")
    assert result.status == ExitStatus.DONE, result.problems
    assert not [text for text in result.warnings if "not compared" in text]
    splits = [row for row in rows if row.op == "SPLIT"]
    assert len(splits) >= 40
    assert all(row.sqnr_db > 20 for row in rows)


def test_state_does_not_carry_over(run, tmp_path):
    """A fused LSTM keeps its state between invokes; the same samples in another order give the same figures."""
    from tflite_recipes.backend.running import error_analysis

    keras_models.write("keras2_lstm", tmp_path)
    overrides = ["source=keras", f"source.path={tmp_path / 'model.h5'}", "tracking=none", "calibration=random"]
    ends = {
        scheme: api.run("convert", [*overrides, f"optimization={scheme}"], progress=False, output_dir=tmp_path / scheme)
        for scheme in ("none", "dynamic_range")
    }
    assert {end.status for end in ends.values()} == {ExitStatus.DONE}
    file = tflite_file.read_tflite(ends["none"].path)
    (name, index) = file.signatures[0].inputs[0]
    shape = [size or 1 for size in file.subgraphs[0].tensors[index].shape]
    samples = np.random.default_rng(0).normal(size=(16, *shape[1:])).astype("float32")
    paths = [ends[scheme].path for scheme in ("none", "dynamic_range")]
    tables = [
        error_analysis.analyse(*paths, file.signatures[0].key, {name: values}, (), RecordingReporter())
        for values in (samples, samples[::-1].copy())
    ]
    for one, other in zip(*(of(rows, "activation") for rows in tables), strict=True):
        assert one.sqnr_db == pytest.approx(other.sqnr_db, abs=1e-6)


def test_a_run_keeps_table_plot_and_report(run):
    result, rows = run("cnn", pictures(), "full_integer")
    assert (result.output_dir / tensor_error_plot.PLOT).read_text().startswith("<svg ")
    page = (result.output_dir / "report.html").read_text()
    assert "Quantization error" in page
    assert "<svg xmlns" in page
    with (result.output_dir / qe.TABLE).open() as stream:
        assert len(list(csv.DictReader(stream))) == len(rows)
    median = result.metrics["quantization.median_sqnr_db"]
    assert rows[0].sqnr_db < median < rows[-1].sqnr_db


def test_a_float_run_has_no_table(run):
    result, rows = run("cnn", pictures(), "none")
    assert rows == []
    assert "Quantization error" not in (result.output_dir / "report.html").read_text()
    assert not any(name.startswith("quantization.") for name in result.metrics)


def test_what_cannot_be_compared_is_said(run, tmp_path):
    from tflite_recipes.backend.running import error_analysis

    plain, _ = run("cnn", pictures(), "none")
    small, _ = run("cnn", pictures(), "full_integer")
    other, _ = run(wide, {"x": np.zeros((4, 64), "float32")}, "none")
    file = tflite_file.read_tflite(small.path)
    state = State(tmp_path, signature=file.signatures[0].key, tflite=small.path)
    told = RecordingReporter()
    error_analysis.report_errors(state, other.path, pictures(), told)
    assert any("not measured" in text for text in told.warnings)
    assert (told.kept, told.metrics) == ([], {})
    told = RecordingReporter()
    error_analysis.report_errors(dataclasses.replace(state, signature="nope"), plain.path, pictures(), told)
    assert any("no signature 'nope'" in text for text in told.warnings)
    drawing = dataclasses.replace(state, random=True)
    for which, samples in ((state, None), (drawing, pictures())):  # nothing to run on; runs that never agree
        told = RecordingReporter()
        error_analysis.report_errors(which, plain.path, samples, told)
        assert {row.kind for row in qe.read_csv(tmp_path / qe.TABLE)} == {"weight"}
        assert told.warnings == []
