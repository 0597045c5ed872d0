"""Which differences between a float file and its source are accepted, also if the file rounds to trained ranges."""

from pathlib import Path

import numpy as np
import pytest
from support.reporters import RecordingReporter
from support.tf_scripts import run_code

from tflite_recipes.core.errors import WrongFile
from tflite_recipes.core.state import Intent, State, TensorSpec
from tflite_recipes.files import tflite

pytestmark = pytest.mark.slow

# A range of -6 to 6, as quantization-aware training begins with: a step is 0.047, 5 % of these outputs' range.
WRITE = """
import numpy as np, tensorflow as tf
class Model(tf.Module):
    def __init__(self, rounds):
        self.rounds = rounds
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def call(self, x):
        y = tf.sigmoid(x)
        return {"y": tf.quantization.fake_quant_with_min_max_args(y, -6, 6) if self.rounds else y}
for name, rounds in (("rounded", True), ("plain", False)):
    model = Model(rounds)
    tf.io.gfile.makedirs(name)
    tf.saved_model.save(model, name, signatures=model.call)
    open(f"{name}.tflite", "wb").write(tf.lite.TFLiteConverter.from_saved_model(name).convert())
    np.save(f"{name}.npy", model.call(np.load("x.npy"))["y"])
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("float_files")
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(32, 4)).astype("float32"))
    run_code(WRITE, cwd=folder)
    return folder


def check(folder: Path, name: str, values_off: int, scheme: str = "integer_only") -> float:
    """Check a file against a source in which this many values differ by one step. Return the logged error."""
    from tflite_recipes.backend.running import float_check

    file = folder / f"{name}.tflite"
    inputs = (TensorSpec("x", (None, 4), "float32"),)
    intent = Intent(on_wrong_file="fail")
    state = State(folder, intent=intent, signature="serving_default", inputs=inputs, converted=file, scheme=scheme)
    expected = np.load(folder / f"{name}.npy")
    expected.reshape(-1)[:values_off] += 12 / 255
    reporter = RecordingReporter()
    float_check.check(state, {"x": np.load(folder / "x.npy")}, {"y": expected}, reporter)
    return reporter.metrics["parity.float_relative_error"]


def test_values_on_the_edge_of_two_steps_are_no_fault_of_a_file_that_rounds(files: Path) -> None:
    assert "QUANTIZE" in tflite.op_counts(tflite.read_tflite(files / "rounded.tflite"))
    assert check(files, "rounded", 2) > 0.04


@pytest.mark.parametrize(
    ("name", "values_off", "scheme"),
    [("rounded", 64, "integer_only"), ("rounded", 2, "int16x8"), ("plain", 2, "integer_only")],
)
def test_many_values_are_and_single_ones_where_nothing_rounds(
    files: Path, name: str, values_off: int, scheme: str
) -> None:
    assert check(files, name, 0, scheme) < 1e-3
    with pytest.raises(WrongFile, match=r"the float file that was quantized must compute what its source computes"):
        check(files, name, values_off, scheme)


def refuse(file: Path, small: float, error: float) -> None:
    """Judge a float file whose second channel, of this size among channels of 1000, is off by a share of its range."""
    from tflite_recipes.backend.running import float_check
    from tflite_recipes.conversion.quality import parity

    source = np.random.default_rng(1).normal(size=(32, 3)) * [1000, small, 1000]
    outputs = source * [1, 1 - error, 1]
    source, outputs = ({"y": values.astype("float32")} for values in (source, outputs))
    inputs = (TensorSpec("x", (None, 4), "float32"),)
    state = State(file.parent, signature="serving_default", inputs=inputs, tflite=file)
    float_check.refuse(state, parity.measure(source, outputs), {"x": np.zeros((32, 4))}, source, outputs)


def test_float_file_that_lost_a_channel_among_larger_ones_is_refused(files: Path) -> None:
    refuse(files / "plain.tflite", 1.0, 1e-6)
    with pytest.raises(WrongFile) as refused:
        refuse(files / "plain.tflite", 1.0, 1.0)
    (problem,) = refused.value.problems
    assert problem.where == "output y"
    assert "of the range of channels 1" in problem.what


def test_float_file_with_rounding_in_a_channel_of_no_size_is_accepted(files: Path) -> None:
    refuse(files / "plain.tflite", 1e-3, 1.0)
