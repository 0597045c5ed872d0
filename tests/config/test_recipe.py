"""From composed sections to a typed recipe: its digest, its steps, and what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import shlex

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from support.checkout import write
from support.recipe_sections import CHOICES, CONFIG, OURS, STEPS, built, problems, said

from tflite_recipes.config import recipe as recipes
from tflite_recipes.conversion.schemes import Scheme
from tflite_recipes.core.errors import RequestError
from tflite_recipes.steps.optimization import Optimization
from tflite_recipes.steps.source import DigitsSource

few = settings(max_examples=25)


# What a good recipe is


def test_sections_are_typed_and_absent_steps_left_out():
    recipe = built()
    assert [spec.name for spec in recipe.steps] == [name for name in OURS if name not in ("substitution", "pruning")]
    assert recipe.steps[0].instance == DigitsSource(1, 32, 0.002, 0, {})
    assert recipe.steps[3].instance.scheme is Scheme.integer_only
    assert isinstance(recipe.steps[3].instance, Optimization)
    assert recipe.steps[2].values.items() >= CONFIG["calibration"].items()
    assert recipe.steps[2].values["method"] == "min_max"  # a field that came later has a default
    assert recipe.tracking.experiment == "e"
    assert recipe.overrides == ("a=1",)


def test_the_config_is_plain_typed_and_without_what_is_absent():
    recipe = built(source__seed="7", target__flash_kb=3)
    assert recipe.config["source"]["seed"] == 7
    assert recipe.config["target"]["flash_kb"] == 3.0
    assert "pruning" not in recipe.config
    assert recipe.config["steps"] == OURS
    assert json.loads(json.dumps(recipe.config)) == recipe.config
    assert yaml.safe_load(yaml.safe_dump(dict(recipe.config))) == recipe.config


def test_a_step_may_be_left_out_with_its_group():
    names = [name for name in OURS if name not in ("evaluation", "substitution", "pruning")]
    recipe = built(steps=names, evaluation=...)
    assert [spec.name for spec in recipe.steps] == names


# The digest


def test_the_digest_is_that_of_the_canonical_json_of_what_counts():
    recipe = built()
    steps = [name for name in OURS if name not in ("substitution", "pruning")]
    sections = {name: dict(CONFIG[name]) for name in steps}
    del sections["calibration"]["seed"], sections["optimization"]["quantizer"], sections["target"]
    sections["target"] = {"_target_": f"{STEPS}.GenericTarget"}
    counted = {"steps": steps, **sections, "conversion": {"fallback": ["unroll"]}}
    text = json.dumps(counted, sort_keys=True, separators=(",", ":"))
    assert recipes.counted(recipe.config) == counted
    assert recipe.digest == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"worker__timeout_s": 5},
        {"worker__memory_gb": 2.5},
        {"tracking__experiment": "other"},
        {"tracking__tags": {"a": "b"}},
        {"tracking": {"_target_": None}},
        {"source__seed": "0"},
        {"pruning": ...},
        {"steps": [name for name in OURS if name != "pruning"]},
        {"io_contract": ...},
        {"conversion__unfold_batchmatmul": ...},
    ],
)
def test_the_digest_is_without_name_tracking_worker_and_what_is_not_used(changes):
    assert built(**changes).digest == built().digest


@pytest.mark.parametrize(
    "changes",
    [
        {"source__seed": 1},
        {"source__input_shapes": {"image": [1, 8, 8, 1]}},
        {"freeze__variables": "keep"},
        {"calibration__samples": 11},
        {"optimization__input_type": "float32"},
        {"optimization__per_channel": False},
        {"target__flash_kb": 10},
        {"evaluation__max_drop": None},
        {"conversion__fallback": []},
        {"io_contract__inputs": {"image": {"dtype": "int8"}}},
        {"evaluation": {"_target_": None}},
    ],
)
def test_the_digest_is_of_everything_else(changes):
    assert built(**changes).digest != built().digest


@few
@given(st.permutations(list(CONFIG)))
def test_the_order_of_the_sections_does_not_matter(order):
    shuffled = {name: CONFIG[name] for name in order}
    assert recipes.build(shuffled, CHOICES, [], [], "mine").digest == built().digest


# As YAML


def test_the_yaml_is_a_recipe_that_inherits_the_base_and_the_choices():
    recipe = recipes.build(CONFIG, {"source": "digits", "mygroup": "opt"}, ["source"], [], "mine")
    text = recipe.to_yaml()
    assert text.startswith(f"# @package _global_\n# mine, resolved; recipe digest {recipe.digest}\n")
    content = yaml.safe_load(text)
    assert content.pop("defaults") == ["/base", {"/mygroup": "opt"}, {"override /source": "digits"}, "_self_"]
    assert content == recipe.config


# Steps of the user's own


MY_STEP = "from dataclasses import dataclass\n@dataclass\nclass Scale:\n    factor: float\n"


@pytest.mark.parametrize("target", ["mine.Scale", "mine:Scale", "sub/mine.py:Scale"])
def test_a_users_own_class_is_a_step_by_its_section(here, target):
    write(here / "mine.py", MY_STEP)
    write(here / "sub" / "mine.py", MY_STEP)
    recipe = recipes.build({**CONFIG, "steps": [*OURS, "scale"], "scale": {"_target_": target, "factor": 2.0}},
                           CHOICES, [], [], "mine")  # fmt: skip
    spec = recipe.steps[-1]
    assert (spec.name, spec.target, spec.instance) == ("scale", target, None)
    assert spec.values["factor"] == 2.0
    assert recipe.config["scale"] == {"_target_": target, "factor": 2.0}
    assert recipe.digest != built().digest


@pytest.mark.parametrize("entry", ["mine:Scale", "mine.py:Scale"])
def test_a_users_own_class_is_a_step_by_its_name_alone(here, entry):
    write(here / "mine.py", MY_STEP)
    recipe = built(steps=["source", entry, "freeze", "calibration", "optimization", "target", "evaluation"])
    assert [spec.name for spec in recipe.steps][1] == entry
    assert (recipe.steps[1].target, dict(recipe.steps[1].values)) == (entry, {})


def test_a_users_own_class_is_not_loaded_here(here):
    write(here / "mine.py", "raise SystemExit('loaded')\nclass Scale: pass\n")
    assert built(steps=[*OURS, "mine.py:Scale"]).steps[-1].name == "mine.py:Scale"


def test_a_users_own_source_leaves_the_other_checks_standing(here):
    write(here / "mine.py", "class Source: pass\n")
    assert built(source={"_target_": "mine:Source"}).steps[0].target == "mine:Source"
    changes = {"source": {"_target_": "mine:Source"}, "calibration": {"_target_": None}}
    assert said(**changes) == [
        ("calibration", "integer_only needs representative data to set its ranges, and there is none")
    ]


def test_a_class_that_is_not_there_is_refused(here):
    write(here / "mine.py", MY_STEP)
    (problem,) = problems(steps=[*OURS, "mine.py:Scael"])
    assert problem.where == "steps[8]"
    assert "mine.py has no 'Scael'" in problem.what
    (word,) = shlex.split(problem.fix)
    assert OverridesParser.create().parse_override(word).value() == [*OURS, "mine.py:Scale"]
    (problem,) = problems(steps=[*OURS, "nowhere:Scale"])
    assert "there is no module 'nowhere'" in problem.what


# The list of steps


@pytest.mark.parametrize(
    ("steps", "what"),
    [
        (["source", "freeze", "calibration", "target", "evaluation", "optimization"],
         "source, freeze, calibration, target, evaluation, optimization cannot run in this order"),
        ([*OURS, "target"], "'target' stands twice"),
        ([*OURS, "evluation"], "'evluation' is neither a section of the recipe"),
        ([name for name in OURS if name != "freeze"], "'freeze' is needed and does not stand in the list"),
        ([name for name in OURS if name != "target"], "this step does not stand in `steps`, so it would not run"),
        ([name for name in OURS if name != "calibration"], "this step does not stand in `steps`, so it would not run"),
        ("source", "is not a list of step names"),
        ([], "is not a list of step names"),
        (None, "is not a list of step names"),
        ([1, None, {"a": 1}], "'1' is neither a section of the recipe"),
    ],
)  # fmt: skip
def test_a_wrong_list_of_steps_is_refused_with_the_right_one(steps, what):
    found = problems(steps=steps)
    assert any(problem.what.startswith(what) for problem in found), said(steps=steps)
    for problem in found:
        (word,) = shlex.split(problem.fix)
        mended = OverridesParser.create().parse_override(word)
        assert mended.key_or_group == "steps"
        assert built(steps=mended.value())


@few
@given(st.lists(st.sampled_from([*OURS, "scale", "nothing", "sourc"]), max_size=10))
def test_any_list_of_steps_is_taken_or_mended_at_once(steps):
    section = {"scale": {"_target_": "tests:Scale"}}
    try:
        recipes.build({**CONFIG, **section, "steps": steps}, CHOICES, [], [], "mine")
    except RequestError as error:
        fixes = {problem.fix for problem in error.problems}
        (word,) = shlex.split(fixes.pop())
        assert not fixes
        mended = OverridesParser.create().parse_override(word).value()
        assert recipes.build({**CONFIG, **section, "steps": mended}, CHOICES, [], [], "mine")


def test_a_recipe_without_any_steps_is_refused_not_crashed():
    assert ("steps", "is not a list of step names") in said(steps=...)


# Sections that are wrong


def test_an_unknown_section_is_a_typing_error():
    (problem,) = problems(optimisation={"scheme": "none"})
    assert problem.lines() == [
        "optimisation: unknown key; did you mean optimization or calibration or substitution?",
        "fix: '~optimisation'",
    ]
    assert said(foo=1) == [("foo", "unknown key")]


def test_a_step_that_is_not_listed_is_not_silently_left_out(here):
    write(here / "mine.py", MY_STEP)
    (problem,) = problems(scale={"_target_": "mine:Scale"})
    assert problem.where == "scale"
    assert problem.fix == f"'steps=[{','.join(OURS)},scale]'"
    assert problem.alternatives == ("'~scale'",)


def test_no_model_is_said_once_with_ways_to_give_one():
    (problem,) = problems(source=...)
    assert (problem.where, problem.what) == ("source", "no model is given")
    assert (problem.fix, problem.alternatives[0]) == ("", "source=keras source.path=model.keras")
    assert problem in problems(source={"_target_": None})


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        ({"source": 5}, "source", "the section has no _target_"),
        ({"source": {"epochs": 1}}, "source", "the section has no _target_"),
        ({"source__epochs": 0}, "source.epochs", "0 is out of range"),
        ({"source___target_": f"{STEPS}.DigitsSorce"}, "source._target_", f"did you mean {STEPS}.DigitsSource"),
        ({"source___target_": f"{STEPS}.source.code_problems"}, "source._target_", "is not a step of this package"),
        ({"source___target_": f"{STEPS}.nowhere.Class"}, "source._target_", "is not a step of this package"),
        ({"source___target_": 5}, "source._target_", "'5' is not module:name"),
        ({"source___target_": "Digits"}, "source._target_", "'Digits' is not module:name"),
        ({"worker": 3}, "worker", "3 is not a section with keys"),
        ({"worker__timeout_s": -1}, "worker.timeout_s", "-1.0 is out of range"),
        ({"worker__tiemout_s": 1}, "worker.tiemout_s", "did you mean timeout_s?"),
        ({"tracking": "mlflow"}, "tracking", "'mlflow' is no tracking"),
        ({"tracking": {"_target_": "os.system"}}, "tracking", "is no tracking that this package has"),
        ({"tracking": {"_target_": f"{STEPS}.Freeze"}}, "tracking", "is no tracking that this package has"),
        ({"tracking__uri": "file:///x"}, "tracking.uri", "is not a tracking URI"),
        ({"tracking__experiment": " "}, "tracking.experiment", "the experiment has no name"),
        ({"tracking__nme": "x"}, "tracking.nme", "unknown key"),
    ],
)
def test_a_wrong_section_is_refused_and_never_crashes(changes, where, what):
    assert [(problem.where, what in problem.what) for problem in problems(**changes)] == [(where, True)]


def test_a_section_with_mistakes_of_its_own_is_not_taken_for_absent():
    assert said(calibration__samples=0) == [("calibration.samples", "0 is out of range, it must be >= 1 and <= 1437")]


def test_everything_wrong_is_said_at_once():
    found = said(
        worker__timeout_s=0,
        source__epochs=0,
        optimization__input_type="int16",
        evaluation__max_drop="much",
        tracking__uri="nowhere",
        extra=1,
        calibration={"_target_": None},
    )
    assert [where for where, _ in found] == [
        "worker.timeout_s",
        "source.epochs",
        "evaluation.max_drop",
        "tracking.uri",
        "extra",
        "optimization.input_type",
        "calibration",
    ]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["???", "source", f"{STEPS}.Freeze"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["_target_", "path", "epochs"]) | st.text(), inner, max_size=3)
    ),
    max_leaves=5,
)


@few
@given(st.dictionaries(st.sampled_from(list(CONFIG)) | st.text(min_size=1), values, max_size=3))
def test_any_config_is_built_or_refused_and_never_crashes(changes):
    try:
        recipe = recipes.build({**CONFIG, **changes}, CHOICES, [], [], "mine")
    except RequestError:
        return
    assert len(recipe.digest) == 64
