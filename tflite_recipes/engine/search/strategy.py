"""What to try next, given what was tried: pure functions of the outcomes so far.

First every scheme as it is, the smallest first. Then, for schemes that lose too much: ranges equalized, outputs kept
out of the integers, smaller blocks, the other quantizer. Then mixed precision: the k ops that lose most in higher
precision, k doubled until the gate is met, and then the smallest such k by bisection. At the end the best by the other
quantizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tflite_recipes.conversion import schemes
from tflite_recipes.conversion.schemes import Quantizer, Scheme
from tflite_recipes.core.state import CALIBRATED
from tflite_recipes.engine.search.candidate_outcome import Outcome, best
from tflite_recipes.engine.search.candidates import Candidate, Rule

# Schemes by what a file is expected to weigh, the smallest first. One that is not named here comes before float16.
SMALLEST_FIRST = (
    "weight_only_int4",
    "dynamic_range_int4",
    "integer_only",
    "full_integer",
    "weight_only_int8",
    "dynamic_range",
    "int16x8",
    "int16x8_fallback",
)
LARGEST = ("float16", "none")
FLOAT = Candidate("none", "tflite_converter")  # nothing to quantize
SMALL_BLOCK = 32
_BLOCKWISE = tuple(scheme.name for scheme in schemes.BLOCKWISE)
# Where no op may be float, by the scheme that is the same with float ops; what the converter can leave ops float in.
_LOOSE = {strict.name: loose.name for strict, loose in schemes.STRICT.items()}
_RULED_BY_CONVERTER = ("full_integer",)
# Four bits, and the same with eight.
_EIGHT_BITS = {"weight_only_int4": "weight_only_int8", "dynamic_range_int4": "dynamic_range"}
_MIXING = "litert_quantizer"
# A rescue is worth a run where its scheme is smaller than the best file by more than what metadata weighs.
GAIN = 0.99
# Schemes that get the cheap rescues, by the quantizer that lost less, and runs that these leave for mixed precision.
RESCUED, LEFT_FOR_MIXED = 5, 8


@dataclass(frozen=True)
class Space:
    """What a search may try. keys: what the options of the schemes have besides a scheme (`equalize`, `rules`, …)."""

    schemes: tuple[str, ...]
    quantizers: tuple[str, ...]
    objective: str
    max_runs: int
    keys: frozenset[str] = frozenset()


def next_candidate(space: Space, outcomes: Sequence[Outcome]) -> Candidate | None:
    """The candidate to try next; None where nothing better can come, or all runs are used."""
    left = space.max_runs - sum(outcome.ran for outcome in outcomes)
    if left <= 0:
        return None
    tried = {outcome.candidate for outcome in outcomes}
    if left == 1 and "none" in space.schemes and FLOAT not in tried and not any(one.passed for one in outcomes):
        return FLOAT
    phases = [_plain(space, outcomes)]
    mixed = list(_mixed(space, outcomes))
    if left > LEFT_FOR_MIXED or not mixed:
        phases.append(_rescues(space, outcomes))
    phases += [iter(mixed), _by_others(space, outcomes)]
    return next((candidate for phase in phases for candidate in phase if candidate not in tried), None)


def in_order(schemes: Sequence[str]) -> list[str]:
    """The smallest first, float last."""
    known = {name: rank for rank, name in enumerate((*SMALLEST_FIRST, "", *LARGEST))}
    return sorted(dict.fromkeys(schemes), key=lambda name: known.get(name, known[""]))


def _plain(space: Space, outcomes: Sequence[Outcome]) -> Iterator[Candidate]:
    """Every scheme by the first quantizer that can do it. What is refused by one is tried by the next."""
    for scheme in in_order(space.schemes):
        for quantizer in _able(space, scheme):
            candidate = Candidate(scheme, quantizer) if scheme != "none" else FLOAT
            yield candidate
            known = _of(candidate, outcomes)
            if known is None or known.has_file:
                break


def _rescues(space: Space, outcomes: Sequence[Outcome]) -> Iterator[Candidate]:
    """What may bring a scheme through that lost too much, cheapest to try first."""
    nearest: dict[str, Outcome] = {}
    for one in sorted(_plain_ones(outcomes), key=lambda one: (one.drop or 0.0, one.number)):
        nearest.setdefault(one.candidate.scheme, one)
    for base in _worth_rescue(space, outcomes, list(nearest.values()))[:RESCUED]:
        yield from _rescues_of(space, outcomes, base)


def _rescues_of(space: Space, outcomes: Sequence[Outcome], base: Outcome) -> Iterator[Candidate]:
    start = base
    edited = base.candidate.scheme in CALIBRATED or base.candidate.quantizer == _MIXING
    if edited and "equalize" in space.keys:  # both are made of a float file, whose ranges can be evened out
        yield _with(base.candidate, "equalize", True)
        equalized = _of(_with(base.candidate, "equalize", True), outcomes)
        start = _better(base, equalized)
    if base.candidate.scheme in _BLOCKWISE and "block_size" in space.keys:
        yield _with(base.candidate, "block_size", SMALL_BLOCK)
        start = _better(start, _of(_with(base.candidate, "block_size", SMALL_BLOCK), outcomes))
    lifted = _lifted(space, start.candidate)
    if lifted is not None:
        candidate, scheme = lifted
        integers = base.candidate.scheme in CALIBRATED  # without integer activations these are float already
        activations = [head.activation for head in start.heads if head.activation and integers]
        weighted = [head.weighted for head in start.heads if head.weighted]
        if activations:
            yield _ruled(candidate, activations, scheme)
        if weighted:
            yield _ruled(candidate, [*activations, *weighted], scheme)
    for quantizer in _able(space, base.candidate.scheme):
        if quantizer != base.candidate.quantizer:
            yield replace(base.candidate, quantizer=quantizer)


def _mixed(space: Space, outcomes: Sequence[Outcome]) -> Iterator[Candidate]:
    """The ops that lose most in higher precision, from the candidate without rules that comes nearest the gate.

    Where equalizing helped, it is what this starts from. Never all of the ops: nothing would be left of the scheme.
    """
    for base in _mixed_bases(space, outcomes):
        lifted = _lifted(space, base.candidate)
        if lifted is None:
            continue
        candidate, scheme = lifted
        known = {
            len(one.candidate.rules): one
            for one in outcomes
            if one.candidate.rules and one.candidate == _ruled(candidate, base.ops[: len(one.candidate.rules)], scheme)
        }
        answers = {count: one.passed if one.has_file else None for count, one in known.items()}
        count = next_count(len(base.ops) - 1, answers)
        if count is not None and not _outgrown(space, outcomes, known, count):
            yield _ruled(candidate, base.ops[:count], scheme)


def _mixed_bases(space: Space, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Of each scheme and quantizer the one that lost least, the least first."""
    kinds = (*CALIBRATED, *_EIGHT_BITS)
    measured = [one for one in outcomes if one.candidate.scheme in kinds and one.ops and not one.candidate.rules]
    nearest: dict[tuple[str, str], Outcome] = {}
    for one in sorted(_worth_rescue(space, outcomes, measured), key=lambda one: (one.drop or 0.0, one.number)):
        nearest.setdefault((one.candidate.scheme, one.candidate.quantizer), one)
    return list(nearest.values())


def _by_others(space: Space, outcomes: Sequence[Outcome]) -> Iterator[Candidate]:
    """The best by the other quantizer, whose files differ by what they weigh."""
    found = best(outcomes, space.objective)
    if found is not None and found.passed and found.candidate.scheme != "none":
        ruled, scheme = {rule.scheme for rule in found.candidate.rules}, found.candidate.scheme
        by_converter = not ruled or (ruled == {"float"} and scheme in _RULED_BY_CONVERTER)
        for quantizer in _able(space, scheme):
            if by_converter or quantizer == _MIXING:
                yield replace(found.candidate, quantizer=quantizer)


def next_count(most: int, passed: Mapping[int, bool | None]) -> int | None:
    """How many ops to lift next, at most `most`, given what came of other numbers: passed, missed, or None for no file.

    1, 2, 4, … until one passes, then halfway between the largest that missed and the smallest that passed, until these
    are neighbours. What gives no file is too many. None where there is no more to try.
    """
    upper = min((count for count, good in passed.items() if good is not False), default=most + 1)
    short = max((count for count, good in passed.items() if good is False and count < upper), default=0)
    if upper - short <= 1:
        return None
    return (short + upper) // 2 if upper in passed else min(2 * short or 1, most)


def _outgrown(space: Space, outcomes: Sequence[Outcome], known: dict[int, Outcome], count: int) -> bool:
    """Whether fewer ops than `count` already made a file that is no better than the best: more only add to it."""
    found = best(outcomes, space.objective)
    if found is None or not found.passed:
        return False
    smaller = [one for k, one in known.items() if k < count and one.has_file]
    return any(one.value(space.objective) >= found.value(space.objective) for one in smaller)


def _worth_rescue(space: Space, outcomes: Sequence[Outcome], bases: Sequence[Outcome]) -> list[Outcome]:
    """Of these, the ones that only lost too much quality and are smaller (or faster) than the best that passes."""
    found = best(outcomes, space.objective)
    limit = found.value(space.objective) * GAIN if found is not None and found.passed else float("inf")
    worth = [base for base in bases if base.only_lost_quality and base.value(space.objective) < limit]
    return sorted(worth, key=lambda one: (one.value(space.objective), one.number))


def _lifted(space: Space, candidate: Candidate) -> tuple[Candidate, str] | None:
    """What rules are put on to keep ops in higher precision, and the scheme of those ops: eight bits for four, else
    float, or where the scheme takes none, 16x8 by the quantizer that can mix it with int8. None where there is no such
    way."""
    if "rules" not in space.keys:
        return None
    loose = _LOOSE.get(candidate.scheme)
    if loose is None and candidate.scheme in _RULED_BY_CONVERTER:
        return candidate, "float"
    if _MIXING not in space.quantizers or loose in space.schemes:
        return None  # the loose scheme gets the float ops
    mixed = replace(candidate, quantizer=_MIXING)
    if loose is None:
        finer = _EIGHT_BITS.get(candidate.scheme, "")
        return mixed, finer if finer in space.schemes else "float"
    return (mixed, "int16x8") if candidate.scheme == "integer_only" else None


def _able(space: Space, scheme: str) -> Sequence[str]:
    """The quantizers that can make a scheme; for float, which none makes, the first."""
    if scheme == "none":
        return space.quantizers[:1]
    return [name for name in space.quantizers if schemes.takes(Quantizer[name], Scheme[scheme])]


def _plain_ones(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.candidate.plain and outcome.has_file]


def _of(candidate: Candidate, outcomes: Sequence[Outcome]) -> Outcome | None:
    return next((outcome for outcome in outcomes if outcome.candidate == candidate), None)


def _better(base: Outcome, other: Outcome | None) -> Outcome:
    """The one that lost less; what passes is of no use as a start, because it is the end."""
    if other is None or not other.only_lost_quality or other.drop is None or base.drop is None:
        return base
    return other if other.drop < base.drop else base


def _with(candidate: Candidate, key: str, value: Any) -> Candidate:
    return replace(candidate, values=(*candidate.values, (key, value)))


def _ruled(candidate: Candidate, tensors: Sequence[str], scheme: str) -> Candidate:
    rules = tuple(Rule.of_tensor(tensor, scheme) for tensor in dict.fromkeys(tensors))
    return replace(candidate, rules=(*candidate.rules, *rules))
