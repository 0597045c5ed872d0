"""What a kill cut off is found beside a new run of the same recipe."""

import json
import time
from dataclasses import asdict

from tflite_recipes.core import events
from tflite_recipes.core.outcome import RunOutcome
from tflite_recipes.tracking import run_record, sweeps, unfinished_runs
from tflite_recipes.tracking.settings import Mlflow

SETTINGS = Mlflow("sqlite:///mlflow.db", "board", None, {})
DONE = events.RunFinished(RunOutcome.done, 1.0)


def spooled(folder, *more, recipe="convert", **values):
    folder.mkdir(parents=True, exist_ok=True)
    told = [events.RunStarted(recipe, "d" * 64, {}, {}, (), str(folder), at=5.0), *more]
    (folder / "events.jsonl").write_text("".join(json.dumps(events.to_json(event)) + "\n" for event in told))
    return recorded(folder, **values)


def recorded(folder, complete=False, **values):
    folder.mkdir(parents=True, exist_ok=True)
    record = run_record.begun(SETTINGS, {}, **values)
    run_record.save(folder, record)
    if complete:
        run_record.update(folder, complete=True)
    return record


def swept(folder, **values):
    return recorded(folder, sweep={"recipe": "convert", "started": time.time(), "params": {}, **values})


def test_beside_finds_what_was_killed_and_nothing_else(here):
    place = here / "outputs"
    spooled(place / "1_killed")
    spooled(place / "2_not_uploaded", DONE)  # its server was away
    spooled(place / "3_uploaded", DONE, complete=True)
    spooled(place / "4_of_another", recipe="other")
    spooled(place / "5_search")
    spooled(place / "5_search" / "candidates" / "01_float", DONE, complete=True, parent_key="k")
    key = swept(place / "6_sweep").key
    spooled(place / "6_sweep" / "0", DONE, complete=True, parent_key=key)
    spooled(place / "6_sweep" / "1", parent_key=key)
    swept(place / "7_sweep_that_ended", outcome="FINISHED")
    (place / "8_damaged").mkdir()
    (place / "8_damaged" / "tracking.json").write_text("{")
    spooled(place / "9_new")
    left = [
        (one.folder.name, one.kind, one.runs, one.missing) for one in unfinished_runs.beside(place / "9_new", "convert")
    ]
    assert left == [("6_sweep", "sweep", 3, 2), ("5_search", "search", 2, 1), ("1_killed", "run", 1, 1)]


def test_at_leaves_out_what_is_at_work(here):
    spooled(here / "run")
    with run_record.held(here / "run", "run"):
        assert unfinished_runs.at(here / "run") is None
    with run_record.running(swept(here / "sweep").key):
        assert unfinished_runs.at(here / "sweep") is None
    assert unfinished_runs.at(here / "sweep").sync == f"tflite-recipes sync {here}/sweep"


def test_remember_refuses_the_folder_of_a_killed_sweep(here):
    old = swept(here / "swept")
    problem = sweeps.remember(here / "swept", asdict(run_record.begun(SETTINGS, {}, sweep={})))
    assert (problem.where, problem.fix) == ("output_dir", "hydra.sweep.dir=swept_2")
    assert problem.alternatives == (f"tflite-recipes sync {here}/swept",)
    assert run_record.load(here / "swept") == old
    assert sweeps.remember(here / "swept", asdict(old)) is None
