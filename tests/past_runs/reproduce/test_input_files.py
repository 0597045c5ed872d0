"""Files that a past run read: found again where they were, where the user says, or as the server kept them."""

from __future__ import annotations

import os

import pytest
from support.checkout import write

from tflite_recipes.config.recipe_inputs import described
from tflite_recipes.core.errors import RequestError
from tflite_recipes.past_runs.reproduce.input_files import Recorded, by_key, named_files, restored

CONFIG = {
    "steps": ["source"],
    "source": {"_target_": "tflite_recipes.steps.KerasSource", "path": "model.keras"},
    "pruning": {"_target_": "tflite_recipes.steps.pruning.ConstantPruning", "data": "train.npz"},
    "calibration": {"_target_": "tflite_recipes.steps.calibration.ImagesCalibration", "path": "pictures"},
    "target": {"_target_": "tflite_recipes.steps.target.CpuTarget", "identity_file": "id_ed25519", "labels": None},
    "own": {"_target_": "own.Step", "path": "x"},
    "none": {"_target_": "tflite_recipes.steps.os", "path": "x"},
}


@pytest.fixture
def recorded(here):
    write(here / "model.keras", "model")
    write(here / "train.npz", "train")
    write(here / "pictures" / "a" / "1.png", "picture")
    return Recorded(tuple(described(key, path) for key, path in named_files(CONFIG).items()))


def nothing(entry):
    return None


def paths(found):
    return {file.key: file.path for file in found}


def test_the_files_that_a_recipe_names(here):
    assert named_files(CONFIG) == {
        "source.path": "model.keras",
        "pruning.data": "train.npz",
        "calibration.path": "pictures",
    }
    assert named_files({**CONFIG, "pruning": {**CONFIG["pruning"], "data": "digits"}}).get("pruning.data") is None


def test_all_where_it_was(recorded):
    assert paths(restored(CONFIG, recorded, {}, nothing)) == named_files(CONFIG)


def test_what_moved_is_where_the_user_says(here, recorded):
    os.rename("model.keras", "other.keras")
    os.rename("pictures", "others")
    flags = {"--source": "other.keras", "--calibration-data": "others", "pruning.data": "train.npz"}
    given = by_key(flags, named_files(CONFIG))
    found = paths(restored(CONFIG, recorded, given, nothing))
    assert found == {"source.path": "other.keras", "pruning.data": "train.npz", "calibration.path": "others"}


def test_what_is_gone_or_another_is_said_at_once_with_the_flag(here, recorded):
    write(here / "model.keras", "another")
    os.remove("train.npz")
    write(here / "pictures" / "b.png", "one more")
    with pytest.raises(RequestError) as refused:
        restored(CONFIG, recorded, {}, nothing)
    said = {problem.where: problem for problem in refused.value.problems}
    digests = {entry.key: entry.sha256 for entry in recorded.inputs}
    assert digests["source.path"] in said["source.path"].what
    assert described("source.path", "model.keras").sha256 in said["source.path"].what
    assert "is not here" in said["pruning.data"].what
    assert digests["pruning.data"] in said["pruning.data"].what
    fixes = {key: problem.fix for key, problem in said.items()}
    assert fixes == {
        "source.path": "--source FILE",
        "pruning.data": "--input pruning.data=FILE",
        "calibration.path": "--calibration-data FILE",
    }


def test_a_given_file_of_another_digest_is_an_error_even_where_the_old_one_is_there(here, recorded):
    write(here / "other.keras", "other")
    with pytest.raises(RequestError) as refused:
        restored(CONFIG, recorded, {"source.path": "other.keras"}, nothing)
    (problem,) = refused.value.problems
    assert described("source.path", "other.keras").sha256 in problem.what
    assert recorded.inputs[0].sha256 in problem.what


def test_what_the_server_kept_is_used_if_it_is_the_same(here, recorded):
    os.renames("model.keras", "kept/model.keras")
    asked = []

    def fetch(entry):
        asked.append(entry.key)
        return here / "kept" / "model.keras"

    found = restored(CONFIG, recorded, {}, fetch)
    assert found[0].path == str(here / "kept" / "model.keras")
    assert asked == ["source.path"]
    write(here / "model.keras", "another")
    with pytest.raises(RequestError) as refused:
        restored(CONFIG, recorded, {}, fetch)
    (problem,) = refused.value.problems
    assert described("source.path", "model.keras").sha256 in problem.what
    assert recorded.inputs[0].sha256 in problem.what
    assert (problem.fix, problem.alternatives) == ("--use-kept", ("--source FILE",))
    assert "another" in restored(CONFIG, recorded, {}, fetch, use_kept=True)[0].how
    write(here / "kept" / "model.keras", "tampered")
    with pytest.raises(RequestError, match="what the server kept has the sha256"):
        restored(CONFIG, recorded, {}, fetch)


def test_a_path_without_a_digest_is_never_read_unasked(here, recorded):
    """A server could otherwise have any file here read by naming it."""
    private = write(here / "private.npz", "secret")
    hostile = {**CONFIG, "pruning": {**CONFIG["pruning"], "data": str(private)}}
    only = Recorded(tuple(entry for entry in recorded.inputs if entry.key != "pruning.data"))
    with pytest.raises(RequestError, match="recorded no digest") as refused:
        restored(hostile, only, {}, nothing)
    assert refused.value.problems[0].fix == "--input pruning.data=FILE"
    found = restored(hostile, only, {"pruning.data": str(private)}, nothing)
    assert [file.checked for file in found] == [True, False, True]


def test_an_older_run_has_its_sources_digest_at_least(here, recorded):
    old = Recorded(None, recorded.inputs[0].sha256)
    given = {"pruning.data": "train.npz", "calibration.path": "pictures"}
    assert [file.checked for file in restored(CONFIG, old, given, nothing)] == [True, False, False]
    write(here / "model.keras", "another")
    with pytest.raises(RequestError, match="has the sha256"):
        restored(CONFIG, old, given, nothing)


def test_a_folder_far_too_large_is_not_read(here, recorded):
    hostile = {**CONFIG, "calibration": {**CONFIG["calibration"], "path": "/"}}
    with pytest.raises(RequestError, match="is not here"):
        restored(hostile, recorded, {}, nothing)


def test_flags_that_nothing_asks_for_and_files_that_are_not_there(here, recorded):
    with pytest.raises(RequestError) as refused:
        by_key(
            {"--evaluation-data": "train.npz", "target.config": "train.npz", "--source": "no.keras"},
            named_files(CONFIG),
        )
    assert [problem.where for problem in refused.value.problems] == ["--evaluation-data", "target.config", "--source"]
    weights = {"source": {"_target_": "tflite_recipes.steps.source.FactorySource", "weights": "w.weights.h5"}}
    write(here / "w.weights.h5", "w")
    assert by_key({"--source": "w.weights.h5"}, named_files(weights)) == {"source.weights": "w.weights.h5"}
