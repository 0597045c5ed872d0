"""What the converter's messages mean: the op, where it came from, and the override that helps.

The converter speaks in MLIR locations: `loc(callsite(fused["MaxPool3D:", "model/pool/MaxPool3D@__inference…"] at …)):
'tf.MaxPool3D' op is neither a custom op nor a flex op`.
"""

from __future__ import annotations

import re

from tflite_recipes.errors import Problem, assignment
from tflite_recipes.state import TensorSpec

_LOCATION = re.compile(r'fused\["(\w+):", "([^"@]+)')
_NO_KERNEL = "neither a custom op nor a flex op"
_LONGEST = 400


def diagnose(message: str, scheme: str, inputs: tuple[TensorSpec, ...]) -> Problem:
    """The problem behind a failed conversion, with one fix where one is known.

    `inputs` are the signature's; a dynamic batch or size is behind many a message that names something else.
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    telling = next((line for line in lines if "error:" in line or _LOCATION.search(line)), lines[0] if lines else "")
    reason = telling.rpartition(")): ")[2] if _LOCATION.search(telling) else telling.partition("error:")[2] or telling
    found = _LOCATION.search(telling)
    place = f" ({found[1]} in {found[2]})" if found else ""
    dynamic = open_sizes(inputs)
    if "TensorList" in telling or "element_shape to be static" in message:
        what = f"a loop over time needs a fixed batch and length{place}"
        return Problem(what, "optimization", _fixed(inputs) if not dynamic else "", by_hand(dynamic))
    if _NO_KERNEL in telling and dynamic:
        what = f"this op cannot be converted while an input's size is open{place}: {', '.join(map(str, dynamic))}"
        return Problem(what, "source.input_shapes", "", by_hand(dynamic))
    if _NO_KERNEL in telling:
        op = found[1] if found else reason
        return Problem(f"LiteRT has no kernel for {op}{place}", "optimization")
    float_io = "optimization.input_type=float32 optimization.output_type=float32"
    fix = f"optimization=full_integer {float_io}" if scheme in ("integer_only", "int16x8") else ""
    return Problem(f"the converter refused: {reason.strip()[:_LONGEST]}{place}", "optimization", fix)


def _fixed(inputs: tuple[TensorSpec, ...]) -> str:
    """The override that fixes the batch at 1, where nothing else is open."""
    if all(spec.shape and spec.shape[0] is not None for spec in inputs):
        return ""
    return assignment("source.input_shapes", {spec.name: [size or 1 for size in spec.shape] for spec in inputs})


def open_sizes(inputs: tuple[TensorSpec, ...]) -> list[TensorSpec]:
    """The inputs with a dynamic dimension besides the batch."""
    return [spec for spec in inputs if None in spec.shape[1:]]


def by_hand(dynamic: list[TensorSpec]) -> tuple[str, ...]:
    """What the user has to write where only they can know the sizes."""
    return tuple(f"give {spec.name} a shape: 'source.input_shapes={{{spec.name}: [1,…]}}'" for spec in dynamic)
