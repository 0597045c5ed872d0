"""The user's own code of a trusted recipe: the version that the run had, or none."""

from __future__ import annotations

import hashlib

import pytest
from support.checkout import write

from tflite_recipes.core.errors import RequestError
from tflite_recipes.past_runs.reproduce.kept_code import resolved, versions

FACTORY = "tflite_recipes.steps.source.FactorySource"


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def config(function="make.py:build", **sections):
    return {"steps": ["source"], "source": {"_target_": FACTORY, "function": function, "arguments": {}}, **sections}


@pytest.fixture
def kept(here):
    return write(here / "out" / "code" / "make.py", "old\n")


def tags(path, name="make.py:build"):
    return {"tflite_recipes.function": f"{name} sha256:{digest(path)}"}


def test_tags_tell_the_versions():
    tagged = {
        "tflite_recipes.custom_objects": "a.py:A sha256:0123456789ab, pkg.b:B keras 3.1, c:D sha256:ba9876543210",
        "mlflow.note": "x.py:E sha256:0123456789ab",
    }
    assert versions(tagged) == {("a.py", "A"): "0123456789ab", ("c", "D"): "ba9876543210"}


def test_the_kept_file_is_used_and_one_here_of_other_content_is_told(here, kept):
    assert resolved(config(), tags(kept), {"make.py": kept}).config["source"]["function"] == "out/code/make.py:build"
    write(here / "make.py", "new\n")
    found = resolved(config(), tags(kept), {"make.py": kept})
    assert found.config["source"]["function"] == "out/code/make.py:build"
    assert f"make.py here has other content (sha256:{digest(here / 'make.py')})" in found.notes[0]


def test_of_two_kept_files_of_a_name_the_one_that_was_loaded(here, kept):
    other = write(here / "out" / "code" / "make_0123.py", "other\n")
    found = resolved(config(), tags(other), {"make.py": kept, "make_0123.py": other})
    assert found.config["source"]["function"] == "out/code/make_0123.py:build"


def test_the_file_here_serves_where_it_is_the_same(here, kept):
    write(here / "make.py", "old\n")
    found = resolved(config(), tags(kept), {})
    assert found.config["source"]["function"] == "make.py:build"
    assert "the same that the run had" in found.notes[0]


def test_other_code_is_refused_with_both_digests(here, kept):
    write(here / "make.py", "new\n")
    with pytest.raises(RequestError) as refused:
        resolved(config(), tags(kept), {})
    (problem,) = refused.value.problems
    assert problem.where == "source.function"
    assert digest(kept) in problem.what
    assert digest(here / "make.py") in problem.what


def test_a_kept_file_of_another_digest_is_not_used(here, kept):
    with pytest.raises(RequestError, match="which the server did not keep"):
        resolved(config(), {"tflite_recipes.function": "make.py:build sha256:0123456789ab"}, {"make.py": kept})


def test_code_of_no_known_version_is_refused_unless_it_was_kept(here, kept):
    write(here / "make.py", "new\n")
    with pytest.raises(RequestError, match="an unknown version"):
        resolved(config(), {}, {})
    assert resolved(config(), {}, {"make.py": kept}).config["source"]["function"] == "out/code/make.py:build"


@pytest.mark.parametrize("name", ["tflite_recipes.steps.FactorySource", FACTORY])
def test_key_of_a_class_of_ours_is_spelled_by_any_of_its_names(here, kept, name):
    asked = config()
    asked["source"]["_target_"] = name
    assert resolved(asked, tags(kept), {"make.py": kept}).config["source"]["function"] == "out/code/make.py:build"


@pytest.mark.parametrize("name", ["tflite_recipes.steps.os", "tflite_recipes.core.state.os.system"])
def test_what_is_ours_and_no_step_is_left_for_composing_to_refuse(here, kept, name):
    asked = config(other={"_target_": name, "function": "make.py:build"})
    assert resolved(asked, tags(kept), {"make.py": kept}).config["other"] == asked["other"]


def test_modules_steps_and_lists_are_spelled_alike(here, kept):
    tagged = {
        **tags(kept, "own.make:build"),
        "tflite_recipes.step.Halve": f"make:Halve sha256:{digest(kept)}",
        "tflite_recipes.step.last": f"make.py:Last sha256:{digest(kept)}",
    }
    asked = config("own.make:build", halve={"_target_": "make.Halve", "factor": 1})
    asked["steps"] = ["source", "halve", "make.py:Last", "installed.module:Step"]
    found = resolved(asked, tagged, {"make.py": kept}).config
    assert found["source"]["function"] == "out/code/make.py:build"
    assert found["halve"] == {"_target_": "out/code/make.py:Halve", "factor": 1}
    assert found["steps"] == ["source", "halve", "out/code/make.py:Last", "installed.module:Step"]
