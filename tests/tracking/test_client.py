"""How long servers are waited for, and what is remembered of one that hangs."""

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tflite_recipes.tracking.client import alone, greet, heed, hurried

TIMEOUT, RETRIES = "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"


def said():
    return os.environ.get(TIMEOUT), os.environ.get(RETRIES)


@pytest.fixture
def patience(monkeypatch):
    """The environment of a process that has asked nobody yet, put back afterwards."""
    for name in (TIMEOUT, RETRIES, "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR"):
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    return monkeypatch


def test_hurry_before_the_first_client_leaves_no_server_default(patience):
    with hurried(10):
        assert said() == ("10", "0")
    assert said() == ("20", "1")  # MLflow's own are 120 s and 7 times


def test_hurry_never_takes_longer_than_what_is_set(patience):
    patience.setenv(TIMEOUT, "2")
    with hurried(10):
        assert said() == ("2", "0")
    heed(TimeoutError("Read timed out. (read timeout=2)"))
    assert said() == ("2", "0")  # the user's stays, and the retries that are ours go


def test_one_that_hangs_is_asked_briefly_from_then_on(patience):
    with hurried():
        pass
    heed(ConnectionError("Connection refused"))
    assert said() == ("20", "1")
    heed(TimeoutError("Read timed out. (read timeout=20)"))
    assert said() == ("3", "0")
    with hurried(10):
        assert said() == ("3", "0")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["http://127.0.0.1:{}", "postgresql+psycopg2://me:secret@127.0.0.1:{}/db"])
def test_servers_that_take_a_connection_and_say_nothing(kind, patience):
    if kind.startswith("postgresql"):
        pytest.importorskip("psycopg2")
    patience.setenv("PGCONNECT_TIMEOUT", "2")
    waited = pytest.raises(Exception, match=r"timed out|timeout expired")
    with socket.create_server(("127.0.0.1", 0)) as silent, waited as error:
        greet(kind.format(silent.getsockname()[1]), 2)
    assert "secret" not in str(error.value)
    assert said() == ("3", "0")


@pytest.mark.slow
def test_an_answer_brings_patience_back(patience, tmp_path):
    with hurried():
        pass
    heed(TimeoutError("Read timed out"))
    greet(f"sqlite:///{tmp_path}/mlflow.db", 10)
    assert said() == ("20", "1")


@pytest.mark.parametrize(
    ("uri", "place"),
    [("sqlite:///{}/runs.db", "."), ("file://{}/tracking.json", "."), ("postgresql://host/db", "state")],
)
def test_alone_lets_one_in_at_a_time_and_leaves_no_file(uri, place, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    inside, most = [], []

    def locks():
        return [path.parent.relative_to(tmp_path).parts[:1] for path in tmp_path.rglob(".*.lock")]

    def enter(number):
        with alone(uri.format(tmp_path)):
            assert locks() == [Path(place).parts]
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.005)
            inside.remove(number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(enter, range(40)))
    assert most == [1] * 40
    assert locks() == []


def test_alone_in_a_folder_that_cannot_be_written_has_its_lock_in_the_state_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "file").touch()
    with alone(f"sqlite:///{tmp_path}/file/runs.db"):
        assert len(list(tmp_path.rglob(".*.lock"))) == 1
