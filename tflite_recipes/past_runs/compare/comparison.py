"""Past runs side by side: what they differ in, what they came to, and which of them no other beats. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tflite_recipes.core import pareto
from tflite_recipes.core.errors import Problem, RequestError
from tflite_recipes.core.number_format import labelled
from tflite_recipes.core.schema import near
from tflite_recipes.past_runs.compare.metric_directions import higher_is_better
from tflite_recipes.tracking.client import PREFIX
from tflite_recipes.tracking.run_reader import PastRun

_GATE = f"{PREFIX}.gate."
_METRIC = "accuracy.metric"
_X = ("size.tflite_bytes",)
_PARITY = ("parity.sqnr_db", "parity.cosine", "parity.max_abs_error")
_SHOWN = (
    *("accuracy.drop", "latency.p50_ms", "target.inference_ms", "target.cycles", "target.arena_bytes"),
    *("target.flash_bytes", "target.sram_bytes", "target.npu_op_percent", "target.edge_tpu_op_percent"),
    "target.gpu_op_percent",
)
# Params that are no config keys, but what a run noted: what it measured on, and with.
_NOTED = ("parity.data", "accuracy.metric", "input_example.", "latency.", "rules.")
_ASIDE = ("tracking", "worker")
# What the names of a search's candidates begin with; what follows says the scheme.
_NUMBER = re.compile(r"^\d+ ")


@dataclass(frozen=True)
class Axis:
    """A metric that runs are compared by, and whether more of it is better."""

    metric: str
    higher_is_better: bool

    @property
    def title(self) -> str:
        return f"{self.metric} ({'more' if self.higher_is_better else 'less'} is better)"

    def cost(self, metrics: Mapping[str, float]) -> float:
        """What is to be small; NaN where the run does not have it."""
        value = metrics.get(self.metric, math.nan)
        return -value if self.higher_is_better else value


@dataclass(frozen=True)
class ComparedRun:
    """A run of a comparison. number: from 1. called: its name, without the overrides that a sweep puts behind its
    recipe's, which the keys tell. label: what it is, in a line. outcome: how the run ended. verdict: of a run that
    repeats another, else "". scheme: of the file. config: the keys that
    the runs differ in, "" where this one does not have the key. gates: by name, as they were answered. figures: the
    metrics of the table, with units. pareto: whether no other run beats it in both axes; None where it is not on the
    plot."""

    number: int
    run_id: str
    name: str
    called: str
    label: str
    status: str
    outcome: str
    verdict: str
    scheme: str
    config: Mapping[str, str]
    metrics: Mapping[str, float]
    figures: Mapping[str, str]
    gates: Mapping[str, str]
    pareto: bool | None = None

    def told(self, column: str) -> str:
        """What stands in one of the columns that `Comparison.named` names."""
        return {"name": self.called, "scheme": self.scheme}[column]

    @property
    def gates_in_short(self) -> str:
        """`2 passed`, or which failed."""
        failed = [name for name, answer in self.gates.items() if answer.endswith("FAILED")]
        return f"{', '.join(failed)} failed" if failed else f"{len(self.gates)} passed" if self.gates else ""


@dataclass(frozen=True)
class Comparison:
    """uri, title: where the runs are, and what they are the runs of. keys: the config keys that they differ in.
    metrics: those of the table. runs: oldest first. x, y: the axes of the plot, None where there is none. notes: what
    one has to know. left_out: how many runs are not in it, and why. parent_run_id: the run that all of them are below;
    whole: whether these are all below it."""

    uri: str
    title: str
    runs: tuple[ComparedRun, ...]
    keys: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    x: Axis | None = None
    y: Axis | None = None
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    parent_run_id: str | None = None
    whole: bool = False

    @property
    def count(self) -> str:
        """`4 runs`."""
        return f"{len(self.runs)} run{'s' if len(self.runs) != 1 else ''}"

    @property
    def plotted(self) -> tuple[ComparedRun, ...]:
        return tuple(run for run in self.runs if run.pareto is not None)

    @property
    def front(self) -> tuple[ComparedRun, ...]:
        """The Pareto-optimal runs, by x."""
        best = [run for run in self.runs if run.pareto]
        x = self.x
        return tuple(best) if x is None else tuple(sorted(best, key=lambda run: (x.cost(run.metrics), run.number)))

    @property
    def named(self) -> tuple[str, ...]:
        """What else tells the runs apart: their names, where they have several, and their schemes, where they are not
        all candidates of searches, whose names say them."""
        return _telling([(run.called, run.scheme) for run in self.runs])


def compare_runs(
    runs: Sequence[PastRun], uri: str, title: str, x: str | None = None, y: str | None = None
) -> Comparison:
    """The comparison of the runs, in their order. x, y: metrics for the axes; by default the file's size, and what
    the runs share of accuracy and parity. Errors: RequestError for a metric that no run has."""
    across, notes = _axis("--x", x, _X, runs)
    up, more = _axis("--y", y, _y_default(runs), runs)
    notes = [*notes, *more, *_about(runs, y, up)]
    best = _optimal(runs, across, up)
    missing = [number for number, place in enumerate(best, 1) if place is None]
    if across and up and missing:
        numbers = ", ".join(map(str, missing))
        notes.append(f"not on the plot, for want of {across.metric} or {up.metric}: {numbers}")
    keys = _keys(runs)
    shown = _metrics(runs, across, up)
    telling = _telling([(_called(run), scheme_of(run)) for run in runs])
    rows = tuple(
        ComparedRun(
            number,
            run.run_id,
            run.name,
            _called(run),
            _label(run, keys, telling),
            run.status,
            run.outcome,
            run.verdict,
            scheme_of(run),
            {key: run.params.get(key, "") for key in keys},
            dict(run.metrics),
            {name: labelled(name, run.metrics[name], run.tags) for name in shown if name in run.metrics},
            gates_of(run),
            best[number - 1],
        )
        for number, run in enumerate(runs, 1)
    )
    return Comparison(uri, title, rows, keys, shown, across, up, tuple(notes))


def _telling(named: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    names = ("name",) if len({name for name, _ in named}) > 1 else ()
    return names if names and all(_NUMBER.match(name) for name, _ in named) else (*names, "scheme")


def _called(run: PastRun) -> str:
    recipe = run.tag("recipe")
    first, _, _ = run.name.removeprefix(f"{recipe} ").partition(" ")
    return recipe if recipe and run.name.startswith(f"{recipe} ") and "=" in first else run.name


def _label(run: PastRun, keys: Sequence[str], telling: Sequence[str]) -> str:
    own = {"name": _NUMBER.sub("", _called(run)), "scheme": scheme_of(run)}
    telling = ("name",) if "name" in telling and _NUMBER.match(run.name) else telling
    differing = (f"{key}={run.params[key]}" for key in keys if run.params.get(key))
    return " ".join([*(own[name] for name in telling), *differing])


def gates_of(run: PastRun) -> dict[str, str]:
    """Each limit and its answer."""
    found = ((name.removeprefix(_GATE), text) for name, text in run.tags.items() if name.startswith(_GATE))
    return dict(sorted(found))


def scheme_of(run: PastRun) -> str:
    """The scheme of a run's file; of a search, the candidate that it chose."""
    chosen = _NUMBER.sub("", run.tag("chosen"))
    scheme = run.params.get("optimization.scheme") or run.params.get("optimization", "")
    return f"auto: {chosen}" if chosen else scheme


def _keys(runs: Sequence[PastRun]) -> tuple[str, ...]:
    """The keys that runs differ in. What follows from another option of the key's group is not a difference of its
    own, nor is the option of `optimization`, which the scheme tells."""
    named = sorted({key for run in runs for key in run.params if _is_config(key)})
    found = [key for key in named if _differs(key, runs)]
    told = all(run.params.get("optimization", "") in ("", "auto", scheme_of(run)) for run in runs)
    hidden: tuple[str, ...] = ("optimization",) if told else ()
    # an empty mapping beside those that have something in it, which their own keys tell
    hidden += tuple(key for key in found if any(other.startswith(f"{key}.") for other in found if "." in key))
    return tuple(key for key in found if key not in (*hidden, "optimization.scheme"))


def _is_config(key: str) -> bool:
    return not key.startswith(_NOTED) and key.partition(".")[0] not in _ASIDE


def _differs(key: str, runs: Sequence[PastRun]) -> bool:
    group, dot, _ = key.partition(".")
    values: dict[str, set[str | None]] = {}
    for run in runs:
        option = run.params.get(group, "") if dot else ""
        values.setdefault(option, set()).add(run.params.get(key))
    return any(len(own) > 1 for own in values.values())


def _metrics(runs: Sequence[PastRun], x: Axis | None, y: Axis | None) -> tuple[str, ...]:
    """The metrics of the table: size, accuracy or else parity, the drop, latency, what the target says, the axes."""
    scored = any("accuracy.tflite" in run.metrics for run in runs)
    quality = ("accuracy.tflite",) if scored else _PARITY[:1]
    wanted = (*_X, *quality, *_SHOWN, *(axis.metric for axis in (x, y) if axis is not None))
    return tuple(name for name in dict.fromkeys(wanted) if any(name in run.metrics for run in runs))


# The axes


def _y_default(runs: Sequence[PastRun]) -> tuple[str, ...]:
    """The metrics that may stand for quality, the best first. A drop is against the run's own source: of several
    sources the score itself tells more."""
    parity = (*_PARITY, "accuracy.drop")
    if len(_scored_by(runs)) > 1:
        return parity
    sources = {run.tag("source_sha256") for run in runs if "accuracy.drop" in run.metrics}
    return ("accuracy.tflite", "accuracy.drop", *_PARITY) if len(sources) > 1 else ("accuracy.drop", *_PARITY)


def _axis(flag: str, asked: str | None, usual: Sequence[str], runs: Sequence[PastRun]) -> tuple[Axis | None, list[str]]:
    """The metric asked for, or of the usual ones the first that most runs with a file have."""
    known = sorted({name for run in runs for name in run.metrics})
    if asked is not None and asked not in known:
        similar = near(asked, known)
        what = (
            f"no run has a metric {asked!r}; there are {', '.join(known)}"
            if not similar
            else (f"no run has a metric {asked!r}; did you mean {' or '.join(similar)}?")
        )
        raise RequestError(Problem(what, flag, f"{flag} {similar[0]}" if similar else ""))
    names = usual if asked is None else (asked,)
    counted = [(sum(math.isfinite(run.metrics.get(name, math.nan)) for run in runs), name) for name in names]
    most, metric = max(counted, key=lambda one: one[0])
    if not most:
        return None, []
    directions = {higher_is_better(metric, run.params) for run in runs if metric in run.metrics}
    notes = [f"of {metric} more is better in some runs and less in others"] if len(directions) > 1 else []
    return Axis(metric, next(iter(sorted(directions)))), notes


def _about(runs: Sequence[PastRun], asked: str | None, y: Axis | None) -> Iterable[str]:
    """What has to be known of the upward axis."""
    scored = _scored_by(runs)
    if len(scored) > 1:
        listed = ", ".join(sorted(scored))
        on_axis = y is not None and y.metric.startswith("accuracy.")
        rest = f"{y.metric} of them on one axis says little" if y and on_axis else "accuracy is not put on one axis"
        yield f"scored by different metrics ({listed}): {rest}"
    elif asked is None and y is not None and y.metric == "accuracy.tflite":
        yield "several source models: a drop is against each one's own source, so accuracy.tflite is compared"


def _scored_by(runs: Sequence[PastRun]) -> set[str]:
    return {run.params.get(_METRIC, "") for run in runs if "accuracy.tflite" in run.metrics}


def _optimal(runs: Sequence[PastRun], x: Axis | None, y: Axis | None) -> list[bool | None]:
    if x is None or y is None:
        return [None] * len(runs)
    points = [(x.cost(run.metrics), y.cost(run.metrics)) for run in runs]
    points = [point if all(map(math.isfinite, point)) else (math.nan, math.nan) for point in points]
    best = set(pareto.front(points))
    return [None if math.isnan(point[0]) else place in best for place, point in enumerate(points)]
