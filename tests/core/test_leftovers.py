"""What a killed process leaves is removed, and nothing else."""

import contextlib
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tflite_recipes.core import leftovers, lock_files


@pytest.fixture
def state(tmp_path, monkeypatch):
    """The state folder of a user of this test's own, with the registers of processes in it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(leftovers, "_own", None)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "state" / "tflite_recipes" / "processes"
    yield folder
    leftovers._close()


def killed(make):
    """Call a function in a process that is killed while it is inside of the contexts that the function gives."""
    child = os.fork()
    if child == 0:
        with contextlib.ExitStack() as stack:
            for context in make():
                stack.enter_context(context)
            os.kill(os.getpid(), signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def everything():
    scratch = Path("out", f".work_{leftovers.token()}")
    scratch.parent.mkdir()
    beside = Path(f".record.{leftovers.token()}")
    beside.touch()
    lock = Path(".mlflow.db.lock")
    return [
        leftovers.temporary_files_together(),
        leftovers.folder(scratch),
        leftovers.folder(scratch / f"below_{leftovers.token()}"),
        leftovers.claimed(beside),
        leftovers.claimed(lock),
        lock_files.locked(lock),
    ]


def hidden(folder):
    return sorted(path.name.partition("_")[0] for path in folder.rglob(".*"))


def test_remove_abandoned_removes_all_that_a_killed_process_left(state, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    killed(everything)
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    assert len(hidden(tmp_path)) == 3
    leftovers.remove_abandoned()
    assert list((tmp_path / "temporary").iterdir()) == []
    assert hidden(tmp_path) == []
    assert list(state.iterdir()) == []
    assert (tmp_path / "out").is_dir()


def test_remove_abandoned_touches_nothing_of_a_living_process(state, tmp_path):
    with contextlib.ExitStack() as stack:
        for context in everything():
            stack.enter_context(context)
        before = sorted(tmp_path.rglob("*"))
        leftovers.remove_abandoned()
        assert sorted(tmp_path.rglob("*")) == before


def test_remove_abandoned_waits_for_the_worker_of_a_killed_process(state, tmp_path):
    """The worker holds the lock of its parent's register, and still writes to the scratch folder."""
    Path("out").mkdir()

    def start():
        scratch = leftovers.folder(Path("out", f".work_{leftovers.token()}"))
        worker = subprocess.Popen(["sleep", "60"], pass_fds=[leftovers.descriptor()], stdout=subprocess.DEVNULL)
        Path("worker").write_text(str(worker.pid))
        return [scratch]

    killed(start)
    leftovers.remove_abandoned()
    assert hidden(tmp_path) == [".work"]
    worker = int(Path("worker").read_text())
    lock = next(state.iterdir())
    os.kill(worker, signal.SIGKILL)
    while lock_files.is_held(lock):
        pass
    leftovers.remove_abandoned()
    assert hidden(tmp_path) == []


def test_remove_abandoned_leaves_what_is_not_the_dead_process_s(state, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()

    def claim():
        link = tmp_path / f".work_{leftovers.token()}"
        link.symlink_to(tmp_path / "mine")
        return [leftovers.claimed(path) for path in (tmp_path / "mine", tmp_path / "mine" / "file", link)]

    killed(claim)
    with lock_files.locked(tmp_path / ".other.lock"):
        killed(lambda: [leftovers.claimed(tmp_path / ".other.lock")])
        leftovers.remove_abandoned()
        assert (tmp_path / ".other.lock").exists()
    assert (tmp_path / "mine" / "file").exists()
    assert hidden(tmp_path) == []
    assert list(state.iterdir()) == []


def test_remove_abandoned_leaves_the_files_of_another_machine(state, tmp_path, monkeypatch):
    killed(lambda: [leftovers.folder(tmp_path / f".work_{leftovers.token()}")])
    monkeypatch.setattr(leftovers, "_MACHINE", "0" * 8)
    leftovers.remove_abandoned()
    assert hidden(tmp_path) == [".work"]


def test_register_of_a_process_that_ends_by_itself_is_removed(state, tmp_path):
    with leftovers.temporary_folder() as folder:
        assert len(list(state.iterdir())) == 1
    assert not os.path.exists(folder)
    leftovers._close()
    assert list(state.iterdir()) == []


def test_user_without_a_home_gets_temporary_folders_all_the_same(state, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with leftovers.temporary_folder() as folder:
        assert os.path.isdir(folder)
    assert not os.path.exists(folder)
    leftovers.remove_abandoned()


def test_temporary_files_together_puts_the_place_back(state):
    before = tempfile.gettempdir()
    with leftovers.temporary_files_together():
        assert os.path.dirname(tempfile.gettempdir()) == before
        place = Path(tempfile.mkstemp()[1]).parent
    assert tempfile.gettempdir() == before
    assert not place.exists()
