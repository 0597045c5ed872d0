"""Write bounded masks into a file read as objects."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_recipes.backend.converting.attention_masks.mask_bounds import Bound
from tflite_recipes.backend.converting.attention_masks.mask_origins import Origin, origin
from tflite_recipes.backend.converting.attention_masks.mask_paths import Root
from tflite_recipes.backend.converting.attention_masks.mask_ranges import Ranges
from tflite_recipes.backend.converting.attention_masks.mask_statistics import scores_of
from tflite_recipes.backend.converting.attention_masks.softmax_paths import SELECT
from tflite_recipes.backend.converting.equalization.float_graph import Graph
from tflite_recipes.backend.converting.file_edits import renumber

# A mask that is deeper than a layer needs by more than this share is not shared with it.
_SHARED = 0.67
_OPTIONS = {
    "ADD": schema.AddOptionsT,
    "SUB": schema.SubOptionsT,
    "MUL": schema.MulOptionsT,
    "GREATER": schema.GreaterOptionsT,
    "MAXIMUM": schema.MaximumMinimumOptionsT,
}
_OPTION_NAMES = {"MAXIMUM": "MaximumMinimumOptions"}
# A float32 below is not exact.
_LEAST_EXPONENT = -87.0


class Editor:
    """Collects the edits of one subgraph. `finish` carries out those that move operators."""

    def __init__(self, model: Any, number: int, graph: Graph, ranges: Ranges) -> None:
        self._model, self._number, self._graph, self._ranges = model, number, graph, ranges
        self._before: dict[int, list[Any]] = {}
        self._replaced: set[int] = set()

    def select(self, made: Bound) -> None:
        """Select one value, or the bounded constant, where a mask was selected."""
        at, position = made.merge.at, made.merge.position
        held = self._graph.input(at, position)
        constant = self._graph.constant(held)
        if self._graph.names[at] not in SELECT:
            self._choose(at, position, made.value)
            return
        value = np.float32(made.value) if constant is None else np.maximum(constant, np.float32(made.value))
        self._read(at, position, self._constant(value, at, position))
        if constant is None:  # only the second version takes one value for all
            self._as_select(at)

    def _choose(self, at: int, position: int, value: float) -> None:
        """Select the scores or one value, by the sign of a mask that was far above or far below the scores."""
        held, scores = self._graph.input(at, position), self._graph.input(at, 1 - position)
        constant = self._graph.constant(held)
        if constant is None:
            condition = self._like(held, f"condition_{at}")
            self._graph.tensors[condition].type = schema.TensorType.BOOL
            self._insert(at, "GREATER", [held, self._constant(0.0, at, 3)], condition)
        else:
            condition = self._constant(constant > 0, at, 3)
        self._replaced.add(held)
        op = self._graph.operators[at]
        op.inputs = np.array([condition, scores, self._constant(np.float32(value), at, position)], np.int32)
        self._as_select(at)

    def _as_select(self, at: int) -> None:
        op = self._graph.operators[at]
        op.opcodeIndex = self._code(schema.BuiltinOperator.SELECT_V2)
        op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.SelectV2Options, schema.SelectV2OptionsT()

    def bound_logarithm(self, at: int, depth: float) -> None:
        """Keep the LOG of 0 at `depth`."""
        held = self._graph.input(at, 0)
        kept = self._like(held, f"above_zero_{at}")
        least = np.exp(np.float32(max(depth, _LEAST_EXPONENT)))
        self._insert(at, "MAXIMUM", [held, self._constant(least, at, 3)], kept)
        self._read(at, 0, kept)

    def add_pairs(self, at: int) -> None:
        """Make an ADD_N a chain of ADDs."""
        op = self._graph.operators[at]
        total, *rest = (int(index) for index in op.inputs)
        for number, term in enumerate(rest[:-1]):
            partial = self._like(self._graph.result(at), f"partial_{at}_{number}")
            self._insert(at, "ADD", [total, term], partial)
            total = partial
        op.inputs = np.array([total, rest[-1]], np.int32)
        op.opcodeIndex = self._code(schema.BuiltinOperator.ADD)
        op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()

    def drop(self, at: int) -> None:
        """Leave out an operator that keeps scores above a constant that no mask reaches any more."""
        constants = [self._graph.constant(self._graph.input(at, position)) is not None for position in (0, 1)]
        source = self._graph.input(at, constants.index(False))
        for reader, position in self._graph.readers(self._graph.result(at)):
            self._read(reader, position, source)

    def add(self, group: Sequence[Bound]) -> None:
        """Bound masks that are made of the same constants, and multiply the scores by 0 where that is asked."""
        deepest = min(made.value for made in group)
        weakest = max(made.was for made in group)
        for root in sorted(frozenset().union(*(made.merge.roots for made in group))):
            if not self._is_direct(root, group):
                self._scale(root, deepest / weakest)
        shared: dict[tuple[int, float, bool], int] = {}
        for made in group:
            # One constant or product for all layers, unless it would take the integers of one of them.
            depth = deepest if made.value < _SHARED * deepest else made.value
            held = self._graph.input(made.merge.at, made.merge.position)
            if (constant := self._graph.constant(held)) is None and not made.merge.roots:
                self._add_seen(made)
            elif constant is None:
                self._add_computed(made, depth, deepest)
            else:
                self._add_constant(made, depth, constant, shared)

    def _add_computed(self, made: Bound, depth: float, deepest: float) -> None:
        at, position = made.merge.at, made.merge.position
        mask = self._graph.input(at, position)
        if depth != deepest:
            shallower = self._like(mask, f"shallower_{at}")
            self._insert(at, "MUL", [mask, self._constant(depth / deepest, at, 5)], shallower)
            self._read(at, position, shallower)
            mask = shallower
        if made.absorbs:
            self._absorb(made, self._computed_keep(at, mask, made.merge.sign / depth))

    def _add_seen(self, made: Bound) -> None:
        """Add what a mask is computed from, times what gives it its depth."""
        at, position = made.merge.at, made.merge.position
        held = self._graph.input(at, position)
        source = origin(self._graph, held, self._ranges) or Origin(held, made.merge.sign * made.was)
        mask = self._like(source.tensor, f"scaled_{at}")
        share = made.merge.sign * made.value / source.weakest
        self._insert(at, "MUL", [source.tensor, self._constant(share, at, 5)], mask)
        for number in source.layout:
            mask = self._again(at, number, mask)
        self._read(at, position, mask)
        if made.absorbs:
            self._absorb(made, self._computed_keep(at, mask, made.merge.sign / made.value))

    def _again(self, at: int, number: int, tensor: int) -> int:
        """A second operator like `number`, on another tensor, before the operator `at`."""
        op = copy.copy(self._graph.operators[number])
        inputs = np.array(op.inputs, np.int32)
        inputs[0] = tensor
        result = self._like(self._graph.result(number), f"scaled_{at}_{number}")
        op.inputs, op.outputs = inputs, np.array([result], np.int32)
        self._before.setdefault(at, []).append(op)
        return result

    def _add_constant(
        self, made: Bound, depth: float, constant: Any, shared: dict[tuple[int, float, bool], int]
    ) -> None:
        at, position = made.merge.at, made.merge.position
        added = made.merge.sign * constant
        hidden = added <= added.min() / 2
        values = np.where(hidden, depth, added) if made.absorbs else np.maximum(added, depth)
        key = (self._graph.input(at, position), depth, made.absorbs)
        if key not in shared:
            shared[key] = self._constant(made.merge.sign * values, at, position)
        self._read(at, position, shared[key])
        if made.absorbs:
            self._absorb(made, self._constant(~hidden, at, 2))

    def finish(self) -> None:
        """Put new operators in their places, and leave out what nothing reads any more."""
        graph = self._model.subgraphs[self._number]
        graph.operators = [part for at, op in enumerate(graph.operators) for part in (*self._before.get(at, ()), op)]
        gone = self._without_readers(graph)
        for index in gone:
            buffer = graph.tensors[index].buffer
            if all(graph.tensors[other].buffer != buffer for other in set(range(len(graph.tensors))) - gone):
                self._empty(buffer)
        renumber(self._model, self._number, dict.fromkeys(gone, int(graph.inputs[0])))
        self._drop_unused_codes()

    def _drop_unused_codes(self) -> None:
        """TensorFlow's calibrator refuses a file that names an op and has none."""
        operators = [op for graph in self._model.subgraphs for op in graph.operators]
        used = sorted({op.opcodeIndex for op in operators})
        place = {index: number for number, index in enumerate(used)}
        self._model.operatorCodes = [self._model.operatorCodes[index] for index in used]
        for op in operators:
            op.opcodeIndex = place[op.opcodeIndex]

    def _without_readers(self, graph: Any) -> set[int]:
        """Take out the operators behind what was replaced. The tensors that nothing reads then."""
        doubtful = set(self._replaced)
        while True:
            read = {int(index) for op in graph.operators for index in op.inputs} | set(map(int, graph.outputs))
            idle = [op for op in graph.operators if set(map(int, op.outputs)) <= doubtful - read]
            if not idle:
                return doubtful - read - set(map(int, graph.inputs))
            doubtful |= {int(index) for op in idle for index in op.inputs if index >= 0}
            graph.operators = [op for op in graph.operators if op not in idle]

    def _empty(self, buffer: int) -> None:
        """Leave a constant's data out where no other subgraph has it."""
        others = (graph for at, graph in enumerate(self._model.subgraphs) if at != self._number)
        if all(tensor.buffer != buffer for graph in others for tensor in graph.tensors):
            self._model.buffers[buffer].data = None

    def _is_direct(self, root: Root, group: Iterable[Bound]) -> bool:
        return any(root == (made.merge.at, made.merge.position) for made in group)

    def _scale(self, root: Root, share: float) -> None:
        """Multiply a constant that a mask is computed from."""
        values = self._graph.constant(self._graph.input(*root))
        self._read(*root, self._constant(values * np.float64(share), *root))

    def _absorb(self, made: Bound, keep: int) -> None:
        """Multiply the scores by `keep` before the mask is added."""
        at, scores = made.merge.at, scores_of(self._graph, made.merge)
        kept = self._like(self._graph.result(at), f"kept_{at}")
        self._insert(at, "MUL", [scores, keep], kept)
        self._read(at, 1 - made.merge.position, kept)

    def _computed_keep(self, at: int, mask: int, scale: float) -> int:
        """1 where a mask is 0, and 0 where it has its depth: a SUB, since LiteRT aborts in an int16 ADD of a scalar."""
        shares, keep = self._like(mask, f"share_{at}"), self._like(mask, f"keep_{at}")
        self._insert(at, "MUL", [mask, self._constant(scale, at, 3)], shares)
        self._insert(at, "SUB", [self._constant(1.0, at, 4), shares], keep)
        return keep

    def _read(self, at: int, position: int, tensor: int) -> None:
        self._replaced.add(self._graph.input(at, position))
        inputs = np.array(self._graph.operators[at].inputs, np.int32)
        inputs[position] = tensor
        self._graph.operators[at].inputs = inputs

    def _constant(self, values: Any, at: int, position: int) -> int:
        is_condition = np.asarray(values).dtype == bool and position == 3
        array = np.ascontiguousarray(values, bool if is_condition else "<f4")
        buffer, tensor = schema.BufferT(), schema.TensorT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        tensor.name = f"bounded_mask_{at}_{position}".encode()
        tensor.type = schema.TensorType.BOOL if is_condition else schema.TensorType.FLOAT32
        tensor.shape, tensor.hasRank, tensor.buffer = (
            np.array(np.shape(values), np.int32),
            True,
            len(self._model.buffers),
        )
        self._model.buffers.append(buffer)
        return self._append(tensor)

    def _like(self, tensor: int, name: str) -> int:
        made = copy.copy(self._graph.tensors[tensor])
        made.name, made.buffer = f"bounded_mask_{name}".encode(), len(self._model.buffers)
        self._model.buffers.append(schema.BufferT())
        return self._append(made)

    def _append(self, tensor: Any) -> int:
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _insert(self, at: int, name: str, inputs: list[int], result: int) -> None:
        op = schema.OperatorT()
        op.opcodeIndex = self._code(getattr(schema.BuiltinOperator, name))
        op.inputs, op.outputs = np.array(inputs, np.int32), np.array([result], np.int32)
        op.builtinOptions = _OPTIONS[name]()
        op.builtinOptionsType = getattr(schema.BuiltinOptions, _OPTION_NAMES.get(name, f"{name.title()}Options"))
        self._before.setdefault(at, []).append(op)

    def _code(self, number: int) -> int:
        codes = self._model.operatorCodes
        for index, code in enumerate(codes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == number:
                return index
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.version = 1
        codes.append(code)
        return len(codes) - 1
