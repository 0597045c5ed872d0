"""What happens during a run, as data: spooled to disk first, then told to the console and the tracker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from tflite_recipes.core.errors import Problem
from tflite_recipes.core.outcome import RunOutcome
from tflite_recipes.core.state import Gate


@dataclass(frozen=True)
class Event:
    """Base of all events. `at` is the time in seconds since the epoch."""

    at: float = field(default_factory=time.time, kw_only=True)


@dataclass(frozen=True)
class RunStarted(Event):
    """`choices`: the option of each group; `config`: the resolved recipe; `output_dir`: where files go."""

    recipe: str
    digest: str
    choices: Mapping[str, str]
    config: Mapping[str, Any]
    overrides: tuple[str, ...]
    output_dir: str


@dataclass(frozen=True)
class StepStarted(Event):
    """`option` is the one chosen of the step's group, "" for a step of the user's own."""

    step: str
    option: str = ""


@dataclass(frozen=True)
class Progress(Event):
    """`done` of `total` units of `what` (epochs, samples); `detail` is a short figure beside it."""

    what: str
    done: int
    total: int
    detail: str = ""


@dataclass(frozen=True)
class Warned(Event):
    """Something that was not asked for, or that the user should know."""

    text: str


@dataclass(frozen=True)
class Measured(Event):
    """Metrics by tracking name."""

    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Tagged(Event):
    """Tags by tracking name."""

    tags: Mapping[str, str]


@dataclass(frozen=True)
class Noted(Event):
    """Facts that are logged as parameters (a metric's own name, say)."""

    params: Mapping[str, str]


@dataclass(frozen=True)
class Judged(Event):
    """A gate has answered."""

    gate: Gate


@dataclass(frozen=True)
class AnalysisFailed(Event):
    """A part of the run that leaves the file as it is failed. `judges`: the outcome depends on it."""

    problem: Problem
    judges: bool


@dataclass(frozen=True)
class ArtifactKept(Event):
    """A file in the output folder, and the artifact folder that it belongs to ("" is the top)."""

    path: str
    folder: str = ""


@dataclass(frozen=True)
class InputRead(Event):
    """A file or folder that a key of the recipe names, with its SHA-256 and its size in bytes. shared: the run above
    (a search) reads it too, and tells of it."""

    key: str
    path: str
    sha256: str
    bytes: int
    shared: bool = False


@dataclass(frozen=True)
class CodeRun(Event):
    """A module of the user's own code, by the name that it is imported by (`layers.py` for a file that the recipe
    names), with the SHA-256 of its file."""

    module: str
    sha256: str


@dataclass(frozen=True)
class DatasetUsed(Event):
    """`context` is what it served for (calibration, evaluation, training); `source` a path or a name. `arrays`: see
    `npz.described`."""

    name: str
    context: str
    sha256: str
    source: str
    samples: int
    arrays: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class StepFinished(Event):
    """`seconds` that the step took."""

    step: str
    seconds: float


@dataclass(frozen=True)
class Tried(Event):
    """A candidate of a search is finished. `what` it is; `outcome` as the search has it, `reason` why it did not pass;
    `metrics` by tracking name."""

    number: int
    what: str
    outcome: str
    metrics: Mapping[str, float]
    reason: str = ""


@dataclass(frozen=True)
class RunFinished(Event):
    """How the run ended; `died`: for the death of the worker."""

    outcome: RunOutcome
    seconds: float
    problems: tuple[Problem, ...] = ()
    log_tail: str = ""
    died: bool = False


class Listener(Protocol):
    """Told of every event, in order, after it is on disk."""

    def __call__(self, event: Event) -> None: ...


# What spools of earlier versions have.
_FORMER_OUTCOMES = {"gate": "gate_failed"}
_KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in Event.__subclasses__()}


def to_json(event: Event) -> dict[str, Any]:
    """The event with its kind under `event`."""
    return {"event": type(event).__name__, **asdict(event)}


def from_json(data: Mapping[str, Any]) -> Event:
    """The event that `to_json` gave."""
    values = dict(data)
    kind = _KINDS[values.pop("event")]
    if kind is Judged:
        values["gate"] = Gate(**values["gate"])
    if kind is RunFinished:
        values["outcome"] = RunOutcome(_FORMER_OUTCOMES.get(values["outcome"], values["outcome"]))
    if kind is AnalysisFailed:
        values["problem"] = Problem.from_json(values["problem"])
    if "problems" in values:
        values["problems"] = tuple(Problem.from_json(problem) for problem in values["problems"])
    if "overrides" in values:
        values["overrides"] = tuple(values["overrides"])
    return kind(**values)


class Reporter(Protocol):
    """What a step reports to the run: progress, warnings, metrics, tags, params, gates and artifacts.

    Steps print nothing themselves and do not know MLflow.

    - `progress(what, done, total, detail)`: `done` of `total` parts are finished.
    - `warn(text)`: print and log a warning.
    - `measure(metrics)`, `tag(tags)`, `note(params)`: log metrics, tags or params by name.
    - `judge(gate)`: log a gate with its result.
    - `failed(problem, judges)`: an analysis failed, but the file is kept. judges: the outcome becomes `not_evaluated`.
    - `ran(module, sha256)`: a module of the user's own code ran.
    - `keep(path, folder)`: keep a file as an artifact.
    - `used(name, context, sha256, source, samples, arrays)`: log a dataset.
    """

    def progress(self, what: str, done: int, total: int, detail: str = "") -> None: ...
    def warn(self, text: str) -> None: ...
    def measure(self, metrics: Mapping[str, float]) -> None: ...
    def tag(self, tags: Mapping[str, str]) -> None: ...
    def note(self, params: Mapping[str, str]) -> None: ...
    def judge(self, gate: Gate) -> None: ...
    def failed(self, problem: Problem, judges: bool = True) -> None: ...
    def ran(self, module: str, sha256: str) -> None: ...
    def keep(self, path: str, folder: str = "") -> None: ...
    def used(
        self,
        name: str,
        context: str,
        sha256: str,
        source: str,
        samples: int,
        arrays: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None: ...


class EventReporter:
    """A reporter that turns each call into an event and hands it to `send`.

    Progress is passed on ten times a second at most, but always its first and last: nobody reads faster, and a
    thousand samples should not cost a thousand messages.
    """

    def __init__(self, send: Listener) -> None:
        self._send = send
        self._last = 0.0

    def progress(self, what: str, done: int, total: int, detail: str = "") -> None:
        now = time.monotonic()
        if done in (0, total) or detail or now - self._last >= 0.1:
            self._last = now
            self._send(Progress(what, done, total, detail))

    def warn(self, text: str) -> None:
        self._send(Warned(text))

    def measure(self, metrics: Mapping[str, float]) -> None:
        self._send(Measured({name: float(value) for name, value in metrics.items()}))

    def tag(self, tags: Mapping[str, str]) -> None:
        self._send(Tagged(dict(tags)))

    def note(self, params: Mapping[str, str]) -> None:
        self._send(Noted(dict(params)))

    def judge(self, gate: Gate) -> None:
        self._send(Judged(gate))

    def failed(self, problem: Problem, judges: bool = True) -> None:
        self._send(AnalysisFailed(problem, judges))

    def ran(self, module: str, sha256: str) -> None:
        self._send(CodeRun(module, sha256))

    def keep(self, path: str, folder: str = "") -> None:
        self._send(ArtifactKept(path, folder))

    def used(
        self,
        name: str,
        context: str,
        sha256: str,
        source: str,
        samples: int,
        arrays: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self._send(DatasetUsed(name, context, sha256, source, samples, arrays or {}))
