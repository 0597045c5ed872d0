"""What differs between two past runs. Pure: from facts to a diff."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tflite_recipes.past_runs.compare.metric_directions import better, higher_is_better
from tflite_recipes.past_runs.compare.run_facts import Facts
from tflite_recipes.past_runs.compare.tensor_types import TensorsDiff, diff_tensors
from tflite_recipes.tracking.client import PREFIX
from tflite_recipes.tracking.run_reader import PastRun

TIMES = "time."
ADDED, REMOVED, CHANGED, SAME = "added", "removed", "changed", "same"
_OPPOSITE = {ADDED: REMOVED, REMOVED: ADDED}
_DIGESTS = ("recipe_digest", "source_sha256", "calibration_sha256", "tflite_sha256")
_GATE = f"{PREFIX}.gate."
# What says where a run went and how long it might take, not what it made.
_ASIDE = ("tracking", "worker")


@dataclass(frozen=True)
class Change:
    """What is only in b (added), only in a (removed), in both with another value (changed), or, of digests, with the
    same; the value that is not there is None."""

    name: str
    kind: str
    a: Any
    b: Any

    def mirrored(self) -> Change:
        """The same with a and b exchanged."""
        return Change(self.name, _OPPOSITE.get(self.kind, self.kind), self.b, self.a)


@dataclass(frozen=True)
class MetricChange:
    """A metric of both runs, or of one (None in the other). better: whether b is the better of two, None where neither
    is."""

    name: str
    a: float | None
    b: float | None
    better: bool | None = None

    @property
    def absolute(self) -> float | None:
        """b − a; None where one is missing."""
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def relative(self) -> float | None:
        """(b − a) ÷ |a|; None where there is no such number."""
        absolute = self.absolute
        return None if absolute is None or not self.a else absolute / abs(self.a)

    @property
    def changed(self) -> bool:
        if self.a is None or self.b is None:
            return True
        return self.a != self.b and not (math.isnan(self.a) and math.isnan(self.b))

    def mirrored(self) -> MetricChange:
        """The same with a and b exchanged."""
        return MetricChange(self.name, self.b, self.a, None if self.better is None else not self.better)


@dataclass(frozen=True)
class Side:
    """One of the two runs. started: seconds since the epoch."""

    run_id: str
    name: str
    recipe: str
    status: str
    outcome: str
    verdict: str
    started: float


@dataclass(frozen=True)
class RunDiff:
    """config, environment, gates: what differs, by name. digests: all, those of files by the keys that name them.
    ops, tensor_dtypes: how often each is in a and b, also where that is the same. metrics: all of both.
    warnings: those that one alone has. same: how many entries of each part are the same. notes: what is missing."""

    a: Side
    b: Side
    config: tuple[Change, ...] = ()
    digests: tuple[Change, ...] = ()
    environment: tuple[Change, ...] = ()
    ops: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    tensor_dtypes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    tensors: TensorsDiff = field(default_factory=TensorsDiff)
    metrics: tuple[MetricChange, ...] = ()
    gates: tuple[Change, ...] = ()
    warnings: tuple[Change, ...] = ()
    same: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether anything does, but for their IDs, names and times, when they started and how long they took."""
        digests = [digest for digest in self.digests if digest.kind != SAME]
        parts = (self.config, digests, self.environment, self.gates, self.warnings)
        tensors = self.tensors.changed or self.tensors.only_a or self.tensors.only_b
        counts = (*self.ops.values(), *self.tensor_dtypes.values())
        return bool(
            any(parts)
            or tensors
            or any(a != b for a, b in counts)
            or any(metric.changed and not metric.name.startswith(TIMES) for metric in self.metrics)
            or self.a.outcome != self.b.outcome
        )

    def mirrored(self) -> RunDiff:
        """The same with a and b exchanged."""
        return replace(
            self,
            a=self.b,
            b=self.a,
            config=_mirrored(self.config),
            digests=_mirrored(self.digests),
            environment=_mirrored(self.environment),
            ops={name: (b, a) for name, (a, b) in self.ops.items()},
            tensor_dtypes={name: (b, a) for name, (a, b) in self.tensor_dtypes.items()},
            tensors=self.tensors.mirrored(),
            metrics=tuple(metric.mirrored() for metric in self.metrics),
            gates=_mirrored(self.gates),
            warnings=_mirrored(self.warnings),
        )


def diff_facts(a: Facts, b: Facts, everything: bool = False) -> RunDiff:
    """What differs. everything: also `tracking.*` and `worker.*`."""
    by_params = a.config is None or b.config is None
    configs = [_config(facts, by_params, everything) for facts in (a, b)]
    digests, gates, warnings = ([read(facts) for facts in (a, b)] for read in (_digests, _gates, _warnings))
    machines = (a.environment, b.environment) if a.environment and b.environment else ({}, {})
    metrics = _metrics(a, b)
    pairs = {
        "config": configs,
        "digests": digests,
        "environment": machines,
        "gates": gates,
        "warnings": warnings,
    }
    return RunDiff(
        _side(a),
        _side(b),
        config=changes(configs[0], configs[1]),
        digests=changes(digests[0], digests[1], unchanged=True),
        environment=changes(*machines),
        ops=_counts(a, b, "op_counts"),
        tensor_dtypes=_counts(a, b, "tensor_dtypes"),
        tensors=diff_tensors(a.ops, b.ops, {**a.layers, **b.layers, **_agreed(a, b)}),
        metrics=metrics,
        gates=changes(gates[0], gates[1]),
        warnings=changes(warnings[0], warnings[1]),
        same={
            **{name: sum(key in two and one[key] == two[key] for key in one) for name, (one, two) in pairs.items()},
            "metrics": sum(not metric.changed for metric in metrics),
        },
        notes=tuple(sorted(f"{facts.run.run_id} has {text}" for facts in (a, b) for text in facts.missing)),
    )


def changes(a: Mapping[str, Any], b: Mapping[str, Any], *, unchanged: bool = False) -> tuple[Change, ...]:
    """What differs between two mappings, by name; unchanged: also what does not."""
    found = []
    for name in sorted(a.keys() | b.keys()):
        if name not in a:
            found.append(Change(name, ADDED, None, b[name]))
        elif name not in b:
            found.append(Change(name, REMOVED, a[name], None))
        elif a[name] != b[name]:
            found.append(Change(name, CHANGED, a[name], b[name]))
        elif unchanged:
            found.append(Change(name, SAME, a[name], b[name]))
    return tuple(found)


def _mirrored(found: Iterable[Change]) -> tuple[Change, ...]:
    return tuple(change.mirrored() for change in found)


def _agreed(a: Facts, b: Facts) -> dict[str, str]:
    """Of tensors that the two runs place in different layers, one of these, whichever run comes first."""
    both = {name for name in a.layers.keys() & b.layers.keys() if a.layers[name] != b.layers[name]}
    return {name: min(a.layers[name], b.layers[name]) for name in both}


def _side(facts: Facts) -> Side:
    run = facts.run
    return Side(run.run_id, run.name, run.tag("recipe"), run.status, run.outcome, run.verdict, run.started)


def _config(facts: Facts, by_params: bool, everything: bool) -> dict[str, Any]:
    config: Mapping[str, Any] = facts.run.params if by_params or facts.config is None else facts.config
    return {key: value for key, value in config.items() if everything or key.partition(".")[0] not in _ASIDE}


def _digests(facts: Facts) -> dict[str, str]:
    found = {name: facts.run.tag(name) for name in _DIGESTS if facts.run.tag(name)}
    recipe = {"recipe_digest": facts.recipe_digest} if facts.recipe_digest else {}
    return {**found, **recipe, **facts.inputs}


def _gates(facts: Facts) -> dict[str, str]:
    return {name.removeprefix(_GATE): text for name, text in facts.run.tags.items() if name.startswith(_GATE)}


def _warnings(facts: Facts) -> dict[str, bool]:
    return {line: True for line in facts.run.tag("warnings").splitlines() if line.strip()}


def _counts(a: Facts, b: Facts, part: str) -> dict[str, tuple[int, int]]:
    """The most frequent first."""
    one, two = (dict(facts.ops.get(part, {})) for facts in (a, b))
    both = {name: (int(one.get(name, 0)), int(two.get(name, 0))) for name in one.keys() | two.keys()}
    return dict(sorted(both.items(), key=lambda item: (-max(item[1]), item[0])))


def _metrics(a: Facts, b: Facts) -> tuple[MetricChange, ...]:
    ours, theirs = a.run.metrics, b.run.metrics
    return tuple(
        MetricChange(name, ours.get(name), theirs.get(name), _better(name, a.run, b.run))
        for name in sorted(ours.keys() | theirs.keys())
    )


def _better(name: str, a: PastRun, b: PastRun) -> bool | None:
    one, two = a.metrics.get(name), b.metrics.get(name)
    # a score by another metric is another number
    other = name.startswith("accuracy.") and a.params.get("accuracy.metric") != b.params.get("accuracy.metric")
    if one is None or two is None or other or higher_is_better(name, a.params) != higher_is_better(name, b.params):
        return None
    return better(name, one, two, a.params)
