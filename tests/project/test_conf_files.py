"""The YAML holds values only: its keys are the dataclass's fields, and each file says what it is."""

import re
import shlex
from dataclasses import fields

import pytest
import yaml
from support.checkout import REPOSITORY

from tflite_recipes.config import catalog, composition
from tflite_recipes.core import schema
from tflite_recipes.core.errors import RequestError

CONF = REPOSITORY / "conf"
OPTIONS = [path for options in catalog.list_groups([CONF]).values() for path in options.values()]
RECIPES = sorted((REPOSITORY / "recipes").rglob("*.yaml"))


def test_no_two_choices_are_one():
    """Members of an Enum that share a value are one member under two names: a choice and its former name."""
    from enum import Enum
    from importlib import import_module

    kinds = {
        kind
        for path in (REPOSITORY / "tflite_recipes" / "steps").glob("*.py")
        for kind in vars(import_module(f"tflite_recipes.steps.{path.stem}")).values()
        if isinstance(kind, type) and issubclass(kind, Enum) and kind is not Enum
    }
    assert len(kinds) >= 5
    assert {name for kind in kinds for name in schema.former_names(kind)} == {"ai_edge_quantizer"}


def name(path):
    return f"{path.parent.name}/{path.stem}"


def values_of(path):
    return catalog.option_values(path, [CONF])


def test_there_are_options():
    assert len(OPTIONS) >= 26


@pytest.mark.parametrize("path", OPTIONS, ids=name)
def test_keys_are_the_fields(path):
    values = values_of(path)
    target = values.pop(schema.TARGET)
    if path.stem == "none" and target is None:
        assert values == {}
        return
    kind = schema.load_target(target)
    assert list(values) == schema.keys_of(kind)
    assert set(values) == {field.name for field in fields(kind)}
    assert kind.__dataclass_params__.frozen


@pytest.mark.parametrize("path", OPTIONS, ids=name)
def test_defaults_are_within_their_own_schema(path, here):
    values = values_of(path)
    if values[schema.TARGET] is None:
        return
    _, problems = schema.build(schema.load_target(values[schema.TARGET]), values, path.parent.name)
    assert [problem for problem in problems if problem.what != "must be given"] == []


@pytest.mark.parametrize("path", [*OPTIONS, *RECIPES], ids=name)
def test_it_says_what_it_is_in_a_line(path):
    text = catalog.describe(path)
    assert 10 <= len(text) < 100


@pytest.mark.parametrize("path", OPTIONS, ids=name)
def test_that_line_is_the_first(path):
    assert path.read_text(encoding="utf-8").splitlines()[0] == f"# {catalog.describe(path)}"


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_a_recipe_opens_with_the_command_that_runs_it(path, here):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert (lines[0], lines[2]) == ("# @package _global_", f"# {catalog.describe(path)}")
    program, run, recipe, *arguments = shlex.split(lines[1].removeprefix("# "))
    assert (program, run, recipe) == ("tflite-recipes", "run", path.stem)
    overrides = [argument for argument in arguments if argument != "-m"]
    if not any("path=" in override for override in overrides):
        assert composition.prepare(recipe, overrides, sweep="-m" in arguments).recipes
        return
    with pytest.raises(RequestError) as refused:  # whose command names files of the reader's
        composition.prepare(recipe, overrides)
    assert {problem.where for problem in refused.value.problems} <= {"source.path", "calibration.path"}


def test_only_options_named_none_stand_for_nothing():
    empty = {name(path) for path in OPTIONS if values_of(path)[schema.TARGET] is None}
    # A float conversion and parity alone are something.
    assert empty == {name(path) for path in OPTIONS if path.stem == "none"} - {"optimization/none", "evaluation/none"}


def test_the_base_has_a_default_for_every_group_and_runs_them_in_order():
    base = yaml.safe_load((CONF / "base.yaml").read_text(encoding="utf-8"))
    defaults = {
        group: option for entry in base["defaults"] if isinstance(entry, dict) for group, option in entry.items()
    }
    ours = {group: option for group, option in defaults.items() if not group.startswith("override")}
    assert ours.keys() == {path.parent.name for path in OPTIONS}
    assert all(option is None or CONF / group / f"{option}.yaml" in OPTIONS for group, option in ours.items())
    assert [group for group in ours if group != "tracking"] == base["steps"]
    assert ours["source"] is None


def test_what_a_microcontroller_has_is_what_its_first_line_says():
    """`tflite-recipes ls target` shows that line; an arena lies in one piece of memory that holds data."""
    found = {}
    for path in catalog.list_groups([CONF])["target"].values():
        text = path.read_text(encoding="utf-8")
        if (values := values_of(path))["_target_"].endswith("MicroTarget"):
            flash, ram, clock = (values[key] for key in ("flash_kb", "ram_kb", "clock_mhz"))
            said = re.search(r"([\d.]+) MiB (?:flash|MRAM), (\d+) (K|M)iB RAM, (\d+) MHz", text.partition("\n")[0])
            assert said, path.name
            assert (float(said[1]) * 1024, int(said[4])) == (flash, clock), path.name
            found[path.stem] = ram
            assert int(said[2]) * (1024 if said[3] == "M" else 1) == ram, path.name
    assert found["esp32_s3"] == 416 + 64  # SRAM1 and SRAM2 of its technical reference manual
