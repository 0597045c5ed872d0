"""Runs, sweeps, searches and commands at a server that hangs or is slow: none is held up longer than its limit."""

import signal
import sqlite3
import time
from pathlib import Path

import pytest
from support.bad_servers import RUN_ID, Fault, bad_server
from support.tracked_runs import finished, settings

from tflite_recipes.core import events
from tflite_recipes.core.errors import RequestError
from tflite_recipes.tracking import client, local_store, mlflow_tracker, run_record, sweeps, upload_wait
from tflite_recipes.tracking.missing_runs import Outcome, sync
from tflite_recipes.tracking.mlflow_tracker import MlflowTracker
from tflite_recipes.tracking.patience import Patience
from tflite_recipes.tracking.run_reader import PastRuns

pytestmark = pytest.mark.slow
# A generous bound for a machine under load: without a limit all of these take minutes.
SOON_S = 30


@pytest.fixture(scope="module")
def server():
    with bad_server() as running:
        client.client(running.uri)  # which loads MLflow
        yield running


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """The limits of runs and commands at about a tenth, and an environment of one's own."""
    for name in ("TIMEOUT", "MAX_RETRIES", "BACKOFF_FACTOR"):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", "0")
        monkeypatch.delenv(f"MLFLOW_HTTP_REQUEST_{name}")
    monkeypatch.setattr(upload_wait, "_SILENT_S", 0.1)
    monkeypatch.setattr(mlflow_tracker, "Patience", lambda: Patience(1.2, 0.8))
    monkeypatch.setattr(Patience, "of_command", lambda: Patience(0.5, 0.5, 0.05))
    monkeypatch.setattr(Patience, "of_sync", lambda: Patience(0.5, 0.5))


def told(folder: Path, tracker: MlflowTracker, number: int = 12) -> MlflowTracker:
    """A run of so many events in `folder`, told to the tracker, which is closed."""
    folder.mkdir(parents=True, exist_ok=True)
    start = events.RunStarted("small", "d" * 64, {"source": "keras"}, {}, (), str(folder))
    one_run = [start, *(events.Measured({f"m{index}": 1.0}) for index in range(number)), finished()]
    (folder / "events.jsonl").write_text("".join(f"{_line(event)}\n" for event in one_run))
    for event in one_run:
        tracker(event)
    return tracker


def _line(event) -> str:
    import json

    return json.dumps(events.to_json(event))


def synced(folder: Path, uri: str | None = None):
    return list(sync([folder], uri))


def test_run_at_a_server_that_hangs_goes_on_offline_and_is_synced_later(server, tmp_path):
    server.set(Fault.HANG)
    tracker = told(tmp_path / "run", MlflowTracker(settings(server.uri)))
    since = time.monotonic()
    tracker.close()
    assert time.monotonic() - since < SOON_S
    (failure,) = tracker.failures
    assert "no answer from the server" in failure
    assert tracker._patience.spent_s <= 1.3
    assert len(server.asked) <= 3
    assert not (tmp_path / "run" / ".tracking.lock").exists()
    server.set(Fault.NONE)
    assert [(one.outcome, one.run_id) for one in synced(tmp_path / "run")] == [(Outcome.TOLD, RUN_ID)]


def test_run_that_is_answered_slowly_stops_at_max_wait_s_and_says_so(server, tmp_path):
    server.set(Fault.SLOW, pause_s=0.2)
    shown: list[str] = []
    tracker = told(tmp_path / "run", MlflowTracker(settings(server.uri, max_wait_s=0.5), announce=shown.append), 60)
    since = time.monotonic()
    tracker.close()
    assert time.monotonic() - since < SOON_S
    (failure,) = tracker.failures
    assert "tracking.max_wait_s=0.5" in failure
    (text,) = shown
    assert server.uri in text
    assert "0.5 s" in text
    assert not run_record.load(tmp_path / "run").complete
    assert not (tmp_path / "run" / ".tracking.lock").exists()
    server.set(Fault.SLOW, pause_s=0.001)
    assert [one.outcome for one in synced(tmp_path)] == [Outcome.TOLD]
    assert run_record.load(tmp_path / "run").complete


def test_run_without_max_wait_s_waits_until_all_is_told(server, tmp_path):
    server.set(Fault.SLOW, pause_s=0.05)
    tracker = told(tmp_path / "run", MlflowTracker(settings(server.uri)))
    tracker.close()
    assert tracker.failures == []
    assert run_record.load(tmp_path / "run").complete


def test_run_whose_server_hangs_midway_waits_for_it_once(server, tmp_path):
    server.set(Fault.HANG, after=6)
    tracker = told(tmp_path / "run", MlflowTracker(settings(server.uri, max_wait_s=60)))
    tracker.close()
    assert len(tracker.failures) == 1
    assert tracker._patience.spent_s <= 1.3


def test_search_shares_the_wait_with_its_candidates(server, tmp_path):
    server.set(Fault.HANG)
    above = MlflowTracker(settings(server.uri, max_wait_s=60))
    above(events.RunStarted("search", "d" * 64, {"source": "keras"}, {}, (), str(tmp_path)))
    for number in range(5):
        told(tmp_path / f"candidate{number}", above.child(f"candidate {number}")).close()
    above(finished())
    since = time.monotonic()
    above.close()
    assert time.monotonic() - since < SOON_S
    assert len(above.failures) == 6
    assert len(server.asked) <= 3
    assert above._patience.spent_s <= 1.3


def test_search_that_is_answered_slowly_waits_max_wait_s_in_all(server, tmp_path):
    server.set(Fault.SLOW, pause_s=0.2)
    above = MlflowTracker(settings(server.uri, max_wait_s=0.6))
    above(events.RunStarted("search", "d" * 64, {"source": "keras"}, {}, (), str(tmp_path)))
    children = [told(tmp_path / f"candidate{number}", above.child(f"candidate {number}"), 60) for number in range(3)]
    for child in children:
        child.close()
    above(finished())
    above.close()
    assert len(above.failures) == 4
    assert len(server.asked) < 60


def test_interrupt_while_waiting_leaves_the_rest_to_sync(server, tmp_path):
    server.set(Fault.SLOW, pause_s=0.3)
    tracker = told(tmp_path / "run", MlflowTracker(settings(server.uri, max_wait_s=60)), 60)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            tracker.close()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(tracker.failures) == 1
    assert tracker._ended.wait(SOON_S)
    assert not (tmp_path / "run" / ".tracking.lock").exists()


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.DRIP, Fault.ENDLESS, Fault.ERROR])
def test_sweep_ends_in_spite_of_its_server(server, tmp_path, monkeypatch, fault):
    monkeypatch.setattr(Patience, "within", lambda seconds: Patience(0.5, 0.35, answer_bytes=1 << 20))
    server.set(fault)
    sweep = sweeps.Sweep(settings(server.uri, max_wait_s=60), "small", ["a=1,2"])
    sweeps.remember(tmp_path, sweep.to_json())
    sweep.end(tmp_path, "FINISHED")
    assert sweep.failure
    assert "Errno" not in sweep.failure
    assert sweep.problem(tmp_path).alternatives[0].startswith("tflite-recipes sync ")
    server.set(Fault.NONE)
    assert [one.outcome for one in synced(tmp_path)] == [Outcome.TOLD]


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.SLOW, Fault.DRIP, Fault.DRIP_BODY, Fault.ENDLESS, Fault.NO_JSON])
@pytest.mark.parametrize(
    "command", [("diff", "0123", "4567"), ("compare", "any"), ("reproduce", "0123"), ("compare", "0123", "4567")]
)
def test_commands_that_read_end_with_a_problem(server, cli, here, monkeypatch, fault, command):
    monkeypatch.setattr(Patience, "of_command", lambda: Patience(0.5, 0.5, 0.05, answer_bytes=1 << 20))
    server.set(fault, pause_s=0.4 if fault is Fault.SLOW else 0.05)
    since = time.monotonic()
    answer = cli(*command, f"tracking.uri={server.uri}")
    assert time.monotonic() - since < SOON_S
    assert answer.status == 2
    assert "Errno" not in answer.err
    assert "Traceback" not in answer.err


def test_command_prints_what_it_waits_for(server):
    server.set(Fault.HANG)
    shown: list[str] = []
    runs = PastRuns(server.uri)
    runs._announce = shown.append
    with pytest.raises(RequestError) as raised:
        runs.run(RUN_ID)
    assert raised.value.problems[0].where == "tracking.uri"
    assert shown == [f"waiting for {server.uri}"]


def test_pages_without_end_and_folders_in_folders_end(server, monkeypatch):
    class Page(list):
        token = "again"

    class Item:
        is_dir = True

        def __init__(self, path):
            self.path = path

    class Client:
        def search_runs(self, *_, **__):
            return Page()

        def list_artifacts(self, run_id, folder):
            return [Item(f"{folder or 'a'}/a")]

    runs = PastRuns(server.uri)
    runs._client = Client()
    with pytest.raises(RequestError) as raised:
        runs._search(["1"], "")
    assert raised.value.problems[0].where == "tracking.uri"
    server.set(Fault.NONE)
    assert runs.files(PastRuns(server.uri).run(RUN_ID)) == {}


def test_sync_asks_a_server_that_hangs_for_one_run_only(server, tmp_path):
    server.set(Fault.CLOSE)
    for number in range(4):
        told(tmp_path / f"run{number}", MlflowTracker(settings(server.uri))).close()
    server.set(Fault.HANG)
    since = time.monotonic()
    assert [one.outcome for one in synced(tmp_path)] == [Outcome.AWAY] * 4
    assert time.monotonic() - since < SOON_S
    assert len(server.asked) == 1


def test_sync_of_a_server_that_hangs_midway_ends(server, tmp_path):
    server.set(Fault.CLOSE)
    told(tmp_path / "run", MlflowTracker(settings(server.uri))).close()
    server.set(Fault.HANG, after=6)
    assert [one.outcome for one in synced(tmp_path)] == [Outcome.AWAY]
    server.set(Fault.NONE)
    assert [one.outcome for one in synced(tmp_path)] == [Outcome.TOLD]


def test_store_that_others_lock_costs_a_run_and_a_command_little(tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path}/runs.db"
    monkeypatch.setattr(local_store, "_LOCKED_S", 0.1)
    holder = sqlite3.connect(tmp_path / "runs.db")
    holder.execute("CREATE TABLE t (x)")
    holder.execute("BEGIN EXCLUSIVE")
    since = time.monotonic()
    tracker = told(tmp_path / "run", MlflowTracker(settings(uri, max_wait_s=60)))
    tracker.close()
    with pytest.raises(RequestError) as raised:
        PastRuns(uri)
    assert time.monotonic() - since < SOON_S
    assert raised.value.problems[0].where == "tracking.uri"
    assert len(tracker.failures) == 1
    assert not run_record.load(tmp_path / "run").complete
    holder.close()


@pytest.mark.parametrize("place", ["/proc/runs.db", "text.db", "gone/runs.db"])
def test_store_that_cannot_be_made_costs_a_run_nothing(here, place):
    (here / "text.db").write_text("no database, but long enough to have a header")
    since = time.monotonic()
    tracker = told(here / "run", MlflowTracker(settings(f"sqlite:///{place}", max_wait_s=60)))
    tracker.close()
    assert time.monotonic() - since < SOON_S
    (failure,) = tracker.failures
    assert "Errno" not in failure
    assert not (here / "gone").exists()
