"""A choice that was renamed: recipes may still use its former name, and mean the same."""

from dataclasses import fields
from enum import Enum
from typing import get_args

import pytest
import yaml
from support import tracked_runs
from support.checkout import write

from tflite_recipes.cli import completion
from tflite_recipes.config import catalog, composition
from tflite_recipes.conversion.conversion_settings import Conversion
from tflite_recipes.conversion.former_names import RENAMED, in_todays_names
from tflite_recipes.conversion.remedies import Remedy
from tflite_recipes.conversion.schemes import Quantizer
from tflite_recipes.core import events, schema
from tflite_recipes.core.errors import RequestError
from tflite_recipes.engine.search.candidates import Candidate, recipe_of
from tflite_recipes.past_runs.compare import run_facts
from tflite_recipes.past_runs.compare.comparison import compare_runs
from tflite_recipes.past_runs.compare.run_diff import Facts, diff_facts
from tflite_recipes.past_runs.reproduce.changes import of_config
from tflite_recipes.tracking.params import params_of
from tflite_recipes.tracking.run_reader import PastRuns

FORMER, TODAY = "ai_edge_quantizer", "litert_quantizer"
ASKED = [
    ("digits_integer_only", "optimization.quantizer={}"),
    ("digits_auto", "optimization.quantizers=[tflite_converter,{}]"),
    ("digits_float", "conversion.fallback=[erf,{}]"),
    ("digits_integer_only", "conversion={{fallback:[{}]}}"),
]


@pytest.mark.parametrize(("name", "override"), ASKED)
def test_a_former_name_gives_the_same_recipe_digest_and_params(here, name, override):
    former, today = (composition.compose(name, [override.format(choice)]) for choice in (FORMER, TODAY))
    assert former.digest == today.digest
    assert former.to_yaml() == today.to_yaml()
    assert params_of(former.choices, former.config) == params_of(today.choices, today.config)
    assert former.intent == today.intent
    assert TODAY in today.to_yaml()
    assert FORMER not in former.to_yaml()


@pytest.mark.parametrize(("name", "override"), ASKED)
def test_a_resolved_recipe_of_the_past_composes_to_that_of_today(here, name, override):
    today = composition.compose(name, [override.format(TODAY)])
    write(here / "past.yaml", today.to_yaml().replace(TODAY, FORMER))
    past = composition.compose("past.yaml")
    assert (past.digest, past.config) == (today.digest, today.config)


@pytest.mark.slow
def test_an_own_recipe_may_keep_the_former_name(here):
    head = "# @package _global_\ndefaults: [/builtin/digits_integer_only, _self_]\n"
    write(here / "recipes" / "mine.yaml", f"{head}optimization: {{quantizer: {FORMER}}}\n")
    recipe = composition.compose("mine")
    assert recipe.config["optimization"]["quantizer"] == TODAY
    assert composition.compose("mine", [f"optimization.quantizer={TODAY}"]).digest == recipe.digest


@pytest.mark.parametrize("both", [f"[{FORMER},{TODAY}]", f"[{TODAY},{FORMER}]"])
def test_both_names_in_a_list_are_one_choice(here, both):
    searched = composition.compose("digits_auto", [f"optimization.quantizers={both}"])
    assert searched.config["optimization"]["quantizers"] == [TODAY]
    converted = composition.compose("digits_float", [f"conversion.fallback={both}"])
    assert converted.config["conversion"]["fallback"] == [TODAY]


def test_the_jobs_of_a_sweep_over_both_names_are_the_same(here):
    sweep = composition.prepare("digits_integer_only", [f"optimization.quantizer={FORMER},{TODAY}"], sweep=True)
    first, second = sweep.recipes
    assert first.digest == second.digest


def test_a_candidate_of_a_search_has_the_name_of_today(here):
    recipe = composition.compose("digits_auto", [f"optimization.quantizers=[{FORMER}]"])
    (quantizer,) = recipe.config["optimization"]["quantizers"]
    auto = next(step.instance for step in recipe.steps if step.name == "optimization")
    candidate = Candidate("int16x8", auto.quantizers[0].name)
    assert (quantizer, str(candidate)) == (TODAY, f"int16x8, {TODAY}")
    assert recipe_of(recipe, auto, candidate).overrides[-1] == f"optimization.quantizer={TODAY}"


@pytest.mark.slow
def test_a_former_name_is_never_offered(here, cli):
    offered = completion.candidates("tflite-recipes run digits_integer_only optimization.quantizer=")
    assert offered == [f"optimization.quantizer={name} " for name in ("litert_quantizer", "tflite_converter")]
    with pytest.raises(RequestError) as refused:
        composition.compose(
            "digits_auto", ["optimization.quantizers=[zzz]", "conversion.fallback=[zzz]", "optimization.objective=zzz"]
        )
    said = {problem.where: problem.what for problem in refused.value.problems}
    assert said["optimization.quantizers"] == "there is no zzz; there are tflite_converter, litert_quantizer"
    assert FORMER not in said["conversion.fallback"]
    with pytest.raises(RequestError) as refused:
        composition.compose("digits_integer_only", ["optimization.quantizer=zzz"])
    assert refused.value.problems[0].what == "'zzz' is not one of tflite_converter, litert_quantizer"
    assert FORMER not in cli("show", "digits_auto").out


def test_what_is_like_a_former_name_is_meant_for_that_of_today(here):
    with pytest.raises(RequestError) as refused:
        composition.compose("digits_auto", ["optimization.quantizers=[ai_edge_quantiser,tflite_converter]"])
    (problem,) = refused.value.problems
    assert problem.fix == "'optimization.quantizers=[litert_quantizer,tflite_converter]'"


def choices_of(hint):
    """The enumerations that a field's type is made of."""
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {hint}
    return {kind for inner in get_args(hint) for kind in choices_of(inner)}


def test_every_key_with_renamed_choices_is_known():
    sections = {("conversion", Conversion)}
    for group, options in catalog.list_groups().items():
        targets = {catalog.option_values(path)[schema.TARGET] for path in options.values()}
        sections |= {(group, schema.load_target(target)) for target in targets - {None}}
    found = {
        f"{group}.{field.name}": schema.former_names(kind)
        for group, section in sections
        for field in fields(section)
        for kind in choices_of(schema.types_of(section)[field.name])
        if schema.former_names(kind)
    }
    assert found == RENAMED
    assert schema.former_names(Quantizer) == schema.former_names(Remedy) == {FORMER: TODAY}


def test_keys_that_hold_other_names_are_left_alone():
    config = {"source.path": FORMER, "optimization.quantizer": None, "conversion.fallback": [FORMER, "erf"]}
    assert in_todays_names(config) == {**config, "conversion.fallback": [TODAY, "erf"]}
    params = {"conversion.fallback": f"['erf', '{FORMER}']", "optimization.quantizer": FORMER}
    assert in_todays_names(params) == {"conversion.fallback": f"['erf', '{TODAY}']", "optimization.quantizer": TODAY}


def resolved(quantizer, per_channel="true"):
    return f"defaults: [/base]\nsteps: [source]\noptimization: {{quantizer: {quantizer}, per_channel: {per_channel}}}\n"


def test_a_reproduction_does_not_tell_of_the_new_name():
    past, today = (yaml.safe_load(text) for text in (resolved(FORMER), resolved(TODAY, "false")))
    assert [change.what for change in of_config(past, today)] == ["optimization.per_channel"]


@pytest.mark.slow
def test_a_past_run_is_compared_by_the_names_of_today(here):
    """Told to a real MLflow under the former name and under that of today."""
    uri = f"sqlite:///{here / 'runs.db'}"
    for place, name in enumerate((FORMER, TODAY)):
        path = write(here / str(place) / "recipe.yaml", resolved(name))
        section = {"quantizer": name, "rules": []}
        told = [
            tracked_runs.started(optimization=section, conversion={"fallback": [name]}),
            events.ArtifactKept(str(path), ""),
            tracked_runs.finished(),
        ]
        tracked_runs.tracked(told, tracked_runs.settings(uri))
    runs = PastRuns(uri)
    listed = runs.of_experiment("e")
    assert [run.params["optimization.quantizer"] for run in listed] == [TODAY, TODAY]
    assert compare_runs(listed, uri, "e").keys == ()
    read = [run_facts.read(runs, run) for run in listed]
    assert read[0].config["optimization.quantizer"] == TODAY
    assert diff_facts(*read).config == ()
    assert diff_facts(*(Facts(run) for run in listed)).config == ()
