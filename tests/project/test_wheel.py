"""The wheel: what is in it, and that it works where there is nothing of the checkout."""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.checkout import REPOSITORY

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=500, check=False)


def clean() -> dict[str, str]:
    """The environment without what would let another copy of the package in."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("build", reason="the package build is not here: pip install '.[dev]'")
    pytest.importorskip("hatchling", reason="the package hatchling is not here: pip install '.[dev]'")
    folder = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", folder, REPOSITORY, cwd=folder)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    return path


@dataclass(frozen=True)
class Installed:
    """An environment of its own with the wheel in it, and an empty folder to stand in."""

    bin: Path
    desk: Path

    def tool(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(self.bin / "tflite-recipes", *arguments, cwd=self.desk, env=clean())

    def python(self, code: str) -> str:
        done = run(self.bin / "python", "-c", code, cwd=self.desk, env=clean())
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The dependencies are those of the environment that runs the tests, behind the wheel's own copy of the package."""
    root = tmp_path_factory.mktemp("installed")
    venv.create(root / "env", with_pip=True)
    python = root / "env" / "bin" / "python"
    done = run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=root, env=clean())
    assert done.returncode == 0, done.stdout + done.stderr
    packages = sysconfig.get_path("purelib", vars={"base": str(root / "env"), "platbase": str(root / "env")})
    ours = dict.fromkeys([*site.getsitepackages(), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    # Plain lines: a path file adds folders, and the path files inside these (an editable install) are not read.
    (Path(packages) / "dependencies.pth").write_text("".join(f"{folder}\n" for folder in ours))
    (root / "desk").mkdir()
    return Installed(root / "env" / "bin", root / "desk")


def test_the_wheel_carries_config_and_recipes_inside_the_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"tflite_recipes"}
    for folder in ("conf", "recipes"):
        ours = {f"tflite_recipes/{path.relative_to(REPOSITORY)}" for path in (REPOSITORY / folder).rglob("*.yaml")}
        assert ours
        assert ours <= set(names)
    files = [path for path in (REPOSITORY / "tflite_recipes").rglob("*") if path.is_file()]
    ours = {str(path.relative_to(REPOSITORY)) for path in files if path.suffix != ".pyc"}
    assert {"tflite_recipes/py.typed", "tflite_recipes/targets/deploy/templates/micro/main.cc"} <= ours
    assert ours <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_extras_that_messages_name_are_there_under_names_that_every_pip_finds() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert all(re.fullmatch("[a-z]+", name) for name in extras)  # older ones do not find ethos_u for ethos-u
    sources = [*(REPOSITORY / "tflite_recipes").rglob("*.py"), REPOSITORY / "README.md"]
    named = {
        name
        for path in sources
        for group in re.findall(r"'(?:tflite_recipes|\.)\[([a-z_,]+)\]", path.read_text())
        for name in group.split(",")
    }
    assert {"micro", "vela", "qat"} <= named <= set(extras)


def test_the_package_in_use_is_the_wheels(installed: Installed) -> None:
    file = Path(installed.python("import tflite_recipes; print(tflite_recipes.__file__)"))
    assert file.is_relative_to(installed.bin.parent)
    assert str(REPOSITORY) not in installed.python("import sys; print(*sys.path, sep='\\n')").splitlines()


def test_recipes_are_listed_and_checked(installed: Installed) -> None:
    listed = installed.tool("ls")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert all(path.stem in listed.stdout for path in (REPOSITORY / "recipes").rglob("*.yaml"))
    checked = installed.tool("check", "digits_integer_only")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "nothing wrong with digits_integer_only" in checked.stdout


def test_a_recipe_runs(installed: Installed) -> None:
    overrides = ("source.epochs=1", "evaluation.max_drop=null", "tracking=none")
    done = installed.tool("run", "digits_integer_only", *overrides)
    assert done.returncode == 0, done.stdout + done.stderr
    (model,) = installed.desk.rglob("model.tflite")
    assert model.read_bytes()[4:8] == b"TFL3"
    assert str(model.relative_to(installed.desk)) in done.stdout
