"""Names and shapes as a model declares them: `input_shapes` against its inputs, ops against its layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from tflite_recipes.core.errors import Problem
from tflite_recipes.core.schema import near
from tflite_recipes.core.state import TensorSpec

# By input name; None leaves a dimension dynamic, the first is the batch.
Shapes = dict[str, list[int | None]]


def shape_problems(shapes: Shapes, inputs: tuple[TensorSpec, ...] | None) -> Iterable[Problem]:
    """What is wrong with `input_shapes`, against the model's own inputs where these are known."""
    known = {spec.name: spec for spec in inputs or ()}
    for name, shape in shapes.items():
        key = f"source.input_shapes.{name}"
        if any(size is not None and size < 1 for size in shape):
            open_sizes = [None if size is None or size < 1 else size for size in shape]
            own_shape = known[name].shape if name in known else None
            better_shape = open_sizes if own_shape is None else meant_shape(open_sizes, own_shape)
            fix = f"'source.input_shapes={{{name}: {_compact(better_shape)}}}'"
            yield Problem(f"{shape} has a size below 1; null leaves a dimension dynamic", key, fix)
        elif inputs is not None and name not in known:
            listed = "; ".join(map(str, inputs))
            better = (near(name, list(known)) or list(known) or ["NAME"])[0]
            own_shape = known[better].shape if better in known else tuple(shape)
            fix = f"'~{key}' '+source.input_shapes.{better}={_compact(meant_shape(shape, own_shape))}'"
            yield Problem(f"the model has no input {name!r}; it has: {listed}", key, fix)
        elif name in known and not _fits(shape, known[name].shape):
            own = known[name]
            fix = f"'source.input_shapes={{{name}: {_compact(meant_shape(shape, own.shape))}}}'"
            yield Problem(f"{shape} does not fit the model's own shape {own}", key, fix)


def meant_shape(given: Sequence[int | None], own: tuple[int | None, ...]) -> list[int | None]:
    """Return the shape for an input that was most likely meant: of the model's own rank, with its own fixed sizes.

    Too few sizes are those of the dimensions behind the batch, from the first place at which they fit.

    Args:
        given: the sizes that were asked for, of any number.
        own: the shape that the model declares.
    """
    if len(given) == len(own):
        return [size if wanted is None else wanted for wanted, size in zip(own, given, strict=True)]
    for start in range(1, len(own) - len(given) + 1):
        place = own[start : start + len(given)]
        if _fits(list(given), place):
            return [*own[:start], *given, *own[start + len(given) :]]
    if own and len(given) > len(own) and _fits(list(given[-len(own) :]), own):
        return list(given[-len(own) :])
    open_places = [place for place, size in enumerate(own) if place and size is None]
    if len(given) == len(open_places):
        sizes = dict(zip(open_places, given, strict=True))
        return [sizes.get(place, size) for place, size in enumerate(own)]
    return list(own)


def keeps(given: Sequence[int | None], own: tuple[int | None, ...]) -> bool:
    """Return whether all sizes that were asked for are in the shape that was meant for an input."""
    meant = list(meant_shape(given, own))
    return all(size is None or size in meant for size in given)


def fixed_batch(inputs: Iterable[TensorSpec]) -> int:
    """Return the rows that a model takes at a time: the largest batch that its inputs fix, 1 where that is open."""
    return max((spec.shape[0] or 1 for spec in inputs if spec.shape), default=1)


def shape_fits(declared: tuple[int | None, ...], sample: tuple[int | None, ...]) -> bool:
    """Whether samples of this shape suit an input declared so. The first axis counts samples in one and is the
    batch in the other, so it is not compared; None fits any size."""
    pairs = zip(declared[1:], sample[1:], strict=False)
    return len(declared) == len(sample) and all(a is None or b is None or a == b for a, b in pairs)


def suits(given: Iterable[TensorSpec], wanted: Iterable[TensorSpec]) -> bool:
    """Return whether samples for some inputs suit others: by names, kinds of types and inner sizes.

    The batch, and the width of a float, make no difference.
    """
    one, other = ({spec.name: spec for spec in specs} for specs in (given, wanted))
    return set(one) == set(other) and all(_alike(spec, other[name]) for name, spec in one.items())


def _alike(one: TensorSpec, other: TensorSpec) -> bool:
    kinds = {"float" if "float" in spec.dtype else spec.dtype for spec in (one, other)}
    return len(kinds) == 1 and shape_fits(one.shape, other.shape)


def _compact(shape: Iterable[int | None]) -> str:
    return "[" + ",".join("null" if size is None else str(size) for size in shape) + "]"


def _fits(shape: list[int | None], own: tuple[int | None, ...]) -> bool:
    return len(shape) == len(own) and all(o is None or s == o for s, o in zip(shape, own, strict=True))


def layer_of(name: str, layers: Iterable[str]) -> str:
    """The layer that an op of this name belongs to: the innermost part of the name that is one of the model's layers,
    with the number taken off that a second call in one graph adds; else all but the last part."""
    known = set(layers)
    parts = [part for part in name.split("/") if part not in ("PartitionedCall", "StatefulPartitionedCall")]
    for part in reversed(parts):
        bare = _bare(part)
        if part in known or bare in known:
            return part if part in known else bare
    return "/".join(parts[:-1])


def layer_finder(names: Iterable[str], layers: Iterable[str]) -> Callable[[str], str]:
    """The layer of an op's name, "" for none, among the names of one graph: together they tell what one alone leaves
    open, whether `dense_1` is the layer `dense_1` or, as Keras 3 exports it, the layer `dense`.

    Keras 3 enters each layer's scope twice and computes in the second, so that no op stands under its layer's plain
    name: where none does, the number is always the export's. The last part of a name is the op's own.
    """
    known = set(layers)
    scopes = {part for name in names for piece in name.split(";") for part in piece.split("/")[:-1]}
    plain = any(part in known and _bare(part) not in known - {part} for part in scopes)

    def find(name: str) -> str:
        for part in reversed(name.split("/")[:-1]):
            candidates = (part, _bare(part)) if plain else (_bare(part), part)
            for candidate in candidates:
                if candidate in known:
                    return candidate
        return ""

    return find


def _bare(part: str) -> str:
    return re.sub(r"_\d+$", "", part)
