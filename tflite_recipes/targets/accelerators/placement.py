"""Where each op of a file would run, and why not on the accelerator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

_NAMED = 5


@dataclass(frozen=True)
class Place:
    """Of one op: its position in the graph, name, layer of the source ("" where none is known), and why the CPU runs
    it, "" for what the accelerator runs; subgraph: 0 is the main one, others are run by its control flow."""

    index: int
    op: str
    layer: str
    reason: str = ""
    subgraph: int = 0


@dataclass(frozen=True)
class Placement:
    """Where the ops of a file run.

    accelerator: its name in a sentence. places: one for each op, in their order. parts: groups of ops that the
    accelerator could run, each a switch from the CPU and back. rules: where they are from. notes: what else holds.
    """

    accelerator: str
    places: tuple[Place, ...]
    parts: int
    rules: str
    notes: tuple[str, ...] = ()

    @property
    def on_cpu(self) -> tuple[Place, ...]:
        return tuple(place for place in self.places if place.reason)

    @property
    def accelerated(self) -> int:
        """How many ops the accelerator runs."""
        return len(self.places) - len(self.on_cpu)

    @property
    def percent(self) -> float:
        """Share of the ops that the accelerator runs, 0 to 100; 100 for a file without ops."""
        return 100.0 * self.accelerated / len(self.places) if self.places else 100.0

    def most_on_cpu(self, percent: float | None) -> int:
        """How many ops may run on the CPU, where at least `percent` have to run on the accelerator; null: one op."""
        needed = 1 if percent is None else -int(-len(self.places) * percent // 100)
        return max(len(self.places) - needed, 0)

    def warnings(self) -> Iterator[str]:
        """A sentence for each op and reason, with the layers."""
        grouped: dict[tuple[str, str], list[Place]] = {}
        for place in self.on_cpu:
            grouped.setdefault((place.op, place.reason), []).append(place)
        for (op, reason), places in grouped.items():
            layers = dict.fromkeys(place.layer for place in places if place.layer)
            more = f" and {len(layers) - _NAMED} more" if len(layers) > _NAMED else ""
            of = f" of {', '.join(list(layers)[:_NAMED])}{more}" if layers else ""
            count = f" ({len(places)} of them)" if len(places) > 1 else ""
            yield f"{op}{count}{of} stays on the CPU: {reason}"

    def to_json(self) -> dict[str, Any]:
        """Plain data, as it is kept."""
        own = {"accelerated_ops": self.accelerated, "ops": len(self.places), "parts": self.parts}
        places = [{**asdict(place), "runs_on": "CPU" if place.reason else self.accelerator} for place in self.places]
        return {
            "accelerator": self.accelerator,
            **own,
            "rules": self.rules,
            "notes": list(self.notes),
            "places": places,
        }
