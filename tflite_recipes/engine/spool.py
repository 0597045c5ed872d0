"""The spool: each event of a run goes to disk first, then to the listeners."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tflite_recipes.core import events
from tflite_recipes.core.analysis import failure
from tflite_recipes.core.result import MODEL, SPOOL
from tflite_recipes.core.state import Gate

# Artifact folders whose files lie in the output folder itself: easy to find, and beside the recipe that names them.
_ON_TOP = ("model", "code")


class Spool:
    """Writes each event to disk, then tells the listeners; keeps what the result needs.

    A listener that fails is its own business: it must not end a conversion.
    """

    def __init__(self, output_dir: Path, listeners: Sequence[events.Listener]) -> None:
        self._file = (output_dir / SPOOL).open("a", encoding="utf-8")
        self._listeners = list(listeners)
        self.output_dir = output_dir
        self.metrics: dict[str, float] = {}
        self.tags: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self.gates: list[Gate] = []
        self.warnings: list[str] = []
        self.failures: list[events.AnalysisFailed] = []
        self.step = ""
        self.recipe_digest = ""
        self.inputs: dict[str, str] = {}
        self.code: set[tuple[str, str]] = set()

    def tell(self, event: events.Event) -> None:
        if isinstance(event, events.ArtifactKept):
            event = self._taken(event)
        match event:
            case events.Measured(metrics=metrics):
                self.metrics.update(metrics)
            case events.Tagged(tags=tags):
                self.tags.update(tags)
            case events.Noted(params=params):
                self.notes.update(params)
            case events.Judged(gate=gate):
                self.gates.append(gate)
            case events.RunStarted(digest=digest):
                self.recipe_digest = digest
            case events.InputRead(key=key, sha256=sha256):
                self.inputs[key] = sha256
            case events.CodeRun(module=module, sha256=sha256):
                self.code.add((module, sha256))
            case events.AnalysisFailed():
                self.failures.append(event)
            case events.Warned(text=text):
                self.warnings.append(text)
            case events.StepStarted(step=step):
                self.step = step
            case events.StepFinished(step=step, seconds=seconds):
                self.metrics[f"time.{step}_s"] = seconds
        if not isinstance(event, events.Progress):
            self._file.write(json.dumps(events.to_json(event)) + "\n")
            self._file.flush()
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:  # a closed terminal, say; the events are on disk
                self._listeners.remove(listener)

    def _taken(self, event: events.ArtifactKept) -> events.Event:
        """Return the event with the file's final place. If it cannot be there, the run goes on without it, unless it is
        the model's own file. Errors: OSError."""
        path = Path(event.path)
        try:
            return replace(event, path=str(self._take(path, event.folder)))
        except OSError as error:
            if path.name == Path(MODEL).name:
                raise
            return events.AnalysisFailed(failure(path.name, path.name, error), False)

    def _take(self, path: Path, folder: str) -> Path:
        """Move a file that a step made in the scratch folder to the output folder, whole or not at all."""
        first, _, below = folder.partition("/")
        kept = self.output_dir / (below if first in _ON_TOP else folder) / path.name
        if path.resolve() != kept.resolve():
            kept.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, kept)
        return kept

    def close(self) -> None:
        self._file.close()
