"""What several test modules share: a folder of their own to stand in, the command line, the published models."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

# MLflow decides on its telemetry while it is imported, which some test modules do before our own code.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"

# What processes leave that tests kill is written down there, and not among the files of the user.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="tflite_recipes_tests_")

import pytest
from hypothesis import settings
from support import servers
from support.checkout import SHARED, Answer

# A shell that starts the tests in the background has them ignore Ctrl-C, and with them all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)
# Or every process that a test starts would compile the whole package again, which takes longer than most tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The same examples for everybody: a failure here is a failure there. `--hypothesis-profile=default` looks further.
settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=50)
# For the fast part of the tests: the whole has the others.
settings.register_profile("quick", settings.get_profile("repeatable"), max_examples=15)


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("quick" if config.option.markexpr == "not slow" else "repeatable")


# More workers than this do not fit into the memory of most machines: each has a TensorFlow of its own, 2 GB.
MOST_WORKERS = 4


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Return how many processes share the tests: one for single files and tests, else one for each processor.

    Slow tests often wait, for a server, a worker's start or a time limit: one more process uses the processors then.
    """
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    names_tests = any("::" in argument for argument in config.args)
    names_one_file = len(config.args) == 1 and config.args[0].endswith(".py")
    if names_tests or names_one_file:
        return 0
    waiting = 0 if config.option.markexpr == "not slow" else 1
    return min(len(os.sched_getaffinity(0)) + waiting, MOST_WORKERS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with the most slow tests first, so that short ones fill up what is left to the workers at the end.

    A worker takes the next file when it is done with its last one (`--dist loadfile`), in this order.
    """
    tests = Counter(item.path for item in items)
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (-slow[item.path], -tests[item.path], item.path))


def pytest_collection_finish() -> None:
    """Refuse test modules that import what takes seconds, which every run of the fast part would pay for.

    Look for garbage seldom, and not among what is there before the first test and stays to the end. Python would
    look through it again and again, which takes a tenth of the time.
    """
    if heavy := {"tensorflow", "keras", "mlflow", "sklearn", "pandas"} & sys.modules.keys():
        raise pytest.UsageError(
            f"a test module imports {', '.join(sorted(heavy))}: import it inside the test or fixture"
        )
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder as the working directory. What is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture(scope="session", autouse=True)
def copied_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each process of tests has MLflow make the tables of a store once, which takes seconds, and copies the file."""
    from tflite_recipes.tracking import sqlite_store

    made = tmp_path_factory.mktemp("store") / "tables.db"
    make = sqlite_store.make_tables

    def copy(file: Path) -> bool:
        if not made.exists() and not make(made):
            return False
        shutil.copyfile(made, file)
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_store, "make_tables", copy)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the published models and the gauntlet."""
    if not SHARED.is_dir():
        pytest.skip("../shared (published models, gauntlet) does not lie beside this repository")
    return SHARED


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.MlflowServer]:
    """`mlflow_server.uri`: MLflow's server over HTTP, on SQLite. Who kills it starts it again."""
    with servers.mlflow_server(tmp_path_factory.mktemp("mlflow_server")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.MlflowServer]:
    """The same on PostgreSQL, whose own URI is `postgres_server.database`."""
    if reason := servers.no_postgres():
        pytest.skip(reason)
    with (
        servers.postgres() as database,
        servers.mlflow_server(tmp_path_factory.mktemp("postgres_server"), database) as server,
    ):
        yield server


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Answer]]:
    """`cli("check", "convert")`: a command in this process, quick."""
    from tflite_recipes.cli.entry import main

    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(arguments)
        out, err = capsys.readouterr()
        return Answer(int(left.value.code or 0), out, err)

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def cli_process() -> Callable[..., Answer]:
    """`cli_process("run", "convert", cwd=…, env=…, timeout=…)`: a command in a process of its own, as users run it."""

    def run(
        *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float = 300
    ) -> Answer:
        command = [sys.executable, "-m", "tflite_recipes", *arguments]
        done = subprocess.run(command, cwd=cwd, env=env, timeout=timeout, capture_output=True, text=True, check=False)
        return Answer(done.returncode, done.stdout, done.stderr)

    return run
