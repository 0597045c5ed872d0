"""What is wrong with an optimization beside the other steps, said before TensorFlow loads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tflite_recipes.conversion import rules as quantization_rules
from tflite_recipes.conversion import schemes
from tflite_recipes.conversion.rules import QuantizationRule
from tflite_recipes.conversion.schemes import IO_TYPES, IOType, Quantizer, RuleScheme, Scheme
from tflite_recipes.core.errors import Problem, assignment
from tflite_recipes.steps.optimization_settings import OptimizationSettings

_OTHER_QUANTIZER = "optimization.quantizer=litert_quantizer"
_STATIC = (RuleScheme.full_integer, RuleScheme.int16x8)


def problems(asked: OptimizationSettings, steps: Mapping[str, Any]) -> Iterable[Problem]:
    """Every contradiction, each with the override that resolves it."""
    for key in ("input_type", "output_type"):
        yield from _type_problems(asked.scheme, key, getattr(asked, key))
    if not schemes.takes(asked.quantizer, asked.scheme):
        what = f"TensorFlow's converter has no {asked.scheme.name}"
        yield Problem(what, "optimization.quantizer", _OTHER_QUANTIZER, ("optimization=dynamic_range",))
    yield from _granularity_problems(asked)
    if asked.equalize and not _edits_the_float_file(asked):
        what = (
            f"TensorFlow's converter makes {asked.scheme.name} without a float file whose channels could be evened out"
        )
        fix = "optimization.equalize=false" if asked.scheme is Scheme.none else _OTHER_QUANTIZER
        yield Problem(what, "optimization.equalize", fix)
    broken = list(quantization_rules.problems(asked.rules))
    yield from broken
    rules = [] if broken else quantization_rules.read(asked.rules)
    yield from _rule_problems(asked, rules)
    yield from _range_problems(asked, steps.get("calibration"))
    if schemes.needs_samples(asked.scheme, [rule.scheme for rule in rules]):
        yield from _sample_problems(asked, steps)


# What the keys of a scheme are for a float file.
_FLOAT_KEYS = {
    "input_type": IOType.float32,
    "output_type": IOType.float32,
    "per_channel": True,
    "per_channel_dense": True,
    "block_size": None,
    "equalize": False,
    "rules": [],
}


def float_fix(asked: OptimizationSettings) -> str:
    """Return the override for a float file: the scheme, and each key that would contradict it."""
    differing = {key: value for key, value in _FLOAT_KEYS.items() if getattr(asked, key) != value}
    values = {key: value.name if isinstance(value, IOType) else value for key, value in differing.items()}
    return " ".join(["optimization=none", *(assignment(f"optimization.{key}", value) for key, value in values.items())])


def _type_problems(scheme: Scheme, key: str, asked: IOType) -> Iterable[Problem]:
    allowed = IO_TYPES[scheme]
    if asked in allowed:
        return
    what = f"{scheme.name} cannot give {asked.name}; it gives {', '.join(t.name for t in allowed)}"
    others = [other.name for other, types in IO_TYPES.items() if asked in types]
    ors = tuple(f"optimization={other} optimization.{key}={asked.name}" for other in others[:1])
    yield Problem(what, f"optimization.{key}", f"optimization.{key}={allowed[0].name}", ors)


def _granularity_problems(asked: OptimizationSettings) -> Iterable[Problem]:
    scheme, quantizer = asked.scheme, asked.quantizer
    for key, has in (
        ("per_channel", schemes.takes_per_tensor(quantizer, scheme)),
        ("per_channel_dense", schemes.takes_per_tensor_dense(quantizer, scheme)),
    ):
        if not getattr(asked, key) and not has:
            what = f"{scheme.name} has no per-tensor form in {quantizer.name}"
            yield Problem(what, f"optimization.{key}", f"optimization.{key}=true")
    if asked.block_size is None:
        return
    key = "optimization.block_size"
    if asked.block_size not in schemes.BLOCK_SIZES:
        nearest = min(schemes.BLOCK_SIZES, key=lambda size: abs(size - (asked.block_size or 0)))
        listed = ", ".join(map(str, schemes.BLOCK_SIZES))
        yield Problem(f"{asked.block_size} is none of {listed}", key, f"{key}={nearest}")
    if scheme not in schemes.BLOCKWISE:
        listed = ", ".join(other.name for other in schemes.BLOCKWISE)
        what = f"{scheme.name} has no blockwise form; {listed} have"
        ors = (f"optimization=weight_only_int8 {key}={asked.block_size}",)
        yield Problem(what, key, f"{key}=null", ors)
    elif not asked.per_channel:
        what = "a scale for each block and one for the whole tensor cannot both be had"
        yield Problem(what, key, "optimization.per_channel=true", (f"{key}=null",))


def _edits_the_float_file(asked: OptimizationSettings) -> bool:
    if asked.scheme is Scheme.none:
        return False
    return asked.quantizer is Quantizer.litert_quantizer or asked.scheme in schemes.CALIBRATED


def _rule_problems(asked: OptimizationSettings, rules: list[QuantizationRule]) -> Iterable[Problem]:
    if not rules:
        return
    key, scheme = "optimization.rules", asked.scheme
    others = sorted({rule.scheme.name for rule in rules} - {"float", "full_integer"})
    if scheme is Scheme.none:
        yield Problem("rules say what differs from a quantization scheme", key, "optimization=full_integer")
    elif scheme in schemes.STRICT and any(rule.scheme not in _STATIC for rule in rules):
        loose = schemes.STRICT[scheme].name
        types = "" if scheme is not Scheme.integer_only else _types(asked)
        what = f"{scheme.name} leaves nothing float, and a rule does; {loose} may"
        yield Problem(what, key, f"optimization={loose}{types}", (assignment(key, []),))
    elif asked.quantizer is Quantizer.tflite_converter and (others or scheme not in _RULES_WHILE_CONVERTING):
        what = f"TensorFlow's converter can leave ops float, in {' and '.join(s.name for s in _RULES_WHILE_CONVERTING)}"
        if others:
            what += f"; it cannot make {', '.join(others)} of some"
        yield Problem(what, key, _OTHER_QUANTIZER)


# 16x8 goes through the converter's older quantizer, which takes no exceptions.
_RULES_WHILE_CONVERTING = (Scheme.integer_only, Scheme.full_integer)


def _types(asked: OptimizationSettings) -> str:
    return f" optimization.input_type={asked.input_type.name} optimization.output_type={asked.output_type.name}"


def _range_problems(asked: OptimizationSettings, calibration: Any) -> Iterable[Problem]:
    method = getattr(getattr(calibration, "method", None), "name", "min_max")
    if method != "min_max" and asked.scheme in schemes.CALIBRATED and asked.quantizer is Quantizer.tflite_converter:
        what = f"TensorFlow's converter takes each tensor's least and greatest value, not {method}"
        yield Problem(what, "calibration.method", _OTHER_QUANTIZER, ("calibration.method=min_max",))


def _sample_problems(asked: OptimizationSettings, steps: Mapping[str, Any]) -> Iterable[Problem]:
    if "calibration" in steps or _carries_ranges(steps.get("source")):
        return
    needy = asked.scheme.name if schemes.needs_samples(asked.scheme) else "a rule's scheme"
    what = f"{needy} needs representative data to set its ranges, and there is none"
    fixes = ("calibration=npz calibration.path=FILE", ("calibration=random",))
    if type(steps.get("source")).__name__ == "DigitsSource":
        fixes = ("calibration=digits", ("calibration=npz calibration.path=FILE",))
    yield Problem(what, "calibration", fixes[0], fixes[1])


def _carries_ranges(source: Any) -> bool:
    """Whether the model was trained with fake quantization, whose ranges stand for calibration."""
    asked = getattr(source, "carries_ranges", None)
    return bool(asked()) if asked is not None else False
