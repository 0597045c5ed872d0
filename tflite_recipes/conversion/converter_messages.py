"""Messages of TensorFlow's converter in words: what an op is given, and what LiteRT takes."""

from __future__ import annotations

import re

_TYPES = {"f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64", "!tf_type.string": "string"}
_OPERAND = re.compile(r"'tfl?\.(\w+)' op (operand|result) #(\d+) must be .* but got 'tensor<([^']+)>'")
_DIMENSION = re.compile(r"'tfl?\.(\w+)' op found invalid output dimension on (\w+), expected (\S+) but got (\S+)")
_ELEMENT = re.compile(r"Failed to convert element type '([^']+)'")
_MERGE = re.compile(r"(\S*merge\S*) only has (\d+) inputs, while only merge nodes")
_LEGACY = ("Unable to determine predicate for merge node", "Inconsistent values for attr 'Tcond'")
_OF_OP = re.compile(r"'tfl?\.(\w+)' op ")


def in_words(reason: str) -> str:
    """Return what the converter says of an op, in words; as it is if nothing is known of it."""
    if found := _OPERAND.search(reason):
        return f"{_label(found[1])} takes no {_type(found[4])} as {found[2]} {found[3]}"
    if found := _DIMENSION.search(reason):
        return f"{found[1]} would give {found[3]} in its last {found[2]} dimension where the model has {found[4]}"
    if found := _ELEMENT.search(reason):
        return f"LiteRT has no type {_TYPES.get(found[1], found[1])}"
    if found := _MERGE.search(reason):
        place = found[1].rpartition("/merge")[0].rpartition("PartitionedCall/")[2]
        return f"{place or found[1]} chooses among {found[2]} branches in TensorFlow 1's form, and it takes two"
    if any(text in reason for text in _LEGACY):
        return "the model has branches in TensorFlow 1's form (Switch and Merge) that it cannot read"
    return _OF_OP.sub(lambda found: f"{_label(found[1])}: ", reason)


def _label(op: str) -> str:
    """The op as this package writes it: LiteRT's in capitals, TensorFlow's by its own name."""
    return op.upper() if op == op.lower() else op


def _type(tensor: str) -> str:
    """The element type of an MLIR tensor: `?x16xi8`."""
    element = tensor.rpartition("x")[2]
    if found := re.fullmatch(r"(u?)i(\d+)", element):
        return "bool" if found[2] == "1" else f"{'u' * bool(found[1])}int{found[2]}"
    return _TYPES.get(element, element)
