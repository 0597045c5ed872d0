"""Values in another form than a key takes, and keys that are taken back: the fix is pasted until the request holds."""

import json
import shlex
import zipfile
from pathlib import Path

import pytest

from tflite_recipes.config import composition
from tflite_recipes.core.errors import RequestError

FACTORY = ["source=factory", "source.function=fac.py:build", "tracking=none"]


@pytest.fixture
def models(here):
    for name, shape in (("image", [None, 8, 8, 1]), ("open", [None, None, None, 3]), ("a,b", [None, 8, 8, 1])):
        config = {"batch_shape": shape, "dtype": "float32", "name": "x"}
        layer = {"class_name": "InputLayer", "config": config, "name": "x"}
        model = {"class_name": "Functional", "config": {"name": "m", "layers": [layer], "input_layers": ["x", 0, 0]}}
        with zipfile.ZipFile(here / f"{name}.keras", "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
            archive.writestr("config.json", json.dumps(model))
            archive.writestr("model.weights.h5", bytes(100))
    Path("fac.py").write_text("def build(**arguments):\n    pass\n")
    return here


def problems_of(*arguments):
    """Return the recipe of a command, or what is wrong with it. `-m` makes it a sweep."""
    overrides = [argument for argument in arguments if argument != "-m"]
    try:
        return composition.prepare("convert", overrides, sweep="-m" in arguments).recipes[0], ()
    except RequestError as error:
        return None, error.problems


def pasted(*arguments):
    """Return the fixes of the first refusal, and the recipe once fixes were pasted; None if there is no fix left."""
    recipe, problems = problems_of(*arguments)
    first, words = [problem.fix for problem in problems], [*arguments]
    for _ in range(3):
        fixes = [word for problem in problems for word in shlex.split(problem.fix)]
        if recipe is not None or not fixes:
            break
        words += fixes
        recipe, problems = problems_of(*words)
    else:
        assert recipe is not None, problems
    return first, recipe


@pytest.mark.parametrize(
    ("name", "asked", "shape"),
    [
        ("image", "[8,8]", [None, 8, 8, 1]),
        ("image", "[8,8,1]", [None, 8, 8, 1]),
        ("image", "[1,8,8]", [None, 8, 8, 1]),
        ("image", "[[8,8]]", [None, 8, 8, 1]),
        ("image", "[4,8,8,1]", [4, 8, 8, 1]),
        ("image", "8,8", [None, 8, 8, 1]),
        ("image", "{x:[8,8]}", [None, 8, 8, 1]),
        ("image", "{y:[8,8]}", [None, 8, 8, 1]),
        ("image", "{x:[-1,8,8,1]}", [None, 8, 8, 1]),
        ("image", "{x:[1,9,9,1]}", [1, 8, 8, 1]),
        ("open", "[16,24]", [None, 16, 24, 3]),
        ("open", "[16,24,3]", [None, 16, 24, 3]),
        ("open", "{x:[0,16,24,3]}", [None, 16, 24, 3]),
    ],
)
def test_shape_of_another_form_gets_the_one_that_was_meant_at_once(models, name, asked, shape):
    first, recipe = pasted("source=keras", f"source.path={name}.keras", f"source.input_shapes={asked}")
    assert len(first) == 1
    assert recipe.config["source"]["input_shapes"] == {"x": shape}


def test_list_for_a_mapping_of_other_things_gets_no_names_of_inputs(models):
    (problem,) = problems_of(*FACTORY, "source.arguments=[1,2]")[1]
    assert (problem.where, problem.fix) == ("source.arguments", "")
    assert problem.alternatives == ("'source.arguments={NAME:VALUE}'",)


# A comma in a value


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (["source.path=a,b.keras"], "'source.path=\"a,b.keras\"'"),
        (["source.path=a,b.keras", "-m"], "'source.path=\"a,b.keras\"'"),
        (["source.path=image.keras,open.keras"], "-m"),
        (["source.path=image.keras", "optimization=none,float16"], "-m"),
        (["source.path=image.keras", "calibration=random", "calibration.samples=4,8"], "-m"),
        (["source.path=image.keras", "hydra.sweep.dir=a,b", "-m"], "'hydra.sweep.dir=\"a,b\"'"),
        (["source.path=image.keras", "source.nothing=a,b"], "'~source.nothing'"),
    ],
)
def test_comma_gets_a_fix_that_holds(models, arguments, fix):
    first, recipe = pasted("source=keras", "tracking=none", *arguments)
    assert (first, recipe is not None) == ([fix], True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["source.path=missing,file.keras"],
        ["source.path=image.keras", "calibration=random", "calibration.samples=4,x"],
        ["source.path=image.keras", "source.trust=interval(0,1)"],
    ],
)
def test_comma_that_no_way_helps_gets_no_fix(models, arguments):
    (problem,) = problems_of("source=keras", *arguments)[1]
    assert (problem.where, problem.fix) == (arguments[-1].partition("=")[0], "")


def test_sweep_is_no_fix_where_a_command_makes_none(models):
    with pytest.raises(RequestError) as refused:
        composition.compose("convert", ["source=keras", "source.path=image.keras", "optimization=none,float16"])
    (problem,) = refused.value.problems
    assert (problem.fix, "-m" in problem.alternatives) == ("", False)


# Keys that are taken back


@pytest.mark.parametrize("value", ["null", "3"])
def test_key_of_a_mapping_that_was_asked_for_is_taken_back(models, value):
    asked = [*FACTORY, f"source.arguments={{units:3,name:null,weights:{value}}}"]
    first, recipe = pasted(*asked, "~source.arguments.weights")
    assert first == []
    assert recipe.config["source"]["arguments"] == {"units": 3, "name": None}
    prepared = composition.prepare("convert", [*asked, "~source.arguments.weights"])
    assert not any(text.startswith("~") for text in prepared.overrides)  # Hydra deletes no key that holds null


@pytest.mark.parametrize(
    ("key", "fix"),
    [
        ("~source.weights", "source.weights=null"),  # holds null, which Hydra does not delete
        ("~source.seed=5", "'~source.seed'"),
        ("~calibration=npz", "'~calibration'"),
        ("~optimization", "optimization=none"),  # without which there is no file
        ("~freeze", "freeze=saved_model"),
    ],
)
def test_deleting_what_cannot_be_deleted_gets_a_fix_that_holds(models, key, fix):
    first, recipe = pasted(*FACTORY, key)
    assert (first, recipe is not None) == ([fix], True)


@pytest.mark.parametrize(
    ("key", "alternatives"),
    [
        ("source.arguments.weight", ("'~source.arguments.weights'",)),
        ("source.arguments.other.deeper", ()),
        ("tracking.tags.x", ()),
        ("source.nothing_like_it", ()),
        ("worker.memory", ("'~worker.memory_gb'",)),
        ("nothing_like_it", ()),
    ],
)
def test_deleting_what_is_not_there_is_a_problem_of_that_key_without_a_fix(models, key, alternatives):
    asked = ["source=factory", "source.function=fac.py:build", "source.arguments={weights:5}", f"~{key}"]
    (problem,) = problems_of(*asked)[1]
    assert (problem.where, problem.fix, problem.alternatives) == (key, "", alternatives)
    assert "onfig" not in problem.what  # Hydra's own words


def test_adding_what_is_there_gets_the_same_without_a_plus(models):
    first, recipe = pasted(*FACTORY, "+source.seed=3")
    assert (first, recipe.config["source"]["seed"]) == (["source.seed=3"], 3)
