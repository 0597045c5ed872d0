"""Where config lies, how it composes, that a resolved recipe runs again, and every mistake at once with its fix."""

from __future__ import annotations

import json
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.checkout import first_way, write

from tflite_recipes.config import composition
from tflite_recipes.core.errors import RequestError

STEPS = ["source", "substitution", "pruning", "freeze", "calibration", "optimization", "target", "evaluation"]


def compose(name, *overrides):
    return composition.compose(name, overrides)


def wrong(name, *arguments):
    """What is wrong with a command; `-m` among its arguments makes it a sweep."""
    overrides = [argument for argument in arguments if argument != "-m"]
    try:
        composition.prepare(name, overrides, sweep="-m" in arguments)
    except RequestError as error:
        return error.problems
    return ()


def shown(name, *overrides, file="shown.yaml"):
    """A file as `show` writes it."""
    return str(write(Path(file), compose(name, *overrides).to_yaml()))


@pytest.fixture
def model(here):
    """A Keras file by hand, samples for it, samples for the digits, and files that fixes name by placeholders."""
    layer = {
        "class_name": "InputLayer",
        "config": {"batch_shape": [None, 4], "dtype": "float32", "name": "x"},
        "name": "x",
    }
    config = {"class_name": "Functional", "config": {"name": "m", "layers": [layer], "input_layers": ["x", 0, 0]}}
    for name in ("model.keras", "my model.keras"):
        with zipfile.ZipFile(here / name, "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("model.weights.h5", bytes(100))
    write(here / "my_model.py", "def build():\n    pass\n")
    np.savez(here / "x.npz", x=np.zeros((3, 4), "float32"), labels=np.zeros(3, "int64"))
    for name in ("FILE.npz", "OTHER.npz", "images.npz"):
        np.savez(here / name, image=np.zeros((3, 8, 8, 1), "float32"), labels=np.zeros(3, "int64"))
    (here / "FILE").write_bytes((here / "FILE.npz").read_bytes())
    return here


# An example takes a second, so there are few of them, and a failure is shown as it was found.
slow_examples = settings(
    max_examples=3,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


# Recipes of the user's own


def test_a_recipe_in_the_users_folder_inherits_ours(here):
    write(
        here / "recipes" / "mine.yaml",
        "defaults:\n  - /digits_integer_only\n  - override /target: cpu\n  - _self_\ncalibration:\n  samples: 33\n",
    )
    recipe = compose("mine")
    assert (recipe.name, recipe.config["calibration"]["samples"]) == ("mine", 33)
    assert recipe.choices == {**compose("digits_integer_only").choices, "target": "cpu"}


@pytest.mark.slow
def test_a_recipe_of_the_same_name_shadows_ours_which_is_still_there(here):
    write(
        here / "recipes" / "convert.yaml", "defaults:\n  - /builtin/convert\n  - override /source: digits\n  - _self_\n"
    )
    assert compose("convert").choices["source"] == "digits"
    assert compose("builtin/convert", "source=keras_application").choices["source"] == "keras_application"
    assert wrong("builtin/convert")[0].what == "no model is given"


@pytest.mark.slow
def test_a_shadowed_recipe_is_what_others_inherit(here):
    write(here / "recipes" / "digits_float.yaml", "defaults: [/builtin/digits_float, _self_]\nsource: {epochs: 3}\n")
    write(here / "recipes" / "child.yaml", "defaults: [/digits_float, _self_]\n")
    write(here / "recipes" / "ours.yaml", "defaults: [/builtin/digits_float, _self_]\n")
    assert compose("child").config["source"]["epochs"] == 3
    assert compose("ours").digest == compose("builtin/digits_float").digest


@pytest.mark.slow
def test_a_recipe_in_a_folder_is_found_and_inherited(here):
    write(
        here / "recipes" / "team" / "x.yaml",
        "# @package _global_\ndefaults: [/digits_float, _self_]\nsource: {seed: 5}\n",
    )
    write(here / "recipes" / "team" / "y.yaml", "defaults: [/team/x, _self_]\n")
    assert compose("team/x").config["source"]["seed"] == 5
    assert compose("team/y").digest == compose("team/x").digest


@pytest.mark.slow
def test_a_recipe_in_a_folder_that_is_not_global_says_what_to_write(here):
    write(here / "recipes" / "team" / "x.yaml", "defaults: [/digits_float, _self_]\n")
    write(here / "recipes" / "y.yaml", "defaults: [/team/x, _self_]\n")
    problem = wrong("y")[0]
    assert problem.where == "team"
    assert problem.alternatives == ("write `# @package _global_` as the first line of the recipe that is inherited",)


@pytest.mark.slow
def test_a_recipe_may_be_a_file_anywhere(here):
    path = write(here / "some where" / "mine.yml", "defaults: [/digits_float, _self_]\nsource: {seed: 5}\n")
    assert compose("some where/mine.yml").config["source"]["seed"] == 5
    assert compose(str(path.rename(here / "my recipe.v2.yaml"))).config["source"]["seed"] == 5


@pytest.mark.slow
def test_options_and_groups_of_the_users_own(here):
    write(here / "mine.py", "class Scale: pass\n")
    write(
        here / "conf" / "target" / "board.yaml", "_target_: tflite_recipes.steps.target.GenericTarget\nflash_kb: 64\n"
    )
    write(here / "conf" / "calibration" / "digits.yaml",
          "_target_: tflite_recipes.steps.calibration.DigitsCalibration\nsamples: 7\nseed: 1\n")  # fmt: skip
    write(here / "conf" / "mygroup" / "opt.yaml", "_target_: mine:Scale\nfactor: 2\n")
    steps = [*STEPS[:5], "mygroup", *STEPS[5:]]
    recipe = compose("digits_integer_only", "target=board", "+mygroup=opt", f"steps=[{','.join(steps)}]")
    assert recipe.config["target"]["flash_kb"] == 64.0
    assert recipe.config["calibration"]["samples"] == 7
    assert recipe.config["mygroup"] == {"_target_": "mine:Scale", "factor": 2}
    assert recipe.choices["mygroup"] == "opt"
    assert [spec.name for spec in recipe.steps] == [name for name in steps if name not in ("substitution", "pruning")]


@pytest.mark.slow
def test_a_config_folder_given_by_name_comes_first(here):
    board = "_target_: tflite_recipes.steps.target.GenericTarget\nflash_kb: {}\n"
    write(here / "conf" / "target" / "board.yaml", board.format(64))
    write(here / "other" / "target" / "board.yaml", board.format(32))
    recipe = composition.compose("digits_float", ["target=board"], here / "other")
    assert recipe.config["target"]["flash_kb"] == 32.0


@pytest.mark.slow
def test_composing_leaves_nothing_behind(here):
    write(
        here / "conf" / "target" / "board.yaml", "_target_: tflite_recipes.steps.target.GenericTarget\nflash_kb: 64\n"
    )
    compose("digits_float", "target=board")
    (here / "conf" / "target" / "board.yaml").unlink()
    assert wrong("digits_float", "target=board")
    assert not list(here.glob("outputs*"))


@pytest.mark.slow
def test_composing_again_sees_new_files_and_no_earlier_overrides(here):
    first = compose("digits_float")
    assert compose("digits_float", "source.epochs=3", "worker.timeout_s=9").digest != first.digest
    assert compose("digits_float").to_yaml() == first.to_yaml()
    own = "_target_: tflite_recipes.steps.target.GenericTarget\nflash_kb: 64\n"
    path = write(here / "conf" / "target" / "generic.yaml", own)
    assert compose("digits_float").config["target"]["flash_kb"] == 64.0
    path.unlink()
    assert compose("digits_float").config == first.config


@pytest.mark.parametrize(
    ("files", "name", "what"),
    [
        ({"same": "same"}, "same", "inherits 'same', which is itself"),
        ({"convert": "/convert"}, "convert", "inherits 'convert', which is itself"),
        ({"a": "b", "b": "a"}, "a", "its defaults inherit each other in a circle"),
        ({"a": "digits_flot"}, "a", "In 'a': Could not load 'digits_flot'. Did you mean digits_float"),
        ({"team/a": "/team/a"}, "team/a", "its defaults inherit each other in a circle"),
    ],
)
def test_recipes_that_inherit_what_they_cannot_are_refused(here, files, name, what):
    for file, parent in files.items():
        write(here / "recipes" / f"{file}.yaml", f"# @package _global_\ndefaults: [{parent}, _self_]\n")
    (problem,) = wrong(name)
    assert problem.what.startswith(what)
    assert problem.fix == ""


# A resolved recipe


@pytest.mark.slow
def test_what_show_prints_gives_the_same_recipe_again(here):
    first = compose("digits_pruned", "calibration.samples=50", "target=cpu")
    again = compose(shown("digits_pruned", "calibration.samples=50", "target=cpu"))
    assert (again.digest, again.config, again.choices) == (first.digest, first.config, first.choices)
    assert again.to_yaml() == first.to_yaml()


@pytest.mark.slow
def test_a_resolved_recipe_stays_open_to_values_and_options(here):
    file = shown("digits_integer_only", "calibration.samples=50")
    assert compose(file, "calibration.samples=60").config["calibration"]["samples"] == 60
    again = compose(file, "calibration=random", "optimization=int16x8")
    direct = compose("digits_integer_only", "calibration=random", "optimization=int16x8")
    assert (again.digest, again.choices) == (direct.digest, direct.choices)
    assert compose(file, "pruning=constant", "pruning.data=digits").choices["pruning"] == "constant"


@pytest.mark.slow
def test_an_older_resolved_recipe_takes_the_keys_that_came_later(here):
    lines = Path(shown("digits_integer_only")).read_text().splitlines()
    later = ("equalize:", "method:", "relative_drop:", "rules:", "shuffle:")
    kept = [line for line in lines if not line.strip().startswith(later)]
    file = str(write(here / "old.yaml", "\n".join(kept)))
    asked = ["optimization.equalize=true", "evaluation.relative_drop=true", "calibration.shuffle=true"]
    section = compose(file, *asked).config["optimization"]
    assert section["equalize"] is True
    assert compose(file, "optimization.rules=[{op: SOFTMAX, scheme: full_integer}]").config["optimization"]["rules"]
    prepared = composition.prepare(file, ["optimization.equalize=true,false"], sweep=True)
    assert prepared.overrides == ("++optimization.equalize=true,false",)
    (problem,) = wrong(file, "calibration.shuffel=true")
    assert problem.fix == "'~calibration.shuffel' calibration.shuffle=true"
    assert wrong(file, "~optimization.equalize")


def older(text, groups=(), **keys):
    """A resolved recipe's text as a version would have written it down that lacks groups, and keys of sections."""
    content = yaml.safe_load(text)
    content["steps"] = [step for step in content["steps"] if step not in groups]
    content["defaults"] = [
        entry for entry in content["defaults"] if not any(f"/{group}" in str(entry) for group in groups)
    ]
    for section in groups:
        content.pop(section, None)
    for section, lacking in keys.items():
        content[section] = {key: value for key, value in content[section].items() if key not in lacking}
    return yaml.safe_dump(content, sort_keys=False)


@pytest.mark.slow
def test_resolved_recipe_lacking_keys_gets_their_defaults_and_not_todays_values(here):
    text = compose("digits_integer_only", "target=cpu").to_yaml()
    lacking = {
        "conversion": ["fallback", "unfold_batchmatmul"],
        "target": ["metadata", "profile"],
        "evaluation": ["metric"],
    }
    write(here / "old.yaml", older(text, **lacking))
    config = compose("old.yaml").config
    assert (config["conversion"]["fallback"], config["conversion"]["unfold_batchmatmul"]) == ([], False)
    assert (config["target"]["metadata"], config["target"]["profile"]) == (False, False)
    assert config["evaluation"]["metric"] == "accuracy"
    asked = compose("old.yaml", "conversion.fallback=[unroll]", "target.metadata=true").config
    assert (asked["conversion"]["fallback"], asked["target"]["metadata"]) == (["unroll"], True)
    # The base's own value is an answer too, where it is asked for.
    base = compose("digits_integer_only").config["conversion"]["fallback"]
    assert compose("old.yaml", f"conversion.fallback=[{','.join(base)}]").config["conversion"]["fallback"] == base


@pytest.mark.slow
def test_resolved_recipe_without_a_whole_section_gets_its_defaults(here):
    content = yaml.safe_load(compose("digits_integer_only").to_yaml())
    del content["conversion"], content["io_contract"]
    write(here / "old.yaml", yaml.safe_dump(content, sort_keys=False))
    config = compose("old.yaml").config
    assert config["io_contract"] == {"inputs": {}, "outputs": {}}
    assert config["conversion"]["fallback"] == []


@pytest.mark.slow
def test_resolved_recipe_without_a_group_has_nothing_chosen_in_it(here):
    """As if `evaluation` and `pruning` had come later; the base's option for `evaluation` is not nothing."""
    first = compose("digits_integer_only", "target=cpu")
    write(here / "old.yaml", older(first.to_yaml(), ["evaluation", "pruning"]))
    old = compose("old.yaml")
    assert set(first.choices) - set(old.choices) == {"evaluation", "pruning"}
    assert "evaluation" not in old.config
    assert [spec.name for spec in old.steps] == ["source", "freeze", "calibration", "optimization", "target"]
    assert compose(shown("old.yaml")).to_yaml() == old.to_yaml()
    (problem,) = wrong("old.yaml", "evaluation=none")
    assert problem.what == "this step does not stand in `steps`, so it would not run"
    fix = shlex.split(problem.fix)
    assert [spec.name for spec in compose("old.yaml", "evaluation=none", *fix).steps][-1] == "evaluation"


@pytest.mark.slow
def test_recipe_by_hand_takes_what_it_lacks_from_the_base(here):
    write(here / "mine.py", "class Scale: pass\n")
    lines = "defaults: [/base, {override /source: digits}, _self_]\nscale: {_target_: 'mine:Scale'}\n"
    listed = f"steps: [{','.join([*STEPS, 'scale'])}]\n"
    write(here / "hand.yaml", f"# @package _global_\n{lines}{listed}")
    assert compose("hand.yaml").config["conversion"] == compose("digits_float").config["conversion"]
    assert compose("hand.yaml").choices["evaluation"] == "none"


@pytest.mark.slow
def test_launch_composes_an_older_recipe_as_a_check_does(here):
    text = compose("digits_integer_only").to_yaml()
    write(here / "old.yaml", older(text, ["evaluation"], conversion=["fallback", "unfold_batchmatmul"]))
    jobs = []
    composition.launch("old.yaml", ["++conversion.unfold_batchmatmul=true", "hydra.run.dir=out"], None, jobs.append)
    assert jobs[0].problems == ()
    assert jobs[0].recipe.config == compose("old.yaml", "conversion.unfold_batchmatmul=true").config
    assert jobs[0].recipe.config["conversion"]["fallback"] == []


@pytest.mark.slow
def test_a_resolved_recipe_with_a_group_of_the_users_own(here):
    write(here / "mine.py", "class Scale: pass\n")
    for name, factor in (("one", 1), ("two", 2)):
        write(here / "conf" / "mygroup" / f"{name}.yaml", f"_target_: mine:Scale\nfactor: {factor}\n")
    added = ["+mygroup=one", f"steps=[{','.join(STEPS)},mygroup]"]
    file = shown("digits_float", *added)
    assert compose(file).digest == compose("digits_float", *added).digest
    assert compose(file, "mygroup=two").digest == compose("digits_float", "+mygroup=two", added[1]).digest
    (here / "conf" / "mygroup" / "one.yaml").unlink()
    (here / "conf" / "mygroup" / "two.yaml").unlink()
    assert compose(file).config["mygroup"]["factor"] == 1


@pytest.mark.slow
def test_a_resolved_recipe_can_be_inherited_and_named_as_any_other(here):
    shown("digits_float", "source.seed=5", file="recipes/frozen.yaml")
    write(here / "recipes" / "child.yaml", "defaults: [/frozen, _self_]\nsource: {epochs: 3}\n")
    assert compose("frozen").config["source"]["seed"] == 5
    assert {**compose("child").config["source"], "epochs": 12} == compose("frozen").config["source"]


def past(file, *groups):
    """A recipe that a run wrote down before `freeze.lstm` and other keys existed."""
    lacking = {"freeze": ["lstm"], "conversion": ["fallback", "unfold_batchmatmul"], "target": ["metadata"]}
    return write(file, older(compose("digits_integer_only").to_yaml(), groups, **lacking))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"child.yaml": "defaults: [past]\n"}, "child.yaml"),
        ({"child.yml": "defaults: [past]\n"}, "child.yml"),
        (
            {"recipes/child.yaml": "defaults: [between, _self_]\n", "recipes/between.yaml": "defaults: [past]\n"},
            "child",
        ),
    ],
)
def test_recipe_that_inherits_a_past_one_behaves_as_that_does(here, files, name):
    past(here / "recipes" / "past.yaml", "evaluation")
    for path, text in files.items():
        write(here / path, text)
    old, child = compose("past"), compose(name)
    assert (child.digest, child.config, child.choices) == (old.digest, old.config, old.choices)
    assert (child.config["freeze"]["lstm"], child.config["conversion"]["fallback"]) == ("fused", [])
    jobs = []
    composition.launch(name, ["hydra.run.dir=out"], None, jobs.append)
    assert (jobs[0].problems, jobs[0].recipe.digest) == ((), old.digest)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("header", "entry"),
    [("# @package _global_\n", "/runs/past"), ("", "runs/past@_global_"), ("", "runs@_global_: past")],
)
def test_past_recipe_in_a_folder_is_inherited_as_it_was(here, header, entry):
    text = past(here / "recipes" / "past.yaml").read_text()
    write(here / "recipes" / "runs" / "past.yaml", header + text)
    write(here / "recipes" / "child.yaml", f"defaults: [{entry}, _self_]\n")
    assert compose("child").digest == compose("past").digest


@pytest.mark.slow
def test_recipe_that_inherits_a_past_one_sets_later_keys_and_other_options(here):
    past(here / "recipes" / "past.yaml")
    lines = "defaults: [past, {override /optimization: int16x8}, _self_]\n"
    own = "conversion: {fallback: [unroll]}\nfreeze: {lstm: exact}\ntarget: {metadata: true}\n"
    write(here / "recipes" / "child.yaml", lines + own)
    child = compose("child", "conversion.unfold_batchmatmul=true")
    asked = ["optimization=int16x8", "conversion.fallback=[unroll]", "freeze.lstm=exact", "target.metadata=true"]
    same = compose("past", *asked, "conversion.unfold_batchmatmul=true")
    assert (child.digest, child.config, child.choices) == (same.digest, same.config, same.choices)
    assert child.config["conversion"]["unfold_batchmatmul"] is True


# In each group: changes that can be made first, and changes that can be made to any option afterwards.
MOVES = {
    "source": [["source.seed=7", "source.epochs=3"], ["source=keras_application", "source.name=MobileNet"]],
    "calibration": [["calibration.samples=17"], ["calibration=random", "calibration.low=-1.5"], ["calibration=digits"]],
    "optimization": [
        ["optimization=full_integer", "optimization.input_type=uint8"],
        ["optimization.per_channel=false"],
    ],
    "target": [["target=cpu", "target.threads=2"], ["target.flash_kb=99.5"]],
    "evaluation": [["evaluation=none"], ["evaluation=digits", "evaluation.max_drop=null"]],
    "pruning": [["pruning=constant", "pruning.epochs=0", "pruning.layers=[a,'b c']"]],
    "tracking": [["tracking=none"], ["tracking.tags.who='me, \"myself\"'"]],
    "worker": [["worker.timeout_s=1e3"]],
}


@pytest.mark.slow
@slow_examples
@given(st.data())
def test_overrides_may_come_before_or_after_a_recipe_is_resolved(here, data):
    first, then = [], []
    groups = data.draw(st.lists(st.sampled_from(list(MOVES)), unique=True, min_size=2))
    if "source" in groups:  # the digits' own data fits no other model
        first += ["evaluation=none", "calibration=random"]
        groups = [group for group in groups if group not in ("evaluation", "calibration")]
    for group in groups:
        part = data.draw(st.sampled_from([first, then]), label=group)
        part += data.draw(st.sampled_from(MOVES[group]))
    direct = compose("digits_integer_only", *first, *then)
    again = compose(shown("digits_integer_only", *first), *then)
    assert again.digest == direct.digest
    assert again.config == direct.config
    assert again.choices == direct.choices


# Options of one's own that are wrong, and options that take keys back


@pytest.mark.slow
@pytest.mark.parametrize("option", ["mine", "one"])
def test_an_option_that_inherits_itself_is_blamed_and_not_the_recipe(here, option):
    write(here / "conf" / "target" / "mine.yaml", "defaults: [mine, _self_]\n")
    write(here / "conf" / "target" / "one.yaml", "defaults: [two, _self_]\n")
    write(here / "conf" / "target" / "two.yaml", "defaults: [one, _self_]\n")
    blamed = [problem.where for problem in wrong("digits_float", f"target={option}")]
    assert f"{here}/conf/target/{option}.yaml defaults" in blamed


@pytest.mark.slow
def test_an_option_without_keys_takes_back_the_keys_that_were_asked_before(here):
    for before in (["substitution=rules", "substitution.rules=[logits]"], ["pruning=constant", "pruning.sparsity=0.9"]):
        group = before[0].partition("=")[0]
        assert compose("digits_float", *before, f"{group}=none").digest == compose("digits_float").digest
        assert wrong("digits_float", f"{group}=none", before[1])  # a key that comes later is a mistake


# What was meant by a path, and by a list of sizes


@pytest.mark.parametrize(
    ("arguments", "where", "fix"),
    [
        (["source.path=~/here.keras"], "source.path", "source.path={home}/here.keras"),
        (['source.path="~/here.keras"'], "source.path", "source.path={home}/here.keras"),
        (["source.path=a,b.keras"], "source.path", "'source.path=\"a,b.keras\"'"),
        (
            ["source.input_shapes=[1,4]", "source.path=model.keras"],
            "source.input_shapes",
            "'source.input_shapes={{x:[1,4]}}'",
        ),
        (
            ["source.path=model.keras", "source.input_shapes=[[1,4]]"],
            "source.input_shapes",
            "'source.input_shapes={{x:[1,4]}}'",
        ),
        (
            ["source.path=model.keras", "my model.keras"],
            "my model.keras",
            "source=keras 'source.path=\"my model.keras\"'",
        ),
    ],
)
def test_the_fix_is_what_was_meant(model, monkeypatch, arguments, where, fix):
    home = model / "home"
    write(home / "here.keras", "")
    for path in (home / "here.keras", model / "a,b.keras"):
        path.write_bytes((model / "model.keras").read_bytes())
    monkeypatch.setenv("HOME", str(home))
    fixes = {problem.where: problem.fix for problem in wrong("convert", "source=keras", *arguments)}
    assert fixes[where] == fix.format(home=home)
    kept = [argument for argument in arguments if argument != where]  # a word that is no key cannot be taken back
    assert wrong("convert", *dict.fromkeys(["source=keras", *kept, *shlex.split(fixes[where])])) == ()


def test_path_on_a_device_keeps_the_home_folder_of_the_device():
    problems = wrong("digits_float", "target=raspberry_pi4", "target.python=~/bin/python")
    fixes = {problem.where: problem.fix for problem in problems}
    assert fixes["target.python"] == "'target.python=\"~/bin/python\"'"


def test_many_values_are_told_from_the_name_of_a_file(here):
    values = ",".join(map(str, range(1, 200)))
    (problem,) = wrong("digits_float", f"source.epochs={values}")
    assert (problem.where, problem.fix) == ("source.epochs", "-m")


# Free mappings and quoting


@pytest.mark.slow
def test_keys_of_free_mappings_need_no_plus(model):
    shapes = ["source.input_shapes.x=[1,4]", "tracking.tags.who=me"]
    recipe = compose("convert", "source=keras", "source.path=my model.keras", *shapes)
    assert recipe.config["source"]["input_shapes"] == {"x": [1, 4]}
    assert recipe.config["tracking"]["tags"] == {"who": "me"}
    recipe = compose("convert", "source=factory", "source.function=my_model.py:build", "source.arguments={a:1,b:[2]}")
    assert recipe.config["source"]["arguments"] == {"a": 1, "b": [2]}


def test_a_launch_gets_the_overrides_as_hydra_takes_them(model):
    arguments = [
        "source.input_shapes.image=[1,8,8,1]",
        "calibration.samples=0",
        "foo=1",
        "~foo",
        "calibration.samples=5",
    ]
    prepared = composition.prepare("digits_integer_only", arguments)
    assert prepared.overrides == ("++source.input_shapes.image=[1,8,8,1]", "calibration.samples=5")
    assert prepared.recipes[0].config["calibration"]["samples"] == 5


# Of several overrides of one key the last counts


@pytest.mark.slow
def test_the_last_of_several_overrides_counts(here):
    recipe = compose(
        "digits_integer_only",
        *["calibration.samples=1", "calibration.samples=2"],
        *["source.epochs=0", "source.epochs=3"],
        *["source.seed=a~b", "source.seed=4"],
        *["source.batch_size=5", "++source.batch_size=6"],
        *["+tracking.tags.a=1", "tracking.tags.a=2"],
        *["nothing.at.all=1", "+nothing.more=2", "nothing.at.all=3", "~nothing"],
        *["nothing=1", "~nothing", "~nothing.more"],
        *["target=nothing", "target.flash_kb=7", "target=cpu"],
        *["+evaluation=npz", "evaluation=none"],
        *["optimization=qqq", "~optimization"],
        *["freeze.variables=keep", "~freeze.variables"],
        *["worker=3", "~worker"],
        *["~evaluation.samples", "+evaluation.samples=8"],
    )
    assert recipe.config["calibration"]["samples"] == 2
    assert {**recipe.config["source"], "epochs": 3, "seed": 4, "batch_size": 6} == recipe.config["source"]
    assert recipe.config["tracking"]["tags"] == {"a": "2"}
    assert (recipe.choices["target"], recipe.config["target"]["flash_kb"]) == ("cpu", 7.0)
    assert (recipe.choices["evaluation"], recipe.choices["optimization"]) == ("none", "integer_only")
    assert recipe.config["freeze"]["variables"] == "auto"
    assert recipe.config["evaluation"]["samples"] == 8


@pytest.mark.slow
def test_what_is_deleted_is_missing_and_what_was_never_there_is_said(here):
    assert [(p.where, p.what) for p in wrong("digits_float", "~source.seed")] == [
        ("source.seed", "is missing from the recipe")
    ]
    (problem,) = wrong("digits_float", "~source.sede")
    assert problem.what == "unknown key; did you mean seed?"
    assert (problem.fix, problem.alternatives) == ("", ("'~source.seed'",))
    assert wrong("digits_float", "~nothing", "~nothing")
    without = compose("digits_float", "evaluation.max_drop=0.5", "~evaluation")
    assert "evaluation" not in without.choices


# Mistakes: all at once, each with its fix


# What stands for it, recipe, overrides, and at each place what is said and the fix (None: any); a place that is None
# may be named or not. Composing takes a tenth of a second, so that many mistakes stand in one command.
BAD = [
    (
        "unknown keys and wrong values",
        "digits_integer_only",
        [
            # keys
            "samples=10", "calibraton.seed=3", "foo=1", "foo.bar=1", "source.epoch=4", "worker.tiemout_s=3",
            "hydra.rnu.dir=x", "calibration.seed.x=1", "tracking.experimnt='a b'", "+calibration.sampels=3",
            "+optimisation.scheme=none", "+scale.factor=2",
            # types and ranges
            "source.epochs=three", "source.seed=4294967296", "calibration.samples=0", "worker.memory_gb=0",
            "optimization.per_channel=perhaps", "evaluation.max_drop=-1", "source.learning_rate=nan",
            "freeze.variables=[]",
            "optimization.output_type=int4", "source.input_shapes=5", "tracking.uri=file:///tmp/x",
            # what Hydra's grammar does not take bare
            "tracking.run_name=größe", "tracking.experiment=it's ~ (a=b)", "tracking.tags={\"who\":me}",
            "source.batch_size",
        ],
        {
            "samples": ("did you mean calibration.samples?", "'~samples' calibration.samples=10"),
            "calibraton.seed": ("did you mean calibration", "'~calibraton.seed' calibration.seed=3"),
            "foo": ("known: source, substitution", "'~foo'"),
            "foo.bar": ("known: source, substitution", "'~foo.bar'"),
            "source.epoch": ("did you mean epochs?", "'~source.epoch' source.epochs=4"),
            "worker.tiemout_s": ("did you mean timeout_s?", "'~worker.tiemout_s' worker.timeout_s=3"),
            "hydra.rnu.dir": ("did you mean run?", "'~hydra.rnu.dir' hydra.run.dir=x"),
            "calibration.seed.x": ("calibration.seed has no keys of its own", "'~calibration.seed.x'"),
            "tracking.experimnt": ("did you mean experiment?", None),
            "calibration.sampels": ("did you mean samples?", "'~calibration.sampels' calibration.samples=3"),
            "optimisation": ("unknown key; did you mean optimization", "'~optimisation'"),
            "scale": ("unknown key", "'~scale'"),
            "source.epochs": ("'three' is not a whole number", "source.epochs=1"),
            "source.seed": ("must be >= 0 and < 4294967296", "source.seed=4294967295"),
            "calibration.samples": ("must be >= 1 and <= 1437", "calibration.samples=1"),
            "optimization.per_channel": ("'perhaps' is not true or false", "optimization.per_channel=true"),
            "evaluation.max_drop": ("-1.0 is out of range, it must be >= 0", "evaluation.max_drop=0"),
            "worker.memory_gb": ("0.0 is out of range, it must be > 0", "worker.memory_gb=1.0"),
            "source.learning_rate": ("nan is not a finite number", "source.learning_rate=1.0"),
            "optimization.output_type": ("'int4' is not one of float32, int8", "optimization.output_type=int8"),
            "source.input_shapes": ("5 is not a mapping of names", "'source.input_shapes={}'"),
            "freeze.variables": ("[] is not one of auto, freeze, keep", "freeze.variables=auto"),
            "tracking.uri": ("is not a tracking URI that MLflow takes", "tracking.uri=sqlite:///mlflow.db"),
            "tracking.run_name": ("this value needs quotes", "'tracking.run_name=\"größe\"'"),
            "tracking.experiment": ("this value needs quotes", None),
            "tracking.tags": ("the keys of a mapping have no quotes here", "'tracking.tags={who:me}'"),
            "source.batch_size": ("is not key=value", "source.batch_size=VALUE"),
        },
    ),
    (
        "unknown options, and groups that the recipe has or has not",
        "digits_integer_only",
        ["calibration=dgits", "optimization=int8", "hydra/launcher=jblib", "evaluation=qqqqq", "pruning=[constnt]",
         "+target=cpu", "mygroup=opt", "sorce=digits", "freeze=null", "worker=3"],
        {
            "calibration": ("there is no option 'dgits'; did you mean digits?", "calibration=digits"),
            "optimization": ("there is no option 'int8'; did you mean integer_only?", "optimization=integer_only"),
            "hydra/launcher": ("did you mean joblib", "hydra/launcher=joblib"),
            "evaluation": ("there is no option 'qqqqq'; there are csv, digits", "evaluation=none"),
            "pruning": ("did you mean constant?", "pruning=constant"),
            "pruning.data": ("a fine-tune needs data", "pruning.data=digits"),
            "target": ("the recipe has this group already", "target=cpu"),
            "mygroup": ("the recipe does not have this group yet", "+mygroup=opt"),
            "sorce": ("did you mean source", "'~sorce' source=digits"),
            "freeze": ("there is no option None; there are saved_model", "freeze=saved_model"),
            "worker": ("is a section with keys of its own: timeout_s, memory_gb", "'~worker'"),
        },
    ),
    (
        "what a scheme needs and cannot give",
        "digits_integer_only",
        ["optimization.input_type=int16", "calibration=none"],
        {
            "optimization.input_type": ("integer_only cannot give int16", "optimization.input_type=int8"),
            "calibration": ("integer_only needs representative data", "calibration=digits"),
        },
    ),
    (
        "no model",
        "convert",
        ["optimization=integer_only", "calibration=npz", "calibration.path=x.npz"],
        {"source": ("no model is given", "source=keras source.path=model.keras")},
    ),
    (
        "keys of a group in which nothing is chosen",
        "convert",
        ["source.path=my model.keras", "calibration.path=x.npz", "pruning.epochs=0"],
        {
            "source.path": (
                "no option of source is chosen; path is a key of keras, saved_model",
                "source=keras 'source.path=my model.keras'",
            ),
            "calibration.path": (
                "no option of calibration is chosen; path is a key of csv, images, npy, npz, tfrecord, wav",
                "calibration=npz calibration.path=x.npz",
            ),
            "pruning.epochs": ("epochs is a key of constant, polynomial_decay", "pruning=constant pruning.epochs=0"),
        },
    ),
    (
        "data that must be given, and data without the model's inputs",
        "digits_integer_only",
        ["calibration=npz", "evaluation=npz", "evaluation.path=x.npz"],
        {
            "calibration.path": ("must be given", "calibration.path=FILE"),
            "evaluation.path": (
                "x.npz has not the model's inputs\n"
                "  the model takes              the file has\n"
                "  image (?, 8, 8, 1) float32   x (3, 4) float32\n"
                "                               labels (3) int64",
                "evaluation.path=OTHER.npz",
            ),
        },
    ),
    (
        "files that are not there, and inputs of a model that is",
        "convert",
        ["source=keras", "source.path=my_model.keras", "source.input_shapes.y=[1,4]", "calibration=npz",
         "calibration.path=y.npz", "evaluation=npz", "evaluation.path=x.npz", "evaluation.labels=label"],
        {
            "source.path": ("there is no my_model.keras", "'source.path=\"my model.keras\"'"),
            "calibration.path": ("there is no y.npz", "calibration.path=x.npz"),
            "evaluation.path": ("x.npz has no array 'label'; it has x (3, 4) float32, labels (3) int64", None),
        },
    ),
    (
        "a list of steps out of order",
        "digits_integer_only",
        ["steps=[source,optimization,freeze,evluation,target,target]"],
        {
            "steps[3]": ("'evluation' is neither a section", None),
            "steps": ("cannot run in this order", None),
            "calibration": ("this step does not stand in `steps`", None),
            "evaluation": ("this step does not stand in `steps`", None),
        },
    ),
    (
        "rules that are no list, and keys like others that do not take the value",
        "digits_integer_only",
        ["optimization.rules={op: SOFTMAX, scheme: full_integer}", "optimization.output_typ=int8",
         "optimization.equalise=maybe"],
        {
            "optimization.rules": ("holds a list, and this is a mapping",
                                   "'optimization.rules=[{op:SOFTMAX,scheme:full_integer}]'"),
            "optimization.output_typ": ("unknown key", "'~optimization.output_typ' optimization.output_type=int8"),
            "optimization.equalise": ("did you mean equalize", "'~optimization.equalise'"),
        },
    ),
    (
        "a pattern without quotes in a rule",
        "digits_integer_only",
        ["optimization.rules=[{name: ^a$, scheme: full_integer}]"],
        {"optimization.rules": ("this value needs quotes",
                                "'optimization.rules=[{name:\"^a$\",scheme:full_integer}]'")},
    ),
    (
        "a key of one scheme asked of a search",
        "digits_auto",
        ["optimization.scheme=integer_only", "optimization.equalize=true"],
        {
            "optimization.scheme": ("did you mean schemes",
                                    "'~optimization.scheme' 'optimization.schemes=[integer_only]'"),
            "optimization.equalize": ("unknown key", "'~optimization.equalize'"),
        },
    ),
    (
        "several values for one run",
        "digits_pruned",
        ["calibration.samples=5,6", "optimization=none,float16", "pruning.layers=a,b"],
        {
            "calibration.samples": ("several values for one run", "-m"),
            "optimization": ("several values for one run", "-m"),
            "pruning.layers": ("several values for one run", "'pruning.layers=[a,b]'"),
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("recipe", "overrides", "expected"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_all_mistakes_are_said_at_once_and_their_fixes_mend_the_command(model, recipe, overrides, expected):
    if any(override.startswith("mygroup=") for override in overrides):
        write(model / "conf" / "mygroup" / "opt.yaml", "_target_: my_model:build\n")
    problems = wrong(recipe, *overrides)
    found = {}
    for problem in problems:
        found.setdefault(problem.where, []).append(problem)
    optional = {where for where, said in expected.items() if said is None}
    assert found.keys() | optional == expected.keys(), [problem.lines() for problem in problems]
    for where, (what, fix) in ((where, said) for where, said in expected.items() if said is not None):
        assert any(what in problem.what and fix in (None, first_way(problem)) for problem in found[where]), found[where]
    assert mended(recipe, overrides, problems)


def pasted(problem):
    """The fix, or the first other way where what the user has to fill in is a file of the fixture."""
    way = first_way(problem)
    return way if problem.fix or any(word in way for word in ("FILE", "VALUE", "OTHER", "model.keras")) else ""


def mended(recipe, overrides, problems):
    """Paste every fix behind the command, and those of what comes to light then, until nothing is wrong."""
    command = list(overrides)
    for _ in range(3):
        command += [word for problem in problems for word in shlex.split(pasted(problem))]
        before, problems = problems, wrong(recipe, *command)
        left = {(problem.where, problem.what) for problem in problems}
        assert not left & {(problem.where, problem.what) for problem in before if problem.fix}, command
        if not problems:
            return True
    pytest.fail(f"{command}: {[problem.lines() for problem in problems]}")


def test_each_fix_alone_removes_its_own_problem(model):
    overrides = ["samples=10", "source.epochs=three"]
    for problem in wrong("digits_integer_only", *overrides):
        after = wrong("digits_integer_only", *overrides, *shlex.split(problem.fix))
        assert (problem.where, problem.what) not in {(other.where, other.what) for other in after}


# Sweeps


def expanded(*overrides):
    return [recipe.config for recipe in composition.prepare("digits_integer_only", overrides, sweep=True).recipes]


@pytest.mark.slow
def test_a_sweep_is_checked_job_by_job(here):
    configs = expanded("optimization=full_integer,integer_only", "calibration.samples=5,6", "source.seed=3")
    assert [(config["optimization"]["scheme"], config["calibration"]["samples"]) for config in configs] == [
        ("full_integer", 5),
        ("full_integer", 6),
        ("integer_only", 5),
        ("integer_only", 6),
    ]
    assert {config["source"]["seed"] for config in configs} == {3}


@pytest.mark.slow
def test_sweeps_of_all_forms_are_expanded(here):
    types = ["optimization.input_type=float32", "optimization.output_type=float32"]
    schemes = [config["optimization"]["scheme"] for config in expanded("optimization=glob(*integer*)", *types)]
    assert sorted(schemes) == ["full_integer", "integer_only"]
    samples, shapes = "calibration.samples=range(1,10,3)", "source.input_shapes.image=[1,8,8,1],[2,8,8,1]"
    found = expanded(samples, shapes, "source.learning_rate=interval(0.001,0.1)", "target.flash_kb=choice(5)")
    assert [config["calibration"]["samples"] for config in found] == [1, 1, 4, 4, 7, 7]
    assert [config["source"]["input_shapes"]["image"][0] for config in found] == [1, 2] * 3
    assert {config["target"]["flash_kb"] for config in found} == {5.0}
    assert {config["source"]["learning_rate"] for config in found} == {0.001}


@pytest.mark.slow
def test_a_bad_combination_is_refused_before_the_sweep_and_names_its_job(here):
    schemes, types = "optimization=float16,int16x8", "optimization.input_type=float32,int16"
    problems = wrong("digits_integer_only", "-m", schemes, types, "optimization.output_type=float32")
    assert [problem.what for problem in problems] == [
        "float16 cannot give int16; it gives float32 "
        "(in optimization=float16 optimization.input_type=int16 optimization.output_type=float32)"
    ]


@pytest.mark.slow
def test_what_is_wrong_with_every_job_is_said_once(here):
    (problem,) = wrong("digits_integer_only", "-m", "calibration.samples=5,6", "foo=1")
    assert (problem.where, problem.what) == ("foo", wrong("digits_integer_only", "foo=1")[0].what)
    # by either of the two, in the only job
    assert wrong("convert", "steps=[source,source,freeze,optimization]")[0].what == "no model is given"
    (problem,) = wrong("digits_integer_only", "-m", "source.seed=1,x", "source.epochs=1")
    assert problem.what == "'x' is not a whole number (in source.seed=x source.epochs=1)"


def test_a_sweep_over_keys_of_a_free_mapping_is_launched_as_hydra_takes_it(here):
    prepared = composition.prepare("digits_integer_only", ["tracking.tags.a=1,2", "source.seed=1,2"], sweep=True)
    assert prepared.overrides == ("++tracking.tags.a=1,2", "source.seed=1,2")
    assert len(prepared.recipes) == 4


# Completion by Hydra, and values that refer to others


def test_hydra_completes_what_the_recipe_decides(here):
    assert composition.complete("digits_integer_only", "calibration.sam") == ["calibration.samples="]
    assert "target=generic" in composition.complete("digits_integer_only", "target=")


def test_values_may_refer_to_others(here):
    recipe = compose("digits_integer_only", "calibration.seed=${source.seed}", "source.seed=9")
    assert recipe.config["calibration"]["seed"] == 9
    (problem,) = wrong("digits_integer_only", "calibration.seed=${source.nothing}")
    assert "source.nothing" in problem.what


@pytest.mark.slow
def test_defaults_of_a_form_that_hydra_only_asserts_are_refused_in_words(here):
    text = compose("digits_float").to_yaml()
    write(here / "mine.yaml", text.replace("- override /source: digits\n", "- override /source: digits\n  rules: []\n"))
    (problem,) = wrong("mine.yaml")
    assert problem.where.endswith("mine.yaml")
    assert "defaults" in problem.what
    assert any("- group: option" in line for line in problem.alternatives)
