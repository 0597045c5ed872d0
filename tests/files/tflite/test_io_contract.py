"""What a recipe declares of a file's inputs and outputs, and what is said where the file is another."""

import pytest

from tflite_recipes.core.errors import StepError
from tflite_recipes.files.tflite.io_contract import IOContract, carries_state, check_declared, differences

CONTRACT = {
    "inputs": [
        {"name": "image", "tflite": {"shape": [1, 8, 8, 3], "dtype": "int8", "scale": 0.0039215, "zero_point": -128}},
        {"name": "mask", "tflite": {"shape": [1, 8], "dtype": "bool"}},
    ],
    "outputs": [{"name": "score", "tflite": {"shape": [1, 2], "dtype": "float32"}}],
}


@pytest.mark.parametrize(
    "declared",
    [
        {},
        {"outputs": {"score": {}}},
        {
            "inputs": {
                "image": {"shape": [1, 8, 8, 3], "dtype": "int8", "scale": 0.0039215, "zero_point": -128},
                "mask": {},
            }
        },
    ],
)
def test_what_is_as_declared_has_no_differences(declared):
    assert differences(CONTRACT, declared) == []


@pytest.mark.parametrize(
    ("declared", "where", "what"),
    [
        ({"outputs": {"score": {"dtype": "int8"}}}, "io_contract.outputs.score.dtype", "the file has float32, int8"),
        ({"outputs": {"score": {"scale": 0.5}}}, "io_contract.outputs.score.scale", "the file has None, 0.5"),
        ({"inputs": {"mask": {}, "image": {}}}, "io_contract.inputs", "the file has image, mask in this order"),
        ({"outputs": {"scores": {}}}, "io_contract.outputs", "the file has score in this order, scores was declared"),
        (
            {"inputs": {"image": {"scale": 0.004}, "mask": {}}},
            "io_contract.inputs.image.scale",
            "the file has 0.0039215",
        ),
    ],
)
def test_what_is_not_is_named(declared, where, what):
    with pytest.raises(StepError) as refused:
        check_declared(CONTRACT, declared)
    (problem,) = refused.value.problems
    assert problem.where == where
    assert problem.what.startswith(what)


def test_a_claim_of_an_unknown_kind_is_refused_before_anything_runs():
    wrong = IOContract({"x": 5, "y": {"dtyp": "int8"}}, {})
    assert [problem.where for problem in wrong.problems()] == ["io_contract.inputs.x", "io_contract.inputs.y.dtyp"]
    assert wrong.declared() == {"inputs": {"x": 5, "y": {"dtyp": "int8"}}}


@pytest.mark.parametrize(
    ("contract", "carries"),
    [
        ({"stateful": False}, False),
        ({"stateful": True}, True),
        ({"stateful": True, "reset": "before each new sequence"}, True),
        ({"stateful": True, "reset": "before each invoke"}, False),
    ],
)
def test_carries_state_is_whether_an_application_keeps_state_between_invokes(contract, carries):
    assert carries_state(contract) is carries
