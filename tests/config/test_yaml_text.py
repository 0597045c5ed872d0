"""YAML that is nested, expands or repeats, in recipes, options and on the way through Hydra."""

import itertools
import time

import pytest

from tflite_recipes.config import catalog, composition, yaml_text
from tflite_recipes.core.errors import RequestError

HEAD = "defaults: [convert, override source: keras, _self_]\nsource: {path: base.keras}\n"
NAMES = "abcdefghi"
LISTS = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 10)}]\n" for before, name in itertools.pairwise(NAMES)
)
MAPPINGS = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{{','.join(f'k{i}: *{before}' for i in range(10))}}}\n"
    for before, name in itertools.pairwise(NAMES)
)
FLOW = "x: " + "[" * 3000 + "]" * 3000 + "\n"
BLOCK = "".join(f"{' ' * depth}a:\n" for depth in range(500))
UNFIT = {
    "aliases of lists": (LISTS, "e"),
    "aliases of mappings": (MAPPINGS, "e.k4"),
    "an alias in itself": ("a: &a [*a]\n", "a"),
    "nested lists": (FLOW, "x"),
    "nested mappings": (BLOCK, ".".join("a" * yaml_text.DEEPEST)),
    "a key twice": ("name: x\nname: y\n", "name"),
    "a key of a section twice": ("target: {a: 1, b: {c: 1, c: 2}}\n", "target.b.c"),
    "a key twice in a list": ("l:\n- a: 1\n  a: 2\n", "l.a"),
}


@pytest.mark.parametrize(("text", "key"), UNFIT.values(), ids=UNFIT)
def test_check_unfit_text_names_the_key(text, key):
    with pytest.raises(yaml_text.Unfit) as error:
        yaml_text.check(text)
    assert error.value.key == key


def test_load_common_aliases_and_merged_keys_gives_what_yaml_gives():
    text = "a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]\n"
    assert yaml_text.load(text) == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}, {"x": 1}]}


@pytest.mark.parametrize("text", [LISTS, FLOW, "name: x\nname: y\n"])
def test_compose_unfit_recipe_is_refused_at_its_key(here, text):
    (here / "own.yaml").write_text(HEAD + text)
    with pytest.raises(RequestError) as error:
        composition.compose("own.yaml")
    assert str(here / "own.yaml") in error.value.problems[0].where


def test_compose_unfit_option_is_refused_at_its_file(here):
    (here / "conf" / "target").mkdir(parents=True)
    (here / "conf" / "target" / "mine.yaml").write_text(LISTS)
    with pytest.raises(RequestError) as error:
        composition.compose("digits_float", ["target=mine"])
    assert "conf/target/mine.yaml" in str(error.value.problems[0].where)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "key"),
    [
        pytest.param(
            "".join(f"k{i}: '{f'${{k{i + 1}}}' * 10}'\n" for i in range(8)) + "k8: xxxxxxxxxx\nname: ${k0}\n",
            "name",
            marks=pytest.mark.slow,  # OmegaConf takes seconds until the limit is reached
        ),
        ("a: ${b}\nb: ${a}\n", "a"),
    ],
)
def test_compose_interpolations_without_end_are_refused_at_their_key(here, text, key):
    (here / "own.yaml").write_text(HEAD + text)
    begun = time.monotonic()
    with pytest.raises(RequestError) as error:
        composition.compose("own.yaml")
    assert [problem.where for problem in error.value.problems] == [key]
    assert time.monotonic() - begun < 20


@pytest.mark.slow
def test_compose_interpolations_of_mappings_without_end_are_refused(here):
    rows = "".join(f"{a}: {{x: '${{{b}}}', y: '${{{b}}}', z: '${{{b}}}'}}\n" for a, b in itertools.pairwise(NAMES))
    (here / "own.yaml").write_text(HEAD + rows + "i: 1\n")
    with pytest.raises(RequestError) as error:
        composition.compose("own.yaml")
    assert len(error.value.problems) == 1


def test_read_recipe_that_is_too_large_is_refused(here):
    (here / "own.yaml").write_text(HEAD + "# " + "x" * catalog.MOST)
    with pytest.raises(RequestError) as error:
        catalog.read(here / "own.yaml")
    assert error.value.problems[0].where == str(here / "own.yaml")
