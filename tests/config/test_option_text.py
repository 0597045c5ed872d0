"""An option as one file that stands alone, and `cp`, which writes it."""

import itertools

import pytest
import yaml
from support.checkout import write
from support.option_trees import CONF, OURS, TREES

from tflite_recipes.cli import completion
from tflite_recipes.config import catalog, composition
from tflite_recipes.config.option_text import option_text
from tflite_recipes.core.schema import TARGET


def comments(text):
    """The lines above each key at the beginning of a line."""
    found, above = {}, []
    for line in text.splitlines():
        if line.startswith("#"):
            above.append(line)
        elif line.strip():
            found[line.partition(":")[0]] = above if line[0].isalpha() or line[0] == "_" else []
            above = []
        else:
            above = []
    return found


@pytest.mark.parametrize("option", OURS)
def test_option_text_is_whole_and_keeps_the_comments(option):
    text = option_text(OURS[option], [CONF])
    values = catalog.option_values(OURS[option], [CONF])
    assert yaml.safe_load(text) == values
    assert text.splitlines()[0] == f"# {catalog.describe(OURS[option])}"
    keys = [line.partition(":")[0] for line in text.splitlines() if line[0] not in "# "]
    assert keys == [TARGET, *(key for key in values if key != TARGET)]
    said = comments(text)
    for path, _ in catalog.option_files(OURS[option], [CONF]):
        own = comments(path.read_text(encoding="utf-8"))
        for key in itertools.islice((key for key in own if key != "defaults"), path == OURS[option], None):
            assert not own[key] or said[key], key
    files = [path for path, _ in catalog.option_files(OURS[option], [CONF])]
    lines = {line for path in files for line in path.read_text(encoding="utf-8").splitlines()}
    assert set(text.splitlines()) <= lines  # nothing is written anew


def test_option_text_has_the_comment_that_is_nearest(here):
    text = """\
# Mine
# and more of it
defaults: [_b, _self_]
# own words
x: 1
y: 2
m: {p: 1}
"""
    below = """\
# What is shared

# first words
x: 0
# words below
y:
  - 0  # with a remark
z: |
  a
  # no comment
  b
# of a mapping
m:
  # inside
  p: 0
  q: 0
"""
    write(here / "conf" / "g" / "_b.yaml", below)
    assert (
        option_text(write(here / "conf" / "g" / "a.yaml", text))
        == """\
# Mine
# and more of it
# own words
x: 1
# words below
y: 2
z: |
  a
  # no comment
  b
# of a mapping
m:
  p: 1
  q: 0
"""
    )


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_option_text_gives_what_the_option_gives(here, tree):
    for name, text in tree.items():
        write(here / "conf" / f"{name}.yaml", text)
    path = here / "conf" / "g" / "a.yaml"
    assert yaml.safe_load(option_text(path)) == catalog.option_values(path)


@pytest.mark.parametrize("text", ["{a: 1, b: [2]}\n", "a: &x [1]\nb: *x\n", "# Mine\n\n# of a\na: ä\n"])
def test_option_text_of_any_yaml_gives_the_same(here, text):
    assert yaml.safe_load(option_text(write(here / "conf" / "g" / "a.yaml", text))) == yaml.safe_load(text)


@pytest.mark.slow
@pytest.mark.parametrize(
    "option", ["target/ethos_u85_128", "calibration/random", "optimization/int16x8", "pruning/none"]
)
def test_cp_gives_an_option_of_ones_own_that_works_alone(cli, here, option):
    group, _, name = option.partition("/")
    path = here / "conf" / group / "mine.yaml"
    answer = cli("cp", option, str(path.relative_to(here)))
    assert answer.out == f"conf/{group}/mine.yaml: yours to change; choose it with: {group}=mine\n"
    assert "defaults" not in yaml.safe_load(path.read_text(encoding="utf-8"))
    own, ours = (composition.compose("digits_integer_only", [f"{group}={choice}"]) for choice in ("mine", name))
    assert own.config == ours.config


def test_cp_names_options_where_they_are_found(cli, here):
    assert cli("cp", "target/cpu").out == "conf/target/cpu.yaml: yours to change; choose it with: target=cpu\n"
    assert cli("cp", "target/cpu").status == 2  # it is there already
    elsewhere = cli("cp", "target/cpu", "board.yaml").out
    assert elsewhere == "board.yaml: yours to change; as conf/target/board.yaml it is target=board\n"
    for name, ways in (("target/cpuu", "target/cpu"), ("target/_ethos_u", ""), ("target/x.yaml", "")):
        answer = cli("cp", name)
        assert answer.status == 2
        assert f"target has no option {name.partition('/')[2]!r}" in answer.err
        assert (f"or: {ways}" in answer.err) == bool(ways)
    assert completion.candidates("tflite-recipes cp target/ethos_u55_1") == ["target/ethos_u55_128 "]
    assert not [text for text in completion.candidates("tflite-recipes cp target/") if "/_" in text]
