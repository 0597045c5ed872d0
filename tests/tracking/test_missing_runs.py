"""Runs told to real servers: by many at once, through outages, and later."""

import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from support import servers, writers
from support.checkout import REPOSITORY, write
from support.devices import in_time
from support.flaky import flaky

from tflite_recipes import api
from tflite_recipes.core.errors import ExitStatus
from tflite_recipes.tracking import run_record, spool_reader
from tflite_recipes.tracking.client import client
from tflite_recipes.tracking.mlflow_tracker import MlflowTracker
from tflite_recipes.tracking.settings import Mlflow

pytestmark = pytest.mark.slow

FACTORY = """
def build():
    import keras
    i = keras.Input((4,), name="x")
    return keras.Model(i, keras.layers.Dense(2, name="y")(i))
"""
NOBODY = "http://127.0.0.1:9"
SOURCE = ("source=factory", "source.function=make.py:build")


@pytest.fixture(scope="module")
def untracked(tmp_path_factory):
    """A run whose server was down all the time."""
    folder = tmp_path_factory.mktemp("untracked")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write(folder / "make.py", FACTORY)
        result = api.run("convert", [*SOURCE, f"tracking.uri={NOBODY}"], output_dir="out dir", progress=False)
    return replace(result, output_dir=folder / "out dir", path=folder / "out dir" / "model.tflite")


@pytest.fixture
def recorded(untracked):
    return untracked.output_dir


def runs_of(uri, experiment):
    found = client(uri).get_experiment_by_name(experiment)
    return [] if found is None else list(client(uri).search_runs([found.experiment_id]))


def moved(folder, uri, experiment):
    """The folder's record, made to belong elsewhere."""
    settings = {**run_record.load(folder).settings, "uri": uri, "experiment": experiment}
    return run_record.update(folder, settings=settings)


def test_without_its_server_a_run_is_done_and_says_how_to_sync(untracked):
    assert untracked.status == ExitStatus.UNTRACKED
    assert untracked.path.stat().st_size > 0
    (problem,) = untracked.problems
    assert problem.where == "tracking.uri"
    assert "no answer from the server" in problem.what
    assert "Errno" not in problem.what
    assert problem.lines()[1:] == ["or: tflite-recipes sync 'out dir'"]
    kept = run_record.load(untracked.output_dir)
    assert (kept.uri, kept.run_id, kept.complete) == (NOBODY, None, False)


@pytest.mark.parametrize(("where", "number"), [("file", 8), ("http", 4), ("postgres", 4)])
def test_many_writers_at_once(where, number, recorded, tmp_path, request):
    if where == "file":
        uri = f"sqlite:///{tmp_path}/mlflow.db"
    else:
        server = request.getfixturevalue("mlflow_server" if where == "http" else "postgres_server")
        uri = server.uri
    folders = writers.copies(recorded, tmp_path / "runs", number)
    for folder in folders:
        writers.lighten(folder)
    experiment = f"many {where}"
    run_ids = writers.write_in_parallel(folders, uri, experiment)
    assert {run.info.run_id for run in runs_of(uri, experiment)} == set(run_ids)
    assert len(set(run_ids)) == number
    for run_id, folder in zip(run_ids, folders, strict=True):
        writers.whole(client(uri), run_id, folder)
        assert run_record.load(folder).complete


def test_sync_from_anywhere_and_once(recorded, tmp_path, mlflow_server, cli_process):
    (folder,) = writers.copies(recorded, tmp_path / "runs", 1)
    moved(folder, mlflow_server.uri, "once")
    command = [sys.executable, "-m", "tflite_recipes", "sync", str(folder.parent)]
    both = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    (run,) = runs_of(mlflow_server.uri, "once")
    assert any(f"{folder} -> {run.info.run_id}" in text for text in said)
    writers.whole(client(mlflow_server.uri), run.info.run_id, folder)
    # Who has lost the record's last lines only is not doubled either: by its ID, and by its key.
    for values in ({"complete": False}, {"complete": False, "run_id": None}, {"complete": False, "run_id": "0" * 32}):
        run_record.update(folder, **values)
        answer = cli_process("sync", str(folder))
        assert (answer.status, answer.err) == (0, "")
        told = [f"uploading to {mlflow_server.uri}", f"{folder} -> {run.info.run_id}", "1 told"]
        assert answer.out.splitlines() == told
    assert len(runs_of(mlflow_server.uri, "once")) == 1
    writers.whole(client(mlflow_server.uri), run.info.run_id, folder)


def test_a_killed_run_a_damaged_one_and_one_at_work(recorded, tmp_path, cli):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    killed, damaged, gone, busy = writers.copies(recorded, tmp_path / "runs", 4)
    for folder in (killed, damaged, gone, busy):
        moved(folder, uri, "kinds")
    lines = (killed / "events.jsonl").read_text().splitlines()
    (killed / "events.jsonl").write_text("\n".join([*lines[:-2], lines[-2][:20]]))
    (damaged / "events.jsonl").write_text("\n".join([*lines[:3], "{", *lines[4:]]))
    (gone / "model.tflite").unlink()
    with run_record.held(busy, "run"):
        answer = cli("sync", str(tmp_path / "runs"))
    assert answer.status == 2
    assert f"{busy} -> still running" in answer.out
    assert answer.out.splitlines()[-1] == "1 told, 1 still running, 2 damaged"
    assert f"{damaged}/events.jsonl, line 4: is not an event" in answer.err
    assert f"{gone}/model.tflite: is gone from the folder" in answer.err
    runs = {run.data.tags["tflite_recipes.run_key"]: run for run in runs_of(uri, "kinds")}
    assert runs.keys() == {run_record.load(folder).key for folder in (killed, gone)}
    assert runs[run_record.load(killed).key].info.status == "KILLED"
    assert "report.html" in {item.path for item in client(uri).list_artifacts(run_record.load(gone).run_id)}


def halves(folder):
    told = spool_reader.read(folder, run_record.load(folder).cwd)
    told[0] = replace(told[0], output_dir=str(folder))
    return told[: len(told) // 2], told[len(told) // 2 :]


def test_a_server_that_dies_and_comes_back(recorded, tmp_path):
    early, late = writers.copies(recorded, tmp_path / "runs", 2)
    with servers.mlflow_server(tmp_path / "server") as server:
        trackers = [MlflowTracker(Mlflow(server.uri, "dying", None, {})) for _ in range(2)]
        for tracker, folder in zip(trackers, (early, late), strict=True):
            for event in halves(folder)[0]:
                tracker(event)
            assert in_time(lambda tracker=tracker: tracker.run_id is not None)
        server.kill()
        for tracker, folder in zip(trackers, (early, late), strict=True):
            for event in halves(folder)[1]:
                tracker(event)
        trackers[0].close()
        (failure,) = trackers[0].failures  # the connection is refused, or cut where a request was under way
        assert failure.startswith("no answer from the server: ")
        assert run_record.load(early).run_id == trackers[0].run_id is not None
        server.start()
        trackers[1].close()  # which finds it back
        assert (trackers[1].failures, run_record.load(late).complete) == ([], True)
        assert [run.info.run_id for run in runs_of(server.uri, "dying") if run.info.status == "FINISHED"] == [
            trackers[1].run_id
        ]
        answer = subprocess.run(
            [sys.executable, "-m", "tflite_recipes", "sync", "runs"], cwd=tmp_path, capture_output=True, text=True
        )
        assert (answer.returncode, answer.stderr) == (0, "")
        assert answer.stdout.splitlines() == [
            f"uploading to {server.uri}",
            f"runs/run0 -> {trackers[0].run_id}",
            "1 told",
        ]
        assert len(runs_of(server.uri, "dying")) == 2
        for tracker, folder in zip(trackers, (early, late), strict=True):
            writers.whole(client(server.uri), tracker.run_id, folder)


@pytest.mark.parametrize("kind", ["lost answer", "500", "429"])
def test_a_server_with_moods(kind, recorded, tmp_path, mlflow_server):
    (folder,) = writers.copies(recorded, tmp_path / "runs", 1)
    with flaky(mlflow_server.port) as server:

        def fate(method, path):
            times = len([one for one in server.asked if one[1] == path])
            if kind == "lost answer":
                return "lose" if path.endswith("/runs/create") and times == 1 else None
            return int(kind) if path.endswith("/runs/log-batch") and times <= 3 else None

        server.fate = fate
        tracker = writers.tell(folder, server.uri, f"moods {kind}")
        assert tracker.failures == []
        (run,) = runs_of(mlflow_server.uri, f"moods {kind}")
    assert run.info.run_id == tracker.run_id
    writers.whole(client(mlflow_server.uri), run.info.run_id, folder)


def test_a_server_that_hangs_keeps_nobody_who_wants_to_go(recorded, tmp_path, mlflow_server):
    (folder,) = writers.copies(recorded, tmp_path / "runs", 1)
    with flaky(mlflow_server.port) as server:
        server.fate = lambda method, path: "hang"
        before = set(threading.enumerate())
        tracker = MlflowTracker(Mlflow(server.uri, "hanging", None, {}))
        for event in (*halves(folder)[0], *halves(folder)[1]):
            tracker(event)
        tracker.close(wait=False)
        assert tracker.failures == ["interrupted before all was told"]
        assert not run_record.load(folder).complete
    for thread in set(threading.enumerate()) - before:
        thread.join()  # the server is gone, and with it the request


def test_a_sweep_without_its_server_is_synced_with_all_that_is_below(here, cli, tmp_path):
    write(here / "make.py", FACTORY)
    server = servers.MlflowServer(tmp_path / "server", f"sqlite:///{tmp_path}/server.db")
    np.savez(here / "test.npz", x=np.eye(4, dtype=np.float32), labels=np.arange(4) % 2)
    searches = ("-m", "optimization=auto", "optimization.schemes=[dynamic_range],[none]")
    sweep = (*searches, "hydra.sweep.dir=swept", f"tracking.uri={server.uri}")
    data = ("evaluation=npz", "evaluation.path=test.npz", "evaluation.max_drop=1")
    answer = cli("run", "convert", *SOURCE, *data, *sweep)
    assert answer.status == 4, answer.err
    assert "or: tflite-recipes sync swept\n" in answer.err
    assert "tracking=none" not in answer.err
    shutil.move(here / "swept", here / "elsewhere")
    server.start()
    try:
        answer = cli("sync", "elsewhere")
        assert answer.status == 0, answer.err
        assert (
            f"its runs beside each other: tflite-recipes compare {answer.out.splitlines()[1].split()[2]} --tracking-uri"
            in answer.out
        )
        every = {run.info.run_id: run for run in runs_of(server.uri, "tflite_recipes")}
        again = cli("sync", "elsewhere")
        assert again.out == "nothing to upload: MLflow knows all runs there\n"
    finally:
        server.kill()
    parent = {run_id: run.data.tags.get("mlflow.parentRunId") for run_id, run in every.items()}
    (top,) = (run_id for run_id, above in parent.items() if above is None)
    assert every[top].info.run_name == "convert sweep"
    assert every[top].data.params["sweep.optimization.schemes"] == "[dynamic_range],[none]"
    jobs = [run_id for run_id, above in parent.items() if above == top]
    assert len(jobs) == 2
    candidates = {run_id: job for run_id, job in parent.items() if job in jobs}
    assert set(candidates.values()) == set(jobs)
    assert len(candidates) == len(list((here / "elsewhere").glob("*/candidates/*/tracking.json")))
    assert len(every) == 1 + len(jobs) + len(candidates)
    for run_id in candidates:
        assert every[run_id].info.run_name.startswith("0")
        assert every[run_id].data.params["optimization"] in ("dynamic_range", "none")
    assert {run.info.status for run in every.values()} == {"FINISHED"}


def test_a_joblib_sweep_on_postgresql_and_its_password(here, cli_process, postgres_server):
    write(here / "make.py", FACTORY)
    sweep = ("-m", "optimization=none,float16", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    uri = f"tracking.uri='{postgres_server.database}'"
    answer = cli_process("run", "convert", *SOURCE, *sweep, uri, "tracking.experiment=joblib", cwd=here)
    assert answer.status == 0, answer.err
    runs = runs_of(postgres_server.uri, "joblib")
    (top,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    assert len(runs) == 3
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags.get("mlflow.parentRunId", top.info.run_id) for run in runs} == {top.info.run_id}
    told = "".join(f"{run.data.params}{run.data.tags}" for run in runs) + answer.out + answer.err
    files = [path for path in here.rglob("*") if path.is_file() and path.name != "make.py"]
    assert len(files) > 20
    assert "let-me-in" not in told
    assert [path for path in files if b"let-me-in" in path.read_bytes()] == []


GUARD = """
import sys
from pathlib import Path
left = []
def guard(name, arguments):
    if name in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        left.append((name, arguments[1:] if name == "socket.connect" else arguments))
sys.addaudithook(guard)
from support import writers
tracker = writers.tell(Path(sys.argv[1]), sys.argv[2], "quiet")
from mlflow.telemetry import get_telemetry_client
from mlflow.telemetry.utils import is_telemetry_disabled
print(tracker.failures, get_telemetry_client(), is_telemetry_disabled(), left)
"""


def test_mlflow_tells_nobody_else(recorded, tmp_path):
    import mlflow

    (folder,) = writers.copies(recorded, tmp_path / "runs", 1)
    # MLflow is silent by itself where it takes the place for a test or for CI, so these do not go down.
    known = (
        "PYTEST",
        "CI",
        "GITHUB",
        "DO_NOT_TRACK",
        "MLFLOW_",
        "JENKINS",
        "GITLAB",
        "BUILDKITE",
        "TF_BUILD",
        "TRAVIS",
    )
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(known)}
    quiet["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", GUARD, str(folder), f"sqlite:///{tmp_path}/mlflow.db"]
    done = subprocess.run(command, cwd=tmp_path, env=quiet, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] None True []"
    assert mlflow.telemetry.get_telemetry_client() is None
