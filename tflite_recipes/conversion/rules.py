"""Selective quantization: ordered rules that give some ops another scheme than the rest. No TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tflite_recipes.conversion.schemes import RuleScheme
from tflite_recipes.core.errors import Problem, RequestError, assignment
from tflite_recipes.core.schema import near

_KEYS = ("name", "op", "scheme")
_KEY = "optimization.rules"
_NAMED_OTHERWISE = ("layer", "layers", "tensor", "regex", "pattern")
# Never quantized as such, so that no rule is about them.
_CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})


@dataclass(frozen=True)
class QuantizationRule:
    """`name`: a regular expression that is searched for in the names of an op's outputs and of its layer. `op`: its
    type as LiteRT calls it, or `*`. `scheme`: what becomes of the ops that match both."""

    scheme: RuleScheme
    name: str = ".*"
    op: str = "*"

    def matches(self, place: OpPlace) -> bool:
        if self.op not in ("*", place.op):
            return False
        return any(re.search(self.name, name) for name in (*place.outputs, *place.ends, place.layer))

    def __str__(self) -> str:
        return f"{self.op} {self.name} → {self.scheme.name}"


@dataclass(frozen=True)
class OpPlace:
    """An op of a file: its type, the names of its outputs, the layer that it belongs to, and of the signature's outputs
    those that it gives."""

    op: str
    outputs: tuple[str, ...]
    layer: str = ""
    ends: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resolved:
    """schemes: of each op, what the last rule that matches it says, None where none does. matched: for each rule the
    ops that it matches, also where a later one overrules it."""

    schemes: tuple[RuleScheme | None, ...]
    matched: tuple[tuple[OpPlace, ...], ...]


def read(rules: Sequence[Mapping[str, Any]]) -> list[QuantizationRule]:
    """The rules of a section that has no problems."""
    return [
        QuantizationRule(RuleScheme[str(rule["scheme"])], str(rule.get("name", ".*")), str(rule.get("op", "*")).upper())
        for rule in rules
    ]


def problems(rules: Sequence[Any]) -> Iterable[Problem]:
    """What is wrong with the rules as they are written, each with the whole list as it should be."""
    looked_at = [_mended(rule) for rule in rules]
    fix = assignment(_KEY, [better for better, _ in looked_at])
    for position, (_, said) in enumerate(looked_at):
        if said:
            yield Problem("; ".join(said), f"{_KEY}[{position}]", fix)


def _mended(rule: Any) -> tuple[dict[str, Any], list[str]]:
    if not isinstance(rule, Mapping):
        what = f"{rule!r} is no rule, which has a scheme and a name, an op or both"
        return {"op": str(rule).upper(), "scheme": "float"}, [what]
    better, said = {str(key): value for key, value in rule.items()}, []
    for key in [key for key in rule if key not in _KEYS]:
        similar = ["name"] if key in _NAMED_OTHERWISE else near(key, _KEYS)
        said.append(f"unknown key {key!r}; a rule has {', '.join(_KEYS)}")
        value = better.pop(key)
        if similar and similar[0] not in better:
            better[similar[0]] = value
    scheme = str(better.get("scheme"))
    if scheme not in RuleScheme.__members__:
        known = list(RuleScheme.__members__)
        shown = f"there is no {scheme!r}" if "scheme" in better else "it names no scheme"
        said.append(f"{shown}; a rule's scheme is one of {', '.join(known)}")
        better["scheme"] = next(iter(near(scheme, known)), "float")
    try:
        re.compile(str(better.get("name", "")))
    except re.error as error:
        said.append(f"{better['name']!r} is no regular expression: {error}")
        better["name"] = re.escape(str(better["name"]))
    return better, said


def resolve(rules: Sequence[QuantizationRule], ops: Sequence[OpPlace]) -> Resolved:
    """Which rule decides on which op. Errors: RequestError for a rule that matches nothing."""
    matched = [tuple(p for p in ops if p.op not in _CONVERSIONS and rule.matches(p)) for rule in rules]
    if wrong := [position for position, found in enumerate(matched) if not found]:
        fix = assignment(_KEY, _without(rules, wrong, ops))
        raise RequestError([_unmatched(position, rules[position], ops, fix) for position in wrong])
    return Resolved(tuple(_last(rules, place) for place in ops), tuple(matched))


def _last(rules: Sequence[QuantizationRule], place: OpPlace) -> RuleScheme | None:
    if place.op in _CONVERSIONS:
        return None
    found = [rule.scheme for rule in rules if rule.matches(place)]
    return found[-1] if found else None


def _unmatched(position: int, rule: QuantizationRule, ops: Sequence[OpPlace], fix: str) -> Problem:
    about = [place for place in ops if place.outputs and rule.op in ("*", place.op)]
    named = [f"{place.op} {place.outputs[0]}{f' (layer {place.layer})' if place.layer else ''}" for place in about]
    what = f"the rule {rule} matches no op; the file has {', '.join(_types(ops))}"
    if named:
        more = f" and {len(named) - 8} more" if len(named) > 8 else ""
        what = f"the rule {rule} matches no op; there are {', '.join(named[:8])}{more}"
    return Problem(what, f"{_KEY}[{position}]", fix)


def _types(ops: Sequence[OpPlace]) -> list[str]:
    return sorted({place.op for place in ops} - _CONVERSIONS)


def _without(rules: Sequence[QuantizationRule], wrong: Sequence[int], ops: Sequence[OpPlace]) -> list[dict[str, str]]:
    """The rules without those that match nothing; one whose op is a slip of the pen stays, mended."""
    there, mended = _types(ops), []
    for position, rule in enumerate(rules):
        similar = near(rule.op, there) if rule.op not in ("*", *there) else []
        if position not in wrong or similar:
            op = similar[0] if position in wrong else rule.op
            mended.append({"name": rule.name, "op": op, "scheme": rule.scheme.name})
    return mended
