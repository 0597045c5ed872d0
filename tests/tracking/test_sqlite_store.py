"""MLflow's store in a SQLite file: whole or not there, whenever a process is killed."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import time

import pytest

from tflite_recipes.tracking import sqlite_store
from tflite_recipes.tracking.client import client

pytestmark = pytest.mark.slow

EARLIER = time.time() - 3600


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A folder with a store as it is after every 20th statement of its making (`0.db` …), and when whole."""
    import sqlalchemy
    from mlflow.store.db import utils

    folder = tmp_path_factory.mktemp("stores")
    engine = utils.create_sqlalchemy_engine(f"sqlite:///{folder}/whole.db")
    statements = 0

    @sqlalchemy.event.listens_for(engine, "connect")
    def connected(connection, _):
        connection.execute("PRAGMA synchronous = OFF")

    @sqlalchemy.event.listens_for(engine, "after_cursor_execute")
    def executed(connection, cursor, statement, *_):
        nonlocal statements
        statements += statement.lstrip().startswith(("CREATE", "ALTER", "INSERT", "UPDATE", "DROP"))
        copy = folder / f"{statements // 20}.db"
        if statements and not copy.exists():
            shutil.copyfile(folder / "whole.db", copy)

    utils._initialize_tables(engine)
    engine.dispose()
    mlflow_client = client(f"sqlite:///{folder}/whole.db")
    mlflow_client.create_run(mlflow_client.create_experiment("mine"), run_name="precious")
    return folder


def old(path, source=None):
    if source is not None:
        shutil.copyfile(source, path)
    os.utime(path, (EARLIER, EARLIER))
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def has_all_tables(file):
    with contextlib.closing(sqlite3.connect(file)) as database:
        (count,) = database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'job_locks'").fetchone()
    return count == 1


def test_is_half_made_at_every_moment_of_the_making(stores):
    cut_off = [path for path in stores.glob("[0-9]*.db") if not has_all_tables(path)]
    assert len(cut_off) > 10
    assert [path.name for path in cut_off if not sqlite_store._is_half_made(path)] == []
    assert not sqlite_store._is_half_made(stores / "whole.db")


def test_client_of_a_half_made_store_sets_it_aside_and_makes_a_new_one(stores, here, capsys):
    file = old(here / "mlflow.db", stores / "7.db")
    before = file.read_bytes()
    mlflow_client = client("sqlite:///mlflow.db")
    assert [experiment.name for experiment in mlflow_client.search_experiments()] == ["Default"]
    assert (here / "mlflow.db.half_made").read_bytes() == before
    assert names(here) == ["mlflow.db", "mlflow.db.half_made"]
    assert "mlflow.db.half_made" in capsys.readouterr().err


def whole(path, stores):
    shutil.copyfile(stores / "whole.db", path)


def of_an_older_schema(path, stores):
    whole(path, stores)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE job_locks")
        database.execute("UPDATE alembic_version SET version_num = '0584bdc529eb'")
        database.commit()


def cut_off_while_upgraded(path, stores):
    of_an_older_schema(path, stores)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE _alembic_tmp_runs (x TEXT)")
        database.execute("DELETE FROM alembic_version")
        database.commit()


def of_another_program(path, stores):
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE experiments (x TEXT)")
        database.execute("CREATE TABLE my_samples (x TEXT)")


def with_rows_in_one_table(path, stores):
    shutil.copyfile(stores / "7.db", path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("INSERT INTO registered_models (name) VALUES ('mine')")
        database.commit()


def no_database(path, stores):
    path.write_bytes(b"SQLite format 3\0 or not")


@pytest.mark.parametrize(
    "make",
    [whole, of_an_older_schema, cut_off_while_upgraded, of_another_program, with_rows_in_one_table, no_database],
)
def test_prepare_leaves_any_other_file_as_it_is(make, stores, tmp_path):
    file = tmp_path / "mlflow.db"
    make(file, stores)
    before = old(file).read_bytes()
    sqlite_store.prepare(file)
    assert file.read_bytes() == before
    assert names(tmp_path) == ["mlflow.db"]


def test_prepare_leaves_a_store_that_another_process_is_making(stores, tmp_path):
    file = old(tmp_path / "mlflow.db", stores / "7.db")
    with file.open("rb") as stream, subprocess.Popen(["sleep", "60"], stdin=stream) as maker:
        try:
            sqlite_store.prepare(file)
        finally:
            maker.kill()
    assert names(tmp_path) == ["mlflow.db"]


def test_prepare_waits_for_a_store_that_is_written_to(stores, tmp_path, monkeypatch):
    """It was half made at the first look, and whole at the second."""
    file = tmp_path / "mlflow.db"
    shutil.copyfile(stores / "7.db", file)
    monkeypatch.setattr(sqlite_store.time, "sleep", lambda seconds: shutil.copyfile(stores / "whole.db", file))
    sqlite_store.prepare(file)
    assert names(tmp_path) == ["mlflow.db"]
    assert file.read_bytes() == (stores / "whole.db").read_bytes()


def stand_in(monkeypatch, stores, meanwhile=lambda: None):
    def make(new):
        shutil.copyfile(stores / "whole.db", new)
        meanwhile()
        return True

    monkeypatch.setattr(sqlite_store, "make_tables", make)


def test_make_keeps_the_store_of_another_process_that_was_first(stores, tmp_path, monkeypatch):
    file = tmp_path / "mlflow.db"
    stand_in(monkeypatch, stores, lambda: os.link(stores / "0.db", file))
    monkeypatch.setattr(type(file), "exists", lambda path: False)  # the other one comes after the last look
    sqlite_store._make(file)
    monkeypatch.undo()
    assert os.path.samefile(file, stores / "0.db")
    assert names(tmp_path) == ["mlflow.db"]


def test_prepare_makes_a_store_where_a_killed_process_left_no_byte(stores, tmp_path, monkeypatch):
    stand_in(monkeypatch, stores)
    file = tmp_path / "mlflow.db"
    file.touch(mode=0o600)
    sqlite_store.prepare(file)
    assert file.read_bytes() == (stores / "whole.db").read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600


def test_prepare_sets_a_journal_without_its_file_aside(stores, tmp_path, monkeypatch):
    stand_in(monkeypatch, stores)
    (tmp_path / "mlflow.db-wal").write_bytes(b"of a file that was deleted")
    sqlite_store.prepare(tmp_path / "mlflow.db")
    assert names(tmp_path) == ["mlflow.db", "mlflow.db-wal.half_made"]
    assert has_all_tables(tmp_path / "mlflow.db")


def test_prepare_follows_a_link_to_where_the_store_belongs(stores, tmp_path, monkeypatch):
    stand_in(monkeypatch, stores)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mlflow.db").symlink_to(tmp_path / "elsewhere" / "real.db")
    sqlite_store.prepare(tmp_path / "mlflow.db")
    assert (tmp_path / "mlflow.db").is_symlink()
    assert names(tmp_path / "elsewhere") == ["real.db"]


def test_prepare_in_a_folder_that_cannot_be_written_names_the_file_and_the_reason(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(sqlite_store.StoreError, match=r"mlflow\.db cannot be made: Not a directory"):
        sqlite_store._make(tmp_path / "file" / "mlflow.db")
