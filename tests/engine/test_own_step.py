"""Steps of the user's own that are wrong in every way: each is refused in words that name the step."""

import json
from dataclasses import replace

import pytest
from support.checkout import write

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus, RecipeError, RequestError, StepError
from tflite_recipes.core.schema import TARGET
from tflite_recipes.core.state import State
from tflite_recipes.engine import own_step

HEAD = "import dataclasses\nfrom pathlib import Path\n\n\n"
DATACLASS = "@dataclasses.dataclass(frozen=True)\nclass Step:\n"
CALL = "    def __call__(self, state, reporter):\n"
MADE = "    def __post_init__(self):\n        raise ValueError('no')\n"
STEPS = {
    "no_dataclass": f"class Step:\n{CALL}        return state\n",
    "function": "def Step(state, reporter):\n    return state\n",
    "value": "Step = 3\n",
    "no_call": f"{DATACLASS}    factor: float = 1.0\n",
    "takes_one": f"{DATACLASS}    def __call__(self, state):\n        return state\n",
    "takes_three": f"{DATACLASS}    def __call__(self, state, reporter, more):\n        return state\n",
    "gives_nothing": f"{DATACLASS}{CALL}        pass\n",
    "gives_text": f"{DATACLASS}{CALL}        return 'done'\n",
    "gives_text_for_a_path": f"{DATACLASS}{CALL}        return dataclasses.replace(state, tflite='model.tflite')\n",
    "gives_a_missing_path": f"{DATACLASS}{CALL}        return dataclasses.replace(state, tflite=Path('a'))\n",
    "gives_inputs_by_name": f"{DATACLASS}{CALL}        return dataclasses.replace(state, inputs=('x',))\n",
    "hint_unknown": f"{DATACLASS}    factor: 'Nowhere' = 1\n{CALL}        return state\n",
    "fails_when_made": f"{DATACLASS}{MADE}{CALL}        return state\n",
    "not_python": "class Step(:\n",
    "fails_when_imported": "raise OSError(2, 'No such file or directory', 'weights.bin')\n",
    "not_there": "class Other:\n    pass\n",
}
RAISES = {
    "raises": f"{DATACLASS}{CALL}        return state.nothing\n",
    "leaves": f"{DATACLASS}{CALL}        raise SystemExit(0)\n",
    "reads": f"{DATACLASS}{CALL}        return open('nowhere.txt')\n",
}


@pytest.mark.parametrize("name", STEPS)
def test_wrong_step_is_refused_with_its_target(here, name):
    write(here / f"{name}.py", HEAD + STEPS[name])
    with pytest.raises(RequestError) as error:
        own_step.load("scale", {TARGET: f"{name}.py:Step"})(State(here), None)
    (problem,) = error.value.problems
    assert problem.where == f"scale.{TARGET}"
    assert f"{name}.py" in problem.what
    assert problem.fix == ""


@pytest.mark.parametrize("name", RAISES)
def test_step_that_raises_names_the_line(here, name):
    write(here / f"{name}.py", HEAD + RAISES[name])
    with pytest.raises(StepError) as error:
        own_step.load("scale", {TARGET: f"{name}.py:Step"})(State(here), None)
    (problem,) = error.value.problems
    assert problem.where == "scale"
    assert f"of {name}.py" in problem.what
    assert "Errno" not in problem.what


def test_wrong_key_has_its_fix(here):
    write(here / "right.py", f"{HEAD}{DATACLASS}    factor: float\n{CALL}        return state\n")
    with pytest.raises(RequestError) as error:
        own_step.load("scale", {TARGET: "right.py:Step", "factr": 2.0})
    assert [problem.where for problem in error.value.problems] == ["scale.factr", "scale.factor"]
    assert error.value.problems[0].fix == "'~scale.factr' scale.factor=2.0"


def test_problem_that_a_step_raises_is_kept(here):
    text = "from tflite_recipes.core.errors import Problem, StepError\n"
    write(here / "own.py", f"{text}{HEAD}{DATACLASS}{CALL}        raise StepError(Problem('no room', 'scale.size'))\n")
    with pytest.raises(RecipeError) as error:
        own_step.load("scale", {TARGET: "own.py:Step"})(State(here), None)
    assert error.value.problems[0].where == "scale.size"


def test_right_step_gives_its_state(here):
    text = (
        f"{HEAD}{DATACLASS}    factor: int\n{CALL}        return dataclasses.replace(state, parameters=self.factor)\n"
    )
    write(here / "own.py", text)
    state = State(here)
    step = own_step.load("scale", {TARGET: "own.py:Step", "factor": 7})
    assert step(state, None) == replace(state, parameters=7)
    assert json.dumps(step(state, None).to_json())


@pytest.mark.slow
def test_run_with_wrong_own_code_ends_in_a_problem_that_names_it(here):
    write(here / "model_is_text.py", f"{HEAD}{DATACLASS}{CALL}        return dataclasses.replace(state, model='x')\n")
    write(here / "no_dataclass.py", STEPS["no_dataclass"])
    write(here / "make.py", "def build(units):\n    return units + 1\n")
    run = ["tracking=none", "source=digits"]
    steps = "steps=[{}:Step,source,freeze,optimization,target,evaluation]"
    ends = []
    for overrides in (
        [*run, steps.format("model_is_text.py")],
        [*run, steps.format("no_dataclass.py")],
        ["tracking=none", "source=factory", "source.function=make.py:build"],
        ["tracking=none", "source=factory", "source.function=make.py:build", "+source.arguments.units=x"],
    ):
        result = api.run("convert", overrides, progress=False)
        ends += [(result.status, problem.where) for problem in result.problems]
        assert "fault of this version" not in result.problems[0].what
    assert ends == [
        (ExitStatus.REQUEST, "model_is_text.py:Step"),
        (ExitStatus.REQUEST, "no_dataclass.py:Step"),
        (ExitStatus.REQUEST, "source.arguments"),
        (ExitStatus.FAILED, "source"),
    ]
