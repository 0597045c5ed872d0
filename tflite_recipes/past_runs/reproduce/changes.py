"""What changed between a past run and this one: machine, versions, config. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tflite_recipes.conversion.former_names import in_todays_names
from tflite_recipes.core.environment import parsed

# Told first, because they decide most often.
_FIRST = (
    *("tensorflow", "keras", "tf-keras", "tf_keras", "numpy", "ai-edge-litert", "ml-dtypes"),
    *("litert-quantizer", "ai-edge-quantizer"),  # one package: its name, and that of up to 0.10
    *("tflite-recipes", "tflite_recipes", "python", "cpu", "features", "threads", "variables", "platform"),
)
_NOT_COMPARED = ("name", "worker", "tracking", "defaults")
_NOTHING = "nothing"


@dataclass(frozen=True)
class Change:
    """What is another now, with what it was and is."""

    what: str
    before: str
    after: str

    def to_json(self) -> dict[str, str]:
        """Plain data, and nothing in it that a terminal would obey: what was is others' word."""
        return {key: "".join(c if c.isprintable() else "?" for c in text)[:500] for key, text in asdict(self).items()}


def of_environment(before: str | None, after: str) -> list[Change]:
    """What differs in two `environment.txt`, what decides most first."""
    if before is None:
        return [Change("environment", "not recorded", "this one")]
    one, other = parsed(before), parsed(after)
    names = [*(name for name in _FIRST if name in one or name in other), *sorted(set(one) | set(other))]
    found = []
    for name in dict.fromkeys(names):
        was, now = one.get(name, _NOTHING), other.get(name, _NOTHING)
        if name == "threads" and was == _NOTHING:
            continue  # of a run older than this line
        if was != now:
            found.append(_features(was, now) if name == "features" else Change(name, was, now))
    return found


def _features(was: str, now: str) -> Change:
    one, other = set(was.split()), set(now.split())
    gone, new = (" ".join(sorted(side)) or "none besides" for side in (one - other, other - one))
    return Change("CPU features", gone, new)


def threads_of(environment: str | None) -> int | None:
    """How many threads TensorFlow had for an op; of an older run, the machine's processors; None where neither is
    known."""
    told = parsed(environment or "")
    text = told.get("threads") or told.get("cpu", "").rpartition("(")[2].partition(" ")[0]
    return int(text) if text.isdecimal() and 0 < int(text) <= 1024 else None


def of_config(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Keys of two resolved recipes that differ, but for those that decide nothing."""
    one, other = (
        in_todays_names(dict(_flat({key: value for key, value in side.items() if key not in _NOT_COMPARED})))
        for side in (before, after)
    )
    return [
        Change(key, str(one.get(key, _NOTHING)), str(other.get(key, _NOTHING)))
        for key in dict.fromkeys([*one, *other])
        if one.get(key, _NOTHING) != other.get(key, _NOTHING)
    ]


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
