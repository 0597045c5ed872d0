"""Fixes that name another scheme or quantizer: each is tried on the model before a failed run prints it."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from tflite_recipes.config import recipe as recipes
from tflite_recipes.config.recipe import Recipe, StepSpec
from tflite_recipes.conversion.quality import metrics
from tflite_recipes.core import events, public_names, schema
from tflite_recipes.core.errors import Problem, RecipeError, RequestError, StepError
from tflite_recipes.core.result import LOG
from tflite_recipes.core.state import Intent
from tflite_recipes.engine.attempt_loop import AttemptLoop
from tflite_recipes.engine.search.candidates import option
from tflite_recipes.engine.shared_results import Tell
from tflite_recipes.steps.evaluation import ParityEvaluation

_GROUP = "optimization"
_COSINE = "parity.cosine"
# A trial takes as long as a run. So many are made of one failure.
_MOST_TRIALS = 3
# Characters of the reason why a trial failed.
_SHOWN = 240
# Runs a recipe without anybody hearing of it. Errors: RecipeError.
Trial = Callable[[Recipe], None]


def with_tried_fixes(error: StepError, recipe: Recipe, intent: Intent, loop: AttemptLoop) -> StepError:
    """Return the error of a run with its fixes tried in folders and logs of their own (see `shown_to_help`)."""
    folders = (loop.folder / f"trial_{number}" for number in itertools.count())

    def trial(changed: Recipe) -> None:
        folder, problems = next(folders), TrialProblems()
        folder.mkdir()
        own = changed.intent
        asked = replace(intent, scheme=own.scheme, ranges=own.ranges, taken=())
        AttemptLoop(folder, folder / LOG, loop.pool, loop.started, problems).run(changed, asked)
        problems.conclude()

    return shown_to_help(error, recipe, trial, loop.send)


def shown_to_help(error: StepError, recipe: Recipe, trial: Trial, tell: Tell) -> StepError:
    """Return the error with a fix of the group `optimization` only if a trial with it ends in a right file.

    If the fix does not help, the alternatives and what the failed trials offer are tried. The message then has the
    reason why the first does not help.

    Args:
        error: of the run that failed.
        recipe: of that run.
        trial: converts by a changed recipe, and checks the file.
        tell: takes the progress.
    """
    trials = _Trials(recipe, trial, tell)
    problems = [trials.confirmed(problem) for problem in error.problems]
    return error if problems == list(error.problems) else type(error)(problems)


def trial_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe up to its file, and then a comparison of the file with its source. Targets may be devices."""
    number = next(position for position, spec in enumerate(recipe.steps) if spec.name == _GROUP)
    check = ParityEvaluation(samples=16, seed=0)
    last = StepSpec("evaluation", public_names.public_name(ParityEvaluation), schema.section_of(check), check)
    return replace(recipe, steps=(*recipe.steps[: number + 1], last))


class TrialProblems:
    """Listen to a trial: an analysis that fails ends the run that would be made with the fix, and a file whose outputs
    are far from the source's is no help."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.AnalysisFailed) and event.judges:
            self._problems.append(event.problem)
        if isinstance(event, events.Measured) and event.metrics.get(_COSINE, 1.0) < metrics.POOR_COSINE:
            what = f"the outputs of the file are far from the source's: cosine similarity {event.metrics[_COSINE]:.2f}"
            self._problems.append(Problem(what, "evaluation"))

    def conclude(self) -> None:
        """Errors: StepError with what failed."""
        if self._problems:
            raise StepError(self._problems)


def changed(recipe: Recipe, fix: str) -> Recipe | None:
    """Return the recipe with a fix pasted behind its command.

    Returns:
        None if the fix is not about the group `optimization` alone, or changes nothing.

    Raises:
        RequestError: if the fix leads to a recipe that is refused.
    """
    words = [word.partition("=") for word in shlex.split(fix)]
    if not words or not all(sign and key.partition(".")[0] == _GROUP for key, sign, _ in words):
        return None
    section: dict[str, Any] = dict(recipe.config[_GROUP])
    choices = dict(recipe.choices)
    for name in (value for key, _, value in words if key == _GROUP):
        section = {**option(name), **_asked(recipe.overrides)}
        choices[_GROUP] = name
    section |= _values(words)
    if section == recipe.config[_GROUP]:
        return None
    config = {key: value for key, value in recipe.config.items() if key != "tracking"}
    return recipes.build({**config, _GROUP: section}, choices, recipe.base_groups, (), recipe.name)


def _asked(overrides: Iterable[str]) -> dict[str, Any]:
    return _values([text.lstrip("+").partition("=") for text in overrides])


def _values(words: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    return {key.partition(".")[2]: yaml.safe_load(value) for key, _, value in words if key.startswith(f"{_GROUP}.")}


@dataclass
class _Trials:
    """The trials of one failed run. failures: by fix, why it does not help, "" if it does."""

    recipe: Recipe
    trial: Trial
    tell: Tell
    _failures: dict[str, str] = field(default_factory=dict)
    _sections: list[Mapping[str, Any]] = field(default_factory=list)
    _offered: list[str] = field(default_factory=list)

    def confirmed(self, problem: Problem) -> Problem:
        """Return the problem with a fix that helps, without those that do not."""
        if not self._can_be_tried(problem.fix):
            return problem
        queue, helping = [problem.fix, *filter(self._can_be_tried, problem.alternatives)], ""
        while queue and not helping:
            fix = queue.pop(0)
            if fix not in self._failures and len(self._failures) < _MOST_TRIALS:
                self._offered = []
                self._failures[fix] = self._failure(fix)
                queue += [other for other in self._offered if other not in queue]
            helping = fix if self._failures.get(fix) == "" else ""
        if helping == problem.fix:
            return problem
        others = tuple(line for line in problem.alternatives if not self._failures.get(line) and line != helping)
        reason = self._failures.get(problem.fix, "")
        what = f"{problem.what}; {problem.fix} was tried and does not help: {reason}" if reason else problem.what
        return replace(problem, what=what, fix=helping, alternatives=others)

    def _can_be_tried(self, fix: str) -> bool:
        try:
            return bool(fix) and changed(self.recipe, fix) is not None
        except RequestError:
            return True
        except ValueError:  # advice in words, with a quotation mark that stands alone
            return False

    def _failure(self, fix: str) -> str:
        """Return why a fix does not help, "" if it does."""
        self.tell(events.Progress(f"trying {fix}", 0, 1))
        try:
            recipe = changed(self.recipe, fix)
            if recipe is None or recipe.config[_GROUP] in self._sections:
                return "it changes nothing"
            self._sections.append(recipe.config[_GROUP])
            self.trial(trial_recipe(recipe))
        except RecipeError as error:
            self._offered = [one.fix for one in error.problems if self._can_be_tried(one.fix)]
            (first, *_) = error.problems
            what = f"{first.where}: {first.what}" if first.where else first.what
            return what if len(what) <= _SHOWN else f"{what[:_SHOWN]}…"
        finally:
            self.tell(events.Progress(f"trying {fix}", 1, 1))
        return ""
