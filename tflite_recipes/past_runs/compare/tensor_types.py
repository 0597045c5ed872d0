"""The tensors of two files, matched by name: which have another type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tflite_recipes.core.shapes import layer_of


@dataclass(frozen=True)
class TensorChange:
    """A tensor whose type differs. layer: the layer that it belongs to, or else the scope in its name. op: the one
    that gives it, for constants and inputs the first that reads it. role: what it is there (`output 0`, `input 2`).
    a, b: its types."""

    name: str
    layer: str
    op: str
    role: str
    a: str
    b: str


@dataclass(frozen=True)
class TensorsDiff:
    """changed: in the files' order. same: how many have one type in both. only_a, only_b: names that the other
    file does not have."""

    changed: tuple[TensorChange, ...] = ()
    same: int = 0
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()

    def mirrored(self) -> TensorsDiff:
        """The same with a and b exchanged."""
        changed = (replace(one, a=one.b, b=one.a) for one in self.changed)
        return TensorsDiff(tuple(changed), self.same, self.only_b, self.only_a)


@dataclass(frozen=True)
class _Known:
    """position: in the order of the file's ops. outputs: those of that op. dtypes: sorted; several where tensors share
    a name."""

    position: int
    op: str
    role: str
    outputs: tuple[str, ...]
    dtypes: tuple[str, ...]

    @property
    def dtype(self) -> str:
        return " + ".join(self.dtypes)


def diff_tensors(a: Mapping[str, Any], b: Mapping[str, Any], layers: Mapping[str, str] | None = None) -> TensorsDiff:
    """Two contents of `ops.json`. layers: by tensor, those that are known. Tensors of one name in one graph count as
    one, their types joined."""
    if not a or not b:
        return TensorsDiff()
    ours, theirs = _tensors(a), _tensors(b)

    def order(key: tuple[int, str]) -> tuple[int, str]:
        return min(ours[key].position, theirs[key].position), key[1]

    both = sorted(ours.keys() & theirs.keys(), key=order)
    changed = [
        _change(key[1], ours[key], theirs[key], layers or {}) for key in both if ours[key].dtypes != theirs[key].dtypes
    ]
    only_a, only_b = (
        tuple(sorted(name for _, name in found)) for found in (ours.keys() - theirs.keys(), theirs.keys() - ours.keys())
    )
    return TensorsDiff(tuple(changed), len(both) - len(changed), only_a, only_b)


def _change(name: str, one: _Known, other: _Known, layers: Mapping[str, str]) -> TensorChange:
    outputs = sorted({*one.outputs, *other.outputs})
    known = (layers[known] for known in (name, *outputs) if layers.get(known))
    layer = next(known, "") or layer_of(name.partition(";")[0], ())
    op, role = (" / ".join(sorted({ours, theirs})) for ours, theirs in ((one.op, other.op), (one.role, other.role)))
    return TensorChange(name, layer, op, role, one.dtype, other.dtype)


def _tensors(ops: Mapping[str, Any]) -> dict[tuple[int, str], _Known]:
    """By graph and name. An op that gives a tensor names it before those that read it."""
    found: dict[tuple[int, str], _Known] = {}
    for op in ops.get("operators", ()):
        outputs = tuple(str(tensor["name"]) for tensor in op["outputs"] if tensor is not None)
        for side in ("inputs", "outputs"):
            for place, tensor in enumerate(op[side]):
                if tensor is None:
                    continue
                key = (int(op["subgraph"]), str(tensor["name"]))
                own = _Known(len(found), str(op["name"]), f"{side[:-1]} {place}", outputs, (str(tensor["dtype"]),))
                found[key] = _joined(found[key], own) if key in found else own
    return found


def _joined(known: _Known, other: _Known) -> _Known:
    """What is known of a tensor that occurs again."""
    giver = other if other.role.startswith("output") and not known.role.startswith("output") else known
    return replace(giver, position=known.position, dtypes=tuple(sorted({*known.dtypes, *other.dtypes})))
