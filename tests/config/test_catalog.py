"""Which recipes and options there are: the user's own before ours, ours always reachable."""

from __future__ import annotations

import pytest
import yaml
from support.checkout import REPOSITORY, write

from tflite_recipes.config import catalog
from tflite_recipes.core.errors import RequestError
from tflite_recipes.core.resources import shipped

OURS = shipped("recipes") / "builtin"


def refused(call, *arguments):
    with pytest.raises(RequestError) as raised:
        call(*arguments)
    (problem,) = raised.value.problems
    return problem


def test_our_recipes_are_listed_by_their_names(here):
    found = catalog.list_recipes()
    assert {"convert", "digits_integer_only", "digits_float"} <= found.keys()
    assert all(path.parent == OURS for path in found.values())


def test_a_users_recipes_come_first_in_any_folder_and_shadow_ours(here):
    own = write(here / "recipes" / "convert.yaml", "# Mine\n")
    nested = write(here / "recipes" / "team" / "x.yaml", "# Ours\n")
    found = catalog.list_recipes()
    assert list(found)[:2] == ["convert", "team/x"]
    assert (found["convert"], found["team/x"]) == (own, nested)
    assert found["builtin/convert"] == OURS / "convert.yaml"
    assert "builtin/digits_float" not in found


def test_in_the_repository_itself_nothing_is_listed_twice(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    found = catalog.list_recipes()
    assert len(set(found.values())) == len(found)
    assert not any(name.startswith("builtin/") for name in found)


def test_a_recipe_is_found_by_name_by_builtin_name_and_by_file(here):
    own = write(here / "recipes" / "convert.yaml", "")
    file = write(here / "elsewhere" / "mine.yaml", "")
    assert catalog.find("convert") == own
    assert catalog.find("builtin/convert") == OURS / "convert.yaml"
    assert catalog.find("digits_float") == OURS / "digits_float.yaml"
    assert catalog.find("elsewhere/mine.yaml") == file
    assert catalog.find(str(file)) == file


def test_an_unknown_recipe_is_said_with_near_matches(here):
    problem = refused(catalog.find, "digits_interger_only")
    assert problem.what.startswith("there is no recipe 'digits_interger_only'; did you mean digits_integer_only")
    assert problem.alternatives == ("digits_integer_only",)
    assert "there are anomaly_detection, convert, digits_auto, digits_float" in refused(catalog.find, "zzzz").what


@pytest.mark.parametrize(
    ("name", "content", "overrides"),
    [
        ("m.keras", b"PK\x03\x04", "source=keras source.path=m.keras"),
        ("m.bin", b"\x89HDF\r\n\x1a\n", "source=keras source.path=m.bin"),
        ("a b.tflite", b"\0\0\0\0TFL3", "source=tflite 'source.path=\"a b.tflite\"'"),
        ("folder/saved_model.pb", b"x", "source=saved_model source.path=folder"),
        ("frozen.pb", b"x", "source=factory source.function=my_model.py:build"),
    ],
)
def test_a_model_in_place_of_a_recipe_is_told_how_to_convert_it(here, name, content, overrides):
    (here / name).parent.mkdir(exist_ok=True)
    (here / name).write_bytes(content)
    problem = refused(catalog.find, name)
    assert problem.what == f"{name} is a model, not a recipe"
    assert problem.alternatives == (f"convert {overrides}",)


def test_an_unknown_file_is_said_with_the_files_beside_it(here):
    write(here / "mine.yaml", "")
    assert refused(catalog.find, "mien.yaml").what == "there is no file 'mien.yaml'; did you mean mine.yaml?"
    assert refused(catalog.find, "no/where.yaml").what == "there is no file 'no/where.yaml'; there are none"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# @package _global_\n# tflite-recipes run mine\n# What it does\n# more\na: 1\n", "What it does"),
        ("# What it does\n", "What it does"),
        ("a: 1\n# not the head\n", ""),
        ("#\n# What it does\n", "What it does"),
        ("", ""),
    ],
)
def test_a_file_describes_itself_in_its_first_comment(here, text, line):
    assert catalog.describe(write(here / "a.yaml", text)) == line


def test_groups_come_in_the_order_in_which_they_run(here):
    steps = yaml.safe_load((REPOSITORY / "conf" / "base.yaml").read_text(encoding="utf-8"))["steps"]
    assert (steps[0], steps[-1]) == ("source", "evaluation")
    assert list(catalog.list_groups()) == [*steps, "tracking"]


def test_a_users_options_come_in_and_shadow_ours(here):
    own = write(here / "conf" / "target" / "board.yaml", "# Mine\n")
    shadow = write(here / "conf" / "target" / "cpu.yaml", "# Mine too\n")
    other = write(here / "conf" / "my" / "group" / "a.yaml", "# A\n")
    write(here / "conf" / "top.yaml", "# no option of any group\n")
    groups = catalog.list_groups()
    assert (groups["target"]["board"], groups["target"]["cpu"]) == (own, shadow)
    assert groups["target"]["generic"] == shipped("conf") / "target" / "generic.yaml"
    assert groups["my/group"] == {"a": other}
    assert sorted(list(groups)[-2:]) == ["my/group", "tracking"]


def test_config_is_looked_for_at_the_users_first(here):
    write(here / "recipes" / "a.yaml", "")
    write(here / "conf" / "a.yaml", "")
    write(here / "mine" / "a.yaml", "")
    assert catalog.places(here / "mine") == [
        here / "mine",
        here / "recipes",
        here / "conf",
        shipped("recipes"),
        OURS,
        shipped("conf"),
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: [1\n", "cannot be read as YAML"),
        ("- a\n", "holds no recipe: it is not a mapping"),
        ("", "holds no recipe"),
        ("defaults: base\n", "its defaults are not a list"),
    ],
)
def test_a_file_that_holds_no_recipe_is_named(here, text, what):
    problem = refused(catalog.read, write(here / "mine.yaml", text))
    assert what in problem.what
    assert problem.where == str(here / "mine.yaml")


def test_bytes_and_folders_hold_no_recipe(here):
    (here / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    (here / "folder.yaml").mkdir()
    assert "cannot be read as YAML" in refused(catalog.read, here / "bytes.yaml").what
    assert "cannot be read as YAML" in refused(catalog.read, here / "folder.yaml").what


@pytest.mark.parametrize("entry", ["convert", "/convert"])
def test_a_recipe_that_inherits_itself_is_refused_before_it_recurses(here, entry):
    problem = refused(catalog.read, write(here / "recipes" / "convert.yaml", f"defaults: [{entry}, _self_]\n"))
    assert problem.what == "inherits 'convert', which is itself"
    assert problem.alternatives == ("inherit ours: write `- /builtin/convert` under its defaults",)
    problem = refused(catalog.read, write(here / "mine.yaml", "defaults: [mine]\n"))
    assert problem.alternatives == ("give the file another name",)


def test_every_shipped_file_can_be_read():
    for folder in ("conf", "recipes"):
        for path in shipped(folder).rglob("*.yaml"):
            assert catalog.read(path)


@pytest.mark.slow
def test_builtin_is_ours_whatever_lies_in_a_folder_of_that_name(here):
    """A checkout of this repository has recipes/builtin/ itself."""
    from tflite_recipes.config import composition

    write(here / "recipes" / "builtin" / "digits_float.yaml", "# @package _global_\ndefaults: [/base]\nname: mine\n")
    write(here / "recipes" / "mine.yaml", "defaults: [builtin/digits_float, _self_]\n")
    assert not any(name.startswith("builtin/") for name in catalog.list_recipes())
    ours = composition.compose("digits_float").digest
    assert composition.compose("builtin/digits_float").digest == ours
    assert composition.compose("mine").digest == ours


def test_circles_names_the_option_that_inherits_itself(here):
    write(here / "conf" / "source" / "keras.yaml", "defaults: [keras, _self_]\n")
    write(here / "conf" / "target" / "one.yaml", "defaults: [two, _self_]\n")
    write(here / "conf" / "target" / "two.yaml", "defaults: [one, _self_]\n")
    write(here / "conf" / "target" / "fine.yaml", "defaults: [generic, _self_]\n")
    found = catalog.circles(catalog.option_folders())
    assert [problem.where for problem in found] == [
        f"{here}/conf/source/keras.yaml defaults",
        f"{here}/conf/target/one.yaml defaults",
        f"{here}/conf/target/two.yaml defaults",
    ]
    assert found[0].alternatives == ("give the file another name",)
