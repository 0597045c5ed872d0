"""Raw numbers → what the model is fed: (x − mean) / std, or x · scale + offset."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tflite_recipes.core.errors import Problem, assignment

KEYS = ("mean", "std", "scale", "offset")


@dataclass(frozen=True)
class Scaling:
    """Each a number, or a list of numbers, one per channel (the last axis); None where it is not asked for."""

    mean: Any = None
    std: Any = None
    scale: Any = None
    offset: Any = None

    def asked(self) -> bool:
        """Whether anything is done at all."""
        return any(value is not None for value in (self.mean, self.std, self.scale, self.offset))

    def problems(self, group: str, channels: int | None) -> Iterable[Problem]:
        """What is wrong with the keys under `group`; `channels` None where it is not known."""
        given = {key: getattr(self, key) for key in KEYS if getattr(self, key) is not None}
        one, other = ([key for key in pair if key in given] for pair in (KEYS[:2], KEYS[2:]))
        if one and other:
            fix = " ".join(f"{group}.{key}=null" for key in other)
            ways = (" ".join(f"{group}.{key}=null" for key in one),)
            what = f"{' and '.join(one)} and {' and '.join(other)} are two ways to scale: give one"
            yield Problem(what, f"{group}.{other[0]}", fix, ways)
        for key, value in given.items():
            numbers = value if isinstance(value, list) else [value]
            where = f"{group}.{key}"
            example = {"mean": 127.5, "std": 127.5, "scale": 1 / 255, "offset": 0.0}[key]
            if not numbers or not all(_number(number) for number in numbers):
                yield Problem(f"{value!r} is neither a number nor a list of them", where, assignment(where, example))
            elif isinstance(value, list) and channels is not None and len(value) != channels:
                what = f"{len(value)} numbers for {channels} channel{'s' * (channels > 1)}"
                fixed = (value * channels)[:channels] if channels > 1 else value[0]
                yield Problem(what, where, assignment(where, fixed))
            elif key in ("std", "scale") and 0 in numbers:
                yield Problem(f"{value} has a zero", where, assignment(where, example))

    def apply(self, array: Any) -> Any:
        """The array as it is where nothing is asked for, else scaled, float32; computed in float64, rounded once."""
        return self.function()(array)

    def function(self) -> Callable[[Any], Any]:
        """`apply`, with its numbers prepared."""
        import numpy as np

        if not self.asked():
            return lambda array: array
        if self.mean is not None or self.std is not None:
            mean, std = np.asarray(self.mean or 0.0), np.asarray(1.0 if self.std is None else self.std)
            return lambda array: ((array - mean) / std).astype("float32")
        scale, offset = np.asarray(1.0 if self.scale is None else self.scale), np.asarray(self.offset or 0.0)
        return lambda array: (array * scale + offset).astype("float32")

    def recorded(self) -> dict[str, Any]:
        """What was done, for the manifest."""
        return {key: getattr(self, key) for key in KEYS if getattr(self, key) is not None}

    @classmethod
    def of(cls, mapping: Mapping[str, Any]) -> Scaling:
        """From a mapping that may have other keys too."""
        return cls(*(mapping.get(key) for key in KEYS))


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
