"""A file that quietly came out in another scheme is refused; what its users must know of it is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tflite_recipes.conversion import scheme_check
from tflite_recipes.conversion.schemes import Scheme
from tflite_recipes.core.errors import StepError
from tflite_recipes.core.state import CALIBRATED, State, TensorSpec
from tflite_recipes.files.tflite import Operator, Signature, Subgraph, Tensor, TFLiteFile, read_tflite
from tflite_recipes.files.tflite.io_contract import io_contract

X, Y = TensorSpec("x", (None, 4), "float32"), TensorSpec("y", (None, 2), "float32")
STATE = State(Path("work"), signature="serve", parameters=8, inputs=(X,), outputs=(Y,))


def file(input_type="float32", weights="float32", inner=None, output_type="float32", weight_bytes=32, scales=()):
    """x → (inner) → y with one weight tensor, as the converter leaves it."""
    tensors = [
        Tensor(0, "serve_x:0", (1, 4), input_type, (0.5,), (-3,)),
        Tensor(1, "dense/kernel", (2, 4), weights, scales, (0,) * len(scales), buffer_bytes=weight_bytes),
        Tensor(2, "dense/MatMul", (1, 2), inner or output_type),
        Tensor(3, "y:0", (1, 2), output_type),
    ]
    graph = Subgraph("main", tuple(tensors), (Operator(0, "FULLY_CONNECTED", "", (0, 1), (2,)),), (0,), (3,))
    signature = Signature("serve", (("x", 0),), (("y", 3),), 0)
    return TFLiteFile(Path("model.tflite"), 1000, 3, "", (graph,), (signature,), ())


INT8 = {"input_type": "int8", "weights": "int8", "inner": "int8", "output_type": "int8", "scales": (0.1, 0.2)}
QUANTIZED = {"weights": "int8", "scales": (0.1,)}


def problems(found, scheme, input_type="float32", output_type="float32", state=STATE):
    try:
        scheme_check.check(found, scheme, input_type, output_type, state)
    except StepError as error:
        return [problem.what for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("found", "scheme", "types"),
    [
        (file(), "none", ("float32", "float32")),
        (file(**QUANTIZED), "dynamic_range", ("float32", "float32")),
        (file(weights="float16"), "float16", ("float32", "float32")),
        (file(**QUANTIZED, inner="int8"), "full_integer", ("float32", "float32")),
        (file(**INT8), "integer_only", ("int8", "int8")),
        (file(**{**INT8, "input_type": "uint8"}), "integer_only", ("uint8", "int8")),
        (file(**{**INT8, "input_type": "float32", "output_type": "float32"}), "integer_only", ("float32", "float32")),
        (file(**QUANTIZED, inner="int16"), "int16x8", ("float32", "float32")),
    ],
)
def test_a_file_in_its_scheme_passes(found, scheme, types):
    assert problems(found, scheme, *types) == []


def test_integer_only_with_a_float_inside_names_it():
    (what,) = problems(file(**{**INT8, "inner": "float32"}), "integer_only", "int8", "int8")
    assert what == "integer only was asked, but 1 tensors are float: FULLY_CONNECTED in dense"


def test_integer_only_does_not_take_float_edges_that_were_not_asked():
    found = problems(file(**{**INT8, "input_type": "float32"}), "integer_only", "int8", "int8")
    assert found == [
        "input 'x' came out float32, int8 was asked",
        "integer only was asked, but 1 tensors are float: FULLY_CONNECTED in dense",
    ]


@pytest.mark.parametrize("scheme", ["full_integer", "integer_only"])
def test_an_integer_scheme_that_quantized_nothing_is_refused(scheme):
    assert "integer was asked, but no tensor came out int8" in problems(file(), scheme)


@pytest.mark.parametrize("found", [file(**QUANTIZED, inner="int8"), file(weights="int16", scales=(0.1,))])
def test_16x8_without_int16_activations_is_refused(found):
    assert problems(found, "int16x8") == ["16x8 was asked, but no activation came out int16"]


@pytest.mark.parametrize("weights", ["int8", "float16"])
def test_float_weights_that_came_out_quantized_are_refused(weights):
    found = file(weights=weights, scales=(0.1,))
    assert problems(found, "none") == ["float32 was asked, but weights came out quantized"]


def test_an_output_of_another_type_is_refused():
    (what,) = problems(file(**{**QUANTIZED, "inner": "int8"}), "full_integer", "float32", "uint8")
    assert what == "output 'y' came out float32, uint8 was asked"


@pytest.mark.parametrize("dtype", ["int32", "int64", "bool", "string"])
def test_inputs_and_outputs_that_are_no_floats_keep_their_types(dtype):
    state = State(Path(), inputs=(TensorSpec("x", (None, 4), dtype),), outputs=(Y,))
    found = file(**{**INT8, "input_type": dtype, "output_type": dtype})
    assert problems(found, "integer_only", "int8", "int8", state) == []
    assert problems(file(**INT8), "integer_only", "int8", "int8", state) == [
        f"input 'x' came out int8, {dtype} was asked"
    ]


def test_missing_weights_are_noticed():
    state = State(Path(), parameters=10_000, inputs=(X,), outputs=(Y,))
    (what,) = problems(file(weight_bytes=32), "none", state=state)
    assert what == "10000 parameters went in, 32 bytes of constants came out: the weights are missing"
    assert problems(file(weight_bytes=10_000), "none", state=state) == []


def test_every_problem_is_said_at_once():
    state = State(Path(), parameters=10_000, inputs=(X,), outputs=(Y,))
    assert len(problems(file(), "integer_only", "int8", "int8", state)) == 5


def test_the_contract_of_inputs_and_outputs_has_both_sides():
    contract = io_contract(file(**{**INT8, "output_type": "float32"}), STATE)
    assert contract == {
        "signature": "serve",
        "stateful": False,
        "inputs": [
            {
                "name": "x",
                "source": {"shape": [None, 4], "dtype": "float32"},
                "tflite": {"tensor": "serve_x:0", "shape": [1, 4], "dtype": "int8", "scale": 0.5, "zero_point": -3},
            }
        ],
        "outputs": [
            {
                "name": "y",
                "source": {"shape": [None, 2], "dtype": "float32"},
                "tflite": {"tensor": "y:0", "shape": [1, 2], "dtype": "float32"},
            }
        ],
        "remedies": [],
        "notes": [],
    }


def test_the_contract_has_what_is_done_to_the_raw_data_of_an_input():
    done = {"x": {"resize": "bilinear", "scale": 0.5}, "other": {"scale": 2.0}}
    (entry,) = io_contract(file(**INT8), replace(STATE, preprocessing=done))["inputs"]
    assert entry["preprocessing"] == {"resize": "bilinear", "scale": 0.5}


def test_the_contract_keeps_the_sources_order():
    found = file()
    signature = Signature("serve", (("b", 2), ("a", 0)), (("y", 3),), 0)
    found = TFLiteFile(found.path, 0, 3, "", found.subgraphs, (signature,), ())
    inputs = (TensorSpec("a", (None, 4), "float32"), TensorSpec("b", (None, 2), "float32"))
    contract = io_contract(found, State(Path(), signature="serve", inputs=inputs, outputs=(Y,)))
    assert [entry["name"] for entry in contract["inputs"]] == ["a", "b"]


@pytest.mark.parametrize("name", ["kws_int8", "vww_96_int8", "ad01_int8", "str_ww_int8"])
def test_published_int8_files_are_integer_only(shared, name):
    found = read_tflite(shared / "models" / f"{name}.tflite")
    tensors = found.subgraphs[0].tensors
    types = [tensors[found.subgraphs[0].inputs[0]].dtype, tensors[found.subgraphs[0].outputs[0]].dtype]
    assert problems(found, "integer_only", *types, State(Path())) == []
    assert "16x8 was asked, but no activation came out int16" in problems(found, "int16x8", *types, State(Path()))


def changed(found, scheme, by_converter=True):
    """The fix of a refusal, else the warning."""
    try:
        return scheme_check.check_changed(found, scheme, by_converter, "optimization=none")
    except StepError as error:
        (problem,) = error.problems
        assert (problem.where, "dense/" in problem.what) == ("optimization", True)
        return problem.fix


def with_op(name, shape=(64, 64)):
    """A float file whose only op has this name, and weights of this shape."""
    (graph,) = file().subgraphs
    x, weights, *others = graph.tensors
    tensors = (x, replace(weights, shape=shape, scales=(), zero_points=()), *others)
    ops = (Operator(0, name, "", (0, 1), (2,)),)
    tensors = tuple(replace(tensor, scales=(), zero_points=()) for tensor in tensors)
    return replace(file(), subgraphs=(replace(graph, tensors=tensors, operators=ops),))


@pytest.mark.parametrize(
    ("found", "scheme"),
    [
        (with_op("FULLY_CONNECTED"), "none"),
        (file(**QUANTIZED), "dynamic_range"),
        (file(weights="float16"), "float16"),
        (file(weights="int4"), "weight_only_int4"),
        (file(**QUANTIZED, inner="int8"), "full_integer"),
    ],
)
def test_check_changed_a_quantized_file_passes(found, scheme):
    assert changed(found, scheme) == ""


@pytest.mark.parametrize("scheme", [scheme.name for scheme in Scheme if scheme is not Scheme.none])
@pytest.mark.parametrize("by_converter", [True, False])
def test_check_changed_a_file_that_stayed_float_is_refused(scheme, by_converter):
    assert changed(with_op("FULLY_CONNECTED"), scheme, by_converter) == "optimization=none"


@pytest.mark.parametrize(
    ("found", "by_converter"),
    [(with_op("SIN"), True), (with_op("FULLY_CONNECTED", (31, 33)), True), (with_op("SVDF"), False)],
    ids=["no weights", "fewer weights than the converter takes", "an op that the quantizer does not take"],
)
def test_check_changed_without_an_eligible_tensor_is_a_warning(found, by_converter):
    warning = changed(found, "dynamic_range", by_converter)
    assert warning.startswith("dynamic_range")


def test_check_integer_schemes_of_a_model_without_float_tensors_pass():
    (graph,) = file().subgraphs
    tensors = tuple(replace(tensor, dtype="int32", scales=(), zero_points=()) for tensor in graph.tensors)
    found = replace(file(), subgraphs=(replace(graph, tensors=tensors),))
    state = replace(STATE, inputs=(TensorSpec("x", (None, 4), "int32"),))
    for scheme in CALIBRATED:
        assert problems(found, scheme, state=state) == []
        assert changed(found, scheme).startswith(scheme)


@pytest.mark.parametrize(("op", "helps"), [("SIN", False), ("FULLY_CONNECTED", False), ("WHILE", True), ("FILL", True)])
def test_op_left_float_calls_for_another_batch_only_if_an_open_size_may_keep_it(op, helps):
    found = file(**{**INT8, "inner": "float32"})
    graph = replace(found.subgraphs[0], operators=(Operator(0, op, "", (0, 1), (2,)),))
    with pytest.raises(StepError) as refused:
        scheme_check.check(replace(found, subgraphs=(graph,)), "integer_only", "int8", "int8", STATE)
    (problem,) = refused.value.problems
    assert ("fixed_batch" in problem.remedies) is helps
