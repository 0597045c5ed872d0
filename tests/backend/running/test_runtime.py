"""Files run over samples: the same outputs as one invoke at a time, whatever the batch, the types and the threads."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

pytestmark = pytest.mark.slow

SAMPLES = 37


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """`files(kind, batch)`: a converted model with the inputs `left` and `right`, written once."""
    import keras
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("files")

    def build(kind, batch):
        path = folder / f"{kind}_{batch}.tflite"
        if path.exists():
            return path
        keras.utils.set_random_seed(0)
        left = keras.Input((6, 4), batch_size=batch, name="left")
        right = keras.Input((3,), batch_size=batch, name="right")
        shaken = keras.layers.LSTM(5)(left) if kind == "lstm" else keras.layers.Flatten()(left)
        joined = keras.layers.Concatenate()([shaken, right])
        wide = keras.layers.Dense(8, activation="relu", name="wide")(joined)
        model = keras.Model([left, right], {"wide": wide, "narrow": keras.layers.Dense(1)(wide)})
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if kind == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: (
                [x[: batch or 1] for x in pair] for pair in [list(samples().values())] * 3
            )
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        path.write_bytes(converter.convert())
        return path

    return build


def samples(count=SAMPLES):
    rng = np.random.default_rng(0)
    return {
        "left": rng.uniform(-2, 2, (count, 6, 4)).astype("float32"),
        "right": rng.uniform(-1, 1, (count, 3)).astype("float32"),
    }


def one_by_one(path, arrays):
    """A plain loop over rows, or over batches where the file has a fixed one."""
    from tflite_recipes.backend.running import runtime

    made = runtime.interpreter(path)
    runner = made.get_signature_runner("serving_default")
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    size = max(1, int(inputs["left"]["shape_signature"][0]))
    rows = {name: [] for name in outputs}
    total = len(arrays["left"])
    for start in range(0, total, size):
        part = {name: values[start : start + size] for name, values in arrays.items()}
        count = len(part["left"])
        part = {name: np.concatenate([values, *[values[-1:]] * (size - count)]) for name, values in part.items()}
        made.reset_all_variables()
        results = runner(**{name: runtime.quantize(values, inputs[name]) for name, values in part.items()})
        for name, values in results.items():
            rows[name].append(runtime.dequantize(values[:count], outputs[name]))
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def run(path, arrays, **more):
    from tflite_recipes.backend.running import runtime

    return runtime.run(path, "serving_default", arrays, lambda *_: None, **more)


def same(one, other):
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert (values.dtype, values.shape) == (other[name].dtype, other[name].shape)
        np.testing.assert_allclose(values, other[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("batch", [None, 1, 8])
@pytest.mark.parametrize("kind", ["float", "int8"])
def test_outputs_are_those_of_one_invoke_at_a_time(files, kind, batch):
    path = files(kind, batch)
    same(run(path, samples()), one_by_one(path, samples()))


@pytest.mark.parametrize("batch", [None, 1, 8])
@pytest.mark.parametrize("interpreters", [2, 5])
def test_several_interpreters_give_what_one_gives_in_the_same_order(files, batch, interpreters):
    from tflite_recipes.backend.running import runtime

    path, arrays = files("int8", batch), samples(203)
    plan = runtime.plan(path, "serving_default", 203)
    assert plan.interpreters == 1  # so small a file is not worth more
    smaller = replace(plan, batch=plan.batch if plan.fixed else 16)
    same(run(path, arrays, planned=replace(smaller, interpreters=interpreters)), run(path, arrays, planned=smaller))


def test_a_state_is_kept_between_invokes_only_where_the_source_keeps_it(files):
    path = files("lstm", 1)
    arrays = {name: np.repeat(values[:1], 3, axis=0) for name, values in samples().items()}
    apart = run(path, arrays)["wide"]
    np.testing.assert_array_equal(apart[0], apart[2])
    same(run(path, samples()), one_by_one(path, samples()))


def test_fewer_samples_than_a_batch_and_one_more_than_a_few(files):
    for batch in (None, 8):
        path = files("float", batch)
        for count in (1, 7, 8, 9, 257):
            arrays = samples(count)
            same(run(path, arrays), one_by_one(path, arrays))


def test_progress_is_told_in_this_thread_up_to_the_last_sample(files):
    from tflite_recipes.backend.running import runtime

    told = []
    path = files("float", None)
    plan = replace(runtime.plan(path, "serving_default", SAMPLES), batch=4, interpreters=2)
    runtime.run(
        path,
        "serving_default",
        samples(),
        lambda *done: told.append((*done, threading.current_thread() is threading.main_thread())),
        planned=plan,
    )
    assert told[-1] == (SAMPLES, SAMPLES, True)
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert all(here for _, _, here in told)


def test_what_a_file_cannot_take_ends_the_same_way_in_any_thread(files):
    from tflite_recipes.backend.running import runtime
    from tflite_recipes.core.errors import StepError

    path = files("float", 1)
    plan = runtime.plan(path, "serving_default", SAMPLES)
    arrays = {**samples(), "right": np.zeros((SAMPLES, 4), "float32")}
    for interpreters in (1, 2):
        with pytest.raises(StepError, match="LiteRT cannot run the file"):
            run(path, arrays, planned=replace(plan, interpreters=interpreters))


def test_plans(files, monkeypatch):
    from tflite_recipes.backend.running import runtime

    def planned(path, count, stateful=False):
        return runtime.plan(path, "serving_default", count, stateful)

    assert planned(files("float", None), 10_000) == runtime.Plan(256, False, 1, 1)
    assert planned(files("float", None), 5).batch == 5
    assert planned(files("float", 8), 10_000) == runtime.Plan(8, True, 1, 1)
    monkeypatch.setattr(runtime, "_SMALL_BYTES", 0)
    monkeypatch.setattr(runtime, "cores", lambda: 6)
    assert planned(files("float", None), 10**7) == runtime.Plan(256, False, 4, 1)
    assert planned(files("float", None), 10**7, stateful=True) == runtime.Plan(256, False, 1, 6)
    assert planned(files("float", None), 10) == runtime.Plan(10, False, 1, 6)
    monkeypatch.setattr(runtime, "_LARGEST_COPIED_FILE", 100)
    assert planned(files("float", None), 10**7).interpreters == 1
    monkeypatch.setattr(runtime, "_BATCH_BYTES", 1000)
    assert planned(files("float", None), 10**7).batch == 1000 // (27 * 4)


scales = st.sampled_from([float(np.float32(2 / 255)), 0.0039215688593685627, 1.0, 0.25, float(np.float32(1e-7))])


@given(
    hnp.arrays("float32", (4, 5), elements=st.floats(width=32, allow_nan=False, allow_infinity=True)),
    scales,
    st.sampled_from([("int8", -128), ("int8", 3), ("uint8", 0), ("uint8", 255), ("int16", 0)]),
)
def test_quantizing_is_that_of_float64(values, scale, kind):
    from tflite_recipes.backend.running import runtime

    dtype, zero_point = kind
    limits = np.iinfo(dtype)
    exact = np.clip(np.rint(values.astype("float64") / scale) + zero_point, limits.min, limits.max).astype(dtype)
    details = {"dtype": np.dtype(dtype), "quantization": (scale, zero_point)}
    np.testing.assert_array_equal(runtime.quantize(values, details), exact)


@given(st.integers(-300, 300), scales, st.integers(-3, 3))
def test_ties_and_their_neighbours_are_rounded_as_in_float64(step, scale, ulps):
    from tflite_recipes.backend.running import runtime

    value = np.array([(step + 0.5) * scale], "float32")
    for _ in range(abs(ulps)):
        value = np.nextafter(value, np.float32(np.inf if ulps > 0 else -np.inf), dtype="float32")
    details = {"dtype": np.dtype("int16"), "quantization": (scale, 5)}
    exact = np.rint(value.astype("float64") / scale) + 5
    np.testing.assert_array_equal(runtime.quantize(value, details), exact.astype("int16"))


def test_memory_holds_the_outputs_and_a_few_batches(files):
    import tracemalloc

    path, arrays = files("int8", None), samples(200_000)
    given_bytes = sum(values.nbytes for values in arrays.values())
    run(path, {name: values[:1000] for name, values in arrays.items()})
    tracemalloc.start()
    try:
        outputs = run(path, arrays)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    beside = peak - sum(values.nbytes for values in outputs.values())
    assert beside < 6e6 < given_bytes / 3
