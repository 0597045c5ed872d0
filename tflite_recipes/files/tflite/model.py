"""What a `.tflite` file holds, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Tensor:
    """A tensor of a subgraph.

    shape: None where a dimension is dynamic.
    dtype: numpy's name where numpy has one, else the lower-case name of the file format ("int4", "string", ...).
    scales, zero_points: one pair per tensor, or one per slice along `quantized_dimension`; empty if not quantized.
    is_sparse: the constant is stored compressed, so that its bytes do not follow from its shape.
    buffer_bytes: size of the constant as stored; 0 for what is computed.
    buffer_offset: where it starts, in bytes from the start of the file. Tensors that share a buffer have the same one.
    """

    index: int
    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    quantized_dimension: int = 0
    is_variable: bool = False
    is_sparse: bool = False
    buffer_bytes: int = 0
    buffer_offset: int = 0

    @property
    def is_constant(self) -> bool:
        """Its values stand in the file."""
        return self.buffer_bytes > 0


@dataclass(frozen=True)
class Operator:
    """An operator: its builtin name ("CUSTOM" for custom ones) and the tensor indices; input -1 = left out."""

    index: int
    name: str
    custom_code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def is_flex(self) -> bool:
        """Runs as a TensorFlow op, which needs the Flex delegate."""
        return self.custom_code.startswith("Flex")

    @property
    def is_custom(self) -> bool:
        """Neither a builtin nor a TensorFlow op: the application has to bring it."""
        return self.name == "CUSTOM" and not self.is_flex

    @property
    def label(self) -> str:
        """The custom code of a custom operator, the builtin name of any other."""
        return self.custom_code or self.name


@dataclass(frozen=True)
class Subgraph:
    """A graph; `inputs` and `outputs` are tensor indices. The first of a file is the main one."""

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """A named entry point: (argument name, tensor index) pairs of one subgraph."""

    key: str
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]
    subgraph: int


@dataclass(frozen=True)
class TFLiteFile:
    """What a file holds, without the constants' bytes. Every index in it is within range."""

    path: Path
    size_bytes: int
    version: int
    description: str
    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[Signature, ...]
    metadata: tuple[str, ...]


@dataclass(frozen=True)
class SignaturePorts:
    """A signature with its tensors looked up."""

    key: str
    inputs: tuple[tuple[str, Tensor], ...]
    outputs: tuple[tuple[str, Tensor], ...]


@dataclass(frozen=True)
class Inspection:
    """What `inspect` shows of a file.

    signatures: a file without any shows its main subgraph under the empty key, with tensor names.
    op_counts, tensor_dtypes: histograms over all subgraphs, most frequent first.
    constant_bytes: stored bytes by dtype, largest first; a buffer that tensors share counts once.
    largest_constants: largest first, at most `LARGEST_CONSTANTS`, one per buffer.
    """

    size_bytes: int
    version: int
    description: str
    metadata: tuple[str, ...]
    signatures: tuple[SignaturePorts, ...]
    op_counts: dict[str, int]
    tensor_dtypes: dict[str, int]
    constant_bytes: dict[str, int]
    largest_constants: tuple[Tensor, ...]
