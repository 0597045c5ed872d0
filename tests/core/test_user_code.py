"""The user's own code: found beside the recipe that names it, and kept with the run that used it."""

import hashlib
import json
import os
import sys
from types import ModuleType

import pytest
from support.checkout import REPOSITORY, write

from tflite_recipes import api
from tflite_recipes.config import composition
from tflite_recipes.core.errors import ExitStatus, RequestError
from tflite_recipes.core.events import EventReporter
from tflite_recipes.core.state import State
from tflite_recipes.core.user_code import found_beside, own_modules, record

FACTORY = """
def build():
    import keras

    i = keras.Input((4,), name="x")
    return keras.Model(i, keras.layers.Dense(2, name="y")(i))
"""
STEP = """
from dataclasses import dataclass


@dataclass(frozen=True)
class Halve:
    factor: float

    def __call__(self, state, reporter):
        return state
"""
RECIPE = """
defaults:
  - /builtin/convert
  - override /source: factory
  - _self_
source:
  function: make.py:build
steps: [source, halve, freeze, calibration, optimization, target, evaluation]
halve:
  _target_: steps/own.py:Halve
  factor: 0.5
"""


def project(here):
    write(here / "proj" / "make.py", FACTORY)
    write(here / "proj" / "steps" / "own.py", STEP)
    return write(here / "proj" / "my.yaml", RECIPE)


def test_own_modules_module_that_replaces_an_installed_one_is_found(here, monkeypatch):
    installed, own = ModuleType("layers_of_mine"), ModuleType("layers_of_mine")
    installed.__file__ = os.path.join(sys.prefix, "layers_of_mine.py")
    own.__file__ = str(here / "layers_of_mine.py")
    monkeypatch.setitem(sys.modules, "layers_of_mine", installed)
    assert "layers_of_mine" not in own_modules()
    monkeypatch.setitem(sys.modules, "layers_of_mine", own)
    assert own_modules()["layers_of_mine"] == here / "layers_of_mine.py"


def test_only_what_is_not_here_is_looked_for_beside_the_recipe(here):
    write(here / "proj" / "a.py", "")
    write(here / "proj" / "b.py", "")
    write(here / "b.py", "")
    config = {"x": ["a.py:A", "b.py:B", "c.py:C", "a.py", "a.py:not a name", 3, None], "y": {"z": "a.py:A.b"}}
    found = found_beside(config, here / "proj")
    assert found["x"] == ["proj/a.py:A", "b.py:B", "c.py:C", "a.py", "a.py:not a name", 3, None]
    assert found["y"] == config["y"]


@pytest.mark.slow
@pytest.mark.parametrize("folder", [".", "proj", "elsewhere/deep"])
def test_a_recipes_code_stands_beside_it(here, monkeypatch, folder):
    project(here)
    (here / folder).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(here / folder)
    recipe = composition.compose(os.path.relpath(here / "proj" / "my.yaml"))
    for place in (recipe.config["source"]["function"], recipe.config["halve"]["_target_"]):
        assert os.path.isfile(place.partition(":")[0])


def test_what_stands_nowhere_is_still_refused(here):
    project(here)
    (here / "proj" / "make.py").unlink()
    with pytest.raises(RequestError) as caught:
        composition.compose("proj/my.yaml")
    assert [problem.where for problem in caught.value.problems] == ["source.function"]


def recorded(state, *targets):
    told = []
    record("custom_objects", targets, state, EventReporter(told.append))
    kept = [(event.path, event.folder) for event in told if type(event).__name__ == "ArtifactKept"]
    (tags,) = [event.tags for event in told if type(event).__name__ == "Tagged"]
    return tags["tflite_recipes.custom_objects"], kept


@pytest.mark.slow
def test_files_are_kept_and_modules_named_by_their_version(here):
    for folder, text in (("a", "A = 1\n"), ("b", "A = 2\n"), (".", "A = 1\n")):
        write(here / folder / "layers.py", text)
    state = State(workdir=here / "work")
    said, kept = recorded(state, "a/layers.py:A", "yaml:safe_load")
    sha = hashlib.sha256(b"A = 1\n").hexdigest()
    assert said.startswith(f"layers.py:A sha256:{sha[:12]}, yaml:safe_load PyYAML ")
    assert kept == [(str(here / "work" / "code" / "layers.py"), "code")]
    (here / "work" / "code" / "layers.py").unlink()  # as the runner moves it away
    _, again = recorded(state, "layers.py:A")
    assert again == []
    _, other = recorded(state, "b/layers.py:A")
    assert other[0][0].endswith(f"layers_{hashlib.sha256(b'A = 2' + bytes([10])).hexdigest()[:8]}.py")


@pytest.mark.slow
def test_a_run_keeps_the_code_it_named(here, monkeypatch):
    project(here)
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    result = api.run("../proj/my.yaml", ["tracking=none"], progress=False)
    assert result.status == ExitStatus.DONE, result.problems
    for name in ("make.py", "own.py"):
        digest = hashlib.sha256((result.output_dir / name).read_bytes()).hexdigest()[:12]
        assert any(f"{name}:" in tag and f"sha256:{digest}" in tag for tag in result.tags.values())
    assert (here / "proj" / "make.py").is_file()  # a copy was moved
    events = [json.loads(line) for line in (result.output_dir / "events.jsonl").read_text().splitlines()]
    assert {e["folder"] for e in events if e["event"] == "ArtifactKept" and e["path"].endswith("make.py")} == {"code"}


@pytest.mark.slow
def test_custom_objects_of_a_module_in_the_working_folder(here):
    from support import keras_models

    keras_models.write("custom_layer", here)
    for target in ("layers:Scale", "layers.py:Scale"):
        result = api.run(
            "convert",
            ["source=keras", "source.path=model.keras", f"source.custom_objects=[{target}]", "tracking=none"],
            progress=False,
        )
        assert result.status == ExitStatus.DONE, result.problems
        assert result.tags["tflite_recipes.custom_objects"].startswith(f"{target} sha256:")
        assert (result.output_dir / "layers.py").is_file()


def test_the_shipped_recipes_have_no_code_beside_them():
    assert not list((REPOSITORY / "recipes").rglob("*.py"))
