"""What a file's users must know of its inputs and outputs, and what a recipe may demand of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tflite_recipes.core.errors import Problem, StepError, assignment
from tflite_recipes.core.state import State

if TYPE_CHECKING:  # which reads the format, and composing a recipe need not
    from tflite_recipes.files.tflite import Tensor, TFLiteFile

_KEYS = ("shape", "dtype", "scale", "zero_point")
_DTYPES = "float32 float16 int8 uint8 int16 uint16 int32 uint32 int64 uint64 bool string"
_SCALE_TOLERANCE = 1e-6
# When an application resets the state of a file that keeps some.
EACH_INVOKE, NEW_SEQUENCE = "before each invoke", "before each new sequence"


@dataclass(frozen=True)
class IOContract:
    """What is declared of the file's inputs and outputs, by name and in order: any of shape, dtype, scale and
    zero_point; null in a shape is an open size. Empty: no claim."""

    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)

    def declared(self) -> dict[str, Any]:
        """The sides that claim something."""
        sides = {"inputs": self.inputs, "outputs": self.outputs}
        return {side: claims for side, claims in sides.items() if claims}

    def problems(self) -> Iterable[Problem]:
        for side, claims in self.declared().items():
            for name, claim in claims.items():
                where = f"io_contract.{side}.{name}"
                if not isinstance(claim, Mapping):
                    example = assignment(where, {"dtype": "int8"})
                    yield Problem(f"{claim!r} is not a mapping of {', '.join(_KEYS)}", where, example)
                    continue
                for key, value in claim.items():
                    if key in _KEYS and not _possible(key, value):
                        yield Problem(f"{value!r} is no {key}", f"{where}.{key}", f"'~{where}.{key}'")
                    if key not in _KEYS:
                        yield Problem(f"unknown key; known: {', '.join(_KEYS)}", f"{where}.{key}", f"'~{where}.{key}'")


def _possible(key: str, value: Any) -> bool:
    """Whether a tensor can have this."""
    if key == "shape":
        return isinstance(value, list) and all(size is None or (type(size) is int and size > 0) for size in value)
    if key == "dtype":
        return value in _DTYPES.split()
    return isinstance(value, (int, float)) and (key == "zero_point" or value > 0)


def carries_state(contract: Mapping[str, Any]) -> bool:
    """Return whether an application keeps the file's state from one invoke to the next. Older contracts name no
    `reset`, and a file whose state is not its source's was not stateful in them."""
    return bool(contract["stateful"]) and contract.get("reset", NEW_SEQUENCE) == NEW_SEQUENCE


def io_contract(file: TFLiteFile, state: State) -> dict[str, Any]:
    """Names, shapes, dtypes, scales and zero points of inputs and outputs: as the source has them, and as the file
    has them, both in the source's own order, which is the file's; what was changed so that the model converts; and
    what else an application has to know."""
    signature = next(s for s in file.signatures if s.key == state.signature)
    tensors = file.subgraphs[signature.subgraph].tensors
    sides = (("inputs", state.inputs, signature.inputs), ("outputs", state.outputs, signature.outputs))
    contract: dict[str, Any] = {"signature": state.signature, "stateful": state.stateful or state.resets}
    if contract["stateful"]:
        contract["reset"] = EACH_INVOKE if state.resets else NEW_SEQUENCE
    for side, specs, pairs in sides:
        indices = dict(pairs)
        contract[side] = [
            {
                "name": spec.name,
                "source": {"shape": list(spec.shape), "dtype": spec.dtype},
                "tflite": _tensor(tensors[indices[spec.name]]),
            }
            for spec in specs
            if spec.name in indices
        ]
    for entry in contract["inputs"]:
        if entry["name"] in state.preprocessing:
            entry["preprocessing"] = dict(state.preprocessing[entry["name"]])
    return {**contract, "remedies": list(state.remedies), "notes": list(_notes(contract, state))}


def _tensor(tensor: Tensor) -> dict[str, Any]:
    entry: dict[str, Any] = {"tensor": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}
    if tensor.scales:
        entry |= {"scale": tensor.scales[0], "zero_point": tensor.zero_points[0] if tensor.zero_points else 0}
    return entry


def _notes(contract: Mapping[str, Any], state: State) -> Iterable[str]:
    quantized = any("scale" in entry["tflite"] for entry in contract["inputs"])
    for entry in contract["inputs"]:
        kind = entry["tflite"]["dtype"]
        if quantized and "scale" not in entry["tflite"] and kind not in ("float32", "float16"):
            yield f"input {entry['name']!r} keeps its {kind}: it holds numbers that are not quantized"
    if state.resets:
        yield "the file keeps state between invokes: call reset_all_variables() before each, as its evaluation does"
    elif state.stateful:
        yield "the model keeps state between invokes: reset_all_variables() starts anew"


def check_declared(contract: Mapping[str, Any], declared: Mapping[str, Any]) -> None:
    """Hold a file's contract against what the recipe declares. Errors: StepError naming every difference."""
    if problems := differences(contract, declared):
        raise StepError(problems)


def differences(contract: Mapping[str, Any], declared: Mapping[str, Any]) -> list[Problem]:
    """Return what of a file's contract is not as the recipe declares it.

    Args:
        contract: as `io_contract.json` holds it.
        declared: by side (`inputs`, `outputs`) and by name.
    """
    return [problem for side, claims in declared.items() for problem in _differences(side, claims, contract[side])]


def _differences(side: str, claims: Mapping[str, Any], entries: list[Any]) -> Iterable[Problem]:
    names = [entry["name"] for entry in entries]
    if list(claims) != names:
        what = f"the file has {', '.join(names)} in this order, {', '.join(claims)} was declared"
        yield Problem(what, f"io_contract.{side}")
    by_name = {entry["name"]: entry["tflite"] for entry in entries}
    for name, claim in claims.items():
        for key, wanted in claim.items():
            has = by_name.get(name, {}).get(key)
            if name in by_name and not _equal(has, wanted):
                what = f"the file has {has}, {wanted} was declared"
                yield Problem(
                    what, f"io_contract.{side}.{name}.{key}", assignment(f"io_contract.{side}.{name}.{key}", has)
                )


def _equal(has: Any, wanted: Any) -> bool:
    if isinstance(has, float) and isinstance(wanted, (int, float)):
        return abs(has - wanted) <= _SCALE_TOLERANCE * max(abs(has), abs(wanted))
    return bool(has == wanted)
