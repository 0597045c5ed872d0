"""A float `.tflite` file as a source: its signature, inputs and outputs; refuses what is quantized already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tflite_recipes.core.errors import RequestError, assignment
from tflite_recipes.core.state import TensorSpec
from tflite_recipes.files.models.refusals import GRAPH_FILE, HDF5, ZIP, first_bytes, frozen_graph, refusal

if TYPE_CHECKING:
    from tflite_recipes.files.tflite import SignaturePorts, Tensor, TFLiteFile


@dataclass(frozen=True)
class FloatTFLite:
    """What the file says of itself.

    signature: the key of its only signature; "" where it has none, and inputs and outputs have their tensors' names.
    parameters: numbers in its float32 constants.
    """

    signature: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: int


def read_float_tflite(path: Path) -> FloatTFLite:
    """Read a file that can be quantized. RequestError if it is none, is quantized, or has several signatures."""
    # Reading brings numpy and LiteRT's schema in, which most requests do without
    from tflite_recipes.files import tflite

    if (path / GRAPH_FILE).is_file():
        fix = f"source=saved_model {assignment('source.path', str(path))}"
        raise refusal(f"{path} is a SavedModel folder, not a TFLite file", fix)
    if first_bytes(path).startswith((ZIP, HDF5)):
        fix = f"source=keras {assignment('source.path', str(path))}"
        raise refusal(f"{path} is a Keras file, not a TFLite file", fix)
    if path.suffix == ".pb" and path.is_file():
        raise frozen_graph(path)
    try:
        file = tflite.read_tflite(path)
    except RequestError as error:
        raise refusal(f"{path} {error.problems[0].what}") from error
    if quantized := _quantized(file):
        why = f"is quantized already ({quantized}): give the float file, or the model that it was made from"
        raise refusal(f"{path} {why}")
    ports = _only_ports(path, tflite.describe(file).signatures)
    sides = (tuple(TensorSpec(name, t.shape, t.dtype) for name, t in side) for side in (ports.inputs, ports.outputs))
    inputs, outputs = sides
    return FloatTFLite(ports.key, inputs, outputs, sum(t.buffer_bytes // 4 for t in _weights(file).values()))


def _only_ports(path: Path, signatures: tuple[SignaturePorts, ...]) -> SignaturePorts:
    if len(signatures) > 1:
        keys = ", ".join(signature.key for signature in signatures)
        raise refusal(f"{path} has several signatures ({keys}), and one is needed: convert each to a file of its own")
    (ports,) = signatures
    for side in (ports.inputs, ports.outputs):
        names = [name for name, _ in side]
        if not all(names) or len(set(names)) < len(names):
            what = f"{path} has no signature, and its tensors' names cannot stand in for one: {', '.join(names)}"
            raise refusal(what)
    return ports


def _quantized(file: TFLiteFile) -> str:
    """A tensor that is not as a float conversion makes them; "" where there is none."""
    tensors = [tensor for graph in file.subgraphs for tensor in graph.tensors]
    odd = [t for t in tensors if (t.scales and t.dtype != "float32") or (t.is_constant and t.dtype == "float16")]
    return f"{odd[0].name} is {odd[0].dtype}" if odd else ""


def _weights(file: TFLiteFile) -> dict[int, Tensor]:
    """float32 constants by their place in the file: a buffer that tensors share counts once."""
    tensors = [tensor for graph in file.subgraphs for tensor in graph.tensors]
    return {t.buffer_offset: t for t in tensors if t.is_constant and t.dtype == "float32"}
