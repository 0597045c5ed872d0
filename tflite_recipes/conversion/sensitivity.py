"""Rank the ops of a quantized file by the noise that each adds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tflite_recipes.conversion.quality.decibels import MOST_DB, decibels
from tflite_recipes.conversion.quality.tensor_errors import INPUT, PASSING, TensorError

_JOINING = ("CONCATENATION", "PACK")


@dataclass(frozen=True)
class Sensitive:
    """An op by its first output tensor, with the signal to noise ratio in dB of what the op itself adds.

    together: the other ops, by their outputs, without which giving this one more precision does not help.
    """

    tensor: str
    layer: str
    op: str
    score: float
    together: tuple[str, ...] = ()


def sensitivity(rows: Iterable[TensorError]) -> list[Sensitive]:
    """The ops of a quantized file, the one that adds most noise first.

    Relative to the signal, what an op adds is the larger of two: the noise of its output over that of its worst input
    (n_out − n_in, with n = 10^(−sqnr/10)), which finds weights, kernels and amplification; and the rounding of its
    output and its weights alone, which noise from before cannot hide. An op behind a bad one that adds nothing ranks
    low, however bad its output is. Ops that only pass values on, and float ones, are left out.

    An op adds more than its own rounding where it brings out noise that its input holds already, in values that are
    small beside others (depthwise convolutions of unlike channels, differences): it goes together with the ops that
    make its inputs. An op whose output has the scale of a CONCATENATION or PACK that takes it goes together with
    that: what joins has set the scale.
    """
    rows = list(rows)
    rounding: dict[str, float] = {}
    added: dict[str, float] = {}
    named: dict[str, TensorError] = {}
    for row in filter(_nameable, rows):
        own = row.sqnr_db if row.kind == "weight" else row.local_sqnr_db
        rounding[row.output] = rounding.get(row.output, 0.0) + _share(MOST_DB if own is None else own)
        if row.kind == "activation":
            named[row.output] = row
            added[row.output] = max(added.get(row.output, 0.0), _share(row.sqnr_db) - _share(row.input_sqnr_db))
        named.setdefault(row.output, row)
    graph = {row.tensor: row for row in rows if row.kind == "activation"}
    takers: dict[str, list[TensorError]] = {}
    for row in graph.values():
        for name in row.inputs:
            takers.setdefault(name, []).append(row)
    found = []
    for name, row in named.items():
        score = decibels(1.0, max(rounding[name], added.get(name, 0.0)))
        made = graph.get(name, row)
        before = _makers(made, graph) if added.get(name, 0.0) > _AMPLIFIED * rounding[name] else ()
        others = dict.fromkeys(other for other in (*before, *_joined(made, takers)) if other in named and other != name)
        found.append(Sensitive(name, row.layer, row.op, score, tuple(others)))
    return sorted(found, key=lambda op: (op.score, op.tensor))


# Noise beyond this many times an op's own rounding came with its inputs.
_AMPLIFIED = 4.0


def _makers(row: TensorError, graph: Mapping[str, TensorError]) -> list[str]:
    """The outputs of the ops that make what an op takes, before what only passes it on."""
    found, left, seen = [], list(row.inputs), set()
    while left:
        name = left.pop(0)
        maker = graph.get(name)
        if maker is None or name in seen:
            continue
        seen.add(name)
        if maker.op in PASSING:
            left += maker.inputs
        else:
            found.append(maker.output)
    return found


def _joined(row: TensorError, takers: Mapping[str, Sequence[TensorError]]) -> list[str]:
    """The ops that join this output with others, at the joint's scale, behind what only passes it on."""
    found, left, seen = [], [row.tensor], set()
    while left:
        name = left.pop(0)
        if name in seen:
            continue
        seen.add(name)
        for taker in takers.get(name, ()):
            if (taker.scale, taker.zero_point) != (row.scale, row.zero_point):
                continue
            if taker.op in _JOINING:
                found.append(taker.output)
            elif taker.op in PASSING:
                left.append(taker.tensor)
    return found


def _nameable(row: TensorError) -> bool:
    quantized = row.kind == "weight" or row.scale is not None
    passing = row.op in PASSING and row.kind == "activation"  # of a table it looks up, GATHER makes the values
    return bool(quantized and row.output and row.op != INPUT and not passing)


def _share(sqnr_db: float) -> float:
    """Noise over signal."""
    return float(10.0 ** (-sqnr_db / 10.0))
