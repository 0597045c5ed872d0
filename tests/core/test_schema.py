"""The dataclass is the schema: every mistake in a section is said at once, and none of them crashes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.checkout import write

from tflite_recipes.api import check
from tflite_recipes.core import schema
from tflite_recipes.core.errors import RequestError
from tflite_recipes.core.schema import ExistingPath, within

few = settings(max_examples=25)
in_one_folder = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Colour(Enum):
    red = "a"
    dark_green = "b"


@dataclass(frozen=True)
class Section:
    whole: Annotated[int, within(ge=1, le=10)]
    part: Annotated[float, within(gt=0, lt=1)]
    some: Annotated[int | None, within(ge=0, lt=2**32)]
    text: str
    maybe: str | None
    flag: bool
    colour: Colour
    names: list[str]
    tables: list[dict[str, str]]
    shapes: dict[str, list[int | None]]
    free: dict[str, Any]
    path: ExistingPath
    perhaps: ExistingPath | None


GOOD = {
    "whole": 3,
    "part": 0.5,
    "some": None,
    "text": "words",
    "maybe": None,
    "flag": False,
    "colour": "dark_green",
    "names": ["a"],
    "tables": [{"a": "b"}],
    "shapes": {"x": [None, 3]},
    "free": {"deep": {"er": [1, "a", None]}},
    "path": ".",
    "perhaps": None,
}


def wrong(**changes):
    """What is wrong with the good section after changes."""
    instance, problems = schema.build(Section, {**GOOD, **changes}, "group")
    assert (instance is None) == bool(problems)
    return problems


def one(**changes):
    (problem,) = wrong(**changes)
    return problem.what, problem.where, problem.fix


def test_a_good_section_becomes_a_frozen_instance():
    instance, problems = schema.build(Section, {"_target_": "module.Section", **GOOD}, "group")
    assert problems == []
    assert instance == Section(3, 0.5, None, "words", None, False, Colour.dark_green, ["a"], [{"a": "b"}],
                               {"x": [None, 3]},
                               {"deep": {"er": [1, "a", None]}}, ".", None)  # fmt: skip


def test_values_that_python_takes_for_equal_are_told_apart():
    texts = [schema.build(Section, {**GOOD, "text": value}, "group")[0].text for value in (0.0, -0.0, 0, False)]
    assert texts == ["0.0", "-0.0", "0", "False"]
    assert wrong(whole=1) == []
    assert one(whole=True)[0] == "True is not a whole number"
    assert one(whole=1.0)[0] == "1.0 is not a whole number"


def test_a_section_comes_back_from_its_instance():
    instance, _ = schema.build(Section, GOOD, "group")
    assert schema.section_of(instance) == {"_target_": f"{__name__}.Section", **GOOD}


@pytest.mark.parametrize(
    ("key", "value", "what", "fix"),
    [
        ("whole", "three", "'three' is not a whole number", "group.whole=1"),
        ("whole", 3.5, "3.5 is not a whole number", "group.whole=1"),
        ("whole", True, "True is not a whole number", "group.whole=1"),
        ("whole", None, "None is not a whole number", "group.whole=1"),
        ("whole", [3], "[3] is not a whole number", "group.whole=1"),
        ("part", "half", "'half' is not a number", "group.part=0.5"),
        ("part", True, "True is not a number", "group.part=0.5"),
        ("some", "few", "'few' is not a whole number or null", "group.some=0"),
        ("text", None, "None is not text", "group.text=TEXT"),
        ("text", ["a"], "['a'] is not text", "group.text=TEXT"),
        ("maybe", {}, "{} is not text or null", "group.maybe=TEXT"),
        ("flag", "perhaps", "'perhaps' is not true or false", "group.flag=true"),
        ("colour", "blue", "'blue' is not one of red, dark_green", "group.colour=red"),
        ("colour", "darkgreen", "'darkgreen' is not one of red, dark_green", "group.colour=dark_green"),
        ("colour", "dark", "'dark' is not one of red, dark_green", "group.colour=dark_green"),
        ("colour", None, "None is not one of red, dark_green", "group.colour=red"),
        ("names", "a", "'a' is not a list, each item text", "'group.names=[a]'"),
        ("names", {"a": 1}, "{'a': 1} is not a list, each item text", "'group.names=[TEXT]'"),
        ("tables", "a", "'a' is not a list, each item a mapping of names, each to text", "'group.tables=[]'"),
        ("tables", {"a": "b"}, "{'a': 'b'} is not a list, each item a mapping of names, each to text",
         "'group.tables=[{a:b}]'"),
        ("shapes", [1], "[1] is not a mapping of names, each to a list, each item a whole number or null",
         "'group.shapes={}'"),
        ("free", 1, "1 is not a mapping of names", "'group.free={}'"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type(key, value, what, fix):
    assert one(**{key: value}) == (what, f"group.{key}", fix)


def test_a_wrong_value_within_a_mapping_is_pointed_at():
    found = wrong(shapes={"x": "abc", "y": [1, "b"], "z": [None]})
    whats = "a list, each item a whole number or null"
    assert [(p.what, p.where, p.fix) for p in found] == [
        (f"'abc' is not {whats}", "group.shapes.x", "'group.shapes.x=[1]'"),
        (f"[1, 'b'] is not {whats}", "group.shapes.y", "'group.shapes.y=[1]'"),
    ]


@pytest.mark.parametrize(
    ("key", "value", "what", "fix"),
    [
        ("whole", 0, "0 is out of range, it must be >= 1 and <= 10", "group.whole=1"),
        ("whole", 11, "11 is out of range, it must be >= 1 and <= 10", "group.whole=10"),
        ("part", 0, "0.0 is out of range, it must be > 0 and < 1", "group.part=0.5"),
        ("part", 1.5, "1.5 is out of range, it must be > 0 and < 1", "group.part=0.5"),
        ("some", -1, "-1 is out of range, it must be >= 0 and < 4294967296", "group.some=0"),
        ("some", 2**32, "4294967296 is out of range, it must be >= 0 and < 4294967296", "group.some=4294967295"),
        ("part", float("nan"), "nan is not a finite number", "group.part=0.5"),
        ("part", float("inf"), "inf is not a finite number", "group.part=0.5"),
    ],
)
def test_a_value_out_of_range(key, value, what, fix):
    assert one(**{key: value}) == (what, f"group.{key}", fix)


@pytest.mark.parametrize(
    ("key", "value"),
    [("whole", 1), ("whole", 10), ("whole", "7"), ("part", "0.25"), ("some", 0), ("some", 2**32 - 1), ("text", 5),
     ("flag", "yes"), ("colour", Colour.red), ("names", ()), ("shapes", {}), ("shapes", {7: [1]})],
)  # fmt: skip
def test_values_at_the_edge_are_taken(key, value):
    assert wrong(**{key: value}) == []


def test_an_unknown_key_is_said_with_its_near_match_and_moved_there():
    assert one(whol=5) == ("unknown key; did you mean whole?", "group.whol", "'~group.whol' group.whole=5")
    assert one(nams="a") == ("unknown key; did you mean names?", "group.nams", "'~group.nams' 'group.names=[a]'")
    assert one(TEXT="a")[2] == "'~group.TEXT' group.text=a"
    assert one(whol="much")[2] == "'~group.whol'"  # the key that is most alike does not take it
    assert one(txt="a b") == ("unknown key; did you mean text?", "group.txt", "'~group.txt' 'group.text=\"a b\"'")


def test_an_unknown_key_like_no_other_is_said_with_what_there_is():
    what, _, fix = one(zzzz=5)
    assert what == f"unknown key; known: {', '.join(GOOD)}"
    assert fix == "'~group.zzzz'"


def test_missing_keys_and_question_marks_must_be_given():
    section = {key: value for key, value in GOOD.items() if key not in ("whole", "path", "shapes")}
    _, problems = schema.build(Section, section, "group")
    assert [(p.what, p.where, p.fix) for p in problems] == [
        ("is missing from the recipe", "group.whole", "+group.whole=1"),
        ("is missing from the recipe", "group.shapes", "'+group.shapes={}'"),
        ("is missing from the recipe", "group.path", ""),
    ]
    assert one(path="???") == ("must be given", "group.path", "")
    assert one(text="???") == ("must be given", "group.text", "group.text=TEXT")


def test_everything_wrong_is_said_at_once():
    assert [problem.where for problem in wrong(whole=0, part="x", colour="blue", pathh=1, path="absent")] == [
        "group.pathh",
        "group.whole",
        "group.part",
        "group.colour",
        "group.path",
    ]


def test_a_missing_file_is_fixed_by_its_near_match(here):
    write(here / "my models" / "model.keras", "")
    assert one(path="my models/modle.keras") == (
        "there is no my models/modle.keras",
        "group.path",
        "'group.path=\"my models/model.keras\"'",
    )


def test_a_missing_file_is_said_with_what_stands_beside_it(here):
    write(here / "data.npz", "")
    assert one(path="zzz.h5") == ("there is no zzz.h5; . holds data.npz", "group.path", "")
    assert one(path="no/zzz.h5") == ("there is no no/zzz.h5; no folder no", "group.path", "")


def test_a_home_folder_is_written_out(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    write(here / "model.keras", "")
    what, _, fix = one(path="~/model.keras")
    assert what == "there is no ~/model.keras: ~ is not expanded here"
    assert fix == f"group.path={here}/model.keras"


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["???", "${x}", "${", "null"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@few
@given(st.dictionaries(st.sampled_from([*GOOD, "unknown"]), values))
def test_any_section_is_built_or_refused_and_never_crashes(changes):
    instance, problems = schema.build(Section, {**GOOD, **changes}, "group")
    assert (instance is None) == bool(problems)
    assert all(problem.where.startswith("group.") and (problem.fix or problem.alternatives) for problem in problems)


@pytest.mark.slow
@few
@given(st.sampled_from([key for key in GOOD if key not in ("path", "perhaps")]), values)
def test_the_fix_of_a_value_is_a_value_that_is_taken(key, value):
    problems = wrong(**{key: value})
    assume(problems and problems[0].where == f"group.{key}")
    (word,) = shlex.split(problems[0].fix)
    assert wrong(**{key: OverridesParser.create().parse_override(word).value()}) == []


@pytest.mark.slow
@few
@given(
    st.fixed_dictionaries(
        {
            "whole": st.integers(1, 10),
            "part": st.floats(0.01, 0.99),
            "some": st.none() | st.integers(0, 9),
            "text": st.text("ab $é", min_size=1),
            "flag": st.booleans(),
            "names": st.lists(st.text("ab ", min_size=1)),
        }
    )
)
def test_a_section_goes_through_yaml_and_back(changes):
    instance, problems = schema.build(Section, {**GOOD, **changes}, "group")
    assert problems == []
    section = yaml.safe_load(yaml.safe_dump(schema.section_of(instance), allow_unicode=True))
    assert schema.build(Section, section, "group") == (instance, [])


# Near matches


@pytest.mark.parametrize(
    ("name", "known", "best"),
    [("sampels", ["seed", "samples"], "samples"), ("kras", ["keras", "digits"], "keras"), ("xyz", ["keras"], None)],
)
def test_near_matches(name, known, best):
    assert next(iter(schema.near(name, known)), None) == best


# Classes and functions by name


def test_a_target_by_module_and_by_file(here):
    write(here / "mine.py", "class Step:\n    pass\n")
    write(here / "sub" / "my-file.py", "from dataclasses import dataclass\n@dataclass\nclass Step:\n    a: int\n")
    assert schema.load_target("mine:Step") is schema.load_target("mine.Step")
    step = schema.load_target("sub/my-file.py:Step")
    assert step(3).a == 3
    assert schema.load_target("tflite_recipes.steps.freeze.Freeze").__name__ == "Freeze"


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("Step", "'Step' is not module:name or file.py:name"),
        ("mine:", "'mine:' is not module:name or file.py:name"),
        ("absent.py:Step", "there is no file absent.py"),
        ("mine.py:Setp", "mine.py has no 'Setp'; did you mean Step?"),
        ("mine:zzz", "mine has no 'zzz'"),
        ("nowhere:Step", "'nowhere:Step' cannot be imported: No module named 'nowhere'"),
        ("imports.py:Step", "'imports.py:Step' cannot be imported: No module named 'nowhere'"),
    ],
)
def test_a_target_that_is_not_there(here, target, what):
    write(here / "mine.py", "class Step:\n    pass\n")
    write(here / "imports.py", "import nowhere\n")
    with pytest.raises(RequestError) as raised:
        schema.load_target(target)
    assert [problem.what for problem in raised.value.problems] == [what]


def test_plain_values():
    found = schema.to_plain({"a": (Colour.red, [1]), 2: {"b": None}})
    assert found == {"a": ["red", [1]], "2": {"b": None}}


@in_one_folder
@given(st.text() | st.sampled_from([".", "..", "a" * 5000, "~nobody/x", "\0"]))
def test_any_path_is_found_or_refused(here, path):
    assert [problem.where for problem in wrong(path=path)] == ([] if path in (".", "..", "/") else ["group.path"])


def test_what_several_classes_share_is_written_last():
    @dataclass(frozen=True, kw_only=True)
    class Shared:
        seed: int = 0

    @dataclass(frozen=True)
    class Own(Shared):
        path: str

    assert schema.keys_of(Own) == ["path", "seed"]
    assert list(schema.section_of(Own("x"))) == [schema.TARGET, "path", "seed"]


def test_a_path_that_may_be_null_has_to_exist_all_the_same(tmp_path):
    (tmp_path / "labels.txt").write_text("a\n")
    assert schema.build(Section, GOOD | {"perhaps": str(tmp_path / "labels.txt")}, "s")[1] == []
    (problem,) = schema.build(Section, GOOD | {"perhaps": str(tmp_path / "label.txt")}, "s")[1]
    assert problem.where == "s.perhaps"
    assert problem.fix == f"s.perhaps={tmp_path / 'labels.txt'}"


def test_missing_model_is_no_file_of_samples_beside_it(here):
    write(here / "a.keras.npz", "")
    assert one(path="a.keras")[2] == ""
    write(here / "a1.keras", "")
    assert one(path="a.keras")[2] == "group.path=a1.keras"


@pytest.mark.parametrize("value", ["[{a: 1}]", "[[int8]]", "[int8,{}]"])
def test_list_of_choices_that_holds_a_container_is_refused(value):
    problems = check("digits_integer_only", ["target=raspberry_pi4", f"target.io_types={value}"])
    assert [problem.where for problem in problems] == ["target.io_types"]
