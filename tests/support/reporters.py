"""A reporter for tests, which records everything that a step reports."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tflite_recipes.core.errors import Problem
from tflite_recipes.core.state import Gate


class RecordingReporter:
    """Record what a step reports.

    kept: names of artifacts in their order (`deploy/main.cc`). files: the content of each when it was kept.
    """

    def __init__(self, output_dir: Path | None = None) -> None:
        """Args: output_dir: artifacts are moved below this folder, as a run does; by default they stay."""
        self._output_dir = output_dir
        self.warnings: list[str] = []
        self.metrics: dict[str, float] = {}
        self.tags: dict[str, str] = {}
        self.params: dict[str, str] = {}
        self.gates: list[Gate] = []
        self.code: list[tuple[str, str]] = []
        self.failures: list[tuple[Problem, bool]] = []
        self.kept: list[str] = []
        self.files: dict[str, bytes] = {}
        self.progressed: list[tuple[str, int, int]] = []

    @property
    def judged(self) -> dict[str, Gate]:
        """The gates by name, without the group."""
        return {gate.name.partition(".")[2]: gate for gate in self.gates}

    def gate(self, name: str) -> Gate:
        """Return the only gate `target.NAME`."""
        (gate,) = (gate for gate in self.gates if gate.name == f"target.{name}")
        return gate

    @property
    def failure(self) -> Problem:
        """Return the problem of the only failed analysis, which must be one that the outcome depends on."""
        ((problem, judges),) = self.failures
        assert judges
        return problem

    def progress(self, what: str, done: int, total: int, detail: str = "") -> None:
        self.progressed.append((what, done, total))

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def measure(self, metrics: Mapping[str, float]) -> None:
        self.metrics.update(metrics)

    def tag(self, tags: Mapping[str, str]) -> None:
        self.tags.update(tags)

    def note(self, params: Mapping[str, str]) -> None:
        self.params.update(params)

    def judge(self, gate: Gate) -> None:
        self.gates.append(gate)

    def failed(self, problem: Problem, judges: bool = True) -> None:
        self.failures.append((problem, judges))

    def ran(self, module: str, sha256: str) -> None:
        self.code.append((module, sha256))

    def keep(self, path: str, folder: str = "") -> None:
        name = f"{folder}/{Path(path).name}".lstrip("/")
        self.files[name] = Path(path).read_bytes()
        self.kept.append(name)
        if self._output_dir is not None:
            place = self._output_dir / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, place)

    def used(self, *dataset: Any) -> None:
        pass
