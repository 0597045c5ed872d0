"""Write bounded masks into a file read as objects."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite_recipes.backend.converting.attention_masks.graph_editor import GraphEditor
from tflite_recipes.backend.converting.attention_masks.mask_bounds import Bound
from tflite_recipes.backend.converting.attention_masks.mask_origins import Origin, origin
from tflite_recipes.backend.converting.attention_masks.mask_paths import Root
from tflite_recipes.backend.converting.attention_masks.mask_ranges import Ranges
from tflite_recipes.backend.converting.attention_masks.mask_statistics import scores_of
from tflite_recipes.backend.converting.attention_masks.soft_masks import SoftMask, Way
from tflite_recipes.backend.converting.attention_masks.softmax_paths import SELECT, is_plain
from tflite_recipes.backend.converting.equalization.float_graph import Graph

# A mask that is deeper than a layer needs by more than this share is not shared with it.
_SHARED = 0.67
# A float32 below is not exact.
_LEAST_EXPONENT = -87.0
# What is smaller by this factor is lost where it is added.
_TINY = 1e-6


class Editor(GraphEditor):
    """Bounds masks in one subgraph."""

    def __init__(self, model: Any, number: int, graph: Graph, ranges: Ranges) -> None:
        super().__init__(model, number, graph, ranges)
        self._softened: dict[tuple[int, float], int] = {}

    def select(self, made: Bound) -> None:
        """Select one value, or the bounded constant, where a mask was selected."""
        at, position = made.merge.at, made.merge.position
        held = self._graph.input(at, position)
        constant = self._graph.constant(held)
        if self._graph.names[at] not in SELECT:
            self._choose(at, position, made.value)
            return
        sign, value = made.merge.acting, np.float32(made.value)
        if constant is not None:
            value = np.maximum(sign * constant, value)
        value = sign * value
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
        least = np.exp(np.float32(max(depth, _LEAST_EXPONENT)))
        held = self._without_tiny(self._graph.input(at, 0), float(least))
        kept = self._like(held, f"above_zero_{at}")
        self._insert(at, "MAXIMUM", [held, self._constant(least, at, 3)], kept)
        self._read(at, 0, kept)

    def _without_tiny(self, tensor: int, least: float) -> int:
        """What a constant far below `least` is added to. TensorFlow's quantizer aborts at one of 1e-45."""
        graph = self._graph
        for at in range(len(graph.operators)):
            if graph.result(at) != tensor or graph.names[at] != "ADD" or not is_plain(graph, at):
                continue
            for position in (0, 1):
                constant = graph.constant(graph.input(at, position))
                if constant is not None and constant.size == 1 and abs(constant.item()) < _TINY * least:
                    self._replaced.add(tensor)
                    return graph.input(at, 1 - position)
        return tensor

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

    def soften(self, made: Bound) -> None:
        """Bound a mask with any values."""
        at, position = made.merge.at, made.merge.position
        if made.soft is None or made.soft.way is Way.samples:
            return
        key = (self._graph.input(at, position), made.value)
        if key not in self._softened:
            edit = self._clamped if made.soft.way is Way.clamp else self._chosen
            self._softened[key] = edit(made, made.soft)
        self._read(at, position, self._softened[key])

    def _clamped(self, made: Bound, _: SoftMask) -> int:
        """A mask that a RELU keeps above the bound: an integer MAXIMUM would have the scale of the whole mask."""
        at, held = made.merge.at, self._graph.input(made.merge.at, made.merge.position)
        above, clamped = self._like(held, f"above_{at}"), self._like(held, f"clamped_{at}")
        depth, size = self._constant(made.value, at, 3), self._constant(-made.value, at, 4)
        if made.merge.sign > 0:
            self._insert(at, "SUB", [held, depth], above, schema.ActivationFunctionType.RELU)
            self._insert(at, "SUB", [above, size], clamped)
        else:
            self._insert(at, "SUB", [size, held], above, schema.ActivationFunctionType.RELU)
            self._insert(at, "SUB", [size, above], clamped)
        return clamped

    def _chosen(self, made: Bound, soft: SoftMask) -> int:
        """The bound where what a mask is computed from is not 0, and 0 else."""
        at, sign = made.merge.at, made.merge.sign
        condition, chosen = self._like(soft.tensor, f"condition_{at}"), self._like(soft.tensor, f"chosen_{at}")
        self._graph.tensors[condition].type = schema.TensorType.BOOL
        zero = self._constant(0.0, at, 6)
        self._insert(at, "LESS" if sign * soft.factor > 0 else "GREATER", [soft.tensor, zero], condition)
        self._insert(at, "SELECT_V2", [condition, self._constant(sign * made.value, at, 7), zero], chosen)
        for number in soft.layout:
            chosen = self._again(at, number, chosen)
        return chosen

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
