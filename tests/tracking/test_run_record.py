"""A run's record, its lock, and its events as they are read back: no MLflow here."""

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tflite_recipes.core import events
from tflite_recipes.core.errors import RequestError
from tflite_recipes.tracking import client, run_record, run_upload, spool_reader
from tflite_recipes.tracking import missing_runs as syncing
from tflite_recipes.tracking.settings import Mlflow

SETTINGS = Mlflow("sqlite:///mlflow.db", "board", "first", {"team": "vision"})


def started(folder: Path, at: float = 5.0) -> events.RunStarted:
    return events.RunStarted("convert", "d" * 64, {}, {}, (), str(folder), at=at)


def spooled(folder: Path, *told: events.Event, rest: str = "", **values: object) -> Path:
    """A run's folder with these events and a record."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(events.to_json(event)) + "\n" for event in told)
    (folder / "events.jsonl").write_text(lines + rest, encoding="utf-8")
    run_record.save(folder, run_record.begun(SETTINGS, {}, **values))
    return folder


def test_a_record_comes_back(here):
    folder = spooled(here / "out", started(here / "out"))
    loaded = run_record.load(folder)
    assert loaded.typed(loaded.uri) == replace(SETTINGS, uri=f"sqlite:///{here}/mlflow.db")
    assert (loaded.cwd, loaded.complete, loaded.run_id) == (str(here), False, None)
    assert run_record.update(folder, run_id="r1").key == loaded.key
    assert run_record.load(folder).run_id == "r1"
    assert loaded.stamp["tflite_recipes.run_key"] == loaded.key
    assert {path.name for path in folder.iterdir()} == {"events.jsonl", "tracking.json"}


def test_a_record_holds_no_password(here):
    settings = replace(SETTINGS, uri="postgresql://owner:let-me-in@host/runs")
    run_record.save(here, run_record.begun(settings, {}))
    assert "let-me-in" not in (here / "tracking.json").read_text()
    assert run_record.load(here).uri == "postgresql://owner@host/runs"


@pytest.mark.parametrize("text", ["", "[]", '{"key": "a"}', '{"settings": {}, "key": "a"}', '{"settings": 1}'])
def test_what_is_no_record_is_said(here, text):
    (here / "tracking.json").write_text(text)
    with pytest.raises(RequestError) as error:
        run_record.load(here)
    assert error.value.problems[0].where.endswith("tracking.json")


def test_a_run_is_not_disturbed_and_a_sync_is_waited_for(here):
    with run_record.held(here, "run"), pytest.raises(run_record.Busy), run_record.held(here, "sync"):
        pass
    order = []

    def wait() -> None:
        with run_record.held(here, "sync"):
            order.append("second")

    with run_record.held(here, "sync"):
        thread = threading.Thread(target=wait)
        thread.start()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert list(here.iterdir()) == []


def test_the_lock_goes_with_its_process(here):
    child = os.fork()
    if child == 0:
        run_record.held(here, "run").__enter__()
        os._exit(9)
    _, status = os.waitpid(child, 0)
    with run_record.held(here, "sync"):
        assert os.waitstatus_to_exitcode(status) == 9  # it held the lock when it ended


def test_a_sweep_that_runs_is_seen():
    assert not run_record.is_running("abc")
    with run_record.running("abc"):
        assert run_record.is_running("abc")
    assert not run_record.is_running("abc")


def test_paths_are_those_of_the_folder_as_it_is_now(here):
    ran = Path("outputs/x")
    told = [
        started(ran),
        events.ArtifactKept(str(ran / "deploy" / "a.h"), "deploy"),
        events.InputRead("source.path", "model.keras", "0", 1),
        events.RunFinished("done", 1.0),
    ]
    spooled(ran, *told)
    shutil.move(ran, here / "moved")
    read = spool_reader.read(here / "moved", "/where/it/stood")
    assert read[1].path == str(here / "moved" / "deploy" / "a.h")
    assert read[2:] == told[2:]  # an input is named as the recipe does; who reads it knows from where
    assert [event.path for event in spool_reader.left_out(read, here / "moved")] == [read[1].path]


@pytest.mark.parametrize("rest", ["", '{"event": "Warn', '{"event": "Warned"}'])
def test_a_run_that_could_not_end_was_killed(here, rest):
    folder = spooled(here, started(here, at=5.0), events.Warned("slow", at=7.5), rest=rest)
    last = spool_reader.read(folder, str(here))[-1]
    assert last == events.RunFinished("killed", 2.5, at=7.5)


@pytest.mark.parametrize(
    ("rest", "where"),
    [
        ("{\n", "events.jsonl, line 2"),
        ('{"event": "Odd"}\n\n', "events.jsonl, line 2"),
        ('[]\n{"event": "Warned", "text": ""}', "events.jsonl, line 2"),
    ],
)
def test_damage_is_said_with_its_line(here, rest, where):
    spooled(here, started(here), rest=rest)
    with pytest.raises(RequestError) as error:
        spool_reader.read(here, str(here))
    assert error.value.problems[0].where.endswith(where)


def test_a_spool_without_a_start_is_damaged(here):
    spooled(here, events.Warned("late"))
    with pytest.raises(RequestError, match="does not begin with the start"):
        spool_reader.read(here, str(here))


def test_runs_above_are_told_first(here):
    top = spooled(here / "sweep", started(here))
    key = run_record.load(top).key
    child = spooled(here / "sweep" / "0", started(here), parent_key=key)
    below = spooled(child / "candidates" / "01", started(here), parent_key=run_record.load(child).key)
    assert run_upload.above(below, key) == top
    outcomes = list(syncing.sync([Path("sweep/0/candidates")], dry_run=True))
    assert [synced.folder.resolve() for synced in outcomes] == [top, child, below]
    run_record.update(top, complete=True)
    assert [synced.folder for synced in syncing.sync([here / "sweep"], dry_run=True)] == [child, below]


def test_where_a_run_goes(here, monkeypatch):
    settings = replace(SETTINGS, uri="postgresql://owner:let-me-in@host/runs")
    kept = run_record.begun(settings, {})
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert syncing.destination(kept, None) == "postgresql://owner@host/runs"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.uri)
    assert syncing.destination(kept, None) == settings.uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    assert syncing.destination(kept, None) == "postgresql://owner@host/runs"
    assert syncing.destination(kept, "sqlite:///a.db") == f"sqlite:///{here}/a.db"


def test_a_locked_file_is_waited_for_and_other_errors_are_not():
    met = [OSError("database is locked"), None]

    def write_it() -> str:
        if (error := met.pop(0)) is not None:
            raise error
        return "written"

    assert client.steadily(write_it) == "written"
    met[:] = [OSError("disk I/O error"), None]
    with pytest.raises(OSError, match="disk"):
        client.steadily(write_it)


def test_a_server_is_asked_once_where_it_is_not_known_to_be_there(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "7")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    with client.hurried(5):
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "5"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "7"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "20"  # ours, not the 120 s of MLflow's own


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["nowhere"], "there is no folder nowhere"),
        (["tracking.url=x"], "tracking.url=x is neither a folder nor tracking.uri=URI"),
        (["tracking.uri=ftp://x"], "not a tracking URI"),
        (["--fast"], "--fast is not known here"),
    ],
)
def test_a_wrong_request(here, cli, words, what):
    answer = cli("sync", *words)
    assert answer.status == 2
    assert what in answer.err


def test_nothing_to_upload(here, cli):
    (here / "outputs").mkdir()
    run_record.update(spooled(here / "outputs" / "a", started(here)), complete=True)
    assert cli("sync").out == "nothing to upload: MLflow knows all runs there\n"


def test_a_dry_run_says_what_there_is_and_asks_nobody(here, cli):
    spooled(here / "outputs" / "a", started(here))
    answer = cli("sync", "--dry-run")
    assert answer.out.splitlines() == [f"outputs/a -> to be told at sqlite:///{here}/mlflow.db", "1 to be told"]
    assert not (here / "mlflow.db").exists()


def test_a_file_whose_folder_is_gone_is_not_made_anew(here, cli):
    spooled(here / "outputs" / "a", started(here))
    run_record.update(
        here / "outputs" / "a",
        settings={**run_record.load(here / "outputs" / "a").settings, "uri": "sqlite:////gone/m.db"},
    )
    answer = cli("sync")
    assert answer.status == 4
    assert "there is no folder /gone" in answer.err
