"""What a search tries next, on outcomes that are made up: no model, no TensorFlow."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflite_recipes.conversion.schemes import Scheme
from tflite_recipes.core.state import CALIBRATED, Gate
from tflite_recipes.engine.search.candidate_outcome import DROP_GATE, Head, Outcome, best, front
from tflite_recipes.engine.search.candidates import Candidate
from tflite_recipes.engine.search.strategy import (
    FLOAT,
    LARGEST,
    SMALLEST_FIRST,
    Space,
    in_order,
    next_candidate,
    next_count,
)

SCHEMES = ("none", "float16", "int16x8", "dynamic_range", "full_integer", "integer_only")
SIZES = {
    "integer_only": 100,
    "full_integer": 101,
    "weight_only_int8": 102,
    "dynamic_range": 103,
    "int16x8": 110,
    "float16": 200,
    "none": 400,
}
BOTH = ("tflite_converter", "litert_quantizer")
LIMIT = 0.01
OPS = tuple(f"op{n}" for n in range(20))
HEADS = (Head("probabilities", "logits"),)
SPACE = Space(SCHEMES, BOTH, "size", 30, frozenset({"equalize", "rules", "block_size"}))


def outcome(number, candidate, drop, size=None):
    """What a run of the candidate would come to that has this drop; each op in float weighs 5."""
    if drop == "refused":
        return Outcome(number, candidate, "refused", ran=False, reason="not in this scheme")
    if drop == "failed":
        return Outcome(number, candidate, "failed", reason="no kernel")
    passed = drop <= LIMIT
    size = SIZES.get(candidate.scheme, 60) + 5 * len(candidate.rules) if size is None else size
    gates = (Gate(DROP_GATE, drop, LIMIT, passed),)
    ops, heads = (OPS, HEADS) if candidate.scheme in (*CALIBRATED, "weight_only_int4") else ((), HEADS)
    kind = "passed" if passed else "missed"
    return Outcome(number, candidate, kind, size=size, drop=drop, gates=gates, ops=ops, heads=heads)


def searched(space, drop_of):
    """All outcomes of a search in which a candidate has the drop that `drop_of` gives it."""
    outcomes = []
    while (candidate := next_candidate(space, outcomes)) is not None:
        assert candidate not in [one.candidate for one in outcomes], "tried twice"
        outcomes.append(outcome(len(outcomes) + 1, candidate, drop_of(candidate)))
        assert len(outcomes) < 200, "does not end"
    return outcomes


def tried(outcomes):
    return [str(one.candidate) for one in outcomes]


def test_where_all_pass_each_scheme_runs_once_the_smallest_first():
    outcomes = searched(SPACE, lambda candidate: 0.0)
    plain = ["integer_only", "full_integer", "dynamic_range", "int16x8", "float16", "none"]
    # and the best by the other quantizer, which may weigh less
    assert tried(outcomes) == [*plain, "integer_only, litert_quantizer"]
    assert best(outcomes, "size").candidate.scheme == "integer_only"


def test_an_unknown_scheme_comes_before_float16():
    assert in_order(["none", "float16", "new", "integer_only"]) == ["integer_only", "new", "float16", "none"]


def test_what_one_quantizer_cannot_is_tried_by_the_other():
    for kind in ("refused", "failed"):
        outcomes = searched(
            SPACE,
            lambda one, kind=kind: kind if one.scheme == "int16x8" and one.quantizer == BOTH[0] else 0.0,
        )
        assert tried(outcomes)[3:5] == ["int16x8", "int16x8, litert_quantizer"]
        assert sum(one.candidate.scheme == "int16x8" for one in outcomes) == 2


def test_what_is_refused_uses_up_no_run():
    space = replace(SPACE, max_runs=1, schemes=("dynamic_range",))
    outcomes = searched(space, lambda one: "refused" if one.quantizer == BOTH[0] else 0.0)
    assert [one.ran for one in outcomes] == [False, True]


def test_the_last_run_is_kept_for_float_while_nothing_passes():
    outcomes = searched(replace(SPACE, max_runs=3), lambda one: 0.0 if one == FLOAT else 0.5)
    assert tried(outcomes) == ["integer_only", "full_integer", "none"]
    assert best(outcomes, "size").candidate == FLOAT
    outcomes = searched(replace(SPACE, max_runs=3), lambda one: 0.0)
    assert "none" not in tried(outcomes)


def test_equalizing_is_tried_on_what_lost_too_much():
    outcomes = searched(SPACE, lambda one: 0.0 if one.values or one.scheme in ("float16", "none") else 0.4)
    found = best(outcomes, "size")
    assert str(found.candidate) == "integer_only, equalize"
    # the converter makes dynamic range without a float file that could be edited
    assert not any(one.candidate.values and one.candidate.scheme == "dynamic_range" for one in outcomes)


def test_a_softmax_and_then_the_last_layer_are_kept_float():
    def drop(one):
        return 0.0 if any("probabilities" in rule.name for rule in one.rules) or one.scheme == "none" else 0.3

    outcomes = searched(replace(SPACE, schemes=("full_integer", "none")), drop)
    found = best(outcomes, "size").candidate
    (rule,) = found.rules
    assert (found.scheme, rule.name, rule.op, rule.scheme) == ("full_integer", "^probabilities$", "*", "float")

    def harder(one):
        return 0.0 if any("logits" in rule.name for rule in one.rules) or one.scheme == "none" else 0.3

    found = best(searched(replace(SPACE, schemes=("full_integer", "none")), harder), "size").candidate
    assert [rule.name for rule in found.rules] == ["^probabilities$", "^logits$"]


def test_the_other_quantizer_is_tried():
    outcomes = searched(
        replace(SPACE, schemes=("full_integer", "none")),
        lambda one: 0.0 if one.quantizer == BOTH[1] or one == FLOAT else 0.3,
    )
    assert best(outcomes, "size").candidate.quantizer == BOTH[1]


def needs(count, equalize=False):
    """A model of which `count` ops have to be float."""

    def drop(one):
        float_ops = {rule.name for rule in one.rules} & {f"^{name}$" for name in OPS}
        helped = 0.05 if ("equalize", True) in one.values else 0.0
        if one == FLOAT:
            return 0.0
        if len(float_ops) >= count and (not equalize or helped):
            return 0.0
        return 0.3 - 0.005 * len(float_ops) - helped

    return drop


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 8, 13, 19])
def test_the_smallest_number_of_float_ops_is_found(count):
    outcomes = searched(replace(SPACE, schemes=("full_integer", "none")), needs(count))
    found = best(outcomes, "size").candidate
    assert [rule.name for rule in found.rules] == [f"^{name}$" for name in OPS[:count]]


def test_mixed_precision_goes_on_from_equalized_ranges_where_they_helped():
    outcomes = searched(replace(SPACE, schemes=("full_integer", "none")), needs(3, equalize=True))
    found = best(outcomes, "size").candidate
    assert found.values == (("equalize", True),)
    assert len(found.rules) == 3


def test_without_float_ops_are_lifted_to_16_bits():
    outcomes = searched(replace(SPACE, schemes=("integer_only",)), needs(3))
    found = best(outcomes, "size").candidate
    assert (found.quantizer, {rule.scheme for rule in found.rules}) == ("litert_quantizer", {"int16x8"})
    outcomes = searched(replace(SPACE, schemes=("integer_only",), quantizers=BOTH[:1]), needs(3))
    assert not any(one.candidate.rules for one in outcomes)
    assert best(outcomes, "size").outcome == "missed"


def test_nothing_is_rescued_that_would_not_be_smaller_than_what_passes():
    outcomes = searched(SPACE, lambda one: 0.3 if one.scheme in ("int16x8", "float16") else 0.0)
    assert all(one.candidate.plain for one in outcomes)


def test_what_is_too_large_is_not_made_larger():
    def too_large(number, candidate):
        gates = (Gate(DROP_GATE, 0.0, LIMIT, True), Gate("target.flash_kb", 9.0, 1.0, False))
        return Outcome(number, candidate, "missed", size=100, drop=0.0, gates=gates, ops=OPS, heads=HEADS)

    outcomes = []
    while (candidate := next_candidate(SPACE, outcomes)) is not None:
        outcomes.append(too_large(len(outcomes) + 1, candidate))
    assert all(one.candidate.plain for one in outcomes)
    assert best(outcomes, "size").outcome == "missed"


def test_options_without_rules_or_equalizing_are_not_asked_for_them():
    outcomes = searched(replace(SPACE, keys=frozenset()), lambda one: 0.0 if one == FLOAT else 0.3)
    assert all(one.candidate.plain for one in outcomes)


def test_rules_of_what_the_converter_cannot_mix_go_to_the_other_quantizer():
    space = replace(SPACE, schemes=("int16x8_fallback", "int16x8", "none"))
    outcomes = searched(space, needs(3))
    ruled = [one.candidate for one in outcomes if one.candidate.rules]
    assert {(one.scheme, one.quantizer) for one in ruled} == {("int16x8_fallback", "litert_quantizer")}


def test_what_no_quantizer_may_make_is_not_proposed():
    space = replace(SPACE, schemes=("weight_only_int8", "none"), quantizers=BOTH[:1])
    assert tried(searched(space, lambda one: 0.0)) == ["none"]


def test_every_scheme_has_its_place_in_the_order():
    assert set(Scheme.__members__) == {*SMALLEST_FIRST, *LARGEST}


def test_four_bits_are_tried_in_small_blocks():
    space = replace(SPACE, schemes=("weight_only_int4", "none"))
    outcomes = searched(space, lambda one: 0.0 if ("block_size", 32) in one.values or one == FLOAT else 0.3)
    assert best(outcomes, "size").candidate.values == (("block_size", 32),)


@pytest.mark.parametrize(("allowed", "lifted"), [(("weight_only_int8",), "weight_only_int8"), ((), "float")])
def test_ops_that_lose_most_of_four_bits_get_eight(allowed, lifted):
    def drop(one):
        return 0.0 if len(one.rules) >= 3 or one.scheme != "weight_only_int4" else 0.3

    outcomes = searched(replace(SPACE, schemes=("weight_only_int4", *allowed, "none")), drop)
    found = best(outcomes, "size").candidate
    assert (found.scheme, {rule.scheme for rule in found.rules}) == ("weight_only_int4", {lifted})
    assert [rule.name for rule in found.rules] == [f"^{name}$" for name in OPS[:3]]
    assert not any("probabilities" in rule.name for one in outcomes for rule in one.candidate.rules)


def test_lifting_stops_where_it_makes_the_file_larger_than_one_that_passes():
    def drop(one):
        return 0.0 if one.scheme in ("none", "int16x8") and not one.rules else 0.3

    outcomes = searched(replace(SPACE, schemes=("full_integer", "int16x8", "none")), drop)
    lifted = [len(one.candidate.rules) for one in outcomes if one.candidate.rules]
    assert max(lifted) <= 4  # at 2 ops full_integer weighs 111, more than int16x8


def test_the_fastest_is_what_a_search_for_latency_finds():
    slow, fast = (outcome(n, Candidate(name, BOTH[0]), 0.0) for n, name in ((1, "integer_only"), (2, "none")))
    outcomes = [replace(slow, latency=4.0), replace(fast, latency=1.0)]
    assert best(outcomes, "latency").candidate == FLOAT
    assert best(outcomes, "size").candidate.scheme == "integer_only"


def test_of_none_that_passes_the_nearest_is_best():
    outcomes = [outcome(n, Candidate(name, BOTH[0]), drop) for n, (name, drop) in enumerate(DROPS.items(), 1)]
    assert best(outcomes, "size").candidate.scheme == "dynamic_range"
    assert best([outcome(1, FLOAT, "failed")], "size") is None


DROPS = {"integer_only": 0.5, "full_integer": 0.4, "dynamic_range": 0.1, "float16": 0.1}


def test_the_front_is_what_no_other_beats_in_both():
    outcomes = [outcome(n, Candidate(name, BOTH[0]), drop) for n, (name, drop) in enumerate(DROPS.items(), 1)]
    assert [one.candidate.scheme for one in front(outcomes, "size")] == [
        "integer_only",
        "full_integer",
        "dynamic_range",
    ]


def test_what_gives_no_file_is_too_many_ops():
    def drop(one):
        lifted = len({rule.name for rule in one.rules} & {f"^{name}$" for name in OPS})
        return 0.0 if one == FLOAT else "failed" if lifted >= 7 else 0.0 if lifted >= 5 else 0.3

    outcomes = searched(replace(SPACE, schemes=("full_integer", "none"), quantizers=BOTH[:1]), drop)
    assert len(best(outcomes, "size").candidate.rules) == 5
    never = searched(
        replace(SPACE, schemes=("full_integer", "none"), quantizers=BOTH[:1]),
        lambda one: "failed" if one.rules else 0.0 if one == FLOAT else 0.3,
    )
    assert [len(one.candidate.rules) for one in never if one.candidate.rules] == [1, 2, 1]  # two at the head, then one


def test_mixed_precision_starts_from_the_nearest_alone():
    outcomes = searched(replace(SPACE, schemes=("full_integer", "none"), quantizers=BOTH[:1]), needs(99))
    mixed = [one.candidate for one in outcomes if any(rule.name == "^op0$" for rule in one.candidate.rules)]
    assert mixed
    assert {one.values for one in mixed} == {(("equalize", True),)}  # which lost less


@given(total=st.integers(1, 300), data=st.data())
def test_doubling_and_bisecting_finds_the_smallest_number_in_few_runs(total, data):
    needed = data.draw(st.integers(1, total + 1))  # total + 1: not even all ops
    passed = {}
    while (count := next_count(total, passed)) is not None:
        assert count not in passed
        assert 1 <= count <= total
        passed[count] = count >= needed
    found = min((count for count, good in passed.items() if good), default=total + 1)
    assert found == needed
    assert len(passed) <= 2 * total.bit_length() + 1


drops = st.one_of(st.sampled_from(["failed", "refused"]), st.floats(0, 1))


@given(
    drops=st.lists(drops, min_size=80, max_size=80),
    max_runs=st.integers(1, 30),
    schemes=st.sets(st.sampled_from(SCHEMES), min_size=1),
)
def test_every_search_ends_within_its_runs(drops, max_runs, schemes):
    given_out = iter(drops)
    outcomes = searched(replace(SPACE, max_runs=max_runs, schemes=tuple(sorted(schemes))), lambda one: next(given_out))
    assert sum(one.ran for one in outcomes) <= max_runs
    assert {one.candidate.scheme for one in outcomes} <= schemes
