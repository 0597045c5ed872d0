"""What a device computes, held against what LiteRT computes here from the same inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflite_recipes.files.tflite import Subgraph, Tensor, TFLiteFile

# Of a float output's largest value: kernels may add in another order, which is worth some 1e-6 a layer.
_FLOAT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Difference:
    """The largest difference of one output, in its real unit; `step` is what may be: the quantization step of an
    integer output or of what a float one is dequantized from, else a thousandth of the largest value."""

    output: str
    largest: float
    step: float
    quantized: bool

    @property
    def warnings(self) -> Iterator[str]:
        """A line where it is more than may be."""
        if self.largest > self.step * (1 + 1e-6):
            unit = "quantization steps" if self.quantized else "times what rounding explains"
            times = f"{self.largest / self.step:.3g} {unit}" if self.step else "and should not differ at all"
            yield f"output {self.output!r} of the device differs from LiteRT here by {self.largest:.6g}, {times}"


def differences(
    file: TFLiteFile, signature: str, here: Mapping[str, Any], there: Mapping[str, Any]
) -> tuple[Difference, ...]:
    """Each output of the signature, from arrays by name as the file stores them. Errors: ValueError, where the device
    gave other outputs or shapes."""
    meant = next(s for s in file.signatures if s.key == signature)
    graph, found = file.subgraphs[meant.subgraph], []
    for name, index in meant.outputs:
        ours, theirs = here[name], there.get(name)
        if theirs is None or theirs.shape != ours.shape or theirs.dtype != ours.dtype:
            gave = "nothing" if theirs is None else f"{theirs.dtype}{list(theirs.shape)}"
            raise ValueError(f"for output {name!r} it gave {gave}, not {ours.dtype}{list(ours.shape)}")
        found.append(_difference(name, graph, graph.tensors[index], ours, theirs))
    return tuple(found)


def _difference(name: str, graph: Subgraph, tensor: Tensor, ours: Any, theirs: Any) -> Difference:
    if ours.dtype.kind in "biu":
        step = tensor.scales[0] if tensor.scales else 1.0
        gap = np.abs(ours.astype("int64") - theirs.astype("int64"))
        return Difference(name, float(gap.max(initial=0)) * step, step if tensor.scales else 0.0, bool(tensor.scales))
    if ours.dtype.kind != "f":
        return Difference(name, float(not np.array_equal(ours, theirs)), 0.0, False)
    ours, theirs = ours.astype("float64"), theirs.astype("float64")
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(invalid="ignore"):
        gap = np.where(same, 0.0, np.nan_to_num(np.abs(ours - theirs), nan=np.inf))
    step = _dequantized_from(graph, tensor)
    tolerated = step or _FLOAT_TOLERANCE * float(np.abs(ours[np.isfinite(ours)]).max(initial=0.0))
    return Difference(name, float(gap.max(initial=0.0)), tolerated, step > 0)


def _dequantized_from(graph: Subgraph, tensor: Tensor) -> float:
    """The step of the integer tensor that a float output is made from; 0 where there is none."""
    makers = (op for op in graph.operators if op.name == "DEQUANTIZE" and tensor.index in op.outputs)
    scales = (graph.tensors[op.inputs[0]].scales for op in makers)
    return next((found[0] for found in scales if found), 0.0)
