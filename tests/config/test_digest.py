"""The digest of a recipe: what counts in it, and what never changes it."""

from __future__ import annotations

import copy
import functools
import os
import re
from collections.abc import Iterator
from dataclasses import make_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.checkout import REPOSITORY

from tflite_recipes.config import composition
from tflite_recipes.config import recipe as recipes
from tflite_recipes.core import public_names, schema
from tflite_recipes.steps import freeze

HERE = REPOSITORY / "tests" / "golden"
DEFAULTS = REPOSITORY / "tests" / "config" / "defaults.yaml"
# As runs logged them before there were public names, with the digest of that time in their second line.
OLD = sorted((HERE / "old_recipes").glob("*.yaml"))
WRITTEN = [*OLD, *sorted((HERE).glob("*.yaml"))]
# These never change: a digest that changes here has changed for every recipe.
DIGESTS = {
    "digits_auto": "28e3cf0c65608663b80118d269665bdc9e541a9b083e844127eeba573b9cc499",
    "digits_integer_only": "a987c1c26d5a6816dea1e62c4af05f3bfdf3ee379561c61e609dac05227128b1",
    "mobilenet_v2_raspberry_pi": "9e797e577a62cd59f10e6d123546187c507f6b410a72c46588d77da55e188257",
}


def config_of(path: Path) -> dict[str, Any]:
    return copy.deepcopy({key: value for key, value in content_of(path).items() if key != "defaults"})


@functools.cache
def content_of(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def changed(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, list):
        return [*value, "more"]
    return {**value, "more": 1} if isinstance(value, dict) else f"{value}_"


def keys_of(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for section, values in config.items():
        if isinstance(values, dict) and section not in ("tracking", "worker"):
            yield from ((section, key) for key in values)


written = pytest.mark.parametrize("path", WRITTEN, ids=lambda path: f"{path.parent.name}/{path.stem}")
old = pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)


@old
def test_digest_of_a_written_recipe_stays(path: Path) -> None:
    assert recipes.digest_of(config_of(path)) == DIGESTS[path.stem]


@old
def test_digest_of_a_logged_recipe_is_that_of_the_composed_one(here: Path, path: Path) -> None:
    composed = composition.compose(str(path))
    assert composed.digest == recipes.digest_of(config_of(path))
    assert recipes.digest_of(composed.config) == composed.digest


@old
def test_digest_that_an_old_run_logged_is_still_its_own(path: Path) -> None:
    (logged,) = re.findall(r"recipe digest ([0-9a-f]{64})", path.read_text(encoding="utf-8"))
    config = config_of(path)
    assert recipes.digest_of(config) != logged == recipes.digest_of_every_key(config)
    assert recipes.has_digest(config, logged)
    assert recipes.has_digest(config, recipes.digest_of(config))
    config["source"]["seed"] = 99
    assert not recipes.has_digest(config, logged)
    assert not recipes.has_digest(config, "")


@written
@pytest.mark.parametrize("nothing", [{"_target_": None}, None, {}, ...])
def test_group_in_which_nothing_is_chosen_does_not_count(path: Path, nothing: Any) -> None:
    config = config_of(path)
    steps = [*config["steps"][:2], "later", *config["steps"][2:]]
    later = {} if nothing is ... else {"later": nothing}
    assert recipes.digest_of({**config, "steps": steps, **later}) == recipes.digest_of(config)
    assert recipes.digest_of({**config, **later}) == recipes.digest_of(config)


@written
def test_group_in_which_something_is_chosen_counts(path: Path) -> None:
    config = config_of(path)
    steps = [*config["steps"], "later"]
    chosen = {**config, "steps": steps, "later": {"_target_": "mine:Later"}}
    assert recipes.digest_of(chosen) != recipes.digest_of(config)
    assert recipes.digest_of({**config, "steps": [*config["steps"], "mine:Later"]}) != recipes.digest_of(config)


@written
@pytest.mark.parametrize("section", ["name", "tracking", "worker", "cache", "hydra"])
def test_section_that_decides_nothing_does_not_count(path: Path, section: str) -> None:
    config = config_of(path)
    assert recipes.digest_of({**config, section: {"more": 1}}) == recipes.digest_of(config)
    config.pop(section, None)
    assert recipes.digest_of(config) == recipes.digest_of(config_of(path))


@written
@pytest.mark.parametrize("name", ["cache", "hydra"])
def test_step_counts_whatever_it_is_called(path: Path, name: str) -> None:
    config = config_of(path)
    config["steps"] = [*config["steps"], name]
    digests = {recipes.digest_of({**config, name: {"_target_": "mine:Step", "x": x}}) for x in (1, 2)}
    assert len(digests | {recipes.digest_of(config_of(path))}) == 3


@written
def test_every_key_counts(path: Path) -> None:
    config = config_of(path)
    same = recipes.digest_of(config)
    unseen = []
    for section, key in keys_of(config):
        other = copy.deepcopy(config)
        other[section][key] = changed(config[section][key])
        unseen += [f"{section}.{key}"] if recipes.digest_of(other) == same else []
    assert unseen == []


@given(st.data())
def test_two_changes_of_a_recipe_have_two_digests(data: st.DataObject) -> None:
    config = config_of(OLD[0])
    keys = sorted(keys_of(config))
    digests = {}
    for chosen in data.draw(st.lists(st.sets(st.sampled_from(keys), min_size=1, max_size=3), min_size=2, max_size=4)):
        other = copy.deepcopy(config)
        for section, key in chosen:
            other[section][key] = changed(config[section][key])
        digests[frozenset(chosen)] = recipes.digest_of(other)
    assert len(set(digests.values())) == len(digests)


@written
def test_key_at_its_default_does_not_count(path: Path) -> None:
    config = config_of(path)
    dropped = 0
    for section, values in config.items():
        kind = schema.class_of(values.get(schema.TARGET)) if isinstance(values, dict) else None
        defaults = schema.defaults_of(kind) if kind is not None and section != "tracking" else {}
        for key in [key for key in defaults if key in values and values[key] == defaults[key]]:
            del values[key]
            dropped += 1
    assert dropped > 10
    assert recipes.digest_of(config) == recipes.digest_of(config_of(path))


@pytest.mark.parametrize(("value", "same"), [(3, True), (4, False), (..., True)])
def test_key_that_comes_later_counts_only_beside_its_default(
    monkeypatch: pytest.MonkeyPatch, value: Any, same: bool
) -> None:
    config = config_of(OLD[0])
    before = recipes.digest_of(config)
    later = make_dataclass("Freeze", [("later", int, 3)], bases=(freeze.Freeze,), frozen=True)
    later.__module__ = freeze.__name__
    monkeypatch.setattr(freeze, "Freeze", later)
    if value is not ...:
        config["freeze"]["later"] = value
    assert (recipes.digest_of(config) == before) is same


class Choice(Enum):
    new_name = "a"
    other = "b"
    old_name = "a"


def test_old_names_of_choices_are_those_of_today() -> None:
    fields = [("one", Choice), ("several", list[Choice]), ("perhaps", Choice | None), ("named", dict[str, Choice])]
    kind = make_dataclass("Section", [*fields, ("share", float)])
    section = {"one": "old_name", "several": ["other", "old_name"], "perhaps": None, "named": {"x": "old_name"}}
    assert schema.spelled(kind, {"_target_": "x", **section, "share": 1, "unknown": "old_name", "wrong": [1]}) == {
        **{"one": "new_name", "several": ["other", "new_name"], "perhaps": None, "named": {"x": "new_name"}},
        **{"share": 1.0, "unknown": "old_name", "wrong": [1]},
    }


def test_nothing_in_a_logged_recipe_is_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(OLD[0])
    config["target"]["description"] = "${oc.env:HOME}"
    assert recipes.counted(config)["target"]["description"] == "${oc.env:HOME}"


broken = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.dates(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=9) | st.integers(), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(["steps", "source", "conversion", "name", "x"]), broken))
def test_whatever_is_logged_has_a_digest(config: dict[str, Any]) -> None:
    assert len(recipes.digest_of(config)) == 64
    assert not recipes.has_digest(config, "")
    assert recipes.completed(config).keys() == config.keys()


# Defaults

CLASSES = {
    **{name: schema.class_of(f"{public_names.STEPS}.{name}") for name in public_names.offered(public_names.STEPS)},
    **{section: recipes.BESIDE_STEPS[section] for section in ("conversion", "io_contract")},
}


@pytest.mark.parametrize("name", CLASSES)
def test_default_never_changes(name: str) -> None:
    """A new key gets a default, which is what runs did before; `TFLITE_RECIPES_REGENERATE=1` adds it to the file."""
    kind = CLASSES[name]
    assert kind is not None
    recorded = yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))
    now = schema.defaults_of(kind)
    if os.environ.get("TFLITE_RECIPES_REGENERATE"):
        recorded[name] = {**now, **recorded.get(name, {})}
        DEFAULTS.write_text(yaml.safe_dump(recorded), encoding="utf-8")
    how = f"see 'Add a key' in CONTRIBUTING.md: {DEFAULTS.relative_to(REPOSITORY)} has the default of each key"
    assert name in recorded, how
    assert schema.spelled(kind, recorded[name]) == now, how
