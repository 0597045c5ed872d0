"""Public names: how recipes call our classes, and that they can call nothing else."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path

import pytest
import yaml
from support.checkout import REPOSITORY, write

from tflite_recipes.config import catalog, composition
from tflite_recipes.core import old_names, public_names, schema
from tflite_recipes.core.errors import RequestError
from tflite_recipes.core.state import State

PACKAGES = (public_names.STEPS, public_names.TRACKING)
OPTIONS = sorted((REPOSITORY / "conf").glob("*/*.yaml"))
NAMES = [f"{package}.{name}" for package in PACKAGES for name in public_names.offered(package)]
OLD = {new: old for old, new in old_names.TARGETS.items()}


def old_text(text: str) -> str:
    """A resolved recipe as it was written down before there were public names."""
    for new, old in OLD.items():
        text = text.replace(f"_target_: {new}\n", f"_target_: {old}\n")
    return text


@pytest.mark.parametrize("name", NAMES)
def test_public_name_leads_to_its_class_and_back(name: str) -> None:
    kind = schema.class_of(name)
    assert is_dataclass(kind)
    assert public_names.public_name(kind) == name
    assert public_names.resolved(name) == name


def test_every_step_has_a_public_name() -> None:
    folder = REPOSITORY / "tflite_recipes" / "steps"
    modules = [importlib.import_module(f"tflite_recipes.steps.{path.stem}") for path in folder.glob("*.py")]
    kinds = {kind for module in modules for kind in vars(module).values() if is_dataclass(kind)}
    steps = [kind for kind in kinds if kind.__module__.startswith("tflite_recipes.steps.") and "__call__" in vars(kind)]
    assert len(steps) > 25
    public = tuple(kind for kind in map(schema.class_of, NAMES) if kind is not None)
    assert [kind for kind in steps if not any(issubclass(other, kind) for other in public)] == []


def test_class_of_ours_without_a_public_name_fails_loudly() -> None:
    with pytest.raises(LookupError, match=r"tflite_recipes\.core\.state\.State has no public name"):
        public_names.public_name(State)


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_option_names_a_public_class(path: Path) -> None:
    target = catalog.read(path).get(schema.TARGET)
    assert target in (None, "???") or target in NAMES  # a fragment may leave the class to the option


@pytest.mark.parametrize(("old", "new"), old_names.TARGETS.items())
def test_old_target_resolves_to_the_public_name(old: str, new: str) -> None:
    assert new in NAMES
    assert public_names.resolved(old) == new
    assert public_names.resolved(":".join(old.rsplit(".", 1))) == new


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "mine:Class",
        "mine.py:Optimization",
        "tflite_recipes",
        "tflite_recipes.State",
        "tflite_recipes.steps",
        "tflite_recipes.steps.",
        "tflite_recipes.steps.os",
        "tflite_recipes.steps.public_names",
        "tflite_recipes.steps._HOMES",
        "tflite_recipes.steps.__getattr__",
        "tflite_recipes.steps.optimization",
        "tflite_recipes.steps.Optimization.__init__",
        "tflite_recipes.steps.evaluation.Optimization",
        "tflite_recipes.steps.source.os.system",
        "tflite_recipes.steps.runners.RemoteRunner",
        "tflite_recipes.state.os.system",
        "tflite_recipes.backend.session.start",
        "tflite_recipes.tracking.os",
        "tflite_recipes.tracking.client.client",
        "tflite_recipes:steps:Freeze.x",
        "Optimization",
        "",
        None,
        5,
        ["tflite_recipes.steps.Optimization"],
    ],
)
def test_anything_else_is_no_class_of_ours(target: object) -> None:
    assert public_names.resolved(target) is None
    assert schema.class_of(target) is None


@pytest.mark.parametrize(
    ("target", "ours"),
    [
        ("tflite_recipes.steps.Freeze", True),
        ("tflite_recipes.state.os.system", True),
        ("tflite_recipes:State", True),
        ("tflite_recipes.steps.own.py", True),
        ("tflite_recipes.py:Mine", False),
        ("tflite_recipes_own.Mine", False),
        ("mine:Class", False),
        (5, False),
    ],
)
def test_what_is_in_this_package_is_never_code_of_the_users(target: object, ours: bool) -> None:
    assert public_names.is_ours(target) is ours


@pytest.mark.slow
def test_class_is_imported_when_it_is_asked_for_and_no_other_step(tmp_path: Path) -> None:
    code = """
import sys
import tflite_recipes.steps, tflite_recipes.tracking
assert not [name for name in sys.modules if name.startswith(("tflite_recipes.steps.", "tflite_recipes.tracking."))]
from tflite_recipes.steps import Freeze
assert [name for name in sys.modules if name.startswith("tflite_recipes.steps.")] == ["tflite_recipes.steps.freeze"]
from tflite_recipes.tracking import Mlflow
assert "mlflow" not in sys.modules
from tflite_recipes import api
assert api.check("digits_float") == ()
others = ("ethos_u_target", "micro_target", "edge_tpu_target", "pruning", "substitution", "reproduction", "gpu_target")
assert not [name for name in others if f"tflite_recipes.steps.{name}" in sys.modules]
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["digits_auto", "digits_pruned", "mobilenet_v2_raspberry_pi"])
def test_recipe_with_old_names_composes_to_the_same_as_with_public_ones(here: Path, recipe: str) -> None:
    now = composition.compose(recipe)
    text = old_text(now.to_yaml())
    assert "tflite_recipes.steps.source." in text
    assert "MlflowSettings" in text
    then = composition.compose(str(write(here / "old.yaml", text)))
    assert (then.config, then.digest, then.to_yaml()) == (now.config, now.digest, now.to_yaml())
    assert [spec.target for spec in then.steps] == [spec.target for spec in now.steps]


def test_name_that_the_user_types_is_replaced_too(here: Path) -> None:
    typed = composition.compose("digits_float", ["freeze._target_=tflite_recipes.steps.freeze.Freeze"])
    assert typed.config["freeze"]["_target_"] == "tflite_recipes.steps.Freeze"
    assert typed.digest == composition.compose("digits_float").digest


def test_own_class_on_one_of_ours_keeps_its_own_target(here: Path) -> None:
    write(here / "mine.py", "from tflite_recipes.steps import Freeze\nclass Mine(Freeze):\n    pass\n")
    recipe = composition.compose("digits_float", ["freeze._target_=mine.py:Mine"])
    ours = composition.compose("digits_float").config["freeze"]
    assert recipe.config["freeze"] == {**ours, "_target_": "mine.py:Mine"}
    assert ours["_target_"] == "tflite_recipes.steps.Freeze"
    assert next(spec for spec in recipe.steps if spec.name == "freeze").instance is None


@pytest.mark.parametrize(
    ("target", "fix"),
    [
        ("tflite_recipes.steps.freeze.Freze", "freeze._target_=tflite_recipes.steps.Freeze"),
        ("tflite_recipes.state.os.system", ""),
        ("tflite_recipes.tracking.Mlflow", ""),
    ],
)
def test_what_is_no_step_is_refused_with_the_one_that_is_like_it(here: Path, target: str, fix: str) -> None:
    with pytest.raises(RequestError) as refused:
        composition.compose("digits_float", [f"freeze._target_={target}"])
    (problem,) = refused.value.problems
    assert (problem.where, problem.fix) == ("freeze._target_", fix)
    assert target in problem.what


def test_recipe_file_says_the_public_names_alone(here: Path) -> None:
    written = yaml.safe_load(composition.compose("digits_pruned").to_yaml())
    targets = {
        section["_target_"] for section in written.values() if isinstance(section, dict) and "_target_" in section
    }
    assert targets <= set(NAMES)
    assert len(targets) == 8
