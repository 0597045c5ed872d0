"""The first op of a float `.tflite` that computes something else than the graph that it was converted from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import convert_to_constants

from tflite_recipes.backend.running.inner_tensors import InnerTensors
from tflite_recipes.core.state import State
from tflite_recipes.files import tflite as tflite_file
from tflite_recipes.files.tflite import Operator, Subgraph

# Ops that only pass values on, which the converter does away with.
_PASSING = frozenset({"Identity", "Const", "Reshape", "Placeholder", "NoOp", "Squeeze", "ExpandDims", "ReadVariableOp"})
_CALL = re.compile(r"^(Stateful)?PartitionedCall(_\d+)?$")
_MOST_OPS = 4


def named(state: State, path: Path, arrays: Mapping[str, Any]) -> str:
    """Return what to write of the first op of the float file at `path` that is wrong on these rows, "" if unknown.

    Tensors are matched by their TensorFlow names. Only one batch is run, because memory holds every tensor of it.
    """
    try:
        return _described(_Comparison.of(state, path, arrays))
    # What fails here must not hide that the file is wrong.
    except Exception:
        return ""


@dataclass(frozen=True)
class _Comparison:
    """Both sides after one invoke.

    graph: of the file. values: its tensors by index. source: values of the TensorFlow graph by tensor name. tensors:
    TensorFlow's tensors by the name of their op without calls around it. outputs: by index in the file, the
    TensorFlow tensor of the signature's output. inputs: names of the TensorFlow graph's inputs. limit: a share of a
    tensor's range.
    """

    graph: Subgraph
    values: Mapping[int, Any]
    source: Mapping[str, Any]
    tensors: Mapping[str, list[Any]]
    outputs: Mapping[int, Any]
    inputs: frozenset[str]
    limit: float

    @classmethod
    def of(cls, state: State, path: Path, arrays: Mapping[str, Any]) -> _Comparison:
        file = tflite_file.read_tflite(path)
        signature = next(s for s in file.signatures if s.key == state.signature)
        graph = file.subgraphs[signature.subgraph]
        run = InnerTensors(path, state.signature, signature.subgraph)
        given = {name: np.asarray(values[: run.batch]) for name, values in arrays.items()}
        results = run(given)
        values = {index: run.values(index) for op in graph.operators for index in op.outputs}
        values.update({index: results[name] for name, index in signature.outputs})
        flat, names = _flat(state)
        tensors: dict[str, list[Any]] = {}
        for op in flat.graph.get_operations():
            fit = [
                tensor
                for tensor in op.outputs
                if tensor.dtype.is_floating or tensor.dtype.is_integer or tensor.dtype.is_bool
            ]
            tensors.setdefault(_plain(op.name), []).extend(fit if op.type != "Const" else [])
        fetched = [tensor for found in tensors.values() for tensor in found]
        fed = [tf.constant(given[name], tensor.dtype) for name, tensor in zip(names, flat.inputs, strict=True)]
        computed = flat.prune(flat.inputs, fetched)(*fed)
        source = {tensor.name: np.asarray(value) for tensor, value in zip(fetched, computed, strict=True)}
        ends = dict(zip(sorted(spec.name for spec in state.outputs), flat.outputs, strict=True))
        outputs = {index: ends[name] for name, index in signature.outputs}
        inputs = frozenset(tensor.name for tensor in flat.inputs)
        return cls(graph, values, source, tensors, outputs, inputs, state.float_limit)

    def counterparts(self, index: int) -> list[Any]:
        """The TensorFlow tensors that a tensor of the file may stand for, in their order in the graph."""
        if index in self.outputs:
            return [self.outputs[index]]
        parts = self.graph.tensors[index].name.split(";")
        found = [tensor for part in parts for tensor in self.tensors.get(_plain(part), ())]
        shape = getattr(self.values[index], "shape", None)
        return [tensor for tensor in found if self.source[tensor.name].shape == shape]

    def agrees(self, index: int, tensor: Any) -> bool:
        ours, theirs = self.source[tensor.name], self.values[index]
        if theirs is None or ours.shape != theirs.shape or not ours.size:
            return False
        one, other = (np.nan_to_num(np.asarray(side, "float64")) for side in (ours, theirs))
        spread = max(float(np.ptp(one)), float(np.abs(one).max()), 1e-12)
        return bool(np.abs(one - other).max() <= self.limit * spread)


def _flat(state: State) -> tuple[Any, list[str]]:
    """The signature's graph without calls and variables, and the names of its inputs in their order."""
    function = tf.saved_model.load(str(state.saved_model)).signatures[state.signature]
    flat = convert_to_constants.convert_variables_to_constants_v2(
        function, lower_control_flow=False, aggressive_inlining=True
    )
    return flat, sorted(function.structured_input_signature[1])


def _plain(name: str) -> str:
    """The name of a tensor or an op without output numbers and the calls around it."""
    return "/".join(part for part in name.partition(":")[0].split("/") if not _CALL.match(part))


def _described(comparison: _Comparison) -> str:
    right: set[str] = set(comparison.inputs)
    for op in comparison.graph.operators:
        for index in op.outputs:
            candidates = comparison.counterparts(index)
            agreeing = [tensor.name for tensor in candidates if comparison.agrees(index, tensor)]
            right.update(agreeing)
            if candidates and not agreeing:
                return _sentence(op, _between(candidates[-1], right))
    for index, tensor in comparison.outputs.items():  # an output that no op makes
        if index not in comparison.values or not comparison.agrees(index, tensor):
            return _sentence(None, _between(tensor, right))
    return ""


def _between(wrong: Any, right: set[str]) -> list[Any]:
    """The TensorFlow ops that lead from tensors that are right to one that is wrong, the first one first."""
    found: dict[str, Any] = {}
    left = [wrong]
    while left:
        tensor = left.pop()
        if tensor.name in right or tensor.op.name in found:
            continue
        found[tensor.op.name] = tensor.op
        left += tensor.op.inputs
    order = {op.name: number for number, op in enumerate(wrong.graph.get_operations())}
    return [found[name] for name in sorted(found, key=lambda name: order[name])]


def _sentence(op: Operator | None, stands_for: list[Any]) -> str:
    telling = list(_telling(stands_for))
    more = f" and {len(telling) - _MOST_OPS} more" if len(telling) > _MOST_OPS else ""
    ops = f"{', '.join(telling[:_MOST_OPS])}{more}"
    if op is None:
        return f"the converter lost {ops}" if ops else ""
    return f"first in {op.label}{ops and f', which stands for {ops}'}"


def _telling(ops: list[Any]) -> Iterator[str]:
    kept = [op for op in ops if op.type not in _PASSING] or [op for op in ops if op.type != "Const"]
    return (f"{op.type} {_plain(op.name)}" for op in kept)
