"""The loader that is logged with a model: what LiteRT gives, fed in each of the forms that users have."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import runnable_files
from support.micro_files import Builder

from tflite_recipes.backend.running import runtime
from tflite_recipes.tracking import tflite_pyfunc
from tflite_recipes.tracking.tflite_pyfunc import TFLiteModel, _load_pyfunc

SCALE = 0.05


def open_batch(made: Builder, *indices: int) -> None:
    """Let the first size of these tensors be any."""
    for index in indices:
        tensor = made.graph.tensors[index]
        tensor.shapeSignature = [-1, *tensor.shape[1:]]


def quantized(path, kind="INT8", batch=1, zero_point=0, dynamic=False):
    """x (batch, 3) → y, what of it is not below zero, both stored as integers."""
    made = Builder()
    x, y = (made.tensor(name, [batch, 3], kind, SCALE) for name in ("x", "y"))
    for index in (x, y):
        made.graph.tensors[index].quantization.zeroPoint = [zero_point]
    if dynamic:
        open_batch(made, x, y)
    made.op("RELU", [x], [y])
    return made.write(path, [x], [y])


def summed(path):
    """left (?, 4) + right (?, 4) → sum; and less → left < right."""
    made = Builder()
    left, right, total = (made.tensor(name, [1, 4], "FLOAT32") for name in ("left", "right", "sum"))
    less = made.tensor("less", [1, 4], "BOOL")
    open_batch(made, left, right, total, less)
    made.op("ADD", [left, right], [total], "AddOptions")
    made.op("LESS", [left, right], [less], "LessOptions")
    return made.write(path, [left, right], [total, less])


def counting(path):
    """x (1, 1) → y: the sum of all x since the state was reset."""
    made = Builder()
    x, y = made.tensor("x", [1, 1], "FLOAT32"), made.tensor("y", [1, 1], "FLOAT32")
    one = np.ones((1, 1), "float32")
    weights = [made.tensor(name, [1, 1], "FLOAT32", values=one) for name in ("input", "recurrent")]
    bias = made.tensor("bias", [1], "FLOAT32", values=np.zeros(1, "float32"))
    hidden = made.tensor("hidden", [1, 1], "FLOAT32")
    made.graph.tensors[hidden].isVariable = True
    made.op("RNN", [x, *weights, bias, hidden], [y], "RNNOptions")
    return made.write(path, [x], [y])


def by_hand(path, stored):
    """The stored output for a stored input of the file's own shape."""
    made = Interpreter(str(path))
    made.allocate_tensors()
    made.set_tensor(made.get_input_details()[0]["index"], stored)
    made.invoke()
    return made.get_tensor(made.get_output_details()[0]["index"])


@pytest.mark.parametrize("kind", ["INT8", "UINT8", "INT16"])
def test_integer_files_give_what_quantizing_invoking_and_dequantizing_gives(tmp_path, kind):
    zero_point = {"INT8": -7, "UINT8": 120, "INT16": 0}[kind]
    path = quantized(tmp_path / "q.tflite", kind, zero_point=zero_point)
    x = np.random.default_rng(0).normal(0, 20, (50, 3)).astype("float32")
    found = TFLiteModel(str(path)).predict({"x": x})["y"]
    limits = np.iinfo(kind.lower())
    stored = np.clip(np.rint(x.astype("float64") / np.float32(SCALE)) + zero_point, limits.min, limits.max)
    raw = np.concatenate([by_hand(path, row[None].astype(kind.lower())) for row in stored])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, (np.float32(SCALE) * (raw.astype("float64") - zero_point)).astype("float32"))
    if kind != "INT16":
        assert (stored == limits.max).any()  # which is what clipping is for
    assert len(np.unique(found)) > 10


FLOATS = hnp.arrays("float32", 16, elements=st.floats(-(2.0**90), 2.0**90, width=32))


@given(FLOATS, st.sampled_from(["int8", "uint8", "int16"]), st.floats(1e-6, 1e3), st.integers(-100, 100))
def test_quantizing_is_what_the_runs_own_figures_were_measured_with(values, kind, scale, zero_point):
    details = {"dtype": np.dtype(kind), "quantization": (scale, max(zero_point, 0) if kind == "uint8" else zero_point)}
    details["shape_signature"] = np.array([16])
    stored = tflite_pyfunc.quantized_input("x", values, details, True)
    np.testing.assert_array_equal(stored, runtime.quantize(values, details))
    np.testing.assert_array_equal(
        tflite_pyfunc.dequantized_output(stored, details, True), runtime.dequantize(stored, details)
    )


def test_float_files_give_what_a_plain_interpreter_gives(tmp_path):
    path = runnable_files.write(tmp_path / "m.tflite")
    x = np.random.default_rng(1).normal(size=(5, 64)).astype("float32")
    found = TFLiteModel(str(path)).predict({"features": x})["scores"]
    expected = np.concatenate([runnable_files.reference(path, row[None]) for row in x])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("batch", "dynamic"), [(1, False), (4, False), (1, True)])
@pytest.mark.parametrize("rows", [1, 3, 4, 9, 600])
def test_any_number_of_samples_goes_in_whatever_the_files_batch(tmp_path, batch, dynamic, rows):
    path = quantized(tmp_path / "q.tflite", batch=batch, dynamic=dynamic)
    x = (np.arange(rows * 3).reshape(rows, 3) % 100 - 50).astype("float32") * SCALE
    model = TFLiteModel(str(path))
    for _ in range(2):
        np.testing.assert_allclose(model.predict(x)["y"], np.maximum(x, 0), atol=1e-6)
    np.testing.assert_allclose(model.predict(x[:2])["y"], np.maximum(x[:2], 0), atol=1e-6)


@pytest.mark.slow
def test_each_form_of_input_gives_the_same(tmp_path):
    import pandas as pd

    model = TFLiteModel(str(summed(tmp_path / "s.tflite")))
    rng = np.random.default_rng(2)
    left, right = rng.normal(size=(2, 3, 4)).astype("float32")
    expected = model.predict({"left": left, "right": right})
    np.testing.assert_array_equal(expected["sum"], left + right)
    np.testing.assert_array_equal(expected["less"], left < right)
    assert expected["less"].dtype == bool
    assert list(expected) == ["sum", "less"]  # the file's order
    forms = [
        {"right": right.tolist(), "left": left.tolist()},
        {"left": left.astype("float64"), "right": right.astype("float64")},
        [{"left": a.tolist(), "right": b} for a, b in zip(left, right, strict=True)],
        pd.DataFrame({"left": list(left), "right": right.tolist()}),
    ]
    for form in forms:
        found = model.predict(form)
        assert found.keys() == expected.keys()
        for name in found:
            np.testing.assert_array_equal(found[name], expected[name])


def test_one_input_takes_an_array_a_list_and_the_flat_rows_of_a_table(tmp_path):
    import pandas as pd

    made = Builder()
    x, y = (made.tensor(name, [1, 2, 2, 1], "FLOAT32") for name in "xy")
    open_batch(made, x, y)
    made.op("ABS", [x], [y], "AbsOptions")
    model = TFLiteModel(str(made.write(tmp_path / "a.tflite", [x], [y])))
    fed = -np.arange(12, dtype="float32").reshape(3, 2, 2, 1)
    table = pd.DataFrame({"x": [row.reshape(-1).tolist() for row in fed]})
    for form in (fed, fed.tolist(), table, pd.DataFrame({"x": list(fed)})):
        np.testing.assert_array_equal(model.predict(form)["y"], np.abs(fed))


def test_integers_as_they_are_stored_in_and_out(tmp_path):
    model = TFLiteModel(str(quantized(tmp_path / "q.tflite")))
    raw = model.predict({"x": [[-5, 0, 90]]}, {"quantize": False, "dequantize": False})["y"]
    assert raw.dtype == np.int8
    assert raw.tolist() == [[0, 0, 90]]
    with pytest.raises(ValueError, match=r"input 'x'.*no int8"):
        model.predict({"x": [[0, 0, 128]]}, {"quantize": False})
    with pytest.raises(ValueError, match="unknown params: dequantise"):
        model.predict({"x": [[0, 0, 1]]}, {"dequantise": False})


def test_text_goes_in_and_comes_out_as_text(tmp_path):
    made = Builder()
    x, y = made.tensor("x", [1, 2], "STRING"), made.tensor("y", [2, 1], "STRING")
    shape = made.tensor("shape", [2], "INT32", values=np.array([-1, 1], "int32"))
    open_batch(made, x, y)
    made.op("RESHAPE", [x, shape], [y])
    model = TFLiteModel(str(made.write(tmp_path / "t.tflite", [x], [y])))
    for form in (np.array([["a", "größer"]]), [["a", "größer"]], np.array([[b"a", "größer".encode()]], object)):
        assert model.predict({"x": form})["y"].tolist() == [["a"], ["größer"]]
    with pytest.raises(ValueError, match="input 'x': int64, where text is expected"):
        model.predict({"x": [[1, 2]]})


@pytest.mark.parametrize("kind", ["INT64", "INT32"])
def test_whole_numbers_stay_whole(tmp_path, kind):
    made = Builder()
    x, y, s = (made.tensor(name, [1, 2], kind) for name in "xys")
    made.op("ADD", [x, y], [s], "AddOptions")
    model = TFLiteModel(str(made.write(tmp_path / "i.tflite", [x, y], [s])))
    large = 2**40 if kind == "INT64" else 2**20 + 1
    found = model.predict({"x": [[large, 1], [2, 3]], "y": [[1.0, 1.0], [1.0, 1.0]]})["s"]
    assert found.dtype == np.dtype(kind.lower())
    assert found.tolist() == [[large + 1, 2], [3, 4]]
    with pytest.raises(ValueError, match=f"input 'x'.*no {kind.lower()}"):
        model.predict({"x": [[0.5, 1]], "y": [[1, 1]]})


def test_state_is_reset_for_each_sample_or_each_call(tmp_path):
    path = str(counting(tmp_path / "c.tflite"))
    x = np.ones((3, 1), "float32")
    plain, stateful = TFLiteModel(path), TFLiteModel(path, stateful=True)
    for _ in range(2):
        assert plain.predict({"x": x})["y"].tolist() == [[1], [1], [1]]
        assert stateful.predict({"x": x})["y"].tolist() == [[1], [2], [3]]


def test_another_signature_by_params_or_at_load(tmp_path):
    path = str(runnable_files.write(tmp_path / "two.tflite", ("serve", "train")))
    x = np.ones((2, 64), "float32")
    expected = TFLiteModel(path).predict(x)["scores"]
    np.testing.assert_array_equal(TFLiteModel(path).predict(x, {"signature": "train"})["scores"], expected)
    np.testing.assert_array_equal(_load_pyfunc(path, {"signature": "train"}).predict(x)["scores"], expected)
    with pytest.raises(ValueError, match="no signature 'other'; the file has serve, train"):
        TFLiteModel(path).predict(x, {"signature": "other"})


def test_threads_do_not_disturb_each_other(tmp_path):
    model = TFLiteModel(str(summed(tmp_path / "s.tflite")))

    def ask(number):
        x = np.full((number % 5 + 1, 4), number, "float32")
        return (model.predict({"left": x, "right": x})["sum"] == 2 * number).all()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))


@pytest.mark.parametrize(
    ("fed", "said"),
    [
        ({"left": [[1, 2, 3, 4]]}, r"takes left \(samples, 4\) float32; right \(samples, 4\) float32; there is left"),
        ({"left": [[1, 2, 3, 4]], "rigth": 1, "right": 2}, "there is left, rigth, right"),
        ({"left": [[1, 2, 3]], "right": [[1, 2, 3, 4]]}, r"input 'left': shape \(1, 3\), where left \(samples, 4\)"),
        ({"left": [1, 2, 3, 4], "right": [[1, 2, 3, 4]]}, "one sample needs a first axis of 1"),
        ({"left": [[1, 2, 3, 4], [1, 2]], "right": [[1, 2, 3, 4]]}, "'left': the nested lists are of different"),
        ({"left": [[1, 2, 3, 4]] * 2, "right": [[1, 2, 3, 4]] * 3}, "numbers of samples: left 2, right 3"),
        ({"left": np.zeros((0, 4)), "right": np.zeros((0, 4))}, "input 'left': there is no sample"),
        ({"left": [["a"] * 4], "right": [[1, 2, 3, 4]]}, "input 'left': <U1, where left"),
        (np.zeros((1, 4)), "the inputs left, right: feed a dict"),
    ],
)
def test_what_does_not_fit_is_told_by_name(tmp_path, fed, said):
    with pytest.raises(ValueError, match=said):
        TFLiteModel(str(summed(tmp_path / "s.tflite"))).predict(fed)


def test_nan_has_no_integer(tmp_path):
    with pytest.raises(ValueError, match="input 'x': NaN"):
        TFLiteModel(str(quantized(tmp_path / "q.tflite"))).predict({"x": [[0, float("nan"), 1]]})


def test_ops_that_nothing_here_runs_are_told_at_load(tmp_path):
    path = quantized(tmp_path / "q.tflite")
    with pytest.raises(ValueError, match="LiteRT cannot run this model: it has 2 Flex ops, which"):
        _load_pyfunc(str(path), {"unsupported_ops": "2 Flex ops"})
    made = Builder()
    x, y = (made.tensor(name, [1, 2], "FLOAT32") for name in "xy")
    made.op("CUSTOM", [x], [y], custom="Wavelet")
    custom = made.write(tmp_path / "c.tflite", [x], [y])
    with pytest.raises(ValueError, match=r"LiteRT cannot load the model: .*Wavelet"):
        _load_pyfunc(str(custom))


@pytest.mark.slow
def test_it_needs_neither_tensorflow_nor_this_package(tmp_path):
    path = quantized(tmp_path / "q.tflite")
    code = f"""
import importlib.util, json, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", "tf_keras", "tflite_recipes", "mlflow", "pandas"):
            raise ImportError(f"{{name}} is not here")

sys.meta_path.insert(0, Refuse())
spec = importlib.util.spec_from_file_location("loader", {tflite_pyfunc.__file__!r})
loader = importlib.util.module_from_spec(spec)
spec.loader.exec_module(loader)
print(json.dumps(loader._load_pyfunc({str(path)!r}).predict([[1.0, -1.0, 0.52]])["y"].tolist()))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[1.0, 0.0, pytest.approx(0.5, abs=1e-6)]]
