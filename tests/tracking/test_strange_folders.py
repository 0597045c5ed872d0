"""Output folders that came from somebody else: what of them is uploaded, where to, and how they are refused."""

import contextlib
import hashlib
import http.server
import json
import os
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from tflite_recipes.core import events
from tflite_recipes.core.errors import RequestError
from tflite_recipes.tracking import run_record, spool_reader
from tflite_recipes.tracking.client import client
from tflite_recipes.tracking.missing_runs import Outcome, sync
from tflite_recipes.tracking.settings import Mlflow

SECRET = "the secret of another file"


def folder_of(folder: Path, *told: events.Event, uri: str = "sqlite:///mlflow.db") -> Path:
    """A run's folder with these events between the first and the last, and a record."""
    folder.mkdir(parents=True, exist_ok=True)
    first = events.RunStarted("convert", "d" * 64, {}, {}, (), str(folder), at=5.0)
    last = events.RunFinished("done", 1.0, at=6.0)
    lines = [json.dumps(events.to_json(event)) for event in (first, *told, last)]
    (folder / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))
    run_record.save(folder, run_record.begun(Mlflow(uri, "strange", None, {}), {}))
    return folder


def outside(here: Path) -> dict[str, str]:
    """Paths in `here`/run that lead to files outside of it, by what leads there."""
    folder, away = here / "run", here / "away"
    folder.mkdir()
    away.mkdir()
    secret = away / "secret.txt"
    secret.write_text(SECRET)
    (folder / "link.txt").symlink_to(secret)
    (folder / "chain.txt").symlink_to(folder / "link.txt")
    (folder / "linked").symlink_to(away)
    (folder / "circle").symlink_to(folder / "circle")
    os.mkfifo(folder / "pipe")
    (folder / "below").mkdir()
    return {
        "absolute": str(secret),
        "relative": f"{folder}/../away/secret.txt",
        "from the working folder": "away/secret.txt",
        "a link": f"{folder}/link.txt",
        "a link to a link": f"{folder}/chain.txt",
        "in a linked folder": f"{folder}/linked/secret.txt",
        "a linked folder": f"{folder}/linked",
        "a folder": f"{folder}/below",
        "a circle": f"{folder}/circle",
        "a pipe": f"{folder}/pipe",
        "a device": "/dev/zero",
        "no path": f"{folder}/a\0b",
        "gone": f"{folder}/gone.txt",
    }


def kept(path: str, folder: str = "") -> events.ArtifactKept:
    return events.ArtifactKept(path, folder, at=5.5)


def test_left_out_names_each_artifact_that_is_no_file_of_the_folder(here):
    paths = outside(here)
    (here / "run" / "own.txt").write_text("own")
    (here / "run" / "inner.txt").symlink_to("own.txt")
    good = [kept(f"{here}/run/own.txt"), kept(f"{here}/run/inner.txt", "deploy")]
    folder = folder_of(here / "run", *map(kept, paths.values()), *good, kept(good[0].path, "../up"))
    told = spool_reader.read(folder, str(here))
    reasons = spool_reader.left_out(told, folder)
    assert {event.path for event in reasons if event.folder == ""} == {str(here / path) for path in paths.values()}
    assert all(reasons.values())
    assert [event.folder for event in reasons if event.folder] == ["../up"]


@pytest.mark.parametrize(
    "changes",
    [
        {"run_id": 7},
        {"tags": ["a"]},
        {"tags": {"a": 1}},
        {"key": "a' OR 'b"},
        {"complete": "yes"},
        {"settings": []},
        {"settings": {"uri": 3}},
        {"sweep": {}},
        {"sweep": {"started": 1.0, "params": {}}},
        {"sweep": {"recipe": "r", "started": "now", "params": {}}},
        {"sweep": ["recipe"]},
        {"sweep": {"recipe": "r", "started": float("inf"), "params": {}}},
        {"sweep": {"recipe": "r", "started": 1.0, "ended": 1e300, "params": {}}},
        {"sweep": {"recipe": "r", "started": 1.0, "outcome": "DONE", "params": {}}},
        {"parent_run_id": "\ud800"},
        {"other": 1},
        {"cwd": None},
    ],
    ids=str,
)
def test_load_record_of_other_types_names_the_record(here, changes):
    folder_of(here)
    data = {**json.loads((here / "tracking.json").read_text()), **changes}
    (here / "tracking.json").write_text(json.dumps(data))
    with pytest.raises(RequestError) as error:
        run_record.load(here)
    (problem,) = error.value.problems
    assert problem.where == str(here / "tracking.json")
    assert "Error" not in problem.what


def test_sync_of_a_record_with_a_uri_that_mlflow_lacks_names_the_record(here):
    folder = folder_of(here / "run", uri="nonsense")
    (synced,) = sync([folder])
    assert synced.outcome is Outcome.DAMAGED
    (problem,) = synced.problems
    assert (problem.where, problem.alternatives) == (str(folder / "tracking.json"), ("tracking.uri=URI",))


def test_load_record_keeps_the_bytes_of_a_folder_that_is_not_utf_8(here):
    folder_of(here)
    run_record.update(here, cwd="/home/\udcff")
    assert run_record.load(here).cwd == "/home/\udcff"


def test_typed_record_with_tags_as_a_list_names_the_key(here):
    folder_of(here)
    data = json.loads((here / "tracking.json").read_text())
    data["settings"]["tags"] = ["a"]
    (here / "tracking.json").write_text(json.dumps(data))
    with pytest.raises(RequestError) as error:
        run_record.load(here).typed("sqlite:///mlflow.db")
    assert error.value.problems[0].where == "tracking.json"
    assert "tracking.tags" in error.value.problems[0].what


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def sparse(file: Path) -> None:
    os.truncate(file, 40 << 30)


@pytest.mark.parametrize(
    "change",
    [
        pipe,
        sparse,
        lambda file: (file.unlink(), file.mkdir()),
        lambda file: (file.unlink(), file.symlink_to("/dev/zero")),
        lambda file: (file.unlink(), file.symlink_to(file.name)),
        lambda file: file.write_text("[" * 100_000),
        lambda file: file.write_text('{"a":' * 900 + "1" + "}" * 900),
        lambda file: file.write_bytes(b"\xff\xfe"),
        lambda file: file.write_text('"' + "9" * 5000),
    ],
)
@pytest.mark.parametrize("name", ["tracking.json", "events.jsonl"])
def test_sync_of_a_damaged_file_names_it_and_goes_on(here, name, change):
    folder = folder_of(here / "run")
    with (folder / name).open("a") as stream:
        stream.write("\n")
    change(folder / name)
    with pytest.raises(RequestError) as error:
        run_record.load(folder) if name == "tracking.json" else spool_reader.read(folder, "")
    assert str(folder / name) in error.value.problems[0].where


@pytest.mark.parametrize(
    "event",
    [
        {"event": "Measured", "metrics": [1]},
        {"event": "Measured", "metrics": {"a": "b"}},
        {"event": "Tagged", "tags": {"a": {}}},
        {"event": "ArtifactKept", "path": 5},
        {"event": "Judged", "gate": {"name": "g", "measured": "a", "limit": 1.0, "passed": True}},
        {"event": "Judged", "gate": [1]},
        {"event": "InputRead", "key": "k", "path": "p", "sha256": "0", "bytes": "many"},
        {"event": "RunFinished", "outcome": {}, "seconds": 1.0},
        {"event": "RunFinished", "outcome": "done", "seconds": 1.0, "problems": [{"what": 1}]},
        {"event": ["Warned"]},
        {"event": "Warned", "text": "a", "at": "now"},
        {"event": "Warned", "text": "a", "at": float("nan")},
        {"event": "Warned", "text": "a", "at": 1e300},
        {"event": "Warned", "text": "half \ud800"},
    ],
    ids=str,
)
def test_read_event_of_other_types_names_the_line(here, event):
    folder = folder_of(here / "run")
    lines = (folder / "events.jsonl").read_text().splitlines()
    (folder / "events.jsonl").write_text("\n".join([lines[0], json.dumps(event), *lines[1:], ""]))
    with pytest.raises(RequestError) as error:
        spool_reader.read(folder, "")
    assert error.value.problems[0].where.endswith("events.jsonl, line 2")


def test_held_by_a_lock_that_is_no_file_is_refused_and_touches_nothing(here):
    (here / "mine.txt").write_text("mine")
    makers = (
        lambda lock: lock.mkdir(),
        lambda lock: os.mkfifo(lock),
        lambda lock: lock.symlink_to(here / "mine.txt"),
    )
    for number, make in enumerate(makers):
        folder = here / str(number)
        folder.mkdir()
        make(folder / ".tracking.lock")
        with pytest.raises(RequestError) as error, run_record.held(folder, "sync"):
            pass
        assert error.value.problems[0].where == str(folder / ".tracking.lock")
    assert (here / "mine.txt").read_text() == "mine"


def test_save_does_not_write_through_a_link(here):
    (here / "mine.txt").write_text("mine")
    (here / f".tracking.json.{os.getpid()}").symlink_to(here / "mine.txt")
    folder_of(here)
    assert (here / "mine.txt").read_text() == "mine"
    assert not (here / "tracking.json").is_symlink()


@pytest.mark.slow
def test_sync_uploads_nothing_from_outside_and_the_rest(here):
    from tflite_recipes.tracking.client import client

    paths = outside(here)
    (here / "run" / "own.txt").write_text("own")
    secret, known = here / "away" / "secret.txt", here / "away" / "known.txt"
    known.write_text("the samples")
    digest = hashlib.sha256(known.read_bytes()).hexdigest()
    inputs = [
        events.InputRead("source.path", str(secret), "0" * 64, len(SECRET), at=5.5),
        events.InputRead("calibration.path", str(known), digest, known.stat().st_size, at=5.5),
        events.InputRead("evaluation.path", "/dev/zero", digest, 1, at=5.5),
        events.InputRead("target.labels", str(here / "run" / "pipe"), digest, 1, at=5.5),
    ]
    told = [*map(kept, paths.values()), kept(f"{here}/run/own.txt"), *inputs]
    folder = folder_of(here / "run", *told)
    shutil.copytree(folder_of(here / "good"), here / "next")
    uri, servers = f"sqlite:///{here}/mlflow.db", []
    results = {synced.folder: synced for synced in sync([folder, here / "next"], uri, announce=servers.append)}
    assert servers == [uri]
    assert results[here / "next"].outcome is Outcome.TOLD
    strange = results[folder]
    assert {problem.where for problem in strange.problems} == {str(here / path) for path in paths.values()}
    run_id = run_record.load(folder).run_id
    (here / "downloads").mkdir()
    uploaded = Path(client(uri).download_artifacts(run_id, "", str(here / "downloads")))
    texts = {str(file.relative_to(uploaded)): file.read_text() for file in uploaded.rglob("*") if file.is_file()}
    assert texts == {"own.txt": "own", "inputs/calibration.path/known.txt": "the samples"}


class Server(http.server.BaseHTTPRequestHandler):
    seen: ClassVar[list[str | None]] = []

    def do_POST(self):
        self.seen.append(self.headers.get("Authorization"))
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_):
        pass


@pytest.mark.slow
def test_sync_sends_credentials_only_to_a_server_that_the_user_named(here, monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    uri = f"http://127.0.0.1:{server.server_port}"
    folder = folder_of(here / "run", uri=uri)
    (here / ".mlflow").mkdir()
    (here / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = me\nmlflow_tracking_password = mine\n"
    )
    (here / ".netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def sent(asked: str | None = None) -> set[str | None]:
        Server.seen.clear()
        (synced,) = sync([folder], asked)
        assert synced.outcome is Outcome.AWAY
        named = any(f"tracking.uri={uri}" in problem.alternatives for problem in synced.problems)
        assert named == (asked is None and "MLFLOW_TRACKING_URI" not in os.environ)
        assert Server.seen
        return set(Server.seen)

    try:
        for name, value in (("USERNAME", "me"), ("PASSWORD", "mine"), ("TOKEN", "token")):
            monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
            assert sent() == {None}
            assert os.environ[f"MLFLOW_TRACKING_{name}"] == value
        assert None not in sent(uri)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert None not in sent()
    finally:
        server.shutdown()
        server.server_close()


def tables_of(file: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(file)) as database:
        return [name for (name,) in database.execute("SELECT name FROM sqlite_master")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["another_database", "new_file", "new_file_elsewhere", "linked", "artifacts_elsewhere"]
)
def test_sync_writes_to_no_store_that_only_a_folder_names_but_those_of_mlflow(here, cli, monkeypatch, kind):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    away = here / "away"
    away.mkdir()
    store = {"new_file": here / "runs.db", "linked": here / "mlflow.db"}.get(kind, away / "mlflow.db")
    if kind == "another_database":
        with contextlib.closing(sqlite3.connect(store)) as database:
            database.execute("CREATE TABLE bookmarks (name)")
    elif kind == "linked":
        store.symlink_to(away / "new.db")
    elif kind == "artifacts_elsewhere":
        client(f"sqlite:///{store}").create_experiment("strange", str(here / "secret"))
    (here / "work").mkdir()
    monkeypatch.chdir(here / "work")
    before = store.read_bytes() if store.is_file() else None
    folder = folder_of(here / "outputs" / "run", uri=f"sqlite:///{store}")
    answer = cli("sync", str(folder))
    assert answer.status == 4
    assert f"or: tracking.uri=sqlite:///{store}" in answer.err
    assert (store.read_bytes() if store.is_file() else None) == before
    assert not (away / "new.db").exists()
    if kind == "new_file":
        assert cli("sync", str(folder), f"tracking.uri=sqlite:///{store}").status == 0
        assert "experiments" in tables_of(store)


@pytest.mark.slow
def test_sync_takes_the_store_beside_the_outputs_from_anywhere(here, cli, monkeypatch):
    """Nobody has to name the default store of the folder where the run was made, also if it does not exist yet."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = here / "project" / "mlflow.db"
    first, second = (folder_of(here / "project" / "outputs" / name, uri=f"sqlite:///{store}") for name in "ab")
    (here / "work").mkdir()
    monkeypatch.chdir(here / "work")
    assert cli("sync", str(first)).status == 0
    assert cli("sync", str(second)).status == 0
    assert "experiments" in tables_of(store)
