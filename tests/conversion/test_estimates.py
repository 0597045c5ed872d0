"""Estimates of what other schemes weigh, and the change that comes nearest."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.accelerator_files import write

from tflite_recipes.conversion import estimates
from tflite_recipes.files.tflite import Operator, Subgraph, Tensor, TFLiteFile, read_tflite

OTHER_BYTES = 2000


def dense(units, inputs, dtype="float32"):
    """One Dense layer in a file of its own."""
    width = {"float32": 4, "int8": 1}[dtype]
    tensors = (
        Tensor(0, "x", (1, inputs), "float32"),
        Tensor(1, "kernel", (units, inputs), dtype, buffer_bytes=units * inputs * width, buffer_offset=100),
        Tensor(2, "bias", (units,), "float32", buffer_bytes=4 * units, buffer_offset=200),
        Tensor(3, "y", (1, units), "float32"),
    )
    graph = Subgraph("main", tensors, (Operator(0, "FULLY_CONNECTED", "", (0, 1, 2), (3,)),), (0,), (3,))
    size = OTHER_BYTES + sum(tensor.buffer_bytes for tensor in tensors)
    return TFLiteFile(Path("none.tflite"), size, 3, "", (graph,), (), ())


FILE = dense(64, 256)  # 65,536 bytes of weights


@pytest.mark.parametrize(
    ("limit", "calibrated", "overrides"),
    [
        (60_000, False, "optimization=float16"),
        (30_000, False, "optimization=dynamic_range"),
        (15_000, True, "optimization=dynamic_range_int4"),
        (5_000, True, None),
    ],
)
def test_the_least_change_that_fits(limit, calibrated, overrides):
    found = estimates.smaller_file(FILE, "none", limit, calibrated)
    assert (found and found.overrides) == overrides
    assert found is None or found.size < limit


@pytest.mark.parametrize("calibrated", [True, False])
def test_of_the_schemes_that_the_target_takes(calibrated):
    found = estimates.smaller_file(FILE, "none", 30_000, calibrated, ("integer_only",))
    more = "" if calibrated else " calibration=npz calibration.path=FILE"
    assert found is not None
    assert found.overrides == f"optimization=integer_only{more}"
    assert estimates.smaller_file(FILE, "integer_only", 30_000, calibrated, ("integer_only",)) is None


def test_what_fits_only_within_the_error_of_the_estimate_is_not_named():
    size = estimates.estimated_bytes(FILE, "float16")
    assert estimates.smaller_file(FILE, "none", size, True, ("float16",)) is None
    assert estimates.smaller_file(FILE, "none", size * 1.031, True, ("float16",)) is not None


@given(st.integers(1, 80), st.integers(1, 80))
def test_an_estimate_of_the_scheme_at_hand_is_the_file_itself(units, inputs):
    file = dense(units, inputs)
    assert estimates.estimated_bytes(file, "none") == file.size_bytes


@given(st.integers(40, 200), st.integers(200, 400))
def test_schemes_of_fewer_bits_weigh_less(units, inputs):
    sizes = [estimates.estimated_bytes(dense(units, inputs), scheme) for scheme in ("none", "float16", "dynamic_range")]
    assert sizes == sorted(sizes, reverse=True)


def test_small_weights_stay_as_they_are_in_dynamic_range():
    small = dense(10, 100)
    assert estimates.estimated_bytes(small, "dynamic_range") == small.size_bytes
    assert estimates.estimated_bytes(dense(10, 103), "dynamic_range") < dense(10, 103).size_bytes


def test_activations_live_from_the_op_that_makes_them_to_the_last_that_reads_them(tmp_path):
    names = ("RELU", "TANH", "RELU")
    integer = read_tflite(write(tmp_path / "a.tflite", names))
    floats = read_tflite(write(tmp_path / "b.tflite", names, dtype="FLOAT32"))
    assert estimates.activation_bytes(integer) == 2 * 64
    assert estimates.activation_bytes(floats) == 4 * estimates.activation_bytes(floats, integer=True) == 4 * 2 * 64


def test_a_tensor_that_is_read_late_is_kept_until_then():
    tensors = tuple(Tensor(i, f"t{i}", (10,), "int8") for i in range(4))
    ops = (Operator(0, "A", "", (0,), (1,)), Operator(1, "B", "", (1,), (2,)), Operator(2, "C", "", (1, 2), (3,)))
    file = TFLiteFile(Path("x"), 100, 3, "", (Subgraph("", tensors, ops, (0,), (3,)),), (), ())
    assert estimates.activation_bytes(file) == 30


@pytest.mark.parametrize(("limit", "named"), [(511, True), (512, False), (127, False)])
def test_integers_are_named_where_they_bring_activations_below_the_limit(tmp_path, limit, named):
    file = read_tflite(write(tmp_path / "b.tflite", ("RELU",), dtype="FLOAT32"))
    found = estimates.smaller_activations(file, limit, calibrated=True)
    assert found == (estimates.Option("optimization=integer_only", 128) if named else None)


@pytest.mark.slow
def test_estimates_are_near_what_is_converted(here, cli):
    """Each from each: the files of one model in four schemes."""
    files = {}
    for scheme in ("none", "float16", "dynamic_range", "integer_only"):
        arguments = (
            f"optimization={scheme}",
            "calibration=digits",
            "tracking=none",
            "evaluation=none",
            "source.epochs=1",
        )
        done = cli("run", "digits_float", "target=generic", *arguments, f"hydra.run.dir={scheme}")
        assert done.status == 0, done.err
        files[scheme] = read_tflite(here / scheme / "model.tflite")
    for at_hand in files.values():
        for scheme, file in files.items():
            assert estimates.estimated_bytes(at_hand, scheme) == pytest.approx(file.size_bytes, rel=0.02)


def test_an_arena_in_integers():
    assert estimates.integer_arena_bytes(FILE, 4 * (256 + 64) + 1000, 4) == 256 + 64 + 1000 + 8 * 64
    assert estimates.integer_arena_bytes(FILE, 0, 4) == 256 + 64 + 8 * 64  # an arena that is not that of the file
