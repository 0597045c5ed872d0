"""Attempts of a run, one after the other: the next takes a remedy, while the conversion fails and one may help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tflite_recipes.config.recipe import Recipe
from tflite_recipes.core import events
from tflite_recipes.core.errors import StepError
from tflite_recipes.core.state import Intent, State
from tflite_recipes.engine.attempts import Attempt, Failed, explained, next_remedy, retry, telling, without_idle_fixes
from tflite_recipes.engine.shared_results import Memo, Tell
from tflite_recipes.engine.worker import WorkerPool


def _nothing() -> None:
    """Count no failed attempt."""


@dataclass
class AttemptLoop:
    """Run the steps of a recipe until they give a file, or until no remedy is left.

    folder: the folders of the attempts go below it. log: takes the raw output of the steps. started: of the run, on
    `time.monotonic()`. failed: is called if an attempt failed and another follows. step: the last that started.
    """

    folder: Path
    log: Path
    pool: WorkerPool
    started: float
    send: Tell
    failed: Callable[[], None] = _nothing
    memo: Memo | None = None
    step: str = ""

    def run(self, recipe: Recipe, intent: Intent) -> State:
        """Return the state after the last step.

        What the graph itself shows to be needed is taken while freezing. The remedies here are for what only the
        converter reports, if it lives to report it.

        Raises:
            RequestError, StepError: those of the first attempt, but for what only a later one came to.
        """
        first: Failed | None = None
        self.folder.mkdir(exist_ok=True)
        while True:
            attempt = Attempt(recipe, self.folder / str(len(intent.taken)), intent, self.log)
            try:
                return attempt.run(self._told, self.pool, self.started, self.memo)
            except StepError as error:
                last = Failed(attempt, error)
                first = first or last
                remedy = next_remedy(error, self.step, attempt, intent)
                if remedy is None:
                    final = explained(telling(first, last), intent)
                    raise (
                        without_idle_fixes(final, attempt, intent) if self.step == "optimization" else final
                    ) from error
                self._told(events.Warned(retry(error, remedy, attempt)))
                self.failed()
                intent = replace(intent, taken=(*intent.taken, remedy))

    def _told(self, event: events.Event) -> None:
        if isinstance(event, events.StepStarted):
            self.step = event.step
        self.send(event)
