"""What a recipe reads is kept with the run, whole and as it was, or the run says what is not, and why."""

import os
from pathlib import Path

import pytest
from support.checkout import write
from support.tracked_runs import finished, read, settings, started, tracked

from tflite_recipes.core.events import InputRead
from tflite_recipes.core.outcome import RunOutcome
from tflite_recipes.files.models import sha256_of
from tflite_recipes.tracking import kept_inputs
from tflite_recipes.tracking.client import client
from tflite_recipes.tracking.kept_inputs import keep, planned, refused, tags

KEPT, NOT_KEPT = "tflite_recipes.inputs_kept", "tflite_recipes.inputs_not_kept"
MODEL = InputRead("source.path", "model.keras", "a", 20_000_000)
SAMPLES = InputRead("calibration.path", "cal.npz", "b", 60_000_000)
TEST = InputRead("evaluation.path", "test.npz", "c", 500_000_000)


def keys(plan):
    return [given.key for given in plan.kept]


def plan_of(*read_inputs, outcome="done", **values):
    return planned(read_inputs, settings("sqlite:///x.db", **values), RunOutcome(outcome))


def test_auto_keeps_all_within_the_limit(here):
    assert keys(plan_of(MODEL, SAMPLES)) == ["source.path", "calibration.path"]
    assert keys(plan_of(MODEL, SAMPLES, log_source_limit_mb=80)) == ["source.path", "calibration.path"]


def test_beyond_the_limit_what_makes_the_file(here):
    plan = plan_of(MODEL, SAMPLES, TEST)
    assert keys(plan) == ["source.path", "calibration.path"]
    assert plan.left == {"evaluation.path": "580.0 MB of inputs, and tracking.log_source_limit_mb is 100"}


def test_a_part_of_what_makes_the_file_is_not_kept_alone(here):
    plan = plan_of(MODEL, SAMPLES, log_source_limit_mb=79.9)
    assert keys(plan) == []
    assert set(plan.left) == {"source.path", "calibration.path"}


def test_true_has_no_limit_and_false_keeps_none(here):
    assert keys(plan_of(MODEL, TEST, log_source="true")) == ["source.path", "evaluation.path"]
    assert plan_of(MODEL, log_source="false").left == {"source.path": "tracking.log_source=false"}


@pytest.mark.parametrize(
    ("outcome", "auto", "true"), [("gate_failed", 1, 1), ("not_evaluated", 1, 1), ("failed", 0, 1), ("killed", 0, 0)]
)
def test_what_came_to_nothing_is_kept_where_it_is_asked_for(here, outcome, auto, true):
    plan = plan_of(MODEL, outcome=outcome)
    assert len(plan.kept) == auto
    assert plan.left == ({} if auto else {"source.path": f"the run was {outcome}"})
    assert len(plan_of(MODEL, outcome=outcome, log_source="true").kept) == true


def test_a_folder_of_very_many_files_is_kept_where_it_is_asked_for(here):
    (here / "images").mkdir()
    for number in range(1001):
        (here / "images" / f"{number}.png").write_bytes(b"")
    images = InputRead("calibration.path", "images", "a", 0)
    assert plan_of(images).left["calibration.path"].startswith("1001 files")
    assert keys(plan_of(images, log_source="true")) == ["calibration.path"]


def test_the_tag_says_all_none_or_which():
    two = (MODEL, SAMPLES)
    assert tags((), (), {}) == {KEPT: "none named"}
    assert tags(two, ("source.path", "calibration.path"), {}) == {KEPT: "all"}
    assert tags(two, ("source.path",), {"calibration.path": "x"}) == {
        KEPT: "source.path",
        NOT_KEPT: "calibration.path: x",
    }
    assert tags(two, (), {"source.path": "x", "calibration.path": "x"}) == {
        KEPT: "none",
        NOT_KEPT: "source.path, calibration.path: x",
    }
    assert tags((InputRead("source.path", "m", "a", 1, shared=True),), (), {}) == {KEPT: "parent"}


def test_a_server_that_will_never_take_it_is_told_from_one_that_is_away():
    class Answer(Exception):
        def __init__(self, status):
            self.response = type("Response", (), {"status_code": status})()

    assert refused(Answer(413))
    assert not refused(Answer(503))
    assert not refused(ConnectionError("refused"))


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


def artifacts(uri, run, path=None):
    """Every file of the run, by its path, with what is in it."""
    store = client(uri)
    found = {}
    for item in store.list_artifacts(run.info.run_id, path):
        if item.is_dir:
            found |= artifacts(uri, run, item.path)
        else:
            with open(store.download_artifacts(run.info.run_id, item.path), "rb") as file:
                found[item.path] = file.read()
    return found


def run_with(uri, *told, outcome="done", **values):
    run = tracked([started(), *told, finished(outcome)], settings(uri, **values))
    return run.data.tags, artifacts(uri, run)


@pytest.mark.slow
def test_files_and_folders_are_kept_as_they_were(here, uri):
    write(here / "my models" / "größe v2.keras", "model")
    write(here / "saved" / "saved_model.pb", "graph")
    write(here / "saved" / "variables" / "variables.index", "index")
    (here / "link.npz").symlink_to(here / "my models" / "größe v2.keras")
    told = [read("source.path", "my models/größe v2.keras"), read("source.weights", "saved/")]
    told += [read("calibration.path", here / "link.npz"), read("evaluation.path", "link.npz")]
    said, found = run_with(uri, *told)
    assert said[KEPT] == "all"
    assert NOT_KEPT not in said
    assert found == {
        "inputs/source.path/größe v2.keras": b"model",
        "inputs/source.weights/saved/saved_model.pb": b"graph",
        "inputs/source.weights/saved/variables/variables.index": b"index",
        "inputs/calibration.path/link.npz": b"model",  # what the recipe itself names may be a link
        "inputs/evaluation.path/link.npz": b"model",
    }


@pytest.mark.slow
def test_what_changed_since_is_not_kept_as_what_it_was(here, uri):
    write(here / "model.keras", "model")
    write(here / "gone.npz", "samples")
    told = [read("source.path", "model.keras"), read("calibration.path", "gone.npz")]
    write(here / "model.keras", "MODEL")  # of the same length
    (here / "gone.npz").unlink()
    said, found = run_with(uri, *told)
    assert said[KEPT] == "none"
    assert said[NOT_KEPT] == (
        "source.path: changed since the run read it; calibration.path: gone since the run read it"
    )
    assert found == {}


@pytest.mark.slow
def test_keep_of_a_folder_of_another_size_does_not_read_it_for_its_digest(here, uri, monkeypatch):
    write(here / "data" / "1.png", "one")
    told = read("calibration.path", "data")
    write(here / "data" / "2.png", "two")
    monkeypatch.setattr(kept_inputs, "sha256_of", pytest.fail)
    said, found = run_with(uri, told)
    assert said[NOT_KEPT] == "calibration.path: changed since the run read it"
    assert found == {}


@pytest.mark.slow
def test_keep_of_a_folder_counts_its_folders_too(here, uri, monkeypatch):
    for number in range(30):
        (here / "data" / str(number)).mkdir(parents=True)
    write(here / "data" / "1.png", "one")
    told = read("calibration.path", "data")
    assert run_with(uri, told)[0][KEPT] == "all"
    monkeypatch.setattr(kept_inputs, "_MOST_COUNTED", 30)
    said, _ = run_with(uri, told, log_source="true")
    assert said[NOT_KEPT] == "calibration.path: a folder of at least 30 files and folders"


@pytest.mark.slow
def test_nothing_is_kept_that_lies_elsewhere_than_it_says(here, uri):
    write(here / "secret" / "id_ed25519", "key")
    for folder in ("out", "into", "inside"):
        write(here / folder / "1.png", "one")
    os.symlink("../secret/id_ed25519", here / "out" / "2.png")
    os.symlink("../secret", here / "into" / "deeper")
    os.symlink("1.png", here / "inside" / "2.png")
    told = [read("source.path", "out"), read("calibration.path", "into"), read("evaluation.path", "inside")]
    said, found = run_with(uri, *told)
    assert said[KEPT] == "evaluation.path"
    assert "out/2.png is a link out of the folder" in said[NOT_KEPT]
    assert "into/deeper is a link out of the folder" in said[NOT_KEPT]
    assert found == {"inputs/evaluation.path/inside/1.png": b"one", "inputs/evaluation.path/inside/2.png": b"one"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a#1.png", "50%41.png", "what?.png", "line\nbreak.png", b"\xff.png"])
def test_names_that_no_address_can_have(here, uri, name):
    write(here / "data" / "1.png", "one")
    with open(os.path.join(os.fsencode(here), b"data", os.fsencode(name)), "w", encoding="utf-8") as file:
        file.write("two")
    said, found = run_with(uri, read("calibration.path", "data"))
    assert said[KEPT] == "none"
    assert "cannot be an artifact's" in said[NOT_KEPT]
    assert found == {}


@pytest.mark.slow
def test_told_again_it_is_the_same(here, uri):
    write(here / "data" / "1.png", "one")
    asked = settings(uri)
    told = [started(), read("calibration.path", "data"), finished()]
    run = tracked(told, asked)
    first = artifacts(uri, run)
    again = keep(client(uri), run.info.run_id, [told[1]], asked, RunOutcome.done)
    assert again == {KEPT: "all"}
    assert artifacts(uri, run) == first


@pytest.mark.slow
def test_a_kept_folder_has_the_digest_that_the_run_told(here, uri):
    write(here / "saved" / "saved_model.pb", "graph")
    write(here / "saved" / "fingerprint.pb", "another")
    told = read("source.path", "saved")
    run = tracked([started(), told, finished()], settings(uri))
    place = client(uri).download_artifacts(run.info.run_id, "inputs/source.path/saved")
    assert sha256_of(Path(place)) == told.sha256


@pytest.mark.slow
def test_candidates_of_a_search_leave_it_to_the_search(here, uri):
    write(here / "model.keras", "model")
    said, found = run_with(uri, read("source.path", "model.keras", shared=True), log_source="true")
    assert said[KEPT] == "parent"
    assert found == {}


@pytest.mark.slow
def test_a_part_of_a_checkpoint_is_not_kept_as_the_whole(here, uri):
    write(here / "ckpt.index", "index")
    write(here / "ckpt.data-00000-of-00001", "values")
    said, found = run_with(uri, read("source.weights", "ckpt.index"))
    assert said[NOT_KEPT] == "source.weights: a part of a checkpoint, which is several files"
    assert found == {}
