"""A file's inputs and outputs as code in other languages needs them: identifiers, types, shapes, scales."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# The types that tensors have in the languages of the snippets, in a table of each.
PLAIN = ("float32", "int8", "uint8", "int16", "int32", "int64", "bool")
# Words that no language takes as a name, and names that the templates use.
_TAKEN = frozenset(
    """as associatedtype auto bool boolean break byte bytes case catch char check class companion const continue defer
    deinit do double else enum extension false feed fileprivate final float for fun func guard high if import in
    index init inout int interface internal interpreter is labels let long low max min model namespace nil null
    object open operator options out override package private protocol public real repeat resize rethrows return
    self short size static status stored string struct subscript super switch template this threads throw throws
    true try typealias typeof union using val value values var void when where while zero""".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Port:
    """One input or output. shape: None where a size is open. scale: 0.0 where it is not quantized."""

    name: str
    identifier: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0

    @property
    def sizes(self) -> list[int]:
        """The shape with 1 for an open size."""
        return [1 if size is None else size for size in self.shape]

    @property
    def is_open(self) -> bool:
        """Whether a size is open."""
        return None in self.shape

    def __str__(self) -> str:
        shape = " x ".join("any" if size is None else str(size) for size in self.shape) or "one number"
        scale = f", scale {self.scale!r}, zero point {self.zero_point}" if self.scale else ""
        return f"{self.name}: {self.dtype}, {shape}{scale}"


def ports(contract: Mapping[str, Any]) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Inputs and outputs of an I/O contract, in the file's order, their identifiers different from each other."""
    names = [entry["name"] for side in ("inputs", "outputs") for entry in contract[side]]
    found = iter(identifiers(names))
    inputs, outputs = (tuple(_port(entry, next(found)) for entry in contract[side]) for side in ("inputs", "outputs"))
    return inputs, outputs


def _port(entry: Mapping[str, Any], identifier: str) -> Port:
    tensor = entry["tflite"]
    scale, zero_point = float(tensor.get("scale", 0.0)), int(tensor.get("zero_point", 0))
    return Port(entry["name"], identifier, tuple(tensor["shape"]), tensor["dtype"], scale, zero_point)


def identifiers(names: Sequence[str]) -> list[str]:
    """A name in camelCase for each, of ASCII letters and digits, that every language takes, each only once."""
    found: list[str] = []
    for name in names:
        words = re.findall(r"[A-Za-z0-9]+", name)
        joined = "".join(word[:1].upper() + word[1:] for word in words)
        word = joined[:1].lower() + joined[1:]
        if not word or word[0].isdigit() or keyword.iskeyword(word) or word.lower() in _TAKEN:
            word = f"tensor{joined}"
        number, free = 2, word
        while _names(free) & {name for other in found for name in _names(other)}:
            free, number = f"{word}{number}", number + 1
        found.append(free)
    return found


def _names(identifier: str) -> set[str]:
    """An identifier, and those that the snippets make of it, in small letters."""
    return {f"{identifier}{ending}".lower() for ending in ("", "Bytes", "Shape", "Stored")}


def other_types(sides: Iterable[Port]) -> list[str]:
    """The types among them that the snippets have no words for."""
    return sorted({port.dtype for port in sides} - set(PLAIN))
