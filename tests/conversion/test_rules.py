"""Rules by name and op type: which of them decides, and what is said of those that cannot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflite_recipes.conversion import rules
from tflite_recipes.conversion.rules import OpPlace, QuantizationRule
from tflite_recipes.conversion.schemes import RuleScheme
from tflite_recipes.core.errors import RequestError

OPS = [
    OpPlace("QUANTIZE", ("tfl.quantize",)),
    OpPlace("CONV_2D", ("net/stem_1/Relu;net/stem_1/convolution",), "stem"),
    OpPlace("SPLIT", ("net/split", "net/split1"), "split"),
    OpPlace("CONV_2D", ("net/block_1/convolution",), "block"),
    OpPlace("SOFTMAX", ("StatefulPartitionedCall:0",), ""),
]


def names(*written):
    return [scheme and scheme.name for scheme in rules.resolve(rules.read(written), OPS).schemes]


def test_the_last_rule_that_matches_decides():
    assert names({"op": "CONV_2D", "scheme": "float"}, {"name": "stem", "scheme": "int16x8"}) == [
        None,
        "int16x8",
        None,
        "float",
        None,
    ]
    assert names({"name": "stem", "scheme": "int16x8"}, {"op": "conv_2d", "scheme": "float"})[1] == "float"


@pytest.mark.parametrize(
    ("name", "matched"),
    [(".*", 4), ("^stem$", 1), ("stem_1/Relu", 1), ("split1$", 1), ("^net/", 3), ("block|stem", 2), (":0$", 1)],
)
def test_a_name_is_searched_in_every_output_and_in_the_layer(name, matched):
    resolved = rules.resolve(rules.read([{"name": name, "scheme": "float"}]), OPS)
    assert len(resolved.matched[0]) == matched
    assert sum(scheme is not None for scheme in resolved.schemes) == matched


def test_each_rule_that_matches_nothing_is_said_with_the_list_that_would_do():
    written = [
        {"op": "CONV", "scheme": "float"},
        {"name": "stem", "scheme": "float"},
        {"name": "x$", "scheme": "float"},
    ]
    with pytest.raises(RequestError) as refused:
        rules.resolve(rules.read(written), OPS)
    first, second = refused.value.problems
    assert first.where == "optimization.rules[0]"
    assert "CONV_2D, SOFTMAX, SPLIT" in first.what
    assert "op:CONV_2D" in first.fix
    assert first.fix == second.fix  # pasted, either mends both
    assert "CONV_2D net/stem_1/Relu" in second.what
    assert "x$" not in second.fix


@pytest.mark.parametrize(
    ("rule", "said", "fix"),
    [
        ({"scheme": "floats"}, "there is no 'floats'", "scheme:float}"),
        ({"name": "x"}, "it names no scheme", "{name:x,scheme:float}"),
        ({"layer": "x", "scheme": "float"}, "unknown key 'layer'", "{scheme:float,name:x}"),
        ({"names": "x", "scheme": "float"}, "unknown key 'names'", "{scheme:float,name:x}"),
        ("softmax", "is no rule", "{op:SOFTMAX,scheme:float}"),
        ({"name": "a(b", "scheme": "float"}, "no regular expression", "a\\(b"),
    ],
)
def test_what_is_wrong_with_a_rule_as_it_is_written(rule, said, fix):
    good = {"op": "SOFTMAX", "scheme": "float"}
    (problem,) = rules.problems([good, rule])
    assert problem.where == "optimization.rules[1]"
    assert said in problem.what
    assert fix in problem.fix
    assert "op:SOFTMAX" in problem.fix


def test_of_several_broken_rules_each_fix_mends_all():
    found = list(rules.problems([{"name": "a(", "scheme": "float"}, {"name": "b(", "scheme": "flot"}]))
    assert [problem.where for problem in found] == ["optimization.rules[0]", "optimization.rules[1]"]
    for problem in found:
        assert "a\\(" in problem.fix
        assert "b\\(" in problem.fix
        assert "flot" not in problem.fix


@given(st.lists(st.sampled_from(["float", "int16x8", "dynamic_range"]), min_size=1))
def test_a_rule_for_all_overrules_those_before_it(schemes):
    resolved = rules.resolve([QuantizationRule(RuleScheme[name]) for name in schemes], OPS)
    assert {scheme for scheme in resolved.schemes if scheme} == {RuleScheme[schemes[-1]]}
    assert resolved.schemes[0] is None  # a conversion between types has no scheme


def test_an_output_is_found_by_the_name_that_the_signature_has_for_it():
    ops = [*OPS[:-1], OpPlace("SOFTMAX", ("StatefulPartitionedCall:0",), "", ("probabilities",))]
    resolved = rules.resolve(rules.read([{"name": "^prob", "scheme": "float"}]), ops)
    assert resolved.matched == ((ops[-1],),)
