"""Old names of modules and objects: what code that past runs kept imports is what there is now."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.checkout import REPOSITORY, write

import tflite_recipes
from tflite_recipes import steps
from tflite_recipes.core import errors, events, old_names, state
from tflite_recipes.tracking import Mlflow

PRIVATE = object()


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A table of moves that never were: a module moved, one twice, one split, one renamed in, a package moved."""
    made = {
        "zz_moved": ("state",),
        "zz_twice": ("zz_moved",),
        "zz_split": ("errors", "events"),
        "zz_package.inside": ("state",),
        "zz_package.deep.inside": ("errors",),
        "zz_standing": ("state",),
        "steps.zz_inside": ("state",),
    }
    monkeypatch.setattr(errors, "_private", PRIVATE, raising=False)
    for path, successors in made.items():
        monkeypatch.setitem(old_names.MODULES, path, successors)
    monkeypatch.setitem(old_names.OBJECTS, "zz_split.Fault", "errors.Problem")
    yield
    for name in [name for name in sys.modules if "zz_" in name]:
        del sys.modules[name]
        vars(tflite_recipes).pop(name.partition(".")[2], None)
        vars(steps).pop("zz_inside", None)


def ran(folder: Path, text: str) -> dict[str, object]:
    """What a module of the user's, with these lines, has."""
    write(folder / "zz_own.py", text)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    return vars(importlib.import_module("zz_own"))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("from tflite_recipes.zz_moved import State as found", state.State),
        ("from tflite_recipes import zz_moved\nfound = zz_moved.TensorSpec", state.TensorSpec),
        ("import tflite_recipes.zz_moved\nfound = tflite_recipes.zz_moved.Gate", state.Gate),
        ("import tflite_recipes.zz_moved as old\nfound = old.specs_from_json", state.specs_from_json),
        ("from tflite_recipes.zz_twice import State as found", state.State),
        ("from tflite_recipes.zz_split import Problem as found", errors.Problem),
        ("from tflite_recipes.zz_split import Reporter as found", events.Reporter),
        ("from tflite_recipes.zz_split import Fault as found", errors.Problem),
        ("from tflite_recipes.zz_twice import *\nfound = State", state.State),
        ("from tflite_recipes.zz_split import *\nfound = Reporter", events.Reporter),
        ("from tflite_recipes.zz_split import *\nfound = Fault", errors.Problem),
        ("import tflite_recipes.zz_package.inside as old\nfound = old.State", state.State),
        ("import tflite_recipes.zz_package.deep.inside as a\nfound = a.gist", errors.gist),
        ("import tflite_recipes as t, tflite_recipes.zz_package.deep.inside\nfound = t.zz_package.deep.inside.gist",
         errors.gist),
        ("from tflite_recipes.zz_package import inside\nfound = inside.State", state.State),
        ("from tflite_recipes.zz_package.deep.inside import _private as found", PRIVATE),
        ("import tflite_recipes\nfound = tflite_recipes.zz_moved.State", state.State),
        ("import tflite_recipes as t\nfound = t.zz_split.Fault", errors.Problem),
        ("import tflite_recipes as t\nfound = t.zz_package.deep.inside.gist", errors.gist),
        ("import tflite_recipes as t\nfound = t.steps.zz_inside.State", state.State),
        ("from tflite_recipes import steps\nfound = steps.zz_inside.State", state.State),
        ("import tflite_recipes as t\nfound = getattr(t, 'zz_nothing', 'none')", "none"),
        ("import tflite_recipes as t\nfound = getattr(t.zz_package, 'nothing', 'none')", "none"),
        ("import tflite_recipes as t\nfound = getattr(t.zz_moved, 'nothing', 'none')", "none"),
    ],
)  # fmt: skip
def test_import_of_an_old_module_gives_the_objects_of_today(
    moves: None, here: Path, lines: str, expected: object
) -> None:
    assert ran(here, lines)["found"] is expected


def test_dataclass_on_an_old_base_is_of_the_class_of_today(moves: None, here: Path) -> None:
    lines = "from dataclasses import dataclass\nfrom tflite_recipes.zz_moved import TensorSpec\n"
    lines += "@dataclass(frozen=True)\nclass Named(TensorSpec):\n    unit: str = 'm'\nmade = Named('x', (1,), 'int8')\n"
    made = ran(here, lines)["made"]
    assert isinstance(made, state.TensorSpec)
    assert pickle.loads(pickle.dumps(made)) == made


def test_pickle_by_an_old_name_loads(moves: None) -> None:
    spec = state.TensorSpec("x", (1,), "int8")
    old = pickle.dumps(spec, protocol=0).replace(b"tflite_recipes.core.state", b"tflite_recipes.zz_moved")
    assert b"zz_moved" in old
    assert pickle.loads(old) == spec


def test_module_in_an_old_ones_place_offers_its_own_first(moves: None, here: Path) -> None:
    write(
        here / "zz_standing" / "__init__.py", "from tflite_recipes.core import old_names\nold_names.offer(__name__)\n"
    )
    write(here / "zz_standing" / "Gate.py", "")
    found = ran(here, "import zz_standing\nfrom zz_standing import State\nfrom zz_standing import Gate\n")
    assert found["State"] is state.State
    assert found["Gate"] is sys.modules["zz_standing.Gate"]
    assert not hasattr(found["zz_standing"], "nothing")


@pytest.mark.parametrize(
    "name", ["nothing", "state.nothing", "steps.nothing", "zz_package.nothing", "zz_moved.nothing"]
)
def test_module_that_never_was_is_still_missing_by_its_name(moves: None, name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=f"No module named 'tflite_recipes.{name}'"):
        importlib.import_module(f"tflite_recipes.{name}")


def test_name_that_an_old_module_did_not_have_is_missing(moves: None, here: Path) -> None:
    with pytest.raises(ImportError, match="cannot import name 'Stat'"):
        ran(here, "from tflite_recipes.zz_moved import Stat")


def test_settings_class_has_its_old_name_too() -> None:
    from tflite_recipes.tracking import settings

    assert vars(settings)["__getattr__"]("MlflowSettings") is Mlflow


@pytest.mark.slow  # it starts Python
def test_modules_that_past_steps_read_as_attributes_are_there_without_their_import(tmp_path: Path) -> None:
    code = """
import tflite_recipes
assert tflite_recipes.state.State is tflite_recipes.State
assert tflite_recipes.errors.StepError is tflite_recipes.StepError
assert tflite_recipes.events.Reporter is tflite_recipes.Reporter
assert tflite_recipes.schema.within is tflite_recipes.within
assert tflite_recipes.runner.VERDICT == tflite_recipes.reporting.summary.VERDICT == "tflite_recipes.verdict"
assert tflite_recipes.steps.target.CpuTarget is tflite_recipes.steps.CpuTarget
assert tflite_recipes.core.state.State is tflite_recipes.State
assert not hasattr(tflite_recipes, "nothing")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _has_file(path: str) -> bool:
    place = REPOSITORY / "tflite_recipes" / path.replace(".", "/")
    return place.with_suffix(".py").exists() or (place / "__init__.py").exists()


@pytest.mark.slow  # it imports packages of the backend, and so TensorFlow
def test_every_successor_exists_and_no_old_module_hides_a_real_one() -> None:
    successors = {path for paths in old_names.MODULES.values() for path in paths}
    missing = [path for path in sorted(successors) if importlib.util.find_spec(f"tflite_recipes.{path}") is None]
    assert missing == []
    standing = [path for path in old_names.MODULES if _has_file(path)]
    hidden = [path for path in standing if "__getattr__" not in vars(importlib.import_module(f"tflite_recipes.{path}"))]
    assert standing
    assert hidden == []
    objects = [path.rpartition(".") for path in old_names.OBJECTS.values()]
    assert all(hasattr(importlib.import_module(f"tflite_recipes.{module}"), name) for module, _, name in objects)


def test_table_is_not_loaded_while_nothing_is_missing(tmp_path: Path) -> None:
    code = """
import sys
import tflite_recipes.core.errors, tflite_recipes.core.state
assert "tflite_recipes.core.old_names" not in sys.modules
try:
    import tflite_recipes.nothing
except ModuleNotFoundError:
    assert "tflite_recipes.core.old_names" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
