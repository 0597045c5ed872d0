"""Selective quantization: ordered rules that give some ops another scheme than the rest. No TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tflite_recipes.errors import Problem, RequestError, assignment
from tflite_recipes.schema import near
from tflite_recipes.schemes import RuleScheme
from tflite_recipes.shapes import ends, layer_of, op_layers

if TYPE_CHECKING:
    from tflite_recipes.tflite_file import TFLiteFile

_KEYS = ("name", "op", "scheme")
_KEY = "optimization.rules"
_NAMED_OTHERWISE = ("layer", "layers", "tensor", "regex", "pattern")
# Never quantized as such, so that no rule is about them.
_CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})


@dataclass(frozen=True)
class QuantizationRule:
    """`name`: a regular expression that is searched for in the names of an op's outputs, in those that the signature
    has for them, and in its layer's. `op`: its type as LiteRT calls it, or `*`. `scheme`: what becomes of the ops that
    match both."""

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

    def __str__(self) -> str:
        """For people: without the names of all that is folded into it."""
        return f"{self.op} {(*self.ends, *self.outputs)[0].partition(';')[0]}"


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
    mended = [_mended(rule) for rule in rules]
    for position, (_, said) in enumerate(mended):
        if said:
            yield Problem("; ".join(said), f"{_KEY}[{position}]", assignment(_KEY, [better for better, _ in mended]))


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


def places(file: TFLiteFile, signature: str, layers: Sequence[str]) -> list[OpPlace]:
    """The ops of a file's main graph, in its order."""
    graph = file.subgraphs[0]
    named, known = ends(file, signature), op_layers(file, graph, signature, layers)
    found = []
    for op in graph.operators:
        outputs = tuple(graph.tensors[index].name for index in op.outputs)
        layer = known[op.index] or (layer_of(outputs[0].partition(";")[0], layers) if outputs else "")
        found.append(OpPlace(op.label, outputs, layer, tuple(named[i] for i in op.outputs if i in named)))
    return found


def resolve(rules: Sequence[QuantizationRule], ops: Sequence[OpPlace]) -> Resolved:
    """Which rule decides on which op. Errors: RequestError for a rule that matches nothing."""
    matched = [tuple(p for p in ops if p.op not in _CONVERSIONS and rule.matches(p)) for rule in rules]
    wrong = [_unmatched(position, rules, ops) for position, found in enumerate(matched) if not found]
    if wrong:
        raise RequestError(wrong)
    return Resolved(tuple(_last(rules, place) for place in ops), tuple(matched))


def _last(rules: Sequence[QuantizationRule], place: OpPlace) -> RuleScheme | None:
    if place.op in _CONVERSIONS:
        return None
    found = [rule.scheme for rule in rules if rule.matches(place)]
    return found[-1] if found else None


def _unmatched(position: int, rules: Sequence[QuantizationRule], ops: Sequence[OpPlace]) -> Problem:
    rule = rules[position]
    there = sorted({place.op for place in ops} - _CONVERSIONS)
    named = [str(place) for place in ops if place.outputs and rule.op in ("*", place.op)]
    what = f"the rule {rule} matches no op; the file has {', '.join(there)}"
    if named:
        more = f" and {len(named) - 8} more" if len(named) > 8 else ""
        what = f"the rule {rule} matches no op; there are {', '.join(named[:8])}{more}"
    mended = [_written(other) for other in rules if other is not rule]
    similar = near(rule.op, there)
    if rule.op not in ("*", *there) and similar:
        mended = [_written(other, op=similar[0] if other is rule else other.op) for other in rules]
    return Problem(what, f"{_KEY}[{position}]", assignment(_KEY, mended))


def _written(rule: QuantizationRule, op: str = "") -> dict[str, str]:
    return {"name": rule.name, "op": op or rule.op, "scheme": rule.scheme.name}
