"""A SQLite store that cannot be read, made or written is refused before a run starts."""

import os
import shlex
import sqlite3

import pytest
from support.checkout import write
from support.tracked_runs import settings

from tflite_recipes import api
from tflite_recipes.tracking import local_store


def problems_of(uri):
    return tuple(settings(uri).problems())


@pytest.mark.parametrize(
    ("uri", "fix"),
    [
        ("sqlite:///new/folder/x.db", "tracking.uri=sqlite:///mlflow.db"),
        ("sqlite:////no/such/folder/x.db", "tracking.uri=sqlite:///mlflow.db"),
        ("sqlite+pysqlite:///new/x.db?timeout=3", "tracking.uri=sqlite:///mlflow.db"),
        ("sqlite:///file.txt/x.db", "tracking.uri=sqlite:///mlflow.db"),
        ("sqlite:///file.txt", "tracking.uri=sqlite:///mlflow.db"),
        ("sqlite:///folder", "tracking.uri=sqlite:///mlflow.db"),
        ("sqlite:///:memory:", "tracking.uri=sqlite:///mlflow.db"),
        ("sqlite://", "tracking.uri=sqlite:///mlflow.db"),
        ("sqlite://runs.db", "tracking.uri=sqlite:///runs.db"),
        ("sqlite:runs.db", "tracking.uri=sqlite:///runs.db"),
        ("sqlite:///taken/runs.db", "tracking.uri=sqlite:///mlflow.db"),
        ("mlruns", "tracking.uri=sqlite:///mlflow.db"),
        ("file:///new/mlruns", "tracking.uri=sqlite:///mlflow.db"),
    ],
)
def test_uri_of_a_store_that_cannot_be_is_refused_with_a_fix(here, uri, fix):
    write(here / "file.txt", "no database")
    (here / "folder").mkdir()
    write(here / "taken" / "mlruns", "a file where the artifacts would go")
    (problem,) = problems_of(uri)
    assert (problem.where, problem.fix) == ("tracking.uri", fix)
    assert problems_of(shlex.split(problem.fix)[0].removeprefix("tracking.uri=")) == ()
    assert sorted(path.name for path in here.rglob("*")) == ["file.txt", "folder", "mlruns", "taken"]


def test_store_in_a_folder_that_is_missing_is_refused_before_a_run(here, cli):
    answer = cli("run", "digits_float", "tracking.uri=sqlite:////new/folder/x.db")
    assert (answer.status, answer.fixes) == (2, ["tracking.uri=sqlite:///mlflow.db"])
    assert api.check("digits_float", answer.fixes) == ()
    assert list(here.iterdir()) == []


def test_home_folder_in_a_uri_is_spelled_out(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    (problem,) = problems_of("sqlite:///~/runs.db")
    assert problem.fix == f"tracking.uri=sqlite:///{here}/runs.db"


def test_missing_folder_that_can_be_made_comes_with_the_command(here):
    (problem,) = problems_of("sqlite:///a b/c/x.db")
    assert problem.alternatives == (f"mkdir -p '{here}/a b/c'",)


@pytest.mark.parametrize("uri", ["sqlite:///runs.db", "sqlite:///old/runs.db", "sqlite+pysqlite:///old/new.db"])
def test_store_that_can_be_made_or_opened_is_taken(here, uri):
    (here / "old").mkdir()
    sqlite3.connect(here / "old" / "runs.db").close()
    assert problems_of(uri) == ()
    local_store.open_briefly(uri)
    assert [path.name for path in here.rglob("*.db")] == ["runs.db"]


def test_read_only_folder_and_file_are_refused_without_a_fix_that_fails(here, monkeypatch):
    sqlite3.connect(here / "runs.db").close()
    (here / "elsewhere").mkdir()
    # Root may write anywhere, so the answer of the system is stood in for.
    locked = {str(here / "runs.db"), str(here / "elsewhere")}
    monkeypatch.setattr(os, "access", lambda path, mode, **_: str(path) not in locked or mode == os.R_OK)
    assert [problem.fix for problem in problems_of("sqlite:///runs.db")] == ["tracking.uri=sqlite:///mlflow.db"]
    assert [problem.fix for problem in problems_of("sqlite:///elsewhere/x.db")] == ["tracking.uri=sqlite:///mlflow.db"]
    locked.add(str(here))
    (problem,) = problems_of("sqlite:///mlflow.db")
    assert (problem.where, problem.fix) == ("tracking.uri", "")


def test_sync_to_a_folder_that_is_missing_is_refused(here, cli):
    (here / "outputs").mkdir()
    answer = cli("sync", "tracking.uri=sqlite:///new/x.db")
    assert (answer.status, answer.fixes) == (2, ["tracking.uri=sqlite:///mlflow.db"])
    assert not (here / "new").exists()


@pytest.mark.parametrize("place", ["/proc/x.db", "missing/x.db", "text.db"])
def test_store_that_cannot_be_opened_is_found_at_once(here, place):
    write(here / "text.db", "no database, but long enough to have a header of its own")
    with pytest.raises((OSError, sqlite3.Error)):
        local_store.open_briefly(f"sqlite:///{place}")


def test_store_that_others_lock_is_waited_for_briefly(here, monkeypatch):
    monkeypatch.setattr(local_store, "_LOCKED_S", 0.05)
    connection = sqlite3.connect(here / "runs.db")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        local_store.open_briefly("sqlite:///runs.db")
    connection.close()
