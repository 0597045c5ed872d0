"""What a search leaves: the winner's files and figures as its own, and the table, plot and page of all candidates."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

from tflite_recipes.config.recipe import Recipe
from tflite_recipes.config.recipe_inputs import INPUTS
from tflite_recipes.core import events
from tflite_recipes.core.environment import ENVIRONMENT
from tflite_recipes.engine.search.candidate_outcome import Outcome, best_of_each
from tflite_recipes.engine.search.search_page import render
from tflite_recipes.engine.search.search_plot import pareto
from tflite_recipes.engine.search.strategy import Space
from tflite_recipes.engine.spool import Spool

RECIPE, SEARCH_RECIPE = "recipe.yaml", "search.yaml"
TABLE, SCHEMES, PLOT, REPORT = "search.csv", "schemes.csv", "pareto.svg", "report.html"
# Of the winner's files those that the search has of its own.
_NOT_TAKEN = (REPORT, "overrides.txt", ENVIRONMENT, INPUTS)
_COLUMNS = (
    *("number", "candidate", "scheme", "quantizer", "equalize", "rules", "ruled_ops", "size_bytes", "latency_ms"),
    *("metric_source", "metric_tflite", "drop", "gates", "status", "reason", "run_id", "chosen"),
)


def deliver(chosen: Outcome, told: Sequence[events.Event], spool: Spool) -> None:
    """The winner's files copied, and what was told of it told of the search."""
    for event in told:
        match event:
            case events.ArtifactKept(path=path, folder=folder) if Path(path).name not in _NOT_TAKEN:
                copied = spool.output_dir / Path(path).name
                shutil.copyfile(path, copied)
                spool.tell(events.ArtifactKept(str(copied), folder))
            case events.Measured(metrics=metrics):
                own = {name: value for name, value in metrics.items() if not name.startswith("time.")}
                if own:
                    spool.tell(events.Measured(own))
            case events.RunStarted(digest=digest):
                spool.tell(events.Tagged({"tflite_recipes.chosen_digest": digest}))
            case events.Tagged() | events.Noted() | events.Judged() | events.Warned() | events.DatasetUsed():
                spool.tell(event)
            case events.AnalysisFailed() | events.CodeRun():
                spool.tell(event)
    tags = {"tflite_recipes.chosen": f"{chosen.number:02d} {chosen.candidate}"}
    if chosen.run_id:
        tags["tflite_recipes.chosen_run_id"] = chosen.run_id
    spool.tell(events.Tagged(tags))


def keep_tables(
    folder: Path, recipe: Recipe, outcomes: Sequence[Outcome], chosen: Outcome | None, space: Space, spool: Spool
) -> None:
    """Write and keep the tables, the plot and the page."""
    objective, each = space.objective, best_of_each(space.schemes, outcomes, space.objective)
    plot = pareto(outcomes, chosen, objective)
    found = (folder / RECIPE).read_text(encoding="utf-8") if chosen is not None else ""
    page = render(recipe, outcomes, each, chosen, plot, found, spool.metrics, spool.warnings, folder, SEARCH_RECIPE)
    tables = ((TABLE, table(outcomes, chosen)), (SCHEMES, table(each, chosen)))
    for name, text in (*tables, (PLOT, plot), (REPORT, page)):
        (folder / name).write_text(text, encoding="utf-8")
        spool.tell(events.ArtifactKept(str(folder / name)))


def table(outcomes: Sequence[Outcome], chosen: Outcome | None) -> str:
    """Candidates as CSV, one a line; of the ops that rules lift, the names of what they give."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for outcome in outcomes:
        candidate = outcome.candidate
        writer.writerow(
            (
                outcome.number or "",
                str(candidate),
                candidate.scheme,
                candidate.quantizer,
                str(dict(candidate.values).get("equalize", False)).lower(),
                len(candidate.rules),
                " ".join(rule.tensor for rule in candidate.rules),
                "" if outcome.size is None else int(outcome.size),
                *("" if v is None else f"{v:.9g}" for v in (outcome.latency, outcome.source_score)),
                *("" if v is None else f"{v:.9g}" for v in (outcome.score, outcome.drop)),
                "; ".join(f"{gate.name} {gate}" for gate in outcome.gates),
                outcome.outcome,
                outcome.reason,
                outcome.run_id or "",
                "yes" if chosen is not None and outcome.number == chosen.number else "",
            )
        )
    return text.getvalue()
