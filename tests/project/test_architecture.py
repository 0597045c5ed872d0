"""Every module is a layer, and what only composes, lists, shows or refuses loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.checkout import REPOSITORY

PYPROJECT = REPOSITORY / "pyproject.toml"
HEAVY = {"tensorflow", "keras", "tf_keras", "mlflow", "numpy", "h5py", "ai_edge_litert", "litert_quantizer", "sklearn"}


def test_every_module_has_its_place_among_the_layers() -> None:
    contracts = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (layers,) = [contract for contract in contracts if contract.get("containers") == ["tflite_recipes"]]
    placed = {name.strip() for layer in layers["layers"] for name in layer.split("|")}
    package = REPOSITORY / "tflite_recipes"
    modules = {path.stem for path in package.glob("*.py")} | {
        path.parent.name for path in package.glob("*/__init__.py")
    }
    assert placed == modules - {"__init__"}
    assert layers["exhaustive"]
    assert len(placed - {"__main__"}) == 13


def loaded(code: str, cwd: Path) -> set[str]:
    """The top-level modules that are loaded after `code`."""
    ending = "import sys, json; print(); print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    command = [sys.executable, "-c", f"{code}\n{ending}"]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_no_module_outside_the_backend_loads_anything_heavy_by_being_imported(tmp_path: Path) -> None:
    files = [path.relative_to(REPOSITORY).with_suffix("") for path in (REPOSITORY / "tflite_recipes").rglob("*.py")]
    names = [".".join(path.parts).removesuffix(".__init__") for path in files]
    # These need arrays, LiteRT's schema, HDF5 or MLflow's requests at once. The others import them when they need them.
    apart = (
        "backend",
        "conversion.quality.parity",
        "files.tflite.",
        "targets.deploy.file_description",
        "targets.deploy.litert_package",
        "conversion.scheme_check",
        "files.models.hdf5",
        "tracking.tflite_pyfunc",
        "tracking.bounded_http",
    )
    light = [name for name in names if not name.partition(".")[2].startswith(apart)]
    assert {"tflite_recipes.api", "tflite_recipes.steps.source", "tflite_recipes.tracking.mlflow_tracker"} <= set(light)
    found = loaded(f"import {', '.join(light)}", tmp_path)
    assert not found & HEAVY


@pytest.mark.slow
def test_a_command_that_only_reads_loads_nothing_heavy_and_a_check_of_npz_data_numpy_alone(tmp_path: Path) -> None:
    commands = [
        ["--help"],
        ["ls"],
        ["ls", "source"],
        ["show", "digits_integer_only"],
        ["check", "mobilenet_v2_latency"],
        ["cp", "convert"],
        ["rules", "quantization_error.csv"],
        ["check", "convert", "source=kras", "calibraton=npz"],
    ]
    code = f"""
import sys
from tflite_recipes.cli.entry import main
for arguments in {commands}:
    try:
        main(arguments)
    except SystemExit:
        pass
    heavy = set({sorted(HEAVY)}) & sys.modules.keys()
    assert not heavy, (arguments, heavy)

import numpy
from tflite_recipes import api
numpy.savez("cal.npz", image=numpy.zeros((3, 8, 8, 1), "float32"))
assert api.check("digits_integer_only", ["calibration=npz", "calibration.path=cal.npz"]) == ()
"""
    assert loaded(code, tmp_path) & HEAVY == {"numpy"}
