"""The Markdown at the top of a run's page. MLflow folds it after a few lines, so the first ones say what it came to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from tflite_recipes.core import events
from tflite_recipes.core.outcome import OUTCOME, RunOutcome, of_gates, verdict_of_tags
from tflite_recipes.core.state import Gate
from tflite_recipes.report.key_metrics import headline

# Below MLflow's own limit on the value of a tag, 8000 characters, with room for what the last line says.
_MOST = 7500
# Of a line that a user's names or the converter's words are in.
_LINE = 400
_WARNINGS = 3
# Groups that say little of what was converted.
_UNTOLD = ("freeze", "tracking")
# MLflow's page sets a table's columns side by side without a gap.
_APART = "&emsp;"
_CODE = re.compile(r"`+")


@dataclass
class Story:
    """What was told of a run so far, as far as its description needs it."""

    recipe: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    gates: list[Gate] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    last: events.Event | None = None

    def take(self, event: events.Event) -> None:
        """Remember what the event tells; once, where it is told again at once because writing it down failed."""
        if event == self.last:
            return
        self.last = event
        match event:
            case events.RunStarted(recipe=recipe, choices=choices):
                self.recipe, self.choices = recipe, choices
            case events.Measured(metrics=metrics):
                self.metrics.update(metrics)
            case events.Noted(params=params):
                self.notes.update(params)
            case events.Tagged(tags=tags):
                self.tags.update(tags)
            case events.Judged(gate=gate):
                self.gates.append(gate)
            case events.Warned(text=text):
                self.warnings.append(text)
            case events.ArtifactKept(path=path, folder=folder):
                self.artifacts.append("/".join(filter(None, (folder, path.rpartition("/")[2]))))

    def outcome(self, event: events.RunFinished) -> RunOutcome:
        """How the run ended. Spools of earlier versions do not tell passed from done; the gates do."""
        if event.outcome == RunOutcome.done and OUTCOME not in self.tags:
            return of_gates(gate.passed for gate in self.gates)
        return RunOutcome(event.outcome)


def description(story: Story, event: events.RunFinished, experiment: str, run_id: str) -> str:
    """What the run came to, its figures and gates, what was to be known of it, and how to repeat it. experiment,
    run_id: for links to its artifacts and for the command."""
    first = [_opening(story, event), ""]
    last = ["", *_again(story, experiment, run_id)]
    return _fitted(first, [*_results(story), *_gates(story.gates), *_remarks(story, event)], last)


def sweep_description(recipe: str, overrides: Iterable[str], run_id: str) -> str:
    """Of a sweep's parent run: over what it goes, and how its runs are compared."""
    said = ", ".join(_code(text) for text in overrides)
    over = f" over {said}" if said else ""
    again = [f"Side by side: {_code(f'tflite-recipes compare {run_id}')}"]
    return _fitted([f"**{_plain(recipe)}**, a sweep{over}; each combination is a run below this one.", ""], [], again)


def _opening(story: Story, event: events.RunFinished) -> str:
    """One line: the recipe, the outcome, and the two figures that most look for."""
    rows = [row for row in headline(story.metrics, story.notes, story.tags) if row.source]
    said = [f"{_plain(row.what)} {row.source} → {row.tflite} ({row.note})" for row in rows]
    line = f"**{_plain(story.recipe)}**: **{story.outcome(event)}**{''.join(f'; {text}' for text in said)}"
    if repeated := story.tags.get("tflite_recipes.reproduces"):
        verdict = verdict_of_tags(story.tags)
        line += f"; repeats run {_code(repeated)}{f': **{_plain(verdict)}**' if verdict else ''}"
    return line


def _results(story: Story) -> Iterator[str]:
    told = {group: option for group, option in story.choices.items() if group not in _UNTOLD and option != "none"}
    if options := [f"{group}={option}" for group, option in told.items() if option]:
        yield from (_code(" ".join(options)), "")
    rows = headline(story.metrics, story.notes, story.tags)
    if rows:
        yield from _table(("", "source", ".tflite", ""), "lrrl", ((r.what, r.source, r.tflite, r.note) for r in rows))


def _gates(gates: Sequence[Gate]) -> Iterator[str]:
    yield from (f"- gate {_plain(gate.name)}: {_plain(str(gate))}" for gate in gates)


def _remarks(story: Story, event: events.RunFinished) -> Iterator[str]:
    """Why it failed, what differs from the run it repeats, remedies, a search's choice, and the first warnings."""
    for problem in event.problems:
        what, *fixes = problem.lines()
        yield f"- {_plain(what)}"
        for line in fixes:
            word, _, command = line.partition(": ")
            yield f"  - {word}: {_code(command)}"
    for name, words in (("differences", "differs"), ("remedies", "remedies taken"), ("chosen", "chosen")):
        if (told := story.tags.get(f"tflite_recipes.{name}", "none")) != "none":
            yield f"- {words}: {_plain(told)}"
    if count := len(story.warnings):
        yield f"- {count} warning{'s' if count > 1 else ''}{':' if count <= _WARNINGS else ', the first of them:'}"
        for text in story.warnings[:_WARNINGS]:
            yield f"  - {_plain(text)}"


def _again(story: Story, experiment: str, run_id: str) -> Iterator[str]:
    """How to repeat it, and links to what it left."""
    if "model/model.tflite" in story.artifacts:
        yield f"Run it again: {_code(f'tflite-recipes reproduce {run_id}')}"
    elif "recipe.yaml" in story.artifacts:
        fetch = f"mlflow artifacts download -r {run_id} -a recipe.yaml -d ."
        yield f"Run it again: {_code(fetch)}, then {_code('tflite-recipes run recipe.yaml')}"
    place = f"#/experiments/{quote(experiment)}/runs/{quote(run_id)}/artifacts"
    known = (("report.html", "the report"), ("model/model.tflite", "the file"), ("recipe.yaml", "the recipe"))
    links = [f"[{words}]({place}/{path})" for path, words in known if path in story.artifacts]
    if links:
        yield from ("", f"Artifacts: {', '.join(links)}")


def _table(head: Sequence[str], sides: str, rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of a table, and the empty one that ends it."""
    yield f"| {' | '.join(f'{_APART}{text}' if text else '' for text in head)} |"
    yield f"|{'|'.join('---:' if side == 'r' else '---' for side in sides)}|"
    for row in rows:
        cells = (f"{_APART}{_plain(text)}" if text else "" for text in row[1:])
        yield f"| {' | '.join((_plain(row[0]), *cells))} |"
    yield ""


def _fitted(first: Sequence[str], middle: Iterable[str], last: Sequence[str]) -> str:
    """All lines, or as many whole ones of the middle as fit."""
    lines, room = list(first), _MOST - sum(len(line) + 1 for line in (*first, *last))
    for line in middle:
        room -= len(line) + 1
        if room < 0:
            lines += ["", "…"]
            break
        lines.append(line)
    return "\n".join([*lines, *last])


def _plain(text: str) -> str:
    """Text on one line that is no markup, whatever it holds, and no more than a line's worth of it."""
    text = " ".join(text.split())
    text = text if len(text) <= _LINE else f"{text[: _LINE - 1]}…"
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]{}~|#])", r"\\\1", text)


def _code(text: str) -> str:
    """A command as code, behind as many backticks as it needs; not for tables."""
    text = " ".join(text.split())
    text = text if len(text) <= _LINE else f"{text[: _LINE - 1]}…"
    fence = "`" * (max(map(len, _CODE.findall(text)), default=0) + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"
